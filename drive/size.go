package drive

import (
	"errors"
	"math"
	"strconv"
	"strings"
)

// sizeHelp says what ParseSize takes.
const sizeHelp = "a whole number of bytes, or one with Ki, Mi, Gi, Ti, Pi, k, M, G, T or P"

var errSize = errors.New("not " + sizeHelp)

// suffixes in the order in which FormatSize tries them.
var suffixes = []struct {
	text string
	unit int64
}{
	{"Pi", 1 << 50}, {"P", 1e15}, {"Ti", 1 << 40}, {"T", 1e12}, {"Gi", 1 << 30}, {"G", 1e9},
	{"Mi", 1 << 20}, {"M", 1e6}, {"Ki", 1 << 10}, {"k", 1e3},
}

// ParseSize reads a size in bytes: a whole number, alone or with one of the
// suffixes Ki Mi Gi Ti Pi (powers of 1024) or k M G T P (powers of 1000).
func ParseSize(s string) (int64, error) {
	unit := int64(1)
	for _, suffix := range suffixes {
		if digits, ok := strings.CutSuffix(s, suffix.text); ok {
			s, unit = digits, suffix.unit
			break
		}
	}
	if s == "" || strings.Trim(s, "0123456789") != "" {
		return 0, errSize
	}
	n, err := strconv.ParseInt(s, 10, 64)
	if err != nil || n > math.MaxInt64/unit {
		return 0, errors.New("more bytes than there are")
	}
	return n * unit, nil
}

// FormatSize writes a size as ParseSize reads it, with the largest suffix
// that loses nothing.
func FormatSize(n int64) string {
	for _, s := range suffixes {
		if n != 0 && n%s.unit == 0 {
			return strconv.FormatInt(n/s.unit, 10) + s.text
		}
	}
	return strconv.FormatInt(n, 10)
}

// human writes a size for people, rounded down: "1.7 TiB".
func human(n int64) string {
	units := []string{"bytes", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB"}
	i, unit := 0, int64(1)
	for n/unit >= 1024 {
		i, unit = i+1, unit*1024
	}
	if i == 0 {
		return strconv.FormatInt(n, 10) + " " + units[0]
	}
	tenths := n/unit*10 + n%unit/(unit/1024)*10/1024
	return strconv.FormatInt(tenths/10, 10) + "." + strconv.FormatInt(tenths%10, 10) + " " + units[i]
}

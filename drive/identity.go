package drive

import (
	"strconv"
	"strings"
)

// hexDigits reduces the kernel's ways to print an identifier ("00 25 38 ..."
// for EUI64, "00253852-1140-..." for NGUID and UUID) to lower-case digits. An
// identifier of zeros is none.
func hexDigits(s string) string {
	s = strings.ToLower(strings.NewReplacer(" ", "", "-", "").Replace(s))
	if strings.Trim(s, "0") == "" || strings.Trim(s, "0123456789abcdef") != "" {
		return ""
	}
	return s
}

// eui is the form that the kernel's WWID and udev's links have for an NGUID
// or an EUI64.
func eui(hex string) string {
	if hex == "" {
		return ""
	}
	return "eui." + hex
}

// fallbackID identifies a drive for which the kernel has no WWID.
func fallbackID(d Drive) string {
	if d.Serial == "" {
		return ""
	}
	words := func(s string) string { return strings.Join(strings.Fields(s), "_") }
	return "nvme." + words(d.Model) + "_" + words(d.Serial) + "_" + strconv.FormatInt(d.NSID, 10)
}

package hostrecord

import (
	"crypto/rand"
	"strings"
)

// keyLength is that of store keys and VG ids: 26 * 36^7, two thousand thousand
// million of them, and short enough for a person to read out.
const keyLength = 8

const (
	letters  = "abcdefghijklmnopqrstuvwxyz"
	alphabet = letters + "0123456789"
)

// NewKey makes a random name of 8 characters for a store or a VG: [a-z0-9],
// the first a letter.
func NewKey() string {
	key := []byte{pick(letters)}
	for len(key) < keyLength {
		key = append(key, pick(alphabet))
	}
	return string(key)
}

// pick draws one character, each as likely as the others: bytes past the last
// whole multiple of the choice are drawn again.
func pick(from string) byte {
	whole := 256 / len(from) * len(from)
	for {
		var b [1]byte
		_, _ = rand.Read(b[:]) // crypto/rand: never fails
		if int(b[0]) < whole {
			return from[int(b[0])%len(from)]
		}
	}
}

// ValidKey reports whether s has the form of NewKey.
func ValidKey(s string) bool {
	return len(s) == keyLength && strings.Contains(letters, s[:1]) && strings.Trim(s, alphabet) == ""
}

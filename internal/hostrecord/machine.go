package hostrecord

import (
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// Machine is what tells this machine from others.
type Machine struct {
	ID      string // of /etc/machine-id
	Product string // DMI product UUID, empty when it cannot be read or is a vendor's default
}

// vendorDefaults are product UUIDs that many boards share.
var vendorDefaults = []string{
	"00000000-0000-0000-0000-000000000000",
	"ffffffff-ffff-ffff-ffff-ffffffffffff",
	"03000200-0400-0500-0006-000700080009",
	"03020100-0504-0706-0809-0a0b0c0d0e0f",
}

// ReadMachine reads the machine's identity below root ("" for this host). One
// of its two parts is enough; with neither it fails.
func ReadMachine(root string) (Machine, error) {
	m := Machine{
		ID:      identity(filepath.Join(root, "/etc/machine-id")),
		Product: identity(filepath.Join(root, "/sys/class/dmi/id/product_uuid")),
	}
	if slices.Contains(vendorDefaults, m.Product) {
		m.Product = ""
	}
	if m == (Machine{}) {
		return m, errors.New("this machine has no identity: /etc/machine-id is missing or empty: run `systemd-machine-id-setup`")
	}
	return m, nil
}

// identity reads one line; an image that was never started says "uninitialized".
func identity(path string) string {
	data, err := os.ReadFile(path)
	id := strings.ToLower(strings.TrimSpace(string(data)))
	if err != nil || id == "uninitialized" {
		return ""
	}
	return id
}

// binding stands in the record for the machine. It is salted and hashed: the
// machine id is meant to be known to its own machine only, machine-id(5).
type binding struct {
	Salt    string `json:"salt"`
	ID      string `json:"id,omitempty"`
	Product string `json:"product,omitempty"`
}

func bind(m Machine) binding {
	b := binding{Salt: rand.Text()}
	b.ID, b.Product = b.hash("machine-id", m.ID), b.hash("product", m.Product)
	return b
}

func (b binding) hash(kind, id string) string {
	if id == "" {
		return ""
	}
	mac := hmac.New(sha256.New, []byte(b.Salt))
	mac.Write([]byte(kind + "\x00" + id))
	return hex.EncodeToString(mac.Sum(nil))
}

// is reports whether the record was written on m. Every part known on both
// sides must be the same, and at least one must be: a cloned disk keeps the
// machine id but not the product UUID, a reinstalled system the other way
// round, and neither is the node that it was.
func (b binding) is(m Machine) bool {
	agreed := false
	for _, part := range [][2]string{
		{b.ID, b.hash("machine-id", m.ID)},
		{b.Product, b.hash("product", m.Product)},
	} {
		recorded, here := part[0], part[1]
		if recorded == "" || here == "" {
			continue
		}
		if recorded != here {
			return false
		}
		agreed = true
	}
	return agreed
}

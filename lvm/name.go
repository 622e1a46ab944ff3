package lvm

import (
	"fmt"
	"strings"

	"github.com/lvme/lvme/internal/dm"
)

// MaxTag is the longest tag that LVM takes, in bytes.
const MaxTag = 1024

// maxName is the longest name that LVM takes, before hyphens are doubled.
const maxName = 127

// maxSuffix is the room that LVM needs behind the name of a device for its own
// layers. The longest is that of a mirrored pool's leg while LVM deactivates
// it: a raid1 whose name leaves less room can be made and activated, but not
// deactivated any more.
const maxSuffix = len("_tdata_rimage_0_extracted")

const (
	nameChars = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_+.-"
	tagChars  = nameChars + "/=!:&#"
)

// reservedParts and reservedPrefixes are kept by LVM for its own LVs.
var (
	reservedParts = []string{
		"_cdata", "_cmeta", "_corig", "_cpool", "_cvol", "_imeta", "_iorig", "_mimage", "_mlog", "_pmspare",
		"_rimage", "_rmeta", "_tdata", "_tmeta", "_vdata", "_vorigin", "_wcorig",
	}
	reservedPrefixes = []string{"snapshot", "pvmove"}
)

// NameError says why LVM would not take a name or a tag. It is an ErrInvalid.
type NameError struct {
	Name, Reason string
}

// Error says which name and why.
func (e *NameError) Error() string { return fmt.Sprintf("name %q: %s", e.Name, e.Reason) }

// Unwrap makes every NameError an ErrInvalid.
func (e *NameError) Unwrap() error { return ErrInvalid }

// ValidVG says whether LVM takes name for a VG, as a *NameError or nil.
func ValidVG(name string) error {
	return checkChars(name, nameChars, maxName)
}

// ValidName says whether LVM takes lv as the name of an LV in vg: characters,
// reserved words, and the kernel's limit on the device's name once hyphens are
// doubled and LVM's suffixes are added. The error is a *NameError.
func ValidName(vg, lv string) error {
	if err := checkChars(lv, nameChars, maxName); err != nil {
		return err
	}
	for _, part := range reservedParts {
		if strings.Contains(lv, part) {
			return &NameError{lv, "LVM keeps names with " + part + " for itself"}
		}
	}
	for _, prefix := range reservedPrefixes {
		if strings.HasPrefix(lv, prefix) {
			return &NameError{lv, "LVM keeps names that begin with " + prefix + " for itself"}
		}
	}
	if n := len(dm.DeviceName(vg, lv)); n > dm.MaxName-maxSuffix {
		return &NameError{lv, fmt.Sprintf("its device in %s needs %d characters, at most %d are possible", vg, n, dm.MaxName-maxSuffix)}
	}
	return nil
}

// ValidTag says whether LVM takes tag, as a *NameError or nil.
func ValidTag(tag string) error {
	return checkChars(tag, tagChars, MaxTag)
}

func checkChars(name, allowed string, most int) error {
	switch {
	case name == "":
		return &NameError{name, "empty"}
	case name == "." || name == "..":
		return &NameError{name, "means a directory"}
	case name[0] == '-':
		return &NameError{name, "begins with a hyphen"}
	case len(name) > most:
		return &NameError{name, fmt.Sprintf("longer than %d bytes", most)}
	}
	for i := range len(name) {
		if strings.IndexByte(allowed, name[i]) < 0 {
			return &NameError{name, fmt.Sprintf("character %q at %d is not one of %s", name[i], i, allowed)}
		}
	}
	return nil
}

// path is how a command names an existing LV. An empty name would mean every
// LV of the VG, so it never gets as far as a command.
func (v VG) path(lv string) (string, error) {
	if err := ValidVG(v.Name); err != nil {
		return "", err
	}
	if err := checkChars(lv, nameChars, maxName); err != nil {
		return "", err
	}
	return v.Name + "/" + lv, nil
}

// newLV checks what is said of an LV to be made in v.
func (v VG) newLV(name string, size int64, tags []string) error {
	if err := ValidVG(v.Name); err != nil {
		return err
	}
	if err := ValidName(v.Name, name); err != nil {
		return err
	}
	if size <= 0 || size%sectorSize != 0 {
		return fmt.Errorf("%w: size of %s is %d bytes: must be a multiple of %d above 0", ErrInvalid, name, size, sectorSize)
	}
	for _, tag := range tags {
		if err := ValidTag(tag); err != nil {
			return err
		}
	}
	return nil
}

const sectorSize = 512

// sizeArg is a size as LVM reads it without rounding.
func sizeArg(n int64) string { return fmt.Sprintf("%db", n) }

// addTags are the arguments that add the tags.
func addTags(tags []string) []string {
	var args []string
	for _, tag := range tags {
		args = append(args, "--addtag", tag)
	}
	return args
}

// tagChange are the arguments that add and remove tags in one command.
func tagChange(add, del []string) ([]string, error) {
	for _, tag := range append(append([]string{}, add...), del...) {
		if err := ValidTag(tag); err != nil {
			return nil, err
		}
	}
	args := addTags(add)
	for _, tag := range del {
		args = append(args, "--deltag", tag)
	}
	return args, nil
}

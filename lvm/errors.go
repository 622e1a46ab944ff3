package lvm

import (
	"errors"
	"fmt"
	"regexp"
	"strings"

	"github.com/lvme/lvme/internal/run"
)

// What can be wrong, told apart by errors.Is. An error that is none of these
// is LVM's own, in its own words.
var (
	// ErrNotFound: LVM looked into the VG and has no LV of that name.
	ErrNotFound = errors.New("no such logical volume")
	// ErrNoVG: none of the given devices holds a VG of that name. It is not
	// ErrNotFound: an LV in a VG that is away is away, not deleted.
	ErrNoVG = errors.New("volume group not found on its devices")
	// ErrExists: the name of a new LV or VG is taken.
	ErrExists = errors.New("name already in use")
	// ErrNoSpace: too few free extents, or the pool takes no new volume
	// because its data or metadata is nearly used up.
	ErrNoSpace = errors.New("not enough space")
	// ErrMetadataFull: the VG's own metadata area cannot describe one more LV.
	// It is an ErrNoSpace too.
	ErrMetadataFull = fmt.Errorf("%w in the volume group's metadata area", ErrNoSpace)
	// ErrInUse: the LV is open: mounted, attached, or below another device.
	ErrInUse = errors.New("in use")
	// ErrMissingDevice: a drive of the VG is not there.
	ErrMissingDevice = errors.New("drive missing")
	// ErrSilent: a drive, or the kernel because of one, does not answer. It says
	// nothing of what is on it.
	ErrSilent = errors.New("no answer")
	// ErrNotInstalled: the host has no lvm2, or not the thin-provisioning-tools
	// that LVM needs; the message names the program.
	ErrNotInstalled = errors.New("not installed on the host")
	// ErrNotSupported: the host's kernel lacks the device-mapper target.
	ErrNotSupported = errors.New("not supported by the host's kernel")
	// ErrInvalid: LVM does not take these arguments.
	ErrInvalid = errors.New("invalid argument")
	// ErrNotBlank: a drive holds a signature, so LVM would have to wipe it.
	ErrNotBlank = errors.New("drive is not blank")
	// ErrTransaction: the pool's kernel metadata and the VG's metadata tell
	// different histories. Nobody but a person can mend that.
	ErrTransaction = errors.New("thin pool does not match its volume group's metadata")
	// ErrStaleThinID: the kernel's pool already has a thin under the number
	// that LVM gives out next.
	ErrStaleThinID = errors.New("thin pool holds a volume that LVM does not know")
	// ErrNeedsRepair: the pool's metadata did not pass thin_check.
	ErrNeedsRepair = errors.New("thin pool needs repair")
	// ErrReadOnlyPool: the pool takes no changes, since its metadata are full or
	// could not be written.
	ErrReadOnlyPool = errors.New("thin pool is read-only")
	// ErrDuplicate: two drives claim to be the same PV, or two VGs the same name.
	ErrDuplicate = errors.New("duplicate drive or volume group")
	// ErrInactive: the command succeeded, but there is no usable device.
	ErrInactive = errors.New("volume did not become active")
	// ErrReport: a report could not be understood.
	ErrReport = errors.New("unexpected report")
)

// Error is an LVM command that ran and failed.
type Error struct {
	// Args are the verb and its arguments, without those of every command.
	Args []string
	// Code is LVM's exit code.
	Code int
	// Stderr is what LVM said, trimmed.
	Stderr string

	kind error
}

// Error says what was run and what LVM answered.
func (e *Error) Error() string {
	msg := fmt.Sprintf("%s%s: exit %d: %s", e.program(), strings.Join(e.Args, " "), e.Code, strings.Join(strings.Fields(e.Stderr), " "))
	if e.kind != nil {
		return e.kind.Error() + ": " + msg
	}
	return msg
}

// program is what the verb is given to; dmsetup is one itself.
func (e *Error) program() string {
	if e.Args[0] == dmsetup {
		return ""
	}
	return "lvm "
}

// Unwrap is the sentinel that the message was recognised as, or nil.
func (e *Error) Unwrap() error { return e.kind }

func newError(verb string, args []string, res run.Result) *Error {
	stderr := strings.TrimSpace(string(res.Stderr))
	return &Error{Args: append([]string{verb}, args...), Code: res.Code, Stderr: stderr, kind: classify(res.Code, stderr)}
}

// errNoChange: what was asked for is so already. It does not leave the package.
var errNoChange = errors.New("nothing to change")

// kinds are tried from first to last. Those that mean that LVM could not see
// everything come before those that say what it did not see: "not found" with
// a drive missing is not proof of anything. Each message was said by real LVM:
// see testdata.
var kinds = []struct {
	kind error
	says *regexp.Regexp
}{
	{errNoChange, says(`does not contain devices specified to replace`)},
	{ErrMissingDevice, says(`Device not found for |No device found for |Couldn't find device with uuid|while PVs are missing|Physical Volume "[^"]*" not found in Volume Group`)},
	{ErrDuplicate, says(`Multiple VGs found with the same name|with duplicate PV devices`)},
	{ErrTransaction, says(`unexpected transaction id|transaction_id is \d+, while expected`)},
	{ErrStaleThinID, says(`already contain thin device with device_id`)},
	{ErrReadOnlyPool, says(`with read only metadata`)},
	{ErrNeedsRepair, says(`Manual repair required|needs_check flag|needs check`)},
	{ErrNotSupported, says(`Required device-mapper target\(s\) not detected|Failure to communicate with kernel device-mapper driver|without using device-mapper kernel driver`)},
	{ErrNoVG, says(`Volume group "[^"]*" not found`)},
	{ErrNotFound, says(`Failed to find logical volume|Existing logical volume "[^"]*" not found|Snapshot origin LV \S+ not found|Pool \S+ not found in Volume group|Logical volume \S+ not found in volume group`)},
	{errNoChange, says(`No size change|matches existing size|not larger than existing size|Error when full is already set|already zero new blocks|New VG name must differ from the old VG name|No PV has been restored`)},
	{ErrExists, says(`already exists`)},
	{ErrMetadataFull, says(`exceeds maximum metadata size|too large for circular buffer`)},
	{ErrNoSpace, says(`[Ii]nsufficient free space|Insufficient suitable allocatable extents|reached threshold|above threshold, new volumes are not allowed`)},
	{ErrInUse, says(`contains a filesystem in use|Logical volume \S+ in use\.|Do you really want to remove|will remove \d+ dependent volume|exclusively\.|is used by VG|failed: Device or resource busy`)},
	{ErrNotBlank, says(`signature detected on|existing signature|device has a signature|device is partitioned|is already in volume group`)},
	{ErrInvalid, says(`is invalid\.|too small|must not exceed|length \d+ is not supported|must differ|Volume too large|Please specify either size or extents`)},
}

func says(expr string) *regexp.Regexp { return regexp.MustCompile(expr) }

// badUsage is LVM's exit code for arguments that it does not take.
const badUsage = 3

func classify(code int, stderr string) error {
	for _, k := range kinds {
		if k.says.MatchString(stderr) {
			return k.kind
		}
	}
	if code == badUsage {
		return ErrInvalid
	}
	return nil
}

// inItsOwnWords says whether err is LVM's and none of the kinds.
func inItsOwnWords(err error) bool {
	var e *Error
	return errors.As(err, &e) && e.kind == nil
}

// onlySays says whether every line of stderr matches.
func onlySays(stderr string, expr *regexp.Regexp) bool {
	for line := range strings.Lines(stderr) {
		if line = strings.TrimSpace(line); line != "" && !expr.MatchString(line) {
			return false
		}
	}
	return true
}

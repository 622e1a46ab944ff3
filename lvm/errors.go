package lvm

import (
	"errors"
	"fmt"
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
	msg := fmt.Sprintf("lvm %s: exit %d: %s", strings.Join(e.Args, " "), e.Code, strings.Join(strings.Fields(e.Stderr), " "))
	if e.kind != nil {
		return e.kind.Error() + ": " + msg
	}
	return msg
}

// Unwrap is the sentinel that the message was recognised as, or nil.
func (e *Error) Unwrap() error { return e.kind }

func newError(verb string, args []string, res run.Result) *Error {
	stderr := strings.TrimSpace(string(res.Stderr))
	return &Error{Args: append([]string{verb}, args...), Code: res.Code, Stderr: stderr, kind: classify(res.Code, stderr)}
}

func classify(code int, stderr string) error { return nil }

package volume

import (
	"errors"
	"fmt"
)

// The kinds of failure that callers tell apart with errors.Is. Each is wrapped
// with what was attempted, on what, and the next step.
var (
	// ErrInvalid: the request itself is wrong; a *FieldError says where.
	ErrInvalid = errors.New("invalid request")
	// ErrNotFound: it was looked for and does not exist.
	ErrNotFound = errors.New("not found")
	// ErrConflict: one of that name exists and differs.
	ErrConflict = errors.New("exists with other properties")
	// ErrInUse: it is mounted, open or staged.
	ErrInUse = errors.New("in use")
	// ErrNoSpace: no pool of the class has room for it.
	ErrNoSpace = errors.New("no space")
	// ErrRange: the size cannot be had at all.
	ErrRange = errors.New("size out of range")
	// ErrBusy: another change of the same object is running; try again.
	ErrBusy = errors.New("busy")
	// ErrAway: the drives that hold it are not in this node now.
	ErrAway = errors.New("drive away")
	// ErrForeign: it belongs to another store.
	ErrForeign = errors.New("belongs to another store")
	// ErrPrecondition: the state of the object does not allow it.
	ErrPrecondition = errors.New("not possible in this state")
	// ErrQuarantined: it holds blocks nobody wrote; it is never handed out.
	ErrQuarantined = errors.New("quarantined")
	// ErrUnavailable: it could not be looked at; says nothing of whether it exists.
	ErrUnavailable = errors.New("cannot be looked at")
)

// FieldError is an ErrInvalid that names the field, its value and what is allowed.
type FieldError struct {
	Field, Value, Allowed string
}

// Error implements error. A value without end must not push what is allowed
// out of the message.
func (e *FieldError) Error() string {
	return fmt.Sprintf("%s: %.140q is not allowed: %s", e.Field, e.Value, e.Allowed)
}

// Unwrap makes every FieldError an ErrInvalid.
func (e *FieldError) Unwrap() error { return ErrInvalid }

// Invalid returns a FieldError.
func Invalid(field, value, allowed string) error {
	return &FieldError{Field: field, Value: value, Allowed: allowed}
}

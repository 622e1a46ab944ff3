package driver

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/lvme/lvme/volume"
)

// The kinds of failure that only exist at the edge of CSI.
var (
	// ErrElsewhere: it can be had, on another node only. A scheduler that is
	// told so looks for another node.
	ErrElsewhere = errors.New("not on this node")
	// ErrToken: a starting_token that no list of ours ever returned.
	ErrToken = errors.New("invalid starting_token")
	// ErrStarting: the process is healthy and not ready yet.
	ErrStarting = errors.New("still starting")
	// ErrUnsupported: well-formed, but nothing that lvme offers. It always
	// comes with a volume.FieldError, so it is an ErrInvalid too.
	ErrUnsupported = errors.New("not supported")
	// ErrUnreachable: the process that could say cannot be asked now.
	ErrUnreachable = errors.New("unreachable")
)

// maxMessage bounds a status message in bytes: it travels in a header and may
// quote a hostile request.
const maxMessage = 2048

// codeOf is the only table from errors to codes. The first match counts, so
// what says "could not look" or "not now" stands before what says "is not".
var codeOf = []struct {
	err  error
	code codes.Code
}{
	{volume.ErrUnavailable, codes.Unavailable},
	{volume.ErrAway, codes.Unavailable},
	{ErrUnreachable, codes.Unavailable},
	{ErrStarting, codes.Unavailable},
	{volume.ErrBusy, codes.Aborted},
	{ErrToken, codes.Aborted},
	// Nothing was lost and a retry changes nothing: the volume is to be deleted.
	{volume.ErrQuarantined, codes.FailedPrecondition},
	{volume.ErrAdopt, codes.FailedPrecondition},
	// Not NotFound, which a caller takes for "gone"; not Unavailable, which it
	// takes for "ask here again": only another agent can answer.
	{volume.ErrForeign, codes.FailedPrecondition},
	// Kubernetes' provisioner gives up the node on this code and on no other.
	{ErrElsewhere, codes.ResourceExhausted},
	{volume.ErrInvalid, codes.InvalidArgument},
	{volume.ErrRange, codes.OutOfRange},
	{volume.ErrConflict, codes.AlreadyExists},
	{volume.ErrInUse, codes.FailedPrecondition},
	{volume.ErrPrecondition, codes.FailedPrecondition},
	{volume.ErrNoSpace, codes.ResourceExhausted},
	{volume.ErrNotFound, codes.NotFound},
	{context.Canceled, codes.Canceled},
	{context.DeadlineExceeded, codes.DeadlineExceeded},
}

// ToStatus turns what a handler returned into an error with a gRPC code. A
// status passes as it is; an error of no known kind is Internal.
func ToStatus(err error) error {
	if err == nil {
		return nil
	}
	if s, ok := status.FromError(err); ok {
		return s.Err()
	}
	return status.Error(code(err), message(err))
}

// AnsweredBy is an error that the agent of that node answered: of the same
// code, with the node in its message. A call that the agent does not know is
// an ErrUnreachable: during an upgrade one of the two is older.
func AnsweredBy(node string, err error) error {
	s := status.Convert(err)
	if s.Code() == codes.Unimplemented {
		return fmt.Errorf("the agent of node %s is of another version and does not know this call: %w", node, ErrUnreachable)
	}
	return status.Errorf(s.Code(), "node %s: %s", node, s.Message())
}

func code(err error) codes.Code {
	for _, c := range codeOf {
		if errors.Is(err, c.err) {
			return c.code
		}
	}
	return codes.Internal
}

func message(err error) string {
	text := strings.ToValidUTF8(err.Error(), "?")
	if len(text) > maxMessage {
		text = strings.ToValidUTF8(text[:maxMessage], "") + "..."
	}
	return text
}

package driver

import (
	"context"
	"errors"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"unicode/utf8"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/lvme/lvme/volume"
)

func TestToStatus(t *testing.T) {
	for _, tc := range []struct {
		name string
		err  error
		want codes.Code
	}{
		{"invalid", volume.ErrInvalid, codes.InvalidArgument},
		{"field", volume.Invalid("name", "", "a name"), codes.InvalidArgument},
		{"unsupported", unsupported("a", "b", "c"), codes.InvalidArgument},
		{"not found", volume.ErrNotFound, codes.NotFound},
		{"conflict", volume.ErrConflict, codes.AlreadyExists},
		{"in use", volume.ErrInUse, codes.FailedPrecondition},
		{"no space", volume.ErrNoSpace, codes.ResourceExhausted},
		{"range", volume.ErrRange, codes.OutOfRange},
		{"busy", volume.ErrBusy, codes.Aborted},
		{"away", volume.ErrAway, codes.Unavailable},
		{"foreign", volume.ErrForeign, codes.FailedPrecondition},
		{"precondition", volume.ErrPrecondition, codes.FailedPrecondition},
		{"quarantined", volume.ErrQuarantined, codes.FailedPrecondition},
		{"unavailable", volume.ErrUnavailable, codes.Unavailable},
		{"adopt", volume.ErrAdopt, codes.FailedPrecondition},
		{"elsewhere", ErrElsewhere, codes.ResourceExhausted},
		{"token", ErrToken, codes.Aborted},
		{"starting", ErrStarting, codes.Unavailable},
		{"unreachable", ErrUnreachable, codes.Unavailable},
		{"canceled", context.Canceled, codes.Canceled},
		{"deadline", context.DeadlineExceeded, codes.DeadlineExceeded},
		{"of no kind", errors.New("boom"), codes.Internal},
		{"status", status.Error(codes.DataLoss, "x"), codes.DataLoss},
		{"could not look for what may not be there", fmt.Errorf("%w: %w", volume.ErrNotFound, volume.ErrUnavailable), codes.Unavailable},
		{"drive away and not found", fmt.Errorf("%w: %w", volume.ErrNotFound, volume.ErrAway), codes.Unavailable},
		{"timed out while looking", fmt.Errorf("%w: %w", volume.ErrUnavailable, context.DeadlineExceeded), codes.Unavailable},
	} {
		t.Run(tc.name, func(t *testing.T) {
			for _, err := range []error{tc.err, fmt.Errorf("do it: %w", tc.err)} {
				got := ToStatus(err)
				if c := status.Code(got); c != tc.want {
					t.Errorf("code of %q is %s, want %s", err, c, tc.want)
				}
				if s := status.Convert(got); !strings.Contains(s.Message(), message(err)) && tc.name != "status" {
					t.Errorf("message %q lost %q", s.Message(), err)
				}
			}
		})
	}
	if ToStatus(nil) != nil {
		t.Error("no error has a status")
	}
}

func TestAnsweredBy(t *testing.T) {
	for _, tc := range []struct {
		err  error
		want codes.Code
	}{
		{status.Error(codes.NotFound, "no such volume"), codes.NotFound},
		{status.Error(codes.Unimplemented, "unknown method"), codes.Unavailable},
		{status.FromContextError(context.DeadlineExceeded).Err(), codes.DeadlineExceeded},
	} {
		got := status.Convert(ToStatus(AnsweredBy("n1", tc.err)))
		if got.Code() != tc.want || !strings.Contains(got.Message(), "node n1") || strings.Contains(got.Message(), "rpc error") {
			t.Errorf("%v became %s %q", tc.err, got.Code(), got.Message())
		}
	}
}

// TestEverySentinelHasACode reads the sources, so that a sentinel added later
// cannot be forgotten.
func TestEverySentinelHasACode(t *testing.T) {
	files, err := filepath.Glob("../volume/*.go")
	if err != nil {
		t.Fatal(err)
	}
	known := map[string]bool{}
	for _, c := range codeOf {
		known[c.err.Error()] = true
	}
	// An ErrUnsupported always comes with an ErrInvalid.
	known[ErrUnsupported.Error()] = errors.Is(unsupported("", "", ""), volume.ErrInvalid)
	found := 0
	for _, file := range append(files, "status.go") {
		if strings.HasSuffix(file, "_test.go") {
			continue
		}
		for name, text := range sentinels(t, file) {
			found++
			if !known[text] {
				t.Errorf("%s: %s (%q) has no gRPC code in status.go", file, name, text)
			}
		}
	}
	if want := len(codeOf) - 2 + 1; found != want { // less the two of package context, with ErrUnsupported
		t.Errorf("found %d sentinels in the sources, the table has %d", found, want)
	}
}

// sentinels are the exported errors of a file, by name, with their texts.
func sentinels(t *testing.T, file string) map[string]string {
	t.Helper()
	parsed, err := parser.ParseFile(token.NewFileSet(), file, nil, 0)
	if err != nil {
		t.Fatal(err)
	}
	found := map[string]string{}
	for _, decl := range parsed.Decls {
		gen, ok := decl.(*ast.GenDecl)
		if !ok || gen.Tok != token.VAR {
			continue
		}
		for _, spec := range gen.Specs {
			v := spec.(*ast.ValueSpec)
			if len(v.Values) != 1 || !strings.HasPrefix(v.Names[0].Name, "Err") {
				continue
			}
			call, ok := v.Values[0].(*ast.CallExpr)
			if !ok || len(call.Args) != 1 {
				t.Fatalf("%s: %s is not made by errors.New(text)", file, v.Names[0].Name)
			}
			text, err := strconv.Unquote(call.Args[0].(*ast.BasicLit).Value)
			if err != nil {
				t.Fatal(err)
			}
			found[v.Names[0].Name] = text
		}
	}
	return found
}

func TestStatusMessageIsBounded(t *testing.T) {
	long := volume.Invalid("name", strings.Repeat("ü", 5000)+"\xff", "short")
	got := status.Convert(ToStatus(long)).Message()
	if len(got) > maxMessage+len("...") || !utf8.ValidString(got) {
		t.Errorf("message has %d bytes, valid UTF-8: %v", len(got), utf8.ValidString(got))
	}
	if !strings.HasPrefix(got, "name: ") {
		t.Errorf("message lost its beginning: %.40q", got)
	}
}

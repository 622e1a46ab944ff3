package lvm

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/lvme/lvme/internal/run"
)

// kindOf is the meaning of the first word of a file's name in testdata.
var kindOf = map[string]error{
	"notfound": ErrNotFound, "novg": ErrNoVG, "exists": ErrExists, "nospace": ErrNoSpace, "mdafull": ErrMetadataFull,
	"inuse": ErrInUse, "missing": ErrMissingDevice, "unsupported": ErrNotSupported, "invalid": ErrInvalid, "notblank": ErrNotBlank,
	"transaction": ErrTransaction, "stale": ErrStaleThinID, "repair": ErrNeedsRepair, "readonly": ErrReadOnlyPool, "duplicate": ErrDuplicate,
	"nochange": errNoChange, "other": nil,
}

func TestClassify(t *testing.T) {
	files, err := filepath.Glob("testdata/*/*.txt")
	if err != nil || len(files) < 50 {
		t.Fatalf("%d captured messages, %v", len(files), err)
	}
	seen := map[error]bool{}
	for _, file := range files {
		t.Run(strings.TrimPrefix(file, "testdata/"), func(t *testing.T) {
			word, _, _ := strings.Cut(filepath.Base(file), "-")
			want, known := kindOf[word]
			if !known {
				t.Fatalf("no kind is called %q", word)
			}
			seen[want] = true
			code, stderr := captured(t, file)
			if got := classify(code, stderr); got != want {
				t.Errorf("recognised as %v, want %v:\n%s", got, want, stderr)
			}
		})
	}
	for word, kind := range kindOf {
		if !seen[kind] {
			t.Errorf("no message of real LVM for %s", word)
		}
	}
}

// captured reads a file of testdata.
func captured(t *testing.T, file string) (code int, stderr string) {
	data, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	_, rest, _ := strings.Cut(string(data), "\n")
	exit, stderr, found := strings.Cut(rest, "\n")
	if _, err := fmt.Sscanf(exit, "exit %d", &code); err != nil || !found || code == 0 {
		t.Fatalf("%s: second line is %q, not an exit code", file, exit)
	}
	return code, stderr
}

func TestUnknownMessageIsNothingElse(t *testing.T) {
	err := error(newError("lvcreate", []string{"-n", "x"}, run.Result{Code: 5, Stderr: []byte("  Something new.\n")}))
	for word, kind := range kindOf {
		if kind != nil && errors.Is(err, kind) {
			t.Errorf("an unknown message is taken for %s", word)
		}
	}
	if want := "lvm lvcreate -n x: exit 5: Something new."; err.Error() != want {
		t.Errorf("it reads %q, want %q", err, want)
	}
}

func TestMetadataFullIsNoSpace(t *testing.T) {
	if !errors.Is(ErrMetadataFull, ErrNoSpace) {
		t.Error("ErrMetadataFull is not ErrNoSpace")
	}
}

// runner answers every command alike.
type runner struct {
	res  run.Result
	err  error
	cmds []run.Cmd
}

func (r *runner) Run(_ context.Context, c run.Cmd) (run.Result, error) {
	r.cmds = append(r.cmds, c)
	return r.res, r.err
}

func TestNotInstalledNamesTheProgram(t *testing.T) {
	l := New(&runner{err: fmt.Errorf("lvm: %w in /usr/sbin", run.ErrNotInstalled)}, kernel{})
	_, err := l.Scan(context.Background(), []string{"/dev/nvme0n1"})
	if !errors.Is(err, ErrNotInstalled) || !strings.Contains(err.Error(), "lvm: ") {
		t.Errorf("got %v, want %v and the program's name", err, ErrNotInstalled)
	}
}

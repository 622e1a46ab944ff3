package drive

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/lvme/lvme/internal/run"
)

// machine unpacks testdata/<name>.host and returns it with drives that are
// blank, answer blkid with nothing, and are in good health.
func machine(t *testing.T, name string) (Host, *blkid) {
	t.Helper()
	text, err := os.ReadFile(filepath.Join("testdata", name+".host"))
	if err != nil {
		t.Fatal(err)
	}
	root := t.TempDir()
	unpack(t, root, string(text))
	fake := &blkid{root: root, answers: map[string]run.Result{}, errs: map[string]error{}}
	h := Host{Root: root, Runner: fake, SMART: func(context.Context, string) (SMART, error) {
		return SMART{AvailableSpare: 100, SpareThreshold: 10, TemperatureC: 35}, nil
	}}
	drives, err := List(t.Context(), h)
	if err != nil {
		t.Fatal(err)
	}
	for _, d := range drives {
		device(t, h, d.Name, d.Bytes)
	}
	return h, fake
}

// device makes a sparse file where a device node would be.
func device(t *testing.T, h Host, name string, bytes int64) {
	t.Helper()
	writeFile(t, h.Root+"/dev/"+name, "")
	if err := os.Truncate(h.Root+"/dev/"+name, bytes); err != nil {
		t.Fatal(err)
	}
}

func writeFile(t *testing.T, path, text string) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

// unpack writes a tree as testdata/README describes it.
func unpack(t *testing.T, root, text string) {
	t.Helper()
	base := root
	lines := strings.Split(text, "\n")
	for i := 0; i < len(lines); i++ {
		line := lines[i]
		switch {
		case strings.TrimSpace(line) == "" || strings.HasPrefix(line, "#"):
		case strings.HasPrefix(line, "@"):
			base = filepath.Join(root, strings.TrimSpace(line[1:]))
		case strings.HasSuffix(line, " <<"):
			name := strings.TrimSuffix(line, " <<")
			var here strings.Builder
			for i++; lines[i] != ">>"; i++ {
				here.WriteString(lines[i] + "\n")
			}
			writeFile(t, filepath.Join(base, name), here.String())
		case strings.HasSuffix(line, "/"):
			if err := os.MkdirAll(filepath.Join(base, line), 0o700); err != nil {
				t.Fatal(err)
			}
		default:
			unpackLine(t, base, line)
		}
	}
}

func unpackLine(t *testing.T, base, line string) {
	t.Helper()
	if name, target, ok := strings.Cut(line, " -> "); ok {
		path := filepath.Join(base, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.Symlink(target, path); err != nil {
			t.Fatal(err)
		}
		return
	}
	name, value, ok := strings.Cut(line, " = ")
	if !ok {
		t.Fatalf("fixture line %q", line)
	}
	writeFile(t, filepath.Join(base, name), value+"\n")
}

// blkid answers for the program of that name.
type blkid struct {
	root    string
	mu      sync.Mutex
	calls   int
	answers map[string]run.Result // by drive name; none = nothing found
	errs    map[string]error
}

func (b *blkid) Run(_ context.Context, c run.Cmd) (run.Result, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.calls++
	want := "blkid -p -o export " + b.root + "/dev/"
	name, ok := strings.CutPrefix(c.String(), want)
	if !ok || c.Changes {
		return run.Result{}, errors.New("unexpected command: " + c.String())
	}
	if err := b.errs[name]; err != nil {
		return run.Result{}, err
	}
	if res, ok := b.answers[name]; ok {
		return res, nil
	}
	return run.Result{Code: 2}, nil
}

// found makes blkid find signatures on a drive.
func (b *blkid) found(name string, lines ...string) {
	b.answers[name] = run.Result{Stdout: []byte(strings.Join(append([]string{"DEVNAME=/dev/" + name}, lines...), "\n") + "\n")}
}

func discover(t *testing.T, h Host) map[string]Drive {
	t.Helper()
	drives, err := Discover(t.Context(), h)
	if err != nil {
		t.Fatal(err)
	}
	byName := map[string]Drive{}
	for _, d := range drives {
		byName[d.Name] = d
	}
	return byName
}

package walk

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"
)

const document = `# Title

Some text.

## First

~~~sh
x=1
echo $x
~~~

~~~text
1
~~~

~~~yaml
not: run
~~~

## Second

~~~sh
echo $((x + 1))
~~~
`

func fenced(text string) string { return strings.ReplaceAll(text, "~~~", "```") }

func TestParse(t *testing.T) {
	blocks, err := Parse(fenced(document))
	if err != nil {
		t.Fatal(err)
	}
	want := []Block{
		{Line: 8, Section: "First", Script: "x=1\necho $x", Want: "1", Shown: true},
		{Line: 23, Section: "Second", Script: "echo $((x + 1))"},
	}
	if !reflect.DeepEqual(blocks, want) {
		t.Errorf("blocks are\n%+v\nwant\n%+v", blocks, want)
	}
}

func TestParseFaults(t *testing.T) {
	for name, text := range map[string]string{
		"open block":                "~~~sh\necho",
		"text after nothing":        "~~~text\nhello\n~~~",
		"text after words":          "~~~sh\necho\n~~~\nprints\n~~~text\nhello\n~~~",
		"text in the next section":  "~~~sh\necho\n~~~\n# Next\n~~~text\nhello\n~~~",
		"text after a text":         "~~~sh\necho\n~~~\n~~~text\nhello\n~~~\n~~~text\nagain\n~~~",
		"text after something else": "~~~sh\necho\n~~~\n~~~yaml\na: b\n~~~\n~~~text\nagain\n~~~",
	} {
		t.Run(name, func(t *testing.T) {
			if blocks, err := Parse(fenced(text)); err == nil {
				t.Errorf("no error, but %+v", blocks)
			}
		})
	}
}

func TestMatches(t *testing.T) {
	for _, tc := range []struct {
		want, have string
		match      bool
	}{
		{"a", "a", true},
		{"a", "a\n\n", true},
		{"a", "b", false},
		{"a", "a\nb", false},
		{"a\nb", "a", false},
		{"NAME  STATUS\ndb-0  Bound", "NAME       STATUS\ndb-0       Bound\n", true},
		{"db-0 ... Bound", "db-0   pvc-1234   Bound", true},
		{"db-0 ... Bound", "db-0   pvc-1234   Pending", false},
		{"...ms", "12ms", true},
		{"created 1...4", "created 1234", true},
		{"created 1...4", "created 1235", false},
		{"a...a...a", "abaaca", true},
		{"a\n...\nz", "a\nb\nc\nz", true},
		{"a\n...\nz", "a\nz", true},
		{"a\n...", "a", true},
		{"a\n...\nz", "a\nb", false},
		{"...", "", true},
		{"", "", true},
		{"", "a", false},
		{"...\nlast", "one\ntwo\nlast", true},
		{"...\nlast", "one\nlast\nnot", false},
	} {
		if have := Matches(tc.want, tc.have); have != tc.match {
			t.Errorf("%q against %q: %t", tc.want, tc.have, have)
		}
	}
}

func shell(t *testing.T) *Shell {
	t.Helper()
	s, err := StartShell(os.Environ())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	return s
}

func TestRun(t *testing.T) {
	blocks, err := Parse(fenced(document))
	if err != nil {
		t.Fatal(err)
	}
	var have []string
	err = Run(t.Context(), shell(t), blocks, time.Minute, func(s Step) { have = append(have, s.Have) })
	if want := []string{"1\n", "2\n"}; err != nil || !reflect.DeepEqual(have, want) {
		t.Errorf("prints %q, %v; want %q", have, err, want)
	}
}

func TestRunFaults(t *testing.T) {
	for _, tc := range []struct {
		name string
		b    Block
		want string
	}{
		{"prints something else", Block{Line: 7, Section: "S", Script: "echo b", Want: "a", Shown: true}, "line 7 (S): prints something else"},
		{"prints what it must not", Block{Script: "echo b", Shown: true}, "prints something else"},
		{"a command in the middle fails", Block{Script: "echo before\nfalse\necho after"}, "a command failed"},
		{"a command of a pipe fails", Block{Script: "false | cat"}, "a command failed"},
		{"takes too long", Block{Script: "echo before\nsleep 60"}, "took longer than 1s"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			told := 0
			err := Run(t.Context(), shell(t), []Block{tc.b, {Script: "echo next"}}, time.Second, func(Step) { told++ })
			if err == nil || !strings.Contains(err.Error(), tc.want) {
				t.Errorf("the error is %v, want one with %q", err, tc.want)
			}
			if err != nil && strings.HasSuffix(strings.TrimSpace(err.Error()), "after") {
				t.Errorf("went on after a failure: %v", err)
			}
			if told != 1 {
				t.Errorf("told of %d steps, want 1", told)
			}
		})
	}
}

// TestStandardInput: commands that read get nothing, and do not eat the next ones.
func TestStandardInput(t *testing.T) {
	s := shell(t)
	have, err := s.Type(t.Context(), "cat\necho end >&2")
	if err != nil || strings.TrimSpace(have) != "end" {
		t.Errorf("prints %q, %v", have, err)
	}
}

func TestEndsWithItsContext(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := shell(t).Type(ctx, "sleep 60"); err == nil {
		t.Error("no error")
	}
}

// TestWalkthrough: the document can be read, and the shell reads all of its commands.
func TestWalkthrough(t *testing.T) {
	text, err := os.ReadFile(filepath.Join("..", "..", "..", "docs", "walkthrough.md"))
	if err != nil {
		t.Fatal(err)
	}
	blocks, err := Parse(string(text))
	if err != nil {
		t.Fatal(err)
	}
	if len(blocks) < 15 {
		t.Errorf("found %d blocks only", len(blocks))
	}
	for _, b := range blocks {
		check := exec.CommandContext(t.Context(), "bash", "-n")
		check.Stdin = strings.NewReader(b.Script)
		if out, err := check.CombinedOutput(); err != nil {
			t.Errorf("line %d: %s", b.Line, out)
		}
	}
}

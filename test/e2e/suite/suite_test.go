package suite

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"
)

const prefix = "External Storage [Driver: csi.lvme.dev] [Testpattern: "

// specs are some of the suite's, in its words.
var specs = []string{
	prefix + "Dynamic PV (default fs)] provisioning should provision storage with mount options",
	prefix + "Dynamic PV (default fs)] provisioning should provision storage with pvc data source",
	prefix + "Dynamic PV (default fs)] provisioning should provision storage with pvc data source (ROX mode)",
	prefix + "Dynamic PV (default fs)] provisioning should provision storage with pvc data source in parallel [Slow]",
	prefix + "Dynamic PV (default fs)] volume-stress multiple pods should access different volumes repeatedly [Slow] [Serial]",
	prefix + "Dynamic PV (ext4)] volumes should store data",
	prefix + "Dynamic PV (xfs)] volumes should store data [Feature:VolumeSourceXFS]",
	prefix + "Dynamic PV (ntfs)] [Feature:Windows] volumes should store data",
	prefix + "Inline-volume (default fs)] volumes should store data",
}

func TestApplicable(t *testing.T) {
	for fs, want := range map[string][]int{"ext4": {0, 1, 3, 4, 5}, "xfs": {0, 1, 3, 4, 6}} {
		var names []string
		for _, i := range want {
			names = append(names, specs[i])
		}
		if have := Applicable(specs, fs); !slices.Equal(have, names) {
			t.Errorf("%s: %q, want %q", fs, have, names)
		}
	}
}

func TestChoose(t *testing.T) {
	have, err := Choose(specs, []Pick{
		{"clone", []string{"Dynamic PV (default fs)]", "with pvc data source"}},
		{"ext4", []string{"Dynamic PV (ext4)]", "volumes should store data"}},
	})
	if want := []string{specs[1], specs[5]}; err != nil || !slices.Equal(have, want) {
		t.Errorf("chooses %q, %v; want %q", have, err, want)
	}
	if _, err := Choose(specs, []Pick{{"x", []string{"no such spec"}}}); err == nil {
		t.Error("no error for a spec that is not there")
	}
}

// TestHandful: what is picked by name is not left out by a rule.
func TestHandful(t *testing.T) {
	for _, p := range Handful {
		if why := excluded(strings.Join(p.Parts, " ")); why != "" {
			t.Errorf("%s is left out: %s", p.What, why)
		}
	}
}

func TestParseList(t *testing.T) {
	said := "Nov 22 10:00:00: noise\nThe following spec names can be used with 'ginkgo run --focus/skip':\n" +
		"    ../../storage/testsuites/provisioning.go:188: " + specs[0] + "\n" +
		"    /go/storage/testsuites/volumes.go:156: " + specs[5] + " \n" +
		"    test/e2e/apps/job.go:12: [sig-apps] Job should run\n\n"
	if have, want := parseList(said), []string{specs[0], specs[5]}; !slices.Equal(have, want) {
		t.Errorf("reads %q, want %q", have, want)
	}
}

func TestJudge(t *testing.T) {
	for _, tc := range []struct {
		name, said string
		outcome    Outcome
		why        string
	}{
		{"passed", "SUCCESS! -- 1 Passed | 0 Failed | 0 Pending | 7906 Skipped", Passed, ""},
		{"failed", "  [FAILED] timed out\n...\nFAIL! -- 0 Passed | 1 Failed | 0 Pending | 7906 Skipped", Failed, "timed out"},
		{"passed, and failed cleaning up", "[FAILED] in [AfterEach]\nFAIL! -- 1 Passed | 1 Failed | 0 Pending | 0 Skipped", Failed, "in [AfterEach]"},
		{"skipped", "  [SKIPPED] Driver csi.lvme.dev doesn't support it -- skipping\nSUCCESS! -- 0 Passed | 0 Failed | 0 Pending | 7907 Skipped",
			Skipped, "Driver csi.lvme.dev doesn't support it -- skipping"},
		{"no such spec", "SUCCESS! -- 0 Passed | 0 Failed | 0 Pending | 7907 Skipped", Failed, "no spec of that name was run"},
		{"too many", "SUCCESS! -- 2 Passed | 0 Failed | 0 Pending | 7905 Skipped", Failed, "the name stands for 2 specs"},
		{"crashed", "panic: nil", Failed, "e2e.test ended without a result"},
		{"nothing", "", Failed, "e2e.test ended without a result"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			if outcome, why := judge(tc.said); outcome != tc.outcome || why != tc.why {
				t.Errorf("is %s (%s), want %s (%s)", outcome, why, tc.outcome, tc.why)
			}
		})
	}
}

// TestFocus: the expression selects one spec, and none that has its name in its own.
func TestFocus(t *testing.T) {
	for i, spec := range specs {
		form := regexp.MustCompile(focus(spec))
		for j, other := range specs {
			if form.MatchString("Kubernetes e2e suite "+other) != (i == j) {
				t.Errorf("the focus of %q selects %q wrongly", spec, other)
			}
		}
	}
}

// fake stands for e2e.test: a shell script.
func fake(t *testing.T, script string) Runner {
	t.Helper()
	program := filepath.Join(t.TempDir(), "e2e.test")
	if err := os.WriteFile(program, []byte("#!/bin/sh\n"+script), 0o755); err != nil {
		t.Fatal(err)
	}
	return Runner{
		Program: program, Kubeconfig: "config", Dir: t.TempDir(), FS: "ext4", Jobs: 2, Limit: time.Minute,
		Started: func(string) {}, Ended: func(Result) {},
	}
}

func TestRun(t *testing.T) {
	r := fake(t, `case "$*" in
*mount*options*) echo "1 Passed | 0 Failed | 0 Pending | 9 Skipped" ;;
*store*) echo "[FAILED] no data"; echo "0 Passed | 1 Failed | 0 Pending | 9 Skipped"; exit 1 ;;
*) echo "[SKIPPED] not here"; echo "0 Passed | 0 Failed | 0 Pending | 10 Skipped" ;;
esac`)
	results := r.Run(t.Context(), []string{specs[4], specs[0], specs[5]}, time.Now().Add(time.Minute))
	if n := Count(results); n[Passed] != 1 || n[Failed] != 1 || n[Skipped] != 1 {
		t.Fatalf("outcomes are %v", n)
	}
	if last := results[2].Spec; last != specs[4] {
		t.Errorf("the last is %q, want the one that is alone", last)
	}
	want := "3 specs: 1 passed, 1 failed, 1 skipped themselves, 0 not run"
	if have := Summary(results); have != want {
		t.Errorf("says %q, want %q", have, want)
	}
	for _, result := range results {
		if raw, err := os.ReadFile(result.Log); err != nil || len(raw) == 0 {
			t.Errorf("the log of %s has %d bytes, %v", result.Spec, len(raw), err)
		}
	}
	table := Table(results)
	for _, part := range []string{"| ext4 | 3 | 1 | 1 | 1 | 0 |", "* ext4: Dynamic PV (ext4): volumes should store data (no data)"} {
		if !strings.Contains(table, part) {
			t.Errorf("the table does not say %q:\n%s", part, table)
		}
	}
}

// TestDeadline: after it nothing is started, and all that was not is listed.
func TestDeadline(t *testing.T) {
	r := fake(t, `echo "1 Passed | 0 Failed | 0 Pending | 9 Skipped"`)
	var started atomic.Int32
	r.Jobs = 1
	r.Started = func(string) { started.Add(1) }
	if n := Count(r.Run(t.Context(), specs, time.Now())); n[NotRun] != len(specs) || started.Load() != 0 {
		t.Errorf("started %d, outcomes %v", started.Load(), n)
	}
	r = fake(t, `sleep 1; echo "1 Passed | 0 Failed | 0 Pending | 9 Skipped"`)
	r.Jobs = 1
	if n := Count(r.Run(t.Context(), specs[:3], time.Now().Add(500*time.Millisecond))); n[Passed] != 1 || n[NotRun] != 2 {
		t.Errorf("outcomes %v, want one that was started in time", n)
	}
}

func TestLimit(t *testing.T) {
	r := fake(t, `exec sleep 60`)
	r.Limit = 300 * time.Millisecond
	results := r.Run(t.Context(), specs[:1], time.Now().Add(time.Minute))
	if results[0].Outcome != Failed || results[0].Why != "ended after 300ms" {
		t.Errorf("is %s (%s)", results[0].Outcome, results[0].Why)
	}
}

func TestCancelled(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if n := Count(fake(t, `exit 1`).Run(ctx, specs[:2], time.Now().Add(time.Minute))); n[NotRun] != 2 {
		t.Errorf("outcomes %v", n)
	}
}

// TestFiles: nothing is left to fill in, and the class is the one that is named.
func TestFiles(t *testing.T) {
	dir := t.TempDir()
	file, err := writeFiles(dir, "xfs")
	if err != nil {
		t.Fatal(err)
	}
	raw, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	class, err := os.ReadFile(filepath.Join(dir, "storageclass-xfs.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	text := string(raw) + string(class)
	for _, part := range []string{"FromFile: " + dir + "/storageclass-xfs.yaml\n", `"xfs": {}`, "fstype: xfs"} {
		if !strings.Contains(text, part) {
			t.Errorf("has no %q:\n%s", part, text)
		}
	}
	if left := regexp.MustCompile(`(?m)^[^#]*\$\{`).FindString(text); left != "" {
		t.Errorf("left to fill in: %q", left)
	}
}

// TestDocumented: the document has every exclusion with its reason, and every spec of the handful.
func TestDocumented(t *testing.T) {
	raw, err := os.ReadFile(filepath.Join("..", "..", "..", "docs", "testing.md"))
	if err != nil {
		t.Fatal(err)
	}
	text := strings.ReplaceAll(string(raw), `\|`, `|`)
	var missing []string
	for _, e := range Exclusions {
		if row := fmt.Sprintf("| `%s` | %s |", e.Specs, e.Reason); !strings.Contains(text, row) {
			missing = append(missing, row)
		}
	}
	for _, p := range Handful {
		if row := fmt.Sprintf("| %s | %s |", p.What, p.Parts[1]); !strings.Contains(text, row) {
			missing = append(missing, row)
		}
	}
	if !reflect.DeepEqual(missing, []string(nil)) {
		t.Errorf("docs/testing.md lacks\n%s", strings.Join(missing, "\n"))
	}
}

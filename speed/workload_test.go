package speed

import (
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"
)

var testOptions = Options{Bytes: 512 * mib, Rounds: 2, Span: 2 * time.Second, Jobs: 3, Layers: Layers, Workloads: Workloads}

// option is the value of fio's last option of that name, "" if it is not given.
func option(args []string, name string) string {
	for _, a := range slices.Backward(args) {
		if value, ok := strings.CutPrefix(a, "--"+name+"="); ok {
			return value
		}
	}
	return ""
}

func number(t *testing.T, args []string, name string) int64 {
	t.Helper()
	text := option(args, name)
	if text == "" {
		return 0
	}
	n, err := strconv.ParseInt(text, 10, 64)
	if err != nil {
		t.Fatalf("--%s: %v", name, err)
	}
	return n
}

// TestWorkloadsStayInTheirPlace: on a device fio gets one path, goes past the page cache, and no job reaches beyond the part.
func TestWorkloadsStayInTheirPlace(t *testing.T) {
	const offset, length = 7 * 512 * kib, 400 * mib
	for _, chunk := range []int64{0, 64 * kib, 512 * kib, 4 * mib} {
		for _, w := range Workloads {
			if w.OnFiles() {
				continue
			}
			args := w.arguments(target{path: "/dev/x", offset: offset, length: length, chunk: chunk}, testOptions, 0)
			if option(args, "filename") != "/dev/x" || option(args, "direct") != "1" || slices.ContainsFunc(args, func(a string) bool { return strings.HasPrefix(a, "--directory") }) {
				t.Errorf("%s: %q", w.Name, args)
			}
			jobs := number(t, args, "numjobs")
			end := number(t, args, "offset") + number(t, args, "size") + (jobs-1)*number(t, args, "offset_increment")
			if number(t, args, "offset") != offset || end > offset+length || number(t, args, "size") <= 0 {
				t.Errorf("%s with chunks of %d: from %d to %d of %d to %d: %q", w.Name, chunk, number(t, args, "offset"), end, offset, offset+length, args)
			}
			if timed := slices.Contains(args, "--time_based") && option(args, "ramp_time") == "500ms"; timed != (chunk == 0) {
				t.Errorf("%s with chunks of %d: time based %t: a chunk is first written once", w.Name, chunk, timed)
			}
		}
	}
}

func TestSmallFirstWritesMeetEachChunkOnce(t *testing.T) {
	for _, tc := range []struct {
		block, chunk int64
		want         string
	}{{4 * kib, 512 * kib, "write:520192"}, {4 * kib, 64 * kib, "write:61440"}, {128 * kib, 512 * kib, "write"}, {mib, 512 * kib, "write"}, {4 * kib, 4 * kib, "write"}} {
		if got := (Workload{block: tc.block}).once(tc.chunk); got != tc.want {
			t.Errorf("blocks of %d, chunks of %d: %s, want %s", tc.block, tc.chunk, got, tc.want)
		}
	}
}

// TestFilesFit: what a workload has at one time fits beside the file that stands for a device.
func TestFilesFit(t *testing.T) {
	whole := target{path: "/mnt", length: minBytes}
	for _, w := range Workloads {
		var total int64
		for _, j := range w.files {
			total += j.jobs * whole.fileSize(j)
		}
		if total > whole.length*3/10 {
			t.Errorf("%s has files of %d bytes in a volume of %d, half of which is taken", w.Name, total, whole.length)
		}
		if args := w.arguments(whole, testOptions, 0); w.OnFiles() && (option(args, "directory") != "/mnt" || !slices.Contains(args, "--unlink=1") || option(args, "filename") != "") {
			t.Errorf("%s: %q", w.Name, args)
		}
	}
}

func TestPlan(t *testing.T) {
	steps := plan(Layers, Workloads, 3)
	perRound := len(steps) / 3
	for i, s := range steps {
		if s.round != i/perRound {
			t.Fatalf("step %d is of round %d", i, s.round)
		}
		if s.workload.OnFiles() != (s.workload.files != nil) || s.workload.OnFiles() && s.layer.fs == "" {
			t.Errorf("%s on %s", s.workload.Name, s.layer.Name)
		}
		if s.layer.state != asIs && !s.workload.writesOnly() {
			t.Errorf("%s reads on %s", s.workload.Name, s.layer.Name)
		}
	}
	order := func(round int) (names []string) {
		for _, s := range steps {
			if s.round == round && s.workload.Name == "randread-4k" {
				names = append(names, s.layer.Name)
			}
		}
		return names
	}
	if first, second := order(0), order(1); first[0] != "raw" || second[0] == "raw" || len(first) != len(second) {
		t.Errorf("rounds begin with the same layer: %q, %q", first, second)
	}
}

func TestVolumesThickFirst(t *testing.T) {
	var names []string
	for _, l := range volumes(Layers) {
		names = append(names, l.volume)
	}
	if want := []string{"thick", "thick-ext4", "thick-xfs", "thin", "new", "snap", "thin-ext4", "thin-xfs"}; !slices.Equal(names, want) {
		t.Errorf("%q, want %q", names, want)
	}
}

func TestPick(t *testing.T) {
	name := func(l Layer) string { return l.Name }
	got, err := Pick(Layers, name, []string{"thin", "raw"})
	if err != nil || len(got) != 2 || got[0].Name != "raw" {
		t.Errorf("%v, %v", got, err)
	}
	if _, err := Pick(Layers, name, []string{"thinn"}); err == nil || !strings.Contains(err.Error(), "thin-new") {
		t.Errorf("an unknown layer: %v", err)
	}
}

func TestValidate(t *testing.T) {
	if err := testOptions.Validate(); err != nil {
		t.Error(err)
	}
	bad := Options{Bytes: mib, Layers: Layers[:1], Workloads: Workloads[len(Workloads)-1:]}
	err := bad.Validate()
	for _, want := range []string{"at least 384 Mi", "0 rounds", "0s", "0 jobs", "none of these workloads"} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v does not say %q", err, want)
		}
	}
}

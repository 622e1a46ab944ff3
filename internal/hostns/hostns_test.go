package hostns

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/lvme/lvme/internal/run"
)

// child is the argument that makes the test binary the program under test.
const child = "hostns-child"

func TestMain(m *testing.M) {
	if slices.Contains(os.Args, child) {
		if err := report(); err != nil {
			fmt.Println("error:", err)
			os.Exit(1)
		}
		return
	}
	os.Exit(m.Run())
}

// report enters the host's namespaces and prints what it sees there.
func report() error {
	root, err := Enter(os.Environ())
	if err != nil {
		return err
	}
	name, err := os.Hostname()
	fmt.Println("host:", name, err)
	_, err = os.Stat("/image-only")
	fmt.Println("image file in the root:", !errors.Is(err, os.ErrNotExist))
	if root == nil {
		fmt.Println("image root: none")
	} else {
		text, err := os.ReadFile(fmt.Sprintf("/proc/self/fd/%d/image-only", root.Fd()))
		fmt.Println("image root:", strings.TrimSpace(string(text)), err)
		text, err = os.ReadFile(fmt.Sprintf("/proc/self/fd/%d/volume/tls.crt", root.Fd()))
		fmt.Println("volume in the image:", strings.TrimSpace(string(text)), err)
	}
	_, marked, _ := marked(os.Environ())
	fmt.Println("marker left:", marked)
	if err := capabilities(); err != nil {
		return err
	}
	if slices.Contains(os.Args, "lvm") {
		return useLVM(os.Args[len(os.Args)-1])
	}
	// A program that the agent starts has its standard streams and nothing else;
	// the last one is ls's own.
	res, err := run.Host{}.Run(context.Background(), run.Cmd{Name: "ls", Args: []string{"/proc/self/fd"}})
	fmt.Println("descriptors:", strings.Fields(string(res.Stdout)), err)
	return nil
}

// capabilities prints those of this process and of a program that it starts.
func capabilities() error {
	text, err := os.ReadFile("/proc/self/status")
	if err != nil {
		return err
	}
	res, err := run.Host{}.Run(context.Background(), run.Cmd{Name: "cat", Args: []string{"/proc/self/status"}})
	if err != nil {
		return err
	}
	for who, status := range map[string]string{"own": string(text), "child's": string(res.Stdout)} {
		for line := range strings.Lines(status) {
			if rest, ok := strings.CutPrefix(line, "Cap"); ok {
				set, bits, _ := strings.Cut(strings.TrimSpace(rest), ":\t")
				fmt.Printf("%s capabilities %s: %s\n", who, set, bits)
			}
		}
	}
	return nil
}

// container starts the test binary with namespaces and a root of its own, as a
// container's runtime does, with a descriptor left open.
const container = `
set -e
mount -t tmpfs image "$1"
mkdir "$1/proc"
mount -t proc proc "$1/proc"
cp "$2" "$1/agent"
echo certificate > "$1/image-only"
mkdir "$1/volume"
mount -t tmpfs volume "$1/volume"
mkdir "$1/volume/..v1"
echo secret > "$1/volume/..v1/tls.crt"
ln -s ..v1 "$1/volume/..data"
ln -s ..data/tls.crt "$1/volume/tls.crt"
hostname container
exec 9</etc/hostname
exec chroot "$1" /agent ` + child

// needsProcess1 skips where process 1 is not ours to look at, as in most
// containers; in the bed it must be.
func needsProcess1(t *testing.T) {
	t.Helper()
	if _, err := spaces("/proc/1/ns/"); err != nil && os.Getenv("LVME_BED") != "1" {
		t.Skipf("%v: run it in the bed", err)
	}
}

func start(t *testing.T, c run.Cmd) map[string]string {
	t.Helper()
	res, err := run.Host{}.Run(t.Context(), c)
	if err != nil || res.Code != 0 {
		t.Fatalf("%v: %v, exit %d\n%s%s", c.Name, err, res.Code, res.Stdout, res.Stderr)
	}
	seen := map[string]string{}
	for line := range strings.Lines(string(res.Stdout)) {
		key, value, _ := strings.Cut(strings.TrimSpace(line), ": ")
		seen[key] = value
	}
	return seen
}

func TestEnter(t *testing.T) {
	needsProcess1(t)
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	host, err := os.Hostname()
	if err != nil {
		t.Fatal(err)
	}
	args := []string{"-m", "-i", "-u", "sh", "-c", container, "sh", t.TempDir(), self}
	for _, tc := range []struct {
		name     string
		cmd      run.Cmd
		root     string
		volume   string
		confined bool
	}{
		{"in a container", run.Cmd{Name: "unshare", Args: args}, "certificate <nil>", "secret <nil>", true},
		{"in a container with a cgroup namespace", run.Cmd{Name: "unshare", Args: append([]string{"-C"}, args...)}, "certificate <nil>", "secret <nil>", true},
		{"other ipc only", run.Cmd{Name: "unshare", Args: []string{"-i", self, child}}, "none", "", true},
		{"on the host", run.Cmd{Name: self, Args: []string{child}}, "none", "", false},
	} {
		t.Run(tc.name, func(t *testing.T) {
			seen := start(t, tc.cmd)
			for key, want := range map[string]string{
				"host": host + " <nil>", "image file in the root": "false", "image root": tc.root, "volume in the image": tc.volume,
				"marker left": "false", "descriptors": "[0 1 2 3] <nil>",
			} {
				if seen[key] != want {
					t.Errorf("%s: %q, want %q", key, seen[key], want)
				}
			}
			if tc.confined {
				wantConfined(t, seen)
			}
		})
	}
}

// wantConfined wants the capabilities that are kept and no other, in the
// process and in what it starts.
func wantConfined(t *testing.T, seen map[string]string) {
	t.Helper()
	var all uint64
	for _, c := range kept {
		all |= 1 << c.number
	}
	keep, none := fmt.Sprintf("%016x", all), fmt.Sprintf("%016x", 0)
	for _, who := range []string{"own", "child's"} {
		for set, want := range map[string]string{"Prm": keep, "Eff": keep, "Bnd": keep, "Inh": none, "Amb": none} {
			key := who + " capabilities " + set
			if got := strings.TrimSpace(seen[key]); got != want {
				t.Errorf("%s: %q, want %q", key, got, want)
			}
		}
	}
}

func TestEnterNeverLoops(t *testing.T) {
	needsProcess1(t)
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	// The marker says that it was started again, yet the namespace differs.
	there, err := spaces("/proc/1/ns/")
	if err != nil {
		t.Fatal(err)
	}
	for _, tc := range []struct{ marker, want string }{
		{entered{-1, -1, strings.Join(there, ",")}.String(), "joined the host's namespaces"},
		{"-1", "not lvme's own"},
	} {
		c := run.Cmd{Name: "unshare", Args: []string{"-u", "env", marker + tc.marker, self, child}}
		res, err := run.Host{}.Run(t.Context(), c)
		if err != nil || res.Code != 1 || !strings.Contains(string(res.Stdout), tc.want) {
			t.Errorf("%q: %v, exit %d, %s", tc.marker, err, res.Code, res.Stdout)
		}
	}
}

func TestMarked(t *testing.T) {
	for _, tc := range []struct {
		env         []string
		want        entered
		again, good bool
	}{
		{[]string{"PATH=/bin"}, entered{}, false, true},
		{[]string{"PATH=/bin", marker + "7,8,ipc:[1],mnt:[2]"}, entered{7, 8, "ipc:[1],mnt:[2]"}, true, true},
		{[]string{marker + entered{-1, -1, "ipc:[1]"}.String()}, entered{-1, -1, "ipc:[1]"}, true, true},
		{[]string{marker + "x"}, entered{}, true, false},
		{[]string{marker}, entered{}, true, false},
		{[]string{"X" + marker + "7,8,x"}, entered{}, false, true},
	} {
		got, again, err := marked(tc.env)
		if again != tc.again || (err == nil) != tc.good || err == nil && got != tc.want {
			t.Errorf("marked(%q) = %+v, %t, %v", tc.env, got, again, err)
		}
	}
}

// TestKeptIsExplained: people are told of each capability and why.
func TestKeptIsExplained(t *testing.T) {
	text, err := os.ReadFile("../../docs/security.md")
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range kept {
		if c.why == "" || !strings.Contains(string(text), "| `"+c.name+"` |") {
			t.Errorf("docs/security.md has no row for %s", c.name)
		}
	}
}

var inBed = os.Getenv("LVME_BED_DRIVES") != ""

// cgroup2 is where version 2 of cgroups is mounted on this machine.
func cgroup2(t *testing.T) string {
	t.Helper()
	text, err := os.ReadFile("/proc/self/mounts")
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(text)) {
		if f := strings.Fields(line); len(f) > 2 && f[2] == "cgroup2" {
			return f[1]
		}
	}
	if inBed {
		t.Fatal("no cgroup version 2 is mounted in the bed")
	}
	t.Skip("no cgroup version 2 is mounted here")
	return ""
}

// TestBedCommandCgroup: in the bed there is all that it needs.
func TestBedCommandCgroup(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("needs root; run it in the bed")
	}
	mount := cgroup2(t)
	f, err := openCgroup(mount)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	t.Cleanup(func() {
		os.Remove(filepath.Join(mount, "lvme/commands"))
		os.Remove(filepath.Join(mount, "lvme"))
	})
	again, err := openCgroup(mount)
	if err != nil {
		t.Fatalf("a second time: %v", err)
	}
	again.Close()
	controllers, err := os.ReadFile(filepath.Join(mount, "cgroup.subtree_control"))
	if err != nil {
		t.Fatal(err)
	}
	if inBed || slices.Contains(strings.Fields(string(controllers)), "cpu") {
		got, err := os.ReadFile(filepath.Join(mount, "lvme/cpu.weight"))
		if err != nil || string(got) != weight+"\n" {
			t.Errorf("share of a busy CPU %q, %v; want %s", got, err, weight)
		}
	}
	cat := run.Cmd{Name: "cat", Args: []string{"/proc/self/cgroup"}}
	for _, changes := range []bool{true, false} {
		cat.Changes = changes
		res, err := run.Host{Cgroup: f}.Run(t.Context(), cat)
		if err != nil || res.Code != 0 {
			t.Fatalf("%v: %v %s", cat, err, res.Stderr)
		}
		if in := strings.Contains(string(res.Stdout), "0::/lvme/commands\n"); in != changes {
			t.Errorf("changes = %t, in the cgroup: %t:\n%s", changes, in, res.Stdout)
		}
	}
}

func TestCommandCgroupElsewhere(t *testing.T) {
	if f, err := openCgroup(t.TempDir()); err == nil {
		f.Close()
		t.Fatal("a plain directory was taken for a cgroup mount")
	}
}

package drive

import (
	"context"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/lvme/lvme/internal/run"
)

// The tests in this file see real NVMe drives: they run in a node of the bed,
// whose serial numbers stand in the environment. They leave the drives blank.

// bedDrive is a drive of the node that the test may write to.
func bedDrive(t *testing.T) (Host, Drive) {
	t.Helper()
	serials, ok := os.LookupEnv("LVME_BED_DRIVES")
	if !ok {
		t.Skip("needs real NVMe drives: run it in the bed")
	}
	h := Host{Runner: run.Host{}}
	drives, err := Discover(t.Context(), h)
	if err != nil {
		t.Fatal(err)
	}
	var found []string
	for _, d := range drives {
		found = append(found, d.Serial)
	}
	want := strings.Split(serials, ",")
	slices.Sort(found)
	slices.Sort(want)
	if !slices.Equal(found, want) || len(found) == 0 {
		t.Fatalf("found the drives %q, the node has %q", found, want)
	}
	return h, drives[0]
}

// sh runs a program that must succeed.
func sh(t *testing.T, name string, args ...string) {
	t.Helper()
	res, err := run.Host{}.Run(context.WithoutCancel(t.Context()), run.Cmd{Name: name, Args: args, Changes: true})
	if err != nil || res.Code != 0 {
		t.Fatalf("%s %q: exit %d, %v\n%s", name, args, res.Code, err, res.Stderr)
	}
}

// look discovers one drive again.
func look(t *testing.T, h Host, name string) Drive {
	t.Helper()
	drives, err := Discover(t.Context(), h)
	if err != nil {
		t.Fatal(err)
	}
	i := slices.IndexFunc(drives, func(d Drive) bool { return d.Name == name })
	if i < 0 {
		t.Fatalf("%s is gone", name)
	}
	return drives[i]
}

func TestBedDrive(t *testing.T) {
	_, d := bedDrive(t)
	t.Logf("%+v", d)
	if !strings.HasPrefix(d.ID, "nvme.") && !strings.HasPrefix(d.ID, "eui.") || d.Transport != "pcie" || !d.Live() || d.Bytes < MinBytes || d.Major == 0 {
		t.Errorf("drive: %+v", d)
	}
	if !slices.ContainsFunc(d.Paths, func(p string) bool {
		return strings.HasPrefix(p, "/dev/disk/by-id/") && strings.Contains(p, d.Serial)
	}) {
		t.Errorf("no link with its serial in %q", d.Paths)
	}
	if d.Health.Status != HealthGood || d.Health.SMART == nil || d.Health.SMART.TemperatureC < 1 || d.Health.SMART.TemperatureC > 90 {
		t.Errorf("health: %+v %+v", d.Health, d.Health.SMART)
	}
	if v := Judge([]Drive{d}, DefaultConfig(), nil, "")[0]; v.Status != Free || !d.Content.Blank {
		t.Errorf("%s: %q, blank: %t", v.Status, v.Reasons, d.Content.Blank)
	}
}

// What the kernel and blkid say of a drive in each kind of use.
func TestBedUses(t *testing.T) {
	h, blankDrive := bedDrive(t)
	path := blankDrive.Path
	dir := t.TempDir()
	for _, tc := range []struct {
		name     string
		use, end func(t *testing.T)
		reasons  []string
	}{
		{"opened exclusively", func(t *testing.T) { hold(t, path) }, nil, []string{"held open exclusively"}},
		{"ext4, mounted", func(t *testing.T) {
			sh(t, "mkfs.ext4", "-q", "-F", path)
			sh(t, "mount", path, dir)
		}, func(t *testing.T) { sh(t, "umount", dir) }, []string{"signature ext4", "mounted on " + dir}},
		{"btrfs, mounted", func(t *testing.T) {
			sh(t, "mkfs.btrfs", "-q", "-f", path)
			sh(t, "mount", path, dir)
		}, func(t *testing.T) { sh(t, "umount", dir) }, []string{"signature btrfs", "mounted on " + dir}},
		{"swap", func(t *testing.T) {
			sh(t, "mkswap", path)
			sh(t, "swapon", path)
		}, func(t *testing.T) { sh(t, "swapoff", path) }, []string{"signature swap", "is swap"}},
		{"LVM", func(t *testing.T) {
			sh(t, "vgcreate", "--devices", path, "foreign", path)
			sh(t, "lvcreate", "--devices", path, "-y", "-Wn", "-Zn", "-L64m", "-n", "x-y", "foreign")
		}, func(t *testing.T) { sh(t, "vgremove", "--devices", path, "-y", "foreign") }, []string{"signature LVM2_member", "held by dm-", "(foreign-x--y)"}},
		{"read-only", func(t *testing.T) { sh(t, "blockdev", "--setro", path) },
			func(t *testing.T) { sh(t, "blockdev", "--setrw", path) }, []string{"it is read-only"}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Cleanup(func() {
				if tc.end != nil {
					tc.end(t)
				}
				sh(t, "wipefs", "-q", "--all", "--force", path)
				sh(t, "blkdiscard", "--force", "--zeroout", "--length", "256M", path)
			})
			tc.use(t)
			v := Judge([]Drive{look(t, h, blankDrive.Name)}, DefaultConfig(), nil, "")[0]
			all := strings.Join(v.Reasons, "\n")
			for _, want := range tc.reasons {
				if !strings.Contains(all, want) {
					t.Errorf("%s, not saying %q:\n%s", v.Status, want, all)
				}
			}
		})
	}
	if v := Judge([]Drive{look(t, h, blankDrive.Name)}, DefaultConfig(), nil, "")[0]; v.Status != Free {
		t.Errorf("after all: %s %q", v.Status, v.Reasons)
	}
}

// TestBedLooksAtOnce: whoever looks at a drive at the same moment is no user of it.
func TestBedLooksAtOnce(t *testing.T) {
	h, d := bedDrive(t)
	f, err := os.OpenFile(d.Path, os.O_RDONLY|unix.O_EXCL, 0)
	if err != nil {
		t.Fatal(err)
	}
	time.AfterFunc(alonePauses[0]+alonePauses[1]/2, func() { _ = f.Close() })
	if c := h.look(t.Context(), d); c.Busy || !c.Probed {
		t.Errorf("a look beside another: %+v", c)
	}
}

// hold keeps the drive open exclusively until the test ends.
func hold(t *testing.T, path string) {
	t.Helper()
	f, err := os.OpenFile(path, os.O_RDONLY|unix.O_EXCL, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = f.Close() })
}

func TestBedWatch(t *testing.T) {
	_, d := bedDrive(t)
	changed, err := Watch(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	event := func(action string) {
		if err := os.WriteFile("/sys/block/"+d.Name+"/uevent", []byte(action), 0); err != nil {
			t.Fatal(err)
		}
	}
	event("change") // as after every writer
	select {
	case <-changed:
		t.Error("a writer's change was reported")
	case <-time.After(3 * settle):
	}
	event("add")
	select {
	case <-changed:
	case <-time.After(time.Minute):
		t.Error("a drive that came was not reported")
	}
}

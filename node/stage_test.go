package node

import (
	"os"
	"slices"
	"strings"
	"testing"

	"google.golang.org/grpc/codes"

	"github.com/lvme/lvme/volume"
)

func TestStageByState(t *testing.T) {
	for _, tc := range []struct {
		name    string
		change  func(*volume.Volume)
		onDisk  string // what the device holds before
		fsType  string // of the capability
		want    codes.Code
		state   volume.State
		formats int
	}{
		{name: "fresh", state: volume.Formatted, formats: 1},
		{name: "fresh, asked for the same", fsType: "ext4", state: volume.Formatted, formats: 1},
		{name: "fresh, asked for another", fsType: "xfs", want: codes.FailedPrecondition, state: volume.Fresh},
		{name: "half made", change: func(v *volume.Volume) { v.State = volume.Formatting; v.FSType = "xfs" }, onDisk: "xfs",
			state: volume.Formatted, formats: 1},
		{name: "formatted", change: func(v *volume.Volume) { v.State = volume.Formatted }, onDisk: "ext4", state: volume.Formatted},
		{name: "formatted and empty", change: func(v *volume.Volume) { v.State = volume.Formatted },
			want: codes.Internal, state: volume.Formatted},
		{name: "formatted and something else", change: func(v *volume.Volume) { v.State = volume.Formatted }, onDisk: "xfs",
			want: codes.Internal, state: volume.Formatted},
		{name: "fresh thick", change: func(v *volume.Volume) { v.Type = volume.Thick }, state: volume.Formatted, formats: 1},
		{name: "fresh thick and not blank", change: func(v *volume.Volume) { v.Type = volume.Thick }, onDisk: "xfs",
			want: codes.FailedPrecondition, state: volume.Fresh},
		{name: "quarantined", change: func(v *volume.Volume) { v.State = volume.Quarantined },
			want: codes.FailedPrecondition, state: volume.Quarantined},
		{name: "raw, with a filesystem", change: func(v *volume.Volume) { v.State = volume.Raw; v.FSType = "" }, onDisk: "xfs",
			state: volume.Raw},
		{name: "raw, with another filesystem", change: func(v *volume.Volume) { v.State = volume.Raw; v.FSType = "" }, onDisk: "xfs",
			fsType: "ext4", want: codes.FailedPrecondition, state: volume.Raw},
		{name: "raw, with nothing", change: func(v *volume.Volume) { v.State = volume.Raw; v.FSType = "" },
			want: codes.FailedPrecondition, state: volume.Raw},
	} {
		t.Run(tc.name, func(t *testing.T) {
			b := newBench(t, tc.change)
			if tc.onDisk != "" {
				b.volume().Active = true
				b.host.Put(b.device(), tc.onDisk, gib)
				b.volume().Active = false
			}
			code(t, b.stage(filesystem(tc.fsType, writer)), tc.want)
			if b.volume().State != tc.state {
				t.Errorf("state %s, want %s", b.volume().State, tc.state)
			}
			if n := b.host.Formats(b.device()); n != tc.formats {
				t.Errorf("formatted %d times, want %d", n, tc.formats)
			}
			table, _ := b.host.Table()
			if _, mounted := table.At(b.staging); mounted != (tc.want == codes.OK) {
				t.Errorf("mounted: %t", mounted)
			}
			if tc.want != codes.OK {
				return
			}
			b.ok(b.stage(filesystem(tc.fsType, writer))) // The same again.
			if n := b.host.Formats(b.device()); n != tc.formats {
				t.Errorf("formatted %d times after a second stage", n)
			}
		})
	}
}

func TestStageMode(t *testing.T) {
	b := newBench(t, nil)
	code(t, b.stage(block(writer)), codes.FailedPrecondition)
	b.volume().Mode = volume.Block
	code(t, b.stage(filesystem("", writer)), codes.FailedPrecondition)
	if b.volume().State != volume.Fresh || b.volume().Active {
		t.Fatalf("a refused stage changed the volume: %+v", b.volume())
	}
	b.ok(b.stage(block(writer)))
	if b.volume().State != volume.Raw || !b.volume().Active {
		t.Fatalf("staged block volume: %+v", b.volume())
	}
	b.ok(b.stage(block(writer)))
	entries, err := os.ReadDir(b.staging)
	if err != nil || len(entries) > 0 {
		t.Fatalf("staging directory of a block volume: %v %v", entries, err)
	}
}

func TestStageOptions(t *testing.T) {
	for _, tc := range []struct {
		fsType, profile string
		flags           []string
		want            string
	}{
		{"ext4", "general", nil, "nosuid nodev errors=remount-ro noinit_itable noatime"},
		{"xfs", "general", nil, "nosuid nodev nouuid noatime"},
		{"ext4", "general", []string{"relatime", "noexec"}, "nosuid nodev errors=remount-ro noinit_itable relatime noexec"},
		{"xfs", "kafka", []string{"nolargeio", "ro"}, "nosuid nodev nouuid noatime nolargeio"},
		{"btrfs", "general", []string{`context="system_u:object_r:container_file_t:s0:c1,c2"`},
			`nosuid nodev noatime context="system_u:object_r:container_file_t:s0:c1,c2"`},
	} {
		t.Run(tc.fsType+" "+tc.profile, func(t *testing.T) {
			b := newBench(t, func(v *volume.Volume) { v.FSType = tc.fsType; v.Profile = tc.profile })
			b.ok(b.stage(filesystem("", writer, tc.flags...)))
			if got := strings.Join(b.host.MountOptions(b.staging), " "); got != tc.want {
				t.Errorf("options %s\nwant    %s", got, tc.want)
			}
			profile, err := volume.LookupProfile(tc.profile)
			if err != nil || b.host.ReadAhead(b.device()) != profile.ReadAheadKiB {
				t.Errorf("read-ahead %d, %v", b.host.ReadAhead(b.device()), err)
			}
		})
	}
	b := newBench(t, func(v *volume.Volume) { v.FSType = "xfs" })
	code(t, b.stage(filesystem("", writer, "data=journal")), codes.InvalidArgument)
}

func TestStageClone(t *testing.T) {
	b := newBench(t, func(v *volume.Volume) { v.FSType = "btrfs" })
	b.ok(b.stage(filesystem("", writer)))
	if _, clone := b.host.FSBytes(b.device()); clone != "" {
		t.Errorf("a volume of its own got the identity %q of a clone", clone)
	}
	// A larger clone beside its mounted source.
	const cloneID = "store001/vgvgvgv1/v-b"
	source := b.volume().Key
	c := b.add(cloneID, func(v *volume.Volume) {
		v.FSType, v.State, v.Source, v.Bytes = "btrfs", volume.Formatted, source, 2*gib
	})
	staging := t.TempDir()
	r := stageRequest{key: c.Key, staging: staging}
	r.cap.Mode = volume.Filesystem
	b.ok(b.Service.stage(t.Context(), r))
	bytes, clone := b.host.FSBytes(b.store.DevicePath(c.Key))
	if bytes != 2*gib || clone != cloneID {
		t.Errorf("filesystem of the clone: %d bytes, identity %q", bytes, clone)
	}
	if n := b.host.Formats(b.store.DevicePath(c.Key)); n != 0 {
		t.Errorf("the clone was formatted")
	}
}

func TestStagePath(t *testing.T) {
	b := newBench(t, nil)
	dir := b.staging
	if err := os.Symlink(t.TempDir(), dir+"/link"); err != nil {
		t.Fatal(err)
	}
	for path, want := range map[string]codes.Code{
		"relative": codes.InvalidArgument, dir + "/../x": codes.InvalidArgument, "/": codes.InvalidArgument,
		dir + "/link": codes.InvalidArgument, dir + "/none/x": codes.FailedPrecondition, "": codes.InvalidArgument,
	} {
		b.staging = path
		code(t, b.stage(filesystem("", writer)), want)
	}
	if b.volume().State != volume.Fresh || b.volume().Active {
		t.Errorf("a refused stage changed the volume: %+v", b.volume())
	}
	b.staging = dir
	b.host.MountOther(dir)
	code(t, b.stage(filesystem("", writer)), codes.FailedPrecondition)
	code(t, b.unstage(), codes.FailedPrecondition)
	if table, _ := b.host.Table(); len(table) != 1 {
		t.Errorf("another's mount was touched: %v", table)
	}
}

func TestUnstage(t *testing.T) {
	b := newBench(t, nil)
	b.ok(b.unstage()) // never staged
	b.ok(b.stage(filesystem("", writer)))
	b.ok(b.publish("pod", filesystem("", writer), false))
	err := b.unstage()
	code(t, err, codes.FailedPrecondition)
	if !strings.Contains(err.Error(), b.targets+"/pod") {
		t.Errorf("the error names no holder: %v", err)
	}
	if !b.volume().Active {
		t.Fatal("deactivated while published")
	}
	b.ok(b.unpublish("pod"))
	for range 2 {
		b.ok(b.unstage())
		if b.volume().Active {
			t.Fatal("still active")
		}
	}
	// What is on another node is not staged here; what could not be looked at may be.
	for err, want := range map[error]codes.Code{
		volume.ErrAway: codes.OK, volume.ErrForeign: codes.OK, volume.ErrUnavailable: codes.Unavailable, volume.ErrBusy: codes.Aborted,
	} {
		b.store.before = func(string) error { return err }
		code(t, b.unstage(), want)
	}
	b.store.before = nil
	clear(b.store.volumes)
	b.ok(b.unstage())
	if err := os.Remove(b.staging); err != nil {
		t.Fatal(err)
	}
	b.staging += "/gone/too"
	b.ok(b.unstage())
}

// TestKilled ends the agent before and after each change that a life of a
// volume makes, repeats the call that was cut short, and goes on.
func TestKilled(t *testing.T) {
	for _, mode := range []volume.Mode{volume.Filesystem, volume.Block} {
		var steps int
		for at := 1; ; at++ {
			n, killed := life(t, mode, at)
			if !killed {
				break
			}
			steps = max(steps, n)
		}
		if steps < 8 {
			t.Errorf("%s: only %d changes seen", mode, steps)
		}
	}
}

// life kills the agent at the at-th of all moments before and after changes.
func life(t *testing.T, mode volume.Mode, at int) (moments int, killed bool) {
	b := newBench(t, func(v *volume.Volume) {
		v.Mode = mode
		if v.Type, v.FSType = volume.Thick, "xfs"; mode == volume.Block {
			v.FSType = ""
		}
	})
	var ops []string
	hook := func(op string) error {
		if ops = append(ops, op); len(ops) == at {
			killed = true
			return errDied
		}
		return nil
	}
	b.host.Before, b.host.After, b.store.before, b.store.after = hook, hook, hook, hook
	c := filesystem("", singleWriter)
	if mode == volume.Block {
		c = block(singleWriter)
	}
	for _, call := range []struct {
		name string
		do   func() error
	}{
		{"stage", func() error { return b.stage(c) }},
		{"publish", func() error { return b.publish("pod", c, false) }},
		{"unpublish", func() error { return b.unpublish("pod") }},
		{"unstage", b.unstage},
	} {
		before := len(ops)
		if err := call.do(); err != nil {
			if !killed || at <= before {
				t.Fatalf("%s, killed at %d (%v): %v", call.name, at, ops, err)
			}
			b.restart()
			if err := call.do(); err != nil {
				t.Fatalf("%s again after its death at %d (%v): %v", call.name, at, ops, err)
			}
		}
	}
	table, _ := b.host.Table()
	if want := map[volume.Mode]volume.State{volume.Filesystem: volume.Formatted, volume.Block: volume.Raw}[mode]; b.volume().State != want ||
		b.volume().Active || len(table) != 0 {
		t.Fatalf("killed at %d (%v): %+v, mounts %v", at, ops, b.volume(), table)
	}
	if _, err := os.Lstat(b.targets + "/pod"); err == nil {
		t.Fatalf("killed at %d (%v): the target is still there", at, ops)
	}
	return len(slices.Compact(ops)), killed
}

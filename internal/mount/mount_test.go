package mount

import (
	"context"
	"encoding/binary"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/lvme/lvme/internal/run"
)

func TestOptions(t *testing.T) {
	for _, tc := range []struct {
		fsType string
		lists  [][]string
		want   string
	}{
		{Ext4, nil, "nosuid nodev errors=remount-ro"},
		{XFS, [][]string{{"noatime"}, {"defaults", "relatime"}}, "nosuid nodev nouuid relatime"},
		{Btrfs, [][]string{{"discard=async", "ro"}, {"nodiscard", "rw", ""}}, "nosuid nodev nodiscard"},
		{Ext4, [][]string{{"errors=panic"}, {"errors=remount-ro", "commit=5"}, {"commit=30"}}, "nosuid nodev errors=remount-ro commit=30"},
		{XFS, [][]string{{"largeio", "sync"}, {"nolargeio", "async"}}, "nosuid nodev nouuid nolargeio async"},
		{Ext4, [][]string{{`context="a:b:c:s0:c1,c2"`}}, `nosuid nodev errors=remount-ro context="a:b:c:s0:c1,c2"`},
	} {
		if got := strings.Join(Options(tc.fsType, tc.lists...), " "); got != tc.want {
			t.Errorf("%s %q: %s, want %s", tc.fsType, tc.lists, got, tc.want)
		}
	}
}

func TestResolve(t *testing.T) {
	// Paths in the table are below dir; link is a symbolic link to true.
	dir := t.TempDir()
	for _, d := range []string{"true/pods", "out"} {
		if err := os.MkdirAll(filepath.Join(dir, d), 0o700); err != nil {
			t.Fatal(err)
		}
	}
	for link, to := range map[string]string{"link": "true", "true/pods/evil": "../../out", "true/last": "pods"} {
		if err := os.Symlink(to, filepath.Join(dir, link)); err != nil {
			t.Fatal(err)
		}
	}
	for _, tc := range []struct {
		root, path, want string
		err              error
	}{
		{"", "true/pods", "true/pods", nil},
		{"", "true/new", "true/new", nil},
		{"", "link/pods", "true/pods", nil},
		{"", "true/last", "", ErrPath},
		{"", "true/pods/../x", "", ErrPath},
		{"", "true/pods/", "", ErrPath},
		{"", "none/x", "", fs.ErrNotExist},
		{"true", "true/pods", "true/pods", nil},
		{"link", "link/pods/x", "true/pods/x", nil}, // kubelet's directory may be a link
		{"link", "link/pods/evil/x", "", ErrPath},
		{"true", "true/pods/evil/x", "", ErrPath},
		{"true", "out/x", "", ErrPath},
		{"true/pods", "true/podsx", "", ErrPath},
	} {
		root := tc.root
		if root != "" {
			root = dir + "/" + root
		}
		got, err := Resolve(root, dir+"/"+tc.path)
		if !errors.Is(err, tc.err) || err == nil && got != dir+"/"+tc.want {
			t.Errorf("below %q, %s: %q %v", tc.root, tc.path, got, err)
		}
	}
	for _, path := range []string{"", "relative", "/", "/a\x00b"} {
		if _, err := Resolve("", path); !errors.Is(err, ErrPath) {
			t.Errorf("%q: %v", path, err)
		}
	}
}

func TestTargets(t *testing.T) {
	dir := t.TempDir()
	for _, isDir := range []bool{true, false} {
		path := filepath.Join(dir, "target")
		for range 2 {
			if err := MakeTarget(path, isDir); err != nil {
				t.Fatal(err)
			}
		}
		info, err := os.Lstat(path)
		if err != nil || info.IsDir() != isDir || info.Mode().Perm()&0o007 != 0 {
			t.Fatalf("%v %v", info, err)
		}
		if err := MakeTarget(path, !isDir); !errors.Is(err, ErrPath) {
			t.Errorf("dir = %t over the other kind: %v", !isDir, err)
		}
		for range 2 {
			if err := RemoveTarget(path); err != nil {
				t.Fatal(err)
			}
		}
	}
	if err := os.WriteFile(dir+"/full", []byte("x"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink("/", dir+"/link"); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"full", "link"} {
		if err := RemoveTarget(dir + "/" + name); !errors.Is(err, ErrPath) {
			t.Errorf("%s: %v", name, err)
		}
		if err := MakeTarget(dir+"/"+name, true); !errors.Is(err, ErrPath) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if err := RemoveTarget(dir); err == nil {
		t.Error("a directory that is not empty was removed")
	}
}

const mountinfo = `22 1 254:1 / / rw,relatime shared:1 - ext4 /dev/vda1 rw,errors=remount-ro
40 22 252:5 / /var/lib/kubelet/globalmount rw,nosuid shared:30 - xfs /dev/mapper/lvme--x-v--a rw,attr2
41 22 252:5 / /var/lib/kubelet/pods/my\040pod rw,nosuid shared:30 - xfs /dev/mapper/lvme--x-v--a rw,attr2
42 22 252:5 / /var/lib/kubelet/ro ro,nosuid shared:30 - xfs /dev/mapper/lvme--x-v--a rw,attr2
43 22 252:5 / /var/lib/kubelet/ro ro,nosuid shared:30 - xfs /dev/mapper/lvme--x-v--a rw,attr2
44 40 0:50 / /var/lib/kubelet/globalmount rw shared:31 master:2 - tmpfs tmpfs rw
45 22 252:6 / /var/lib/kubelet/frozen rw shared:30 - ext4 /dev/mapper/lvme--x-v--b ro,errors=remount-ro
`

func TestTable(t *testing.T) {
	file := filepath.Join(t.TempDir(), "mountinfo")
	if err := os.WriteFile(file, []byte(mountinfo), 0o600); err != nil {
		t.Fatal(err)
	}
	table, err := readTable(file)
	if err != nil {
		t.Fatal(err)
	}
	for path, want := range map[string]Point{
		"/var/lib/kubelet/pods/my pod": {Device: Number{252, 5}, FSType: XFS},
		"/var/lib/kubelet/ro":          {Device: Number{252, 5}, FSType: XFS, ReadOnly: true},
		"/var/lib/kubelet/globalmount": {Device: Number{0, 50}, FSType: "tmpfs"},             // the one on top
		"/var/lib/kubelet/frozen":      {Device: Number{252, 6}, FSType: Ext4, Failed: true}, // its filesystem is read-only, the mount is not
	} {
		if p, ok := table.At(path); !ok || p.Device != want.Device || p.FSType != want.FSType || p.ReadOnly != want.ReadOnly || p.Failed != want.Failed {
			t.Errorf("%s: %+v", path, p)
		}
	}
	if _, ok := table.At("/var/lib/kubelet"); ok {
		t.Error("a directory is no mount")
	}
	want := []string{"/var/lib/kubelet/globalmount", "/var/lib/kubelet/pods/my pod", "/var/lib/kubelet/ro"}
	if got := table.Of(Number{252, 5}); !slices.Equal(got, want) {
		t.Errorf("Of: %q", got)
	}
	if err := os.WriteFile(file, []byte("nonsense\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := readTable(file); err == nil {
		t.Error("nonsense was read as a mount table")
	}
}

// programs answers for programs.
type programs func(c run.Cmd) (run.Result, error)

func (p programs) Run(_ context.Context, c run.Cmd) (run.Result, error) { return p(c) }

func TestProbe(t *testing.T) {
	dev := filepath.Join(t.TempDir(), "dev")
	if err := os.WriteFile(dev, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for _, tc := range []struct {
		name string
		res  run.Result
		want string
		ok   bool
		is   error
	}{
		{name: "nothing", res: run.Result{Code: 2}, ok: true},
		{name: "nothing, with a complaint", res: run.Result{Code: 2, Stderr: []byte("error: /dev/x: Input/output error")}},
		{name: "ambiguous", res: run.Result{Code: 8}, is: ErrNotBlank},
		{name: "failed", res: run.Result{Code: 4}},
		{name: "xfs", res: run.Result{Stdout: []byte("DEVNAME=/dev/x\nUUID=1\nBLOCK_SIZE=512\nTYPE=xfs\n")}, want: "xfs", ok: true},
		{name: "partitions", res: run.Result{Stdout: []byte("DEVNAME=/dev/x\nPTTYPE=gpt\n")}, want: "gpt", ok: true},
		{name: "found and not named", res: run.Result{Stdout: []byte("DEVNAME=/dev/x\n")}},
	} {
		h := New(programs(func(run.Cmd) (run.Result, error) { return tc.res, nil }), "")
		got, err := h.Probe(t.Context(), dev)
		if got != tc.want || (err == nil) != tc.ok || tc.is != nil && !errors.Is(err, tc.is) {
			t.Errorf("%s: %q %v", tc.name, got, err)
		}
		if _, err := h.Probe(t.Context(), dev+"none"); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("%s, no device: %v", tc.name, err)
		}
	}
}

func TestCheckBlank(t *testing.T) {
	h := New(programs(func(run.Cmd) (run.Result, error) { return run.Result{Code: 2}, nil }), "")
	for _, tc := range []struct {
		size, mark int64 // a byte that is not zero, -1 for none
		blank      bool
	}{
		{4 << 20, -1, true}, {4096, -1, true}, {4 << 20, 0, false}, {4 << 20, edge - 1, false}, {4 << 20, edge, true},
		{4 << 20, 3<<20 - 1, true}, {4 << 20, 3 << 20, false}, {4 << 20, 4<<20 - 1, false}, {4096, 4095, false},
	} {
		dev := filepath.Join(t.TempDir(), "dev")
		data := make([]byte, tc.size)
		if tc.mark >= 0 {
			data[tc.mark] = 1
		}
		if err := os.WriteFile(dev, data, 0o600); err != nil {
			t.Fatal(err)
		}
		err := h.CheckBlank(t.Context(), dev)
		if (err == nil) != tc.blank || err != nil && !errors.Is(err, ErrNotBlank) {
			t.Errorf("%d bytes, mark at %d: %v", tc.size, tc.mark, err)
		}
	}
}

func TestMissingProgram(t *testing.T) {
	h := New(programs(func(c run.Cmd) (run.Result, error) { return run.Result{}, run.ErrNotInstalled }), "")
	err := h.Format(t.Context(), os.DevNull, FormatSpec{FSType: XFS})
	if !errors.Is(err, ErrNoProgram) || !strings.Contains(err.Error(), "xfsprogs") {
		t.Errorf("%v", err)
	}
}

func TestSuperblocks(t *testing.T) {
	le, be := binary.LittleEndian, binary.BigEndian
	data := make([]byte, btrfsSuper+4096)
	ext := data[ext4Super:]
	le.PutUint16(ext[0x38:], 0xEF53)
	le.PutUint32(ext[0x18:], 2)     // 4 KiB
	le.PutUint32(ext[0x4:], 5)      // blocks, low
	le.PutUint32(ext[0x150:], 1)    // high
	le.PutUint32(ext[0x60:], 0x80)  // 64bit
	le.PutUint16(ext[0x3A:], 1|2)   // errors
	copy(data, "XFSB")              //
	be.PutUint32(data[4:], 4096)    //
	be.PutUint64(data[8:], 1<<20+1) //
	copy(data[btrfsSuper+0x40:], "_BHRfS_M")
	le.PutUint64(data[btrfsSuper+0x70:], 123456)
	data[btrfsSuper+0x20] = 7
	dev := filepath.Join(t.TempDir(), "dev")
	write := func() {
		if err := os.WriteFile(dev, data, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write()
	for fsType, want := range map[string]superblock{
		Ext4: {bytes: (1<<32 + 5) * 4096, damaged: true}, XFS: {bytes: (1<<20 + 1) * 4096}, Btrfs: {bytes: 123456, id: [16]byte{7}},
	} {
		if got, err := readSuper(dev, fsType); err != nil || got != want {
			t.Errorf("%s: %+v %v", fsType, got, err)
		}
	}
	clear(data)
	write()
	for _, fsType := range []string{Ext4, XFS, Btrfs, "vfat"} {
		if _, err := readSuper(dev, fsType); err == nil {
			t.Errorf("%s was seen on an empty device", fsType)
		}
	}
}

func TestCloneID(t *testing.T) {
	if got := uuid(cloneID("store001/vgvgvgv1/v-a")); got != uuid(cloneID("store001/vgvgvgv1/v-a")) || got == uuid(cloneID("store001/vgvgvgv1/v-b")) ||
		len(got) != 36 || got[14] != '8' {
		t.Errorf("%s", got)
	}
}

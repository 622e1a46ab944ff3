package driver

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/container-storage-interface/spec/lib/go/csi"

	"github.com/lvme/lvme/volume"
)

const writer = csi.VolumeCapability_AccessMode_SINGLE_NODE_WRITER

func mountCap(mode csi.VolumeCapability_AccessMode_Mode, fsType string, flags ...string) *csi.VolumeCapability {
	return &csi.VolumeCapability{
		AccessMode: &csi.VolumeCapability_AccessMode{Mode: mode},
		AccessType: &csi.VolumeCapability_Mount{Mount: &csi.VolumeCapability_MountVolume{FsType: fsType, MountFlags: flags}},
	}
}

func blockCap(mode csi.VolumeCapability_AccessMode_Mode) *csi.VolumeCapability {
	return &csi.VolumeCapability{
		AccessMode: &csi.VolumeCapability_AccessMode{Mode: mode},
		AccessType: &csi.VolumeCapability_Block{Block: &csi.VolumeCapability_BlockVolume{}},
	}
}

func TestParseCapabilityAccepts(t *testing.T) {
	for mode, want := range map[csi.VolumeCapability_AccessMode_Mode]struct{ readOnly, one bool }{
		writer: {},
		csi.VolumeCapability_AccessMode_SINGLE_NODE_READER_ONLY:   {readOnly: true},
		csi.VolumeCapability_AccessMode_SINGLE_NODE_SINGLE_WRITER: {one: true},
		csi.VolumeCapability_AccessMode_SINGLE_NODE_MULTI_WRITER:  {},
	} {
		t.Run(mode.String(), func(t *testing.T) {
			got, err := ParseCapability("c", blockCap(mode))
			if err != nil {
				t.Fatal(err)
			}
			if got.Mode != volume.Block || got.ReadOnly() != want.readOnly || got.OneWorkload() != want.one {
				t.Errorf("got %+v", got)
			}
		})
	}
	got, err := ParseCapability("c", mountCap(writer, "xfs", "noatime", "allocsize=1m"))
	if err != nil || got.Mode != volume.Filesystem || got.FSType != "xfs" || strings.Join(got.MountFlags, " ") != "noatime allocsize=1m" {
		t.Errorf("got %+v, %v", got, err)
	}
}

func TestParseCapabilitiesRefuses(t *testing.T) {
	group := mountCap(writer, "xfs")
	group.GetMount().VolumeMountGroup = "7"
	for _, tc := range []struct {
		name        string
		caps        []*csi.VolumeCapability
		field       string
		unsupported bool
	}{
		{"none", nil, "caps", false},
		{"nil", []*csi.VolumeCapability{nil}, "caps[0]", false},
		{"no access mode", []*csi.VolumeCapability{{AccessType: blockCap(writer).AccessType}}, "caps[0].access_mode", false},
		{"unknown access mode", []*csi.VolumeCapability{blockCap(0)}, "caps[0].access_mode", false},
		{"access mode of a later version", []*csi.VolumeCapability{blockCap(99)}, "caps[0].access_mode", true},
		{"no access type", []*csi.VolumeCapability{{AccessMode: blockCap(writer).AccessMode}}, "caps[0].access_type", false},
		{"many readers", []*csi.VolumeCapability{blockCap(csi.VolumeCapability_AccessMode_MULTI_NODE_READER_ONLY)}, "caps[0].access_mode", true},
		{"many nodes, one writer", []*csi.VolumeCapability{blockCap(csi.VolumeCapability_AccessMode_MULTI_NODE_SINGLE_WRITER)}, "caps[0].access_mode", true},
		{"many writers", []*csi.VolumeCapability{blockCap(csi.VolumeCapability_AccessMode_MULTI_NODE_MULTI_WRITER)}, "caps[0].access_mode", true},
		{"filesystem", []*csi.VolumeCapability{mountCap(writer, "zfs")}, "caps[0].mount.fs_type", true},
		{"filesystem in capitals", []*csi.VolumeCapability{mountCap(writer, "XFS")}, "caps[0].mount.fs_type", true},
		{"mount flag", []*csi.VolumeCapability{mountCap(writer, "xfs", "noatime", "suid")}, "caps[0].mount.mount_flags[1]", true},
		{"mount group", []*csi.VolumeCapability{group}, "caps[0].mount.volume_mount_group", true},
		{"block and mount", []*csi.VolumeCapability{blockCap(writer), mountCap(writer, "")}, "caps[1].access_type", true},
		{"two filesystems", []*csi.VolumeCapability{mountCap(writer, ""), mountCap(writer, "xfs"), mountCap(writer, "ext4")}, "caps[2].mount.fs_type", true},
	} {
		t.Run(tc.name, func(t *testing.T) {
			_, err := ParseCapabilities("caps", tc.caps)
			wantField(t, err, tc.field)
			if got := errors.Is(err, ErrUnsupported); got != tc.unsupported {
				t.Errorf("unsupported = %v, want %v: %v", got, tc.unsupported, err)
			}
		})
	}
}

// wantField fails unless err is about that field and says what is allowed.
func wantField(t *testing.T, err error, field string) {
	t.Helper()
	var f *volume.FieldError
	switch {
	case !errors.As(err, &f):
		t.Fatalf("got %v, want a fault in %s", err, field)
	case f.Field != field:
		t.Errorf("fault in field %s, want %s: %v", f.Field, field, err)
	case f.Allowed == "":
		t.Errorf("does not say what is allowed: %v", err)
	}
}

func TestParseCapabilitiesAgreesOnFilesystem(t *testing.T) {
	got, err := ParseCapabilities("caps", []*csi.VolumeCapability{
		mountCap(writer, ""), mountCap(csi.VolumeCapability_AccessMode_SINGLE_NODE_READER_ONLY, "xfs"),
	})
	if err != nil || got.FSType != "xfs" || got.Access != writer {
		t.Errorf("got %+v, %v", got, err)
	}
}

func TestMountFlags(t *testing.T) {
	const label = "system_u:object_r:container_file_t:s0:c15,c25"
	for _, tc := range []struct {
		fsType, flag string
		want         bool
	}{
		{"ext4", "noatime", true},
		{"xfs", "ro", true},
		{"xfs", "nosuid", true},
		{"xfs", `context="` + label + `"`, true},
		{"ext4", `fscontext="` + label + `"`, true},
		{"btrfs", `defcontext="` + label + `"`, true},
		{"", `rootcontext="` + label + `"`, true},
		{"xfs", "context=system_u:object_r:container_file_t:s0", true},
		{"xfs", "context=" + label, false},
		{"xfs", `context="` + label + `",suid`, false},
		{"xfs", `context="a"b"`, false},
		{"xfs", `context=`, false},
		{"xfs", `xcontext="a"`, false},
		{"ext4", "data=writeback", true},
		{"ext4", "data=journal,suid", false},
		{"ext4", "commit=30", true},
		{"ext4", "commit=0", false},
		{"ext4", "commit=", false},
		{"ext4", "commit", false},
		{"ext4", "commit=9999999999", false},
		{"ext4", "barrier=0", false},
		{"ext4", "nobarrier", false},
		{"ext4", "errors=panic", false},
		{"ext4", "errors=remount-ro", true},
		{"ext4", "journal_path=/dev/sda", false},
		{"ext4", "allocsize=64k", false},
		{"xfs", "allocsize=64k", true},
		{"xfs", "nouuid", false},
		{"xfs", "norecovery", false},
		{"xfs", "logdev=/dev/sda", false},
		{"btrfs", "compress=zstd:3", true},
		{"btrfs", "compress=zstd:", false},
		{"btrfs", "device=/dev/sda", false},
		{"btrfs", "subvol=/", false},
		{"", "allocsize=64k", true},
		{"", "data=ordered", true},
		{"", "nouuid", false},
		{"xfs", "noatime,nodiratime", false},
		{"xfs", "noatime\nsuid", false},
		{"xfs", "noatime\n", false},
		{"xfs", "\nnoatime", false},
		{"xfs", "suid", false},
		{"xfs", "dev", false},
		{"xfs", "exec", false},
		{"xfs", "remount", false},
		{"xfs", "bind", false},
		{"xfs", "x-systemd.automount", false},
		{"xfs", "X-mount.mkdir", false},
		{"xfs", "uid=0", false},
		{"xfs", "noatim", false},
		{"xfs", "noatimee", false},
		{"xfs", "", false},
		{"xfs", "-o", false},
		{"zfs", "noatime", true},
		{"zfs", "largeio", false},
	} {
		t.Run(fmt.Sprintf("%s %q", tc.fsType, tc.flag), func(t *testing.T) {
			err := CheckMountFlags("flags", tc.fsType, []string{"ro", tc.flag})
			if tc.want && err != nil {
				t.Fatalf("refused: %v", err)
			}
			if !tc.want {
				wantField(t, err, "flags[1]")
			}
		})
	}
}

func TestMountFlagsAreBounded(t *testing.T) {
	flags := make([]string, maxFlags/len("noatime")+1)
	for i := range flags {
		flags[i] = "noatime"
	}
	wantField(t, CheckMountFlags("flags", "xfs", flags), "flags")
	if err := CheckMountFlags("flags", "xfs", flags[1:]); err != nil {
		t.Errorf("%d flags refused: %v", len(flags)-1, err)
	}
}

func TestMkfsOptions(t *testing.T) {
	for _, tc := range []struct {
		fsType, text string
		want         string // arguments joined by "|", "-" when refused
	}{
		{"ext4", "", ""},
		{"ext4", "  -m 1   -T largefile ", "-m|1|-T|largefile"},
		{"ext4", "-m 0", "-m|0"},
		{"ext4", "-m 50", "-m|50"},
		{"ext4", "-m 51", "-"},
		{"ext4", "-m -1", "-"},
		{"ext4", "-m", "-"},
		{"ext4", "-m1", "-"},
		{"ext4", "1", "-"},
		{"ext4", "-m 1 -m 2", "-"},
		{"ext4", "-i 65536 -I 512 -b 4096 -J size=128 -G 64", "-i|65536|-I|512|-b|4096|-J|size=128|-G|64"},
		{"ext4", "-O ^metadata_csum,project", "-O|^metadata_csum,project"},
		{"ext4", "-O ^has_journal", "-"},
		{"ext4", "-O project,", "-"},
		{"ext4", "-J device=/dev/sda", "-"},
		{"ext4", "-d /etc", "-"},
		{"ext4", "-E discard", "-"},
		{"ext4", "-L root", "-"},
		{"ext4", "-U clear", "-"},
		{"ext4", "-F", "-"},
		{"ext4", "-z /etc/passwd", "-"},
		{"ext4", "-m 1;reboot", "-"},
		{"ext4", "-m 1\x00", "-"},
		{"xfs", "-m reflink=0,bigtime=1 -i size=1024 -d agcount=16", "-m|reflink=0,bigtime=1|-i|size=1024|-d|agcount=16"},
		{"xfs", "-m uuid=11111111-1111-1111-1111-111111111111", "-"},
		{"xfs", "-m crc=0", "-"},
		{"xfs", "-d file=1,name=/etc/passwd", "-"},
		{"xfs", "-l logdev=/dev/sda", "-"},
		{"xfs", "-l size=64m", "-l|size=64m"},
		{"xfs", "-r rtdev=/dev/sda", "-"},
		{"xfs", "-f -m reflink=1", "-"},
		{"xfs", "-T largefile", "-"},
		{"btrfs", "-m dup --csum xxhash -n 16k", "-m|dup|--csum|xxhash|-n|16k"},
		{"btrfs", "--rootdir /etc", "-"},
		{"btrfs", "-m raid1", "-"},
		{"btrfs", "/dev/sda", "-"},
		{"zfs", "-m 1", "-"},
	} {
		t.Run(tc.fsType+" "+tc.text, func(t *testing.T) {
			args, err := ParseMkfsOptions("parameters.mkfsOptions", tc.fsType, tc.text)
			if tc.want == "-" {
				wantField(t, err, "parameters.mkfsOptions")
				return
			}
			if got := strings.Join(args, "|"); err != nil || got != tc.want {
				t.Errorf("got %s, %v", got, err)
			}
		})
	}
	_, err := ParseMkfsOptions("f", "ext4", strings.Repeat(" ", maxMkfsOptions+1))
	wantField(t, err, "f")
}

func TestMkfsArgs(t *testing.T) {
	profile := []string{"-E", "nodiscard,lazy_itable_init=0", "-K", "-m", "0", "-T", "largefile"}
	for _, tc := range []struct{ class, want string }{
		{"", "-E nodiscard,lazy_itable_init=0 -K -m 0 -T largefile"},
		{"-T news", "-E nodiscard,lazy_itable_init=0 -K -m 0 -T news"},
		{"-i 65536 -m 5", "-E nodiscard,lazy_itable_init=0 -K -T largefile -i 65536 -m 5"},
	} {
		if got := strings.Join(MkfsArgs(profile, strings.Fields(tc.class)), " "); got != tc.want {
			t.Errorf("class %q: %s", tc.class, got)
		}
	}
	if strings.Join(profile, " ") != "-E nodiscard,lazy_itable_init=0 -K -m 0 -T largefile" {
		t.Error("the profile's options were changed")
	}
}

func TestCheckMap(t *testing.T) {
	m := map[string]string{"k": strings.Repeat("v", maxMap-1)}
	if err := CheckMap("m", m); err != nil {
		t.Errorf("%d bytes refused: %v", maxMap, err)
	}
	m["k"] += "v"
	wantField(t, CheckMap("m", m), "m")
}

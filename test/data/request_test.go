package data

import (
	"fmt"
	"math"
	"strings"
	"testing"

	"github.com/container-storage-interface/spec/lib/go/csi"
	"google.golang.org/grpc/codes"
)

// wrong is a request for a volume that must be refused.
type wrong struct {
	what   string
	code   codes.Code
	says   []string
	change func(r *csi.CreateVolumeRequest)
}

// refuse makes each of the requests and verifies that nothing changed.
func refuse(t *testing.T, n *node, base spec, wrongs []wrong) {
	t.Helper()
	n.unchanged(t, func() {
		for _, w := range wrongs {
			r := base.request()
			w.change(r)
			_, err := n.CreateVolume(t.Context(), r)
			refused(t, w.what, err, w.code, w.says...)
		}
	})
}

func parameter(name, value string, says ...string) wrong {
	return wrong{
		fmt.Sprintf("parameter %s=%.60q", name, value), codes.InvalidArgument, append(says, name),
		func(r *csi.CreateVolumeRequest) { r.Parameters[name] = value },
	}
}

func testHostileParameters(t *testing.T, n *node) {
	const options = "parameters.mkfsOptions"
	refuse(t, n, spec{name: "a", fs: "ext4", bytes: minBytes("ext4")}, []wrong{
		parameter("size", "1", "driveClass"),
		parameter("Type", "thin", "driveClass"),
		parameter("type", "THIN", "thin or thick", "THIN"),
		parameter("type", "thin\n", "thin or thick"),
		parameter("driveClass", "../fast", "../fast", "class"),
		parameter("driveClass", "slow", "slow", "class"),
		parameter("profile", "turbo", "turbo", "kafka"),
		parameter("allowModeChange", "TRUE", "true or false"),
		parameter("allowModeChange", "", "true or false"),
		parameter("csi.storage.k8s.io/fstype", "ntfs", "ntfs", "ext4"),
		parameter("csi.storage.k8s.io/fstype", "xfs", "xfs", "ext4"),
		parameter("mkfsOptions", "-d /etc", "-d", options),
		parameter("mkfsOptions", "-F", "-F", options),
		parameter("mkfsOptions", "-m 1 /dev/sda", options),
		parameter("mkfsOptions", "-m 1 -m 2", "each option once"),
		parameter("mkfsOptions", "-m", "a value after it"),
		parameter("mkfsOptions", "-m 1;reboot", "-m"),
		parameter("mkfsOptions", "-m $(reboot)", "-m"),
		parameter("mkfsOptions", "-J device=/dev/sda", "-J"),
		parameter("mkfsOptions", "-O ^has_journal", "-O"),
		parameter("mkfsOptions", strings.Repeat("-m 1 ", 100), "at most 256 bytes"),
		{"5 KiB of parameters", codes.InvalidArgument, []string{"parameters", "4096"}, func(r *csi.CreateVolumeRequest) { r.Parameters["csi.storage.k8s.io/x"] = strings.Repeat("x", 5<<10) }},
		{"mutable parameter", codes.InvalidArgument, []string{"mutable_parameters", "iops"}, func(r *csi.CreateVolumeRequest) { r.MutableParameters = map[string]string{"iops": "1"} }},
		{"another store's topology", codes.ResourceExhausted, []string{"accessibility_requirements"}, func(r *csi.CreateVolumeRequest) { r.AccessibilityRequirements = topology(topologyKey, "zzzzzzzz") }},
		{"topology of somebody else", codes.InvalidArgument, []string{"zone", topologyKey}, func(r *csi.CreateVolumeRequest) {
			r.AccessibilityRequirements = topology("zone", "a")
		}},
		{"source that is none", codes.NotFound, []string{"source"}, func(r *csi.CreateVolumeRequest) { r.VolumeContentSource = sourceOf("../s-x") }},
		{"empty source", codes.InvalidArgument, []string{"volume_content_source"}, func(r *csi.CreateVolumeRequest) { r.VolumeContentSource = new(csi.VolumeContentSource) }},
	})
	v := n.create(t, spec{name: "a", bytes: 4 * mib})
	n.unchanged(t, func() {
		_, err := n.CreateSnapshot(t.Context(), &csi.CreateSnapshotRequest{Name: "s", SourceVolumeId: v.id, Parameters: map[string]string{"depth": "1"}})
		refused(t, "parameter of a snapshot", err, codes.InvalidArgument, "depth")
		for _, token := range []string{"1", "../..", v.id + "x\n", strings.Repeat("x", 1000)} {
			_, err = n.ListVolumes(t.Context(), &csi.ListVolumesRequest{StartingToken: token})
			refused(t, "token", err, codes.Aborted, "starting_token")
		}
		_, err = n.ListVolumes(t.Context(), &csi.ListVolumesRequest{MaxEntries: -1})
		refused(t, "negative page", err, codes.InvalidArgument, "max_entries", "-1")
	})
	n.remove(t, v.id)
}

func topology(key, value string) *csi.TopologyRequirement {
	return &csi.TopologyRequirement{Requisite: []*csi.Topology{{Segments: map[string]string{key: value}}}}
}

func sized(what string, code codes.Code, required, limit int64, says ...string) wrong {
	return wrong{what, code, append(says, "capacity_range"), func(r *csi.CreateVolumeRequest) {
		r.CapacityRange = &csi.CapacityRange{RequiredBytes: required, LimitBytes: limit}
	}}
}

func testHostileSizes(t *testing.T, n *node) {
	refuse(t, n, spec{name: "a"}, []wrong{
		sized("nothing at all", codes.InvalidArgument, 0, 0, "required_bytes"),
		sized("negative", codes.InvalidArgument, -1, 0, "required_bytes", "-1"),
		sized("most negative", codes.InvalidArgument, math.MinInt64, 0, "required_bytes"),
		sized("negative limit", codes.InvalidArgument, 1, -1, "limit_bytes", "-1"),
		sized("limit below", codes.InvalidArgument, 2, 1, "limit_bytes", "at least required_bytes, 2"),
		sized("between two sizes", codes.OutOfRange, 5*mib, 5*mib, "limit_bytes", "4194304"),
		sized("too small a limit", codes.OutOfRange, 0, 1, "limit_bytes"),
		sized("largest number", codes.OutOfRange, math.MaxInt64, 0, "required_bytes"),
	})
	refuse(t, n, spec{name: "a", fs: "xfs"}, []wrong{
		sized("too small for a filesystem", codes.OutOfRange, 4*mib, 8*mib, "limit_bytes", "filesystem"),
	})
	for _, kind := range []string{"thin", "thick"} {
		_, largest := n.available(t, kind)
		s := spec{name: "a", bytes: largest + 1, thick: kind == "thick"}
		n.unchanged(t, func() {
			_, err := n.CreateVolume(t.Context(), s.request())
			refused(t, "one byte more than the largest "+kind, err, codes.ResourceExhausted, fmt.Sprint(largest), class)
		})
		s.bytes = largest
		v := n.create(t, s)
		if v.size != largest {
			t.Errorf("the largest %s volume has %d bytes, not %d", kind, v.size, largest)
		}
		n.unchanged(t, func() { // Nothing of it is published.
			_, err := n.ControllerExpandVolume(t.Context(), v.expandRequest(largest+1))
			refused(t, "expand a "+kind+" volume beyond its pool", err, codes.ResourceExhausted, "bytes")
		})
		n.remove(t, v.id)
		n.wiped(t)
	}
	v := n.create(t, spec{name: "a", bytes: 5 * mib})
	if v.size != 8*mib {
		t.Errorf("5 MiB became %d", v.size)
	}
	n.unchanged(t, func() {
		for what, c := range map[string]struct {
			required, limit int64
			code            codes.Code
			says            string
		}{
			"negative":              {-1, 0, codes.InvalidArgument, "required_bytes"},
			"nothing":               {0, 0, codes.InvalidArgument, "required_bytes"},
			"limit below required":  {2, 1, codes.InvalidArgument, "limit_bytes"},
			"limit below its size":  {0, 4 * mib, codes.OutOfRange, "limit_bytes"},
			"limit between extents": {9 * mib, 9 * mib, codes.OutOfRange, "limit_bytes"},
			"huge":                  {math.MaxInt64, 0, codes.OutOfRange, "required_bytes"},
		} {
			r := v.expandRequest(c.required)
			r.CapacityRange.LimitBytes = c.limit
			_, err := n.ControllerExpandVolume(t.Context(), r)
			refused(t, "expand: "+what, err, c.code, c.says)
		}
		_, err := n.ControllerExpandVolume(t.Context(), &csi.ControllerExpandVolumeRequest{VolumeId: v.id})
		refused(t, "expand without a size", err, codes.InvalidArgument, "capacity_range")
		_, err = n.CreateVolume(t.Context(), spec{name: "b", bytes: 4 * mib, source: v.id}.limited(4*mib))
		refused(t, "clone smaller than its source", err, codes.OutOfRange, "limit_bytes", v.id)
		_, err = n.CreateVolume(t.Context(), spec{name: "a", bytes: 50 * mib}.request())
		refused(t, "the same name with another size", err, codes.AlreadyExists, "size")
	})
	n.remove(t, v.id)
}

func (s spec) limited(bytes int64) *csi.CreateVolumeRequest {
	r := s.request()
	r.CapacityRange.LimitBytes = bytes
	return r
}

func capabilities(what string, code codes.Code, says []string, caps ...*csi.VolumeCapability) wrong {
	return wrong{what, code, says, func(r *csi.CreateVolumeRequest) { r.VolumeCapabilities = caps }}
}

func flagged(fs string, flags ...string) *csi.VolumeCapability {
	c := spec{fs: fs}.capability()
	c.GetMount().MountFlags = flags
	return c
}

func withAccess(c *csi.VolumeCapability, mode csi.VolumeCapability_AccessMode_Mode) *csi.VolumeCapability {
	c.AccessMode.Mode = mode
	return c
}

// badFlags are mount options that a tenant must not have.
var badFlags = []string{
	"suid", "dev", "exec", "remount", "bind", "nouuid", "nobarrier", "x-systemd.automount", "user", "loop", "noatime,suid", "noatime\nsuid", "",
	"logdev=/dev/sda", "errors=panic", "journal_path=/dev/sda", "context=a,suid", "context=\"a\",suid", "commit=1,suid", "ro;reboot", " ro", "--bind",
	strings.Repeat("x", 5<<10),
}

func testHostileCapabilities(t *testing.T, n *node) {
	const field = "volume_capabilities[0]"
	mountOf := func(fs string) *csi.VolumeCapability { return spec{fs: fs}.capability() }
	group := mountOf("ext4")
	group.GetMount().VolumeMountGroup = "1000"
	wrongs := []wrong{
		capabilities("none", codes.InvalidArgument, []string{"volume_capabilities"}),
		capabilities("empty", codes.InvalidArgument, []string{field + ".access_mode", "SINGLE_NODE_WRITER"}, new(csi.VolumeCapability)),
		capabilities("neither block nor mount", codes.InvalidArgument, []string{field + ".access_type", "block or mount"},
			&csi.VolumeCapability{AccessMode: mountOf("ext4").GetAccessMode()}),
		capabilities("block and mount", codes.InvalidArgument, []string{"volume_capabilities[1].access_type", "block"}, mountOf("ext4"), mountOf("")),
		capabilities("two filesystems", codes.InvalidArgument, []string{"volume_capabilities[1].mount.fs_type", "xfs", "ext4"}, mountOf("ext4"), mountOf("xfs")),
		capabilities("unknown filesystem", codes.InvalidArgument, []string{field + ".mount.fs_type", "zfs", "btrfs, ext4, xfs"}, mountOf("zfs")),
		capabilities("filesystem of a path", codes.InvalidArgument, []string{field + ".mount.fs_type"}, mountOf("ext4\n/dev/sda")),
		capabilities("mount group", codes.InvalidArgument, []string{"volume_mount_group", "1000"}, group),
	}
	for _, mode := range []csi.VolumeCapability_AccessMode_Mode{
		csi.VolumeCapability_AccessMode_UNKNOWN, csi.VolumeCapability_AccessMode_MULTI_NODE_MULTI_WRITER,
		csi.VolumeCapability_AccessMode_MULTI_NODE_READER_ONLY, csi.VolumeCapability_AccessMode_MULTI_NODE_SINGLE_WRITER, 99,
	} {
		wrongs = append(wrongs, capabilities(mode.String(), codes.InvalidArgument, []string{field + ".access_mode", mode.String(), "SINGLE_NODE_WRITER"},
			withAccess(mountOf("ext4"), mode)))
	}
	for _, flag := range badFlags {
		for _, fs := range []string{"ext4", "xfs", "btrfs"} {
			wrongs = append(wrongs, capabilities(fmt.Sprintf("%s with flag %.30q", fs, flag), codes.InvalidArgument, []string{field + ".mount.mount_flags"}, flagged(fs, "noatime", flag)))
		}
	}
	refuse(t, n, spec{name: "a", bytes: minBytes("xfs")}, wrongs)
	stageWrongly(t, n)
}

// stageWrongly asks a node for what the controller refuses: they believe
// nothing of each other.
func stageWrongly(t *testing.T, n *node) {
	t.Helper()
	v := n.create(t, spec{name: "a", fs: "ext4", bytes: minBytes("ext4")})
	v.mkdirs(t)
	n.unchanged(t, func() {
		stage := func(what string, c *csi.VolumeCapability, code codes.Code, says ...string) {
			r := v.stageRequest()
			r.VolumeCapability = c
			_, err := n.NodeStageVolume(t.Context(), r)
			refused(t, "stage "+what, err, code, says...)
		}
		for _, flag := range badFlags {
			stage(fmt.Sprintf("with flag %.30q", flag), flagged("ext4", flag), codes.InvalidArgument, "mount_flags")
		}
		stage("without a capability", nil, codes.InvalidArgument, "volume_capability")
		stage("as block", spec{}.capability(), codes.FailedPrecondition, "block", "filesystem")
		stage("as xfs", spec{fs: "xfs"}.capability(), codes.FailedPrecondition, "xfs", "ext4")
		_, err := n.NodePublishVolume(t.Context(), v.publishRequest())
		refused(t, "publish what is not staged", err, codes.FailedPrecondition, "not staged")
		r := v.publishRequest()
		r.StagingTargetPath = ""
		_, err = n.NodePublishVolume(t.Context(), r)
		refused(t, "publish from nowhere", err, codes.FailedPrecondition, "staging_target_path")
	})
	n.remove(t, v.id)
}

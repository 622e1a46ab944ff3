package controller

import (
	"errors"
	"reflect"
	"strings"
	"testing"

	"github.com/container-storage-interface/spec/lib/go/csi"

	"github.com/lvme/lvme/driver"
	"github.com/lvme/lvme/volume"
)

func mountCap(fsType string) *csi.VolumeCapability {
	return &csi.VolumeCapability{
		AccessMode: &csi.VolumeCapability_AccessMode{Mode: csi.VolumeCapability_AccessMode_SINGLE_NODE_WRITER},
		AccessType: &csi.VolumeCapability_Mount{Mount: &csi.VolumeCapability_MountVolume{FsType: fsType}},
	}
}

func blockCap() *csi.VolumeCapability {
	c := mountCap("")
	c.AccessType = &csi.VolumeCapability_Block{Block: &csi.VolumeCapability_BlockVolume{}}
	return c
}

func fromSnapshot(id string) *csi.VolumeContentSource {
	return &csi.VolumeContentSource{Type: &csi.VolumeContentSource_Snapshot{
		Snapshot: &csi.VolumeContentSource_SnapshotSource{SnapshotId: id},
	}}
}

func fromVolume(id string) *csi.VolumeContentSource {
	return &csi.VolumeContentSource{Type: &csi.VolumeContentSource_Volume{
		Volume: &csi.VolumeContentSource_VolumeSource{VolumeId: id},
	}}
}

func requisite(terms ...map[string]string) *csi.TopologyRequirement {
	r := new(csi.TopologyRequirement)
	for _, t := range terms {
		r.Requisite = append(r.Requisite, &csi.Topology{Segments: t})
	}
	return r
}

// createRequest is a request for an XFS volume of 1 GiB, changed.
func createRequest(change func(*csi.CreateVolumeRequest)) *csi.CreateVolumeRequest {
	req := &csi.CreateVolumeRequest{
		Name:               "pvc-1",
		VolumeCapabilities: []*csi.VolumeCapability{mountCap("xfs")},
		CapacityRange:      &csi.CapacityRange{RequiredBytes: gib},
		Secrets:            map[string]string{"password": "hunter2"},
	}
	if change != nil {
		change(req)
	}
	return req
}

func params(p ...string) func(*csi.CreateVolumeRequest) {
	return func(req *csi.CreateVolumeRequest) {
		req.Parameters = map[string]string{}
		for i := 0; i < len(p); i += 2 {
			req.Parameters[p[i]] = p[i+1]
		}
	}
}

func TestCreateSpec(t *testing.T) {
	plain := volume.CreateSpec{Name: "pvc-1", Mode: volume.Filesystem, FSType: "xfs", Size: volume.Range{Required: gib}}
	spec := func(change func(*volume.CreateSpec)) volume.CreateSpec {
		s := plain
		change(&s)
		return s
	}
	for _, tc := range []struct {
		name   string
		change func(*csi.CreateVolumeRequest)
		want   volume.CreateSpec
	}{
		{"plain", nil, plain},
		{
			"every parameter", params("driveClass", "fast", "type", "thick", "profile", "kafka", "allowModeChange", "true", "mkfsOptions", "-i size=1024"),
			spec(func(s *volume.CreateSpec) {
				s.Class, s.Type, s.Profile, s.AllowModeChange = "fast", volume.Thick, "kafka", true
				s.MkfsOptions = []string{"-i", "size=1024"}
			}),
		},
		{"empty parameters", params("driveClass", "", "type", "", "profile", "", "allowModeChange", "false", "mkfsOptions", ""), plain},
		{"the sidecar's parameters", params("csi.storage.k8s.io/pvc/name", "x", "csi.storage.k8s.io/pvc/namespace", "y", "csi.storage.k8s.io/pv/name", "z"), plain},
		{
			"filesystem by parameter", func(r *csi.CreateVolumeRequest) {
				r.VolumeCapabilities = []*csi.VolumeCapability{mountCap("")}
				params("csi.storage.k8s.io/fstype", "btrfs", "mkfsOptions", "--csum xxhash")(r)
			},
			spec(func(s *volume.CreateSpec) { s.FSType, s.MkfsOptions = "btrfs", []string{"--csum", "xxhash"} }),
		},
		{
			"filesystem by profile", func(r *csi.CreateVolumeRequest) {
				r.VolumeCapabilities = []*csi.VolumeCapability{mountCap("")}
				params("profile", "kafka", "mkfsOptions", "-m reflink=0")(r)
			},
			spec(func(s *volume.CreateSpec) {
				s.FSType, s.Profile, s.MkfsOptions = "", "kafka", []string{"-m", "reflink=0"}
			}),
		},
		{
			"block, of a class that has filesystem parameters", func(r *csi.CreateVolumeRequest) {
				r.VolumeCapabilities = []*csi.VolumeCapability{blockCap()}
				params("csi.storage.k8s.io/fstype", "xfs", "mkfsOptions", "-m reflink=0")(r)
			},
			spec(func(s *volume.CreateSpec) { s.Mode, s.FSType = volume.Block, "" }),
		},
		{
			"no size", func(r *csi.CreateVolumeRequest) { r.CapacityRange = nil },
			spec(func(s *volume.CreateSpec) { s.Size = volume.Range{} }),
		},
		{
			"limit alone", func(r *csi.CreateVolumeRequest) { r.CapacityRange = &csi.CapacityRange{LimitBytes: 5} },
			spec(func(s *volume.CreateSpec) { s.Size = volume.Range{Limit: 5} }),
		},
		{
			"exact size", func(r *csi.CreateVolumeRequest) {
				r.CapacityRange = &csi.CapacityRange{RequiredBytes: 5, LimitBytes: 5}
			},
			spec(func(s *volume.CreateSpec) { s.Size = volume.Range{Required: 5, Limit: 5} }),
		},
		{
			"snapshot", func(r *csi.CreateVolumeRequest) { r.VolumeContentSource = fromSnapshot(snapKey("a").String()) },
			spec(func(s *volume.CreateSpec) { s.Source = snapKey("a") }),
		},
		{
			"volume", func(r *csi.CreateVolumeRequest) { r.VolumeContentSource = fromVolume(volKey("a").String()) },
			spec(func(s *volume.CreateSpec) { s.Source = volKey("a") }),
		},
		{
			"a copy of an unknown filesystem takes no mkfs options", func(r *csi.CreateVolumeRequest) {
				r.VolumeCapabilities = []*csi.VolumeCapability{mountCap("")}
				r.VolumeContentSource = fromVolume(volKey("a").String())
				params("mkfsOptions", "-m reflink=0")(r)
			},
			spec(func(s *volume.CreateSpec) { s.FSType, s.Source = "", volKey("a") }),
		},
		{"our topology", func(r *csi.CreateVolumeRequest) {
			r.AccessibilityRequirements = requisite(map[string]string{driver.TopologyKey: theirs}, map[string]string{driver.TopologyKey: ours})
		}, plain},
		{"our topology in capitals", func(r *csi.CreateVolumeRequest) {
			r.AccessibilityRequirements = requisite(map[string]string{strings.ToUpper(driver.TopologyKey): ours})
		}, plain},
		{"another's key beside our topology", func(r *csi.CreateVolumeRequest) {
			r.AccessibilityRequirements = requisite(map[string]string{"zone": "a"}, map[string]string{driver.TopologyKey: ours})
		}, plain},
		{"a preference for another store", func(r *csi.CreateVolumeRequest) {
			r.AccessibilityRequirements = &csi.TopologyRequirement{Preferred: []*csi.Topology{driver.Topology(theirs)}}
		}, plain},
		{"everywhere", func(r *csi.CreateVolumeRequest) { r.AccessibilityRequirements = requisite(nil) }, plain},
	} {
		t.Run(tc.name, func(t *testing.T) {
			got, err := createSpec(createRequest(tc.change), ours)
			if err != nil {
				t.Fatal(err)
			}
			if !reflect.DeepEqual(got, tc.want) {
				t.Errorf("got  %+v\nwant %+v", got, tc.want)
			}
		})
	}
}

func TestCreateSpecNamesTheFault(t *testing.T) {
	for _, tc := range []struct {
		name   string
		change func(*csi.CreateVolumeRequest)
		field  string
	}{
		{"no capabilities", func(r *csi.CreateVolumeRequest) { r.VolumeCapabilities = nil }, "volume_capabilities"},
		{"block and mount", func(r *csi.CreateVolumeRequest) {
			r.VolumeCapabilities = []*csi.VolumeCapability{mountCap("xfs"), blockCap()}
		}, "volume_capabilities[1].access_type"},
		{"unknown parameter", params("driveclass", "fast"), "parameters"},
		{"type", params("type", "fat"), "parameters.type"},
		{"type in capitals", params("type", "Thin"), "parameters.type"},
		{"profile", params("profile", "casandra"), "parameters.profile"},
		{"allowModeChange", params("allowModeChange", "yes"), "parameters.allowModeChange"},
		{"allowModeChange, empty", params("allowModeChange", ""), "parameters.allowModeChange"},
		{"allowModeChange in Go's words", params("allowModeChange", "1"), "parameters.allowModeChange"},
		{"mkfs options", params("mkfsOptions", "-f"), "parameters.mkfsOptions"},
		{"another filesystem's mkfs options", params("mkfsOptions", "-T largefile"), "parameters.mkfsOptions"},
		{"mkfs options of a block volume's class", func(r *csi.CreateVolumeRequest) {
			r.VolumeCapabilities = []*csi.VolumeCapability{blockCap()}
			params("mkfsOptions", "-F")(r)
		}, "parameters.mkfsOptions"},
		{"fstype", params("csi.storage.k8s.io/fstype", "ntfs"), "parameters.csi.storage.k8s.io/fstype"},
		{"fstype against the capability", params("csi.storage.k8s.io/fstype", "ext4"), "parameters.csi.storage.k8s.io/fstype"},
		{"big parameters", params("driveClass", strings.Repeat("x", 4097)), "parameters"},
		{"mutable parameters", func(r *csi.CreateVolumeRequest) { r.MutableParameters = map[string]string{"type": "thin"} }, "mutable_parameters"},
		{"negative size", func(r *csi.CreateVolumeRequest) { r.CapacityRange.RequiredBytes = -1 }, "capacity_range.required_bytes"},
		{"negative limit", func(r *csi.CreateVolumeRequest) { r.CapacityRange.LimitBytes = -1 }, "capacity_range.limit_bytes"},
		{"limit below size", func(r *csi.CreateVolumeRequest) { r.CapacityRange.LimitBytes = gib - 1 }, "capacity_range.limit_bytes"},
		{"size 0", func(r *csi.CreateVolumeRequest) { r.CapacityRange = &csi.CapacityRange{} }, "capacity_range"},
		{"source of no kind", func(r *csi.CreateVolumeRequest) { r.VolumeContentSource = &csi.VolumeContentSource{} }, "volume_content_source"},
		{"source of no id", func(r *csi.CreateVolumeRequest) { r.VolumeContentSource = fromVolume("") }, "volume_content_source.volume.volume_id"},
		{"snapshot of no id", func(r *csi.CreateVolumeRequest) { r.VolumeContentSource = fromSnapshot("") }, "volume_content_source.snapshot.snapshot_id"},
		{"another's topology key", func(r *csi.CreateVolumeRequest) {
			r.AccessibilityRequirements = requisite(map[string]string{"zone": "a"})
		}, "accessibility_requirements.requisite[0]"},
		{"our topology and another's key", func(r *csi.CreateVolumeRequest) {
			r.AccessibilityRequirements = requisite(map[string]string{driver.TopologyKey: ours, "zone": "a"})
		}, "accessibility_requirements.requisite[0]"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			req := createRequest(tc.change)
			_, err := createSpec(req, ours)
			wantField(t, err, tc.field)
			store := newFake()
			if _, err := New(store, nil).CreateVolume(t.Context(), req); !errors.Is(err, volume.ErrInvalid) || store.called != 0 {
				t.Errorf("the store was called %d times, error %v", store.called, err)
			}
		})
	}
}

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

func TestUnknownParameterListsTheKnownOnes(t *testing.T) {
	_, err := createSpec(createRequest(params("colour", "red")), ours)
	wantField(t, err, "parameters")
	for _, want := range append([]string{`"colour"`}, knownParameters...) {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("%v\nlacks %s", err, want)
		}
	}
}

// TestKnownParametersAreKnown ties the list for people to the code that reads.
func TestKnownParametersAreKnown(t *testing.T) {
	valid := map[string]string{"type": "thin", "profile": "general", "allowModeChange": "true", "driveClass": "a", "mkfsOptions": "-m 1"}
	for _, name := range knownParameters {
		if _, err := parseParameters(map[string]string{name: valid[name]}); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		delete(valid, name)
	}
	if len(valid) > 0 {
		t.Errorf("not listed: %v", valid)
	}
}

func TestSourceThatIsNotHere(t *testing.T) {
	foreign := volume.Key{Store: theirs, VG: vg, LV: "s-a"}
	foreignVolume := volume.Key{Store: theirs, VG: vg, LV: "v-a"}
	for _, tc := range []struct {
		name   string
		source *csi.VolumeContentSource
		want   error
	}{
		{"no id of ours", fromSnapshot("fake-snapshot"), volume.ErrNotFound},
		{"no volume id of ours", fromVolume("../../etc/passwd"), volume.ErrNotFound},
		{"129 bytes", fromVolume(strings.Repeat("a", 129)), volume.ErrNotFound},
		{"a volume as snapshot", fromSnapshot(volKey("a").String()), volume.ErrNotFound},
		{"a snapshot as volume", fromVolume(snapKey("a").String()), volume.ErrNotFound},
		{"another store's snapshot", fromSnapshot(foreign.String()), driver.ErrElsewhere},
		{"another store's volume", fromVolume(foreignVolume.String()), driver.ErrElsewhere},
	} {
		t.Run(tc.name, func(t *testing.T) {
			_, err := createSpec(createRequest(func(r *csi.CreateVolumeRequest) { r.VolumeContentSource = tc.source }), ours)
			if !errors.Is(err, tc.want) {
				t.Errorf("got %v, want %v", err, tc.want)
			}
		})
	}
}

func TestTopologyElsewhere(t *testing.T) {
	_, err := createSpec(createRequest(func(r *csi.CreateVolumeRequest) {
		r.AccessibilityRequirements = requisite(map[string]string{driver.TopologyKey: theirs})
	}), ours)
	if !errors.Is(err, driver.ErrElsewhere) || !strings.Contains(err.Error(), ours) {
		t.Errorf("got %v", err)
	}
}

func TestPage(t *testing.T) {
	id := func(s string) string { return s }
	all := []string{"a", "b", "c", "d"}
	for _, tc := range []struct {
		name string
		want pageRequest
		page string
		next string
	}{
		{"all", pageRequest{}, "a b c d", ""},
		{"first", pageRequest{limit: 2}, "a b", "b"},
		{"second", pageRequest{limit: 2, after: "b"}, "c d", ""},
		{"exactly all", pageRequest{limit: 4}, "a b c d", ""},
		{"the last one given was deleted", pageRequest{limit: 1, after: "bb"}, "c", "c"},
		{"behind the end", pageRequest{after: "z"}, "", ""},
	} {
		t.Run(tc.name, func(t *testing.T) {
			page, next := cut(tc.want, all, id)
			if got := strings.Join(page, " "); got != tc.page || next != tc.next {
				t.Errorf("got %q, next %q", got, next)
			}
		})
	}
	if strings.Join(all, "") != "abcd" {
		t.Error("the store's list was changed")
	}
}

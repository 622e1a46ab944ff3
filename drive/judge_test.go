package drive

import (
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"
)

// spotless is a drive with nothing against it.
func spotless() Drive {
	return Drive{
		Name: "nvme0n1", Path: "/dev/nvme0n1", ID: "eui.0025384121000001", Model: "SAMSUNG MZQL", Serial: "S1", Transport: "pcie",
		Bytes: 2 << 40, LogicalBlock: 512, DiscardMax: 1 << 30, WriteZeroesMax: 1 << 20, State: "live", Content: blank, Health: good,
	}
}

func TestJudgeFree(t *testing.T) {
	auto := DefaultConfig()
	auto.Classes[0].Auto = true
	auto.Classes[0].Select.Transport = []string{"pcie"}
	thick := DefaultConfig()
	thick.Classes[0].Thick.Share = 10
	for _, tc := range []struct {
		name   string
		cfg    Config
		change func(*Drive)
		auto   bool
		note   string
	}{
		{"by hand", DefaultConfig(), func(*Drive) {}, false, ""},
		{"by itself", auto, func(*Drive) {}, true, ""},
		{"not blank, by hand", DefaultConfig(), func(d *Drive) { d.Content.Blank = false }, false, "it holds data without a known signature"},
		{"not blank, not by itself", auto, func(d *Drive) { d.Content.Blank = false }, false, "class default does not take it by itself: `lvme init` takes it, `blkdiscard --zeroout /dev/nvme0n1` makes it blank"},
		{"no discard", DefaultConfig(), func(d *Drive) { d.DiscardMax = 0 }, false, "it cannot discard"},
		{"no write zeroes, thin only", DefaultConfig(), func(d *Drive) { d.WriteZeroesMax = 0 }, false, ""},
		{"no write zeroes", thick, func(d *Drive) { d.WriteZeroesMax = 0 }, false, "thick volumes are wiped at writing speed"},
		{"health unknown", DefaultConfig(), func(d *Drive) { d.Health = Health{Status: HealthUnknown, Reasons: []string{"?"}} }, false, ""},
		{"worn", DefaultConfig(), func(d *Drive) { d.Health = judgeHealth(SMART{PercentageUsed: 120}) }, false, "its health is warning: 120 % of its rated life is used"},
		{"smallest", DefaultConfig(), func(d *Drive) { d.Bytes = MinBytes }, false, ""},
	} {
		t.Run(tc.name, func(t *testing.T) {
			d := spotless()
			tc.change(&d)
			v := Judge([]Drive{d}, tc.cfg, nil, "kaaaaaaa")[0]
			if v.Status != Free || v.Class != "default" || v.Auto != tc.auto || len(v.Reasons) > 0 {
				t.Errorf("got %s, class %q, auto %t, reasons %q", v.Status, v.Class, v.Auto, v.Reasons)
			}
			if notes := strings.Join(v.Notes, "|"); !strings.Contains(notes, tc.note) || tc.note == "" && notes != "" {
				t.Errorf("notes %q, want %q", notes, tc.note)
			}
		})
	}
}

// Each row spoils one thing; the one reason must name it and say what to do.
func TestJudgeRefuses(t *testing.T) {
	const key = "kaaaaaaa"
	lvm := func(d *Drive) { d.Content.Signatures = []string{LVMMember} }
	on := func(pv PVInfo) map[string]PVInfo { return map[string]PVInfo{"/dev/nvme0n1": pv} }
	for _, tc := range []struct {
		name   string
		change func(*Drive)
		pvs    map[string]PVInfo
		key    string
		want   []string
	}{
		{"signature", func(d *Drive) { d.Content.Signatures = []string{"xfs"} }, nil, key, []string{"signature xfs", "wipefs --all /dev/nvme0n1"}},
		{"not readable", func(d *Drive) { d.Content = Content{Error: "read: input/output error"} }, nil, key, []string{"input/output error", "nothing is taken unseen"}},
		{"never looked at", func(d *Drive) { d.Content = Content{Error: "not looked at"} }, nil, key, []string{"not known: not looked at"}},
		{"partition", func(d *Drive) { d.Partitions = []Partition{{Name: "nvme0n1p1", Bytes: 1 << 30}} }, nil, key, []string{"partition nvme0n1p1 of 1.0 GiB", "wipefs"}},
		{"holder", func(d *Drive) { d.Holders = []Use{{"nvme0n1", "dm-3 (crypt)"}} }, nil, key, []string{"nvme0n1 is held by dm-3 (crypt)", "apart first"}},
		{"mount", func(d *Drive) { d.Mounts = []Use{{"nvme0n1", "/srv"}} }, nil, key, []string{"mounted on /srv", "unmount"}},
		{"swap", func(d *Drive) { d.Swaps = []string{"nvme0n1"} }, nil, key, []string{"nvme0n1 is swap", "swapoff /dev/nvme0n1"}},
		{"busy", func(d *Drive) { d.Content.Busy = true }, nil, key, []string{"held open exclusively", "lsof /dev/nvme0n1"}},
		{"read-only", func(d *Drive) { d.ReadOnly = true }, nil, key, []string{"read-only", "blockdev --setrw"}},
		{"zoned", func(d *Drive) { d.Zoned = "host-managed" }, nil, key, []string{"zoned namespace (host-managed)", "ordinary namespace"}},
		{"too small", func(d *Drive) { d.Bytes = MinBytes - 1 }, nil, key, []string{"too small: 1023.9 MiB", "1.0 GiB", "larger drive"}},
		{"size 0", func(d *Drive) { d.Bytes = 0 }, nil, key, []string{"too small: 0 bytes"}},
		{"dead", func(d *Drive) { d.State, d.Bytes, d.Content = "dead", 0, Content{} }, nil, key, []string{"controller is dead", "replace"}},
		{"no identity", func(d *Drive) { d.ID = "" }, nil, key, []string{"no identity", "another drive"}},
		{"not selected", func(d *Drive) { d.Transport = "tcp" }, nil, key, []string{`no drive class selects it (fast: transport "tcp" is not in ["pcie"]; bulk: model`, "widen a class"}},
		{"orphan PV", lvm, on(PVInfo{}), key, []string{"physical volume in no volume group", "pvremove /dev/nvme0n1"}},
		{"foreign VG", lvm, on(PVInfo{VG: "data"}), key, []string{`volume group "data", which is not lvme's`, "vgremove data"}},
		{"VG of another store", lvm, on(PVInfo{VG: "lvme-x", StoreKey: "kbbbbbbb"}), key, []string{`"lvme-x" of store kbbbbbbb`, "this node is store kaaaaaaa", "put the drive back"}},
		{"VG of a store, no record", lvm, on(PVInfo{VG: "lvme-x", StoreKey: "kbbbbbbb"}), "", []string{`"lvme-x" of store kbbbbbbb`, "lvme adopt"}},
		{"forgotten", lvm, on(PVInfo{VG: "lvme-x", StoreKey: key, Forgotten: true}), key, []string{`"lvme-x", given up with`, "vgremove lvme-x"}},
		{"foreign VG without a signature", func(*Drive) {}, on(PVInfo{VG: "data"}), key, []string{`volume group "data"`}},
		{"signature without a PV", lvm, nil, key, []string{"signature LVM2_member though LVM shows no physical volume", "pvs --devices /dev/nvme0n1"}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			cfg := Config{Classes: []Class{
				{Name: "fast", Select: Selector{Transport: []string{"pcie"}}},
				{Name: "bulk", Select: Selector{Models: []string{"INTEL*"}}},
			}}
			d := spotless()
			tc.change(&d)
			v := Judge([]Drive{d}, cfg, tc.pvs, tc.key)[0]
			if v.Status != Refused || v.Auto || len(v.Reasons) != 1 {
				t.Fatalf("got %s with %d reasons: %q, want one", v.Status, len(v.Reasons), v.Reasons)
			}
			for _, want := range tc.want {
				if !strings.Contains(v.Reasons[0], want) {
					t.Errorf("reason %q does not say %q", v.Reasons[0], want)
				}
			}
			if v.VG != tc.pvs["/dev/nvme0n1"].VG {
				t.Errorf("VG %q", v.VG)
			}
		})
	}
}

// All reasons are given, not the first: the system's drive has many.
func TestJudgeGivesEveryReason(t *testing.T) {
	h, fake := machine(t, "metal")
	fake.found("nvme2n1", "PTTYPE=gpt")
	d := discover(t, h)["nvme2n1"]
	cfg := Config{Classes: []Class{{Name: "fast", Select: Selector{Models: []string{"SAMSUNG*"}}}}}
	v := Judge([]Drive{d}, cfg, map[string]PVInfo{"/dev/nvme2n1p10": {VG: "vg0"}}, "kaaaaaaa")[0]
	all := strings.Join(v.Reasons, "\n")
	for _, want := range []string{
		`/dev/nvme2n1p10 belongs to volume group "vg0"`, "signature gpt", "partition nvme2n1p1 ", "partition nvme2n1p2 ", "partition nvme2n1p10 ",
		"held by dm-0 (vg0-root)", "mounted on /boot/efi", "nvme2n1p2 is swap", "no drive class selects it",
	} {
		if strings.Count(all, want) != 1 {
			t.Errorf("not said once: %s", want)
		}
	}
	if len(v.Reasons) != 9 {
		t.Errorf("%d reasons, want 9:\n%s", len(v.Reasons), all)
	}
}

func TestJudgeOurs(t *testing.T) {
	pvs := map[string]PVInfo{"/dev/nvme0n1": {VG: "lvme-aaaaaaaa", StoreKey: "kaaaaaaa", Class: "default"}}
	for _, tc := range []struct {
		name   string
		change func(*Drive, map[string]PVInfo)
		notes  []string
	}{
		{"in use", func(d *Drive, _ map[string]PVInfo) {
			d.Content = Content{Probed: true, Signatures: []string{LVMMember}}
			d.Holders = []Use{{"nvme0n1", "dm-1 (lvme--aaaaaaaa-pool_tdata)"}}
		}, nil},
		{"dead", func(d *Drive, _ map[string]PVInfo) { d.State, d.Bytes = "dead", 0 }, []string{"its controller is dead: its volumes do no I/O"}},
		{"read-only", func(d *Drive, _ map[string]PVInfo) { d.ReadOnly = true }, []string{"it is read-only"}},
		{"class is gone", func(_ *Drive, p map[string]PVInfo) {
			p["/dev/nvme0n1"] = PVInfo{VG: "lvme-aaaaaaaa", StoreKey: "kaaaaaaa", Class: "old"}
		}, []string{`drive class "old" is not in the configuration`}},
		{"no class in the tags", func(_ *Drive, p map[string]PVInfo) {
			p["/dev/nvme0n1"] = PVInfo{VG: "lvme-aaaaaaaa", StoreKey: "kaaaaaaa"}
		}, []string{`drive class "" is not`}},
		{"failing", func(d *Drive, _ map[string]PVInfo) { d.Health = judgeHealth(SMART{CriticalWarning: 1}) }, []string{"its health is critical: spare blocks"}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			d, p := spotless(), map[string]PVInfo{}
			for k, pv := range pvs {
				p[k] = pv
			}
			tc.change(&d, p)
			v := Judge([]Drive{d}, DefaultConfig(), p, "kaaaaaaa")[0]
			if v.Status != Ours || v.VG != "lvme-aaaaaaaa" || v.Class != p["/dev/nvme0n1"].Class || v.Auto || len(v.Reasons) > 0 {
				t.Errorf("got %+v", v)
			}
			if len(v.Notes) != len(tc.notes) {
				t.Fatalf("notes %q, want %q", v.Notes, tc.notes)
			}
			for i, want := range tc.notes {
				if !strings.Contains(v.Notes[i], want) {
					t.Errorf("note %q does not say %q", v.Notes[i], want)
				}
			}
		})
	}
}

// Our VG on a partition is nothing that lvme made; before there is a key no
// drive is ours, a VG without a key least of all.
func TestJudgeNotOurs(t *testing.T) {
	d := spotless()
	d.Partitions = []Partition{{Name: "nvme0n1p1", Bytes: 1 << 40}}
	v := Judge([]Drive{d}, DefaultConfig(), map[string]PVInfo{"/dev/nvme0n1p1": {VG: "lvme-x", StoreKey: "kaaaaaaa"}}, "kaaaaaaa")[0]
	if v.Status != Refused || !strings.Contains(strings.Join(v.Reasons, ""), "whole drives only") {
		t.Errorf("on a partition: %s %q", v.Status, v.Reasons)
	}
	v = Judge([]Drive{spotless()}, DefaultConfig(), map[string]PVInfo{"/dev/nvme0n1": {VG: "data"}}, "")[0]
	if v.Status != Refused {
		t.Errorf("no key: %s", v.Status)
	}
}

func TestJudgeTwins(t *testing.T) {
	a, b := spotless(), spotless()
	b.Name, b.Path = "nvme7n1", "/dev/nvme7n1"
	for _, v := range Judge([]Drive{a, b}, DefaultConfig(), nil, "kaaaaaaa") {
		if v.Status != Refused || len(v.Reasons) != 1 || !strings.Contains(v.Reasons[0], "nvme_core.multipath=Y") {
			t.Errorf("%s: %s %q", v.Drive.Name, v.Status, v.Reasons)
		}
	}
	pvs := map[string]PVInfo{"/dev/nvme0n1": {VG: "lvme-x", StoreKey: "kaaaaaaa", Class: "default"}}
	got := Judge([]Drive{a, b}, DefaultConfig(), pvs, "kaaaaaaa")
	if got[0].Status != Ours || !strings.Contains(strings.Join(got[0].Notes, ""), "is that of nvme7n1 too") {
		t.Errorf("ours: %s %q", got[0].Status, got[0].Notes)
	}
	if got[1].Status != Refused || !strings.Contains(got[1].Reasons[0], "is that of nvme0n1 too") {
		t.Errorf("its twin: %s %q", got[1].Status, got[1].Reasons)
	}
}

// Whole machines, with the configuration that takes everything.
func TestJudgeMachines(t *testing.T) {
	for name, want := range map[string]string{
		"metal":  "nvme0n1 free, nvme1n1 free, nvme2n1 refused, nvme3n1 refused, nvme4n1 refused, nvme5n1 refused",
		"qemu":   "nvme0n1 free, nvme0n2 refused",
		"fabric": "nvme0n1 free, nvme2n1 free",
		"broken": "nvme0n1 refused, nvme1n1 refused, nvme2n1 refused, nvme3n1 refused, nvme10n1 refused",
	} {
		h, _ := machine(t, name)
		drives, err := Discover(t.Context(), h)
		if err != nil {
			t.Fatal(err)
		}
		var got []string
		for _, v := range Judge(drives, DefaultConfig(), nil, "") {
			got = append(got, fmt.Sprint(v.Drive.Name, " ", v.Status))
			// Whatever else is known, a drive that was not looked at is not free.
			seen := v.Drive
			seen.Content = Content{Error: "not looked at"}
			if w := Judge([]Drive{seen}, DefaultConfig(), nil, "")[0]; w.Status == Free {
				t.Errorf("%s %s is free unseen", name, v.Drive.Name)
			}
		}
		if s := strings.Join(got, ", "); s != want {
			t.Errorf("%s: got  %s\nwant %s", name, s, want)
		}
	}
}

func TestJudgeTwice(t *testing.T) {
	h, _ := machine(t, "metal")
	drives, err := Discover(t.Context(), h)
	if err != nil {
		t.Fatal(err)
	}
	first := fmt.Sprintf("%+v", Judge(drives, DefaultConfig(), nil, "kaaaaaaa"))
	slices.Reverse(drives)
	second := Judge(drives, DefaultConfig(), nil, "kaaaaaaa")
	slices.Reverse(second)
	if got := fmt.Sprintf("%+v", second); got != first {
		t.Errorf("the order of drives changes the verdicts:\n%s\n%s", first, got)
	}
	if err := os.RemoveAll(h.Root); err != nil {
		t.Fatal(err)
	}
}

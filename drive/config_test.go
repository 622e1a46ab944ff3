package drive

import (
	"math"
	"reflect"
	"strings"
	"testing"
	"time"
)

const wholeConfig = `
# everything that can be said
classes:
- name: fast
  select:
    transport: [pcie]
    models: ["SAMSUNG*"]
    serials: ["S6[45]*"]
    paths: ["/dev/disk/by-path/pci-0000:81:*"]
    numaNodes: [0, 1]
    minSize: 100Gi
    maxSize: 8T
  auto: true
  layout: striped
  placement: pack
  thin: {share: 60%, chunkSize: 1Mi, overcommit: 2.5, giveBack: false}
  thick: {share: 25}
  reserve: 15%
  stripeSize: 64Ki
- name: bulk
  layout: mirrored
  thick: {share: 90%}
maxVolumes: 100
trimEvery: 12h
`

func TestParseConfig(t *testing.T) {
	bulk := defaultClass
	bulk.Name, bulk.Layout, bulk.Thick.Share, bulk.Thin.Share = "bulk", Mirrored, 90, 0
	want := Config{MaxVolumes: 100, TrimEvery: 12 * time.Hour, Classes: []Class{{
		Name: "fast",
		Select: Selector{
			Transport: []string{"pcie"}, Models: []string{"SAMSUNG*"}, Serials: []string{"S6[45]*"},
			Paths: []string{"/dev/disk/by-path/pci-0000:81:*"}, NUMANodes: []int{0, 1},
			MinSize: 100 << 30, MaxSize: 8e12,
		},
		Auto: true, Layout: Striped, Placement: Pack,
		Thin:  Thin{Share: 60, ChunkSize: 1 << 20, Overcommit: 2.5, GiveBack: false},
		Thick: Thick{Share: 25}, Reserve: 15, StripeSize: 64 << 10,
	}, bulk}}
	got, err := ParseConfig([]byte(wholeConfig))
	if err != nil {
		t.Fatal(err)
	}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("got  %+v\nwant %+v", got, want)
	}
}

func TestParseConfigDefaults(t *testing.T) {
	for _, text := range []string{
		"", "# nothing\n", "{}", "---\n", "classes:\n", "maxVolumes: 512", "classes: [{name: default}]",
		"classes: [{name: default, select: , thin: , thick: {}}]", `{"classes": [{"name": "default"}]}`,
	} {
		got, err := ParseConfig([]byte(text))
		if err != nil || !reflect.DeepEqual(got, DefaultConfig()) {
			t.Errorf("%q: got %+v, %v, want the default", text, got, err)
		}
	}
}

// 0 is a period that is given, and never comes.
func TestParseConfigTrim(t *testing.T) {
	for text, want := range map[string]time.Duration{"": 7 * 24 * time.Hour, "trimEvery: 0": 0, "trimEvery: 0h": 0, "trimEvery: 36h": 36 * time.Hour} {
		if got, err := ParseConfig([]byte(text)); err != nil || got.TrimEvery != want {
			t.Errorf("%q: every %s, %v; want %s", text, got.TrimEvery, err, want)
		}
	}
}

// What is left over is the thin share's, unless it is given.
func TestParseConfigShares(t *testing.T) {
	for text, want := range map[string][3]int{
		"":                                    {90, 0, 10},
		"thick: {share: 90%}":                 {0, 90, 10},
		"thick: {share: 30%}":                 {60, 30, 10},
		"reserve: 0%":                         {100, 0, 0},
		"reserve: 20%\n  thick: {share: 80%}": {0, 80, 20},
		"thin: {share: 50%}":                  {50, 0, 10},
		"thin: {share: 100%}\n  reserve: 0":   {100, 0, 0},
		"thin: {share: 0%}\n  thick: {share: 1%}": {0, 1, 10},
	} {
		cfg, err := ParseConfig([]byte("classes:\n- name: a\n  " + text))
		if err != nil {
			t.Errorf("%q: %v", text, err)
			continue
		}
		c := cfg.Default()
		if got := [3]int{c.Thin.Share, c.Thick.Share, c.Reserve}; got != want {
			t.Errorf("%q: got thin, thick, reserve %v, want %v", text, got, want)
		}
	}
}

// Each field's fault names the field, the value, and what is allowed.
func TestParseConfigFaults(t *testing.T) {
	for _, tc := range []struct{ text, want string }{
		{"clases: []", "clases: unknown field, allowed are classes, maxVolumes, trimEvery"},
		{"- a", `: is ["a"], must be a mapping with the fields classes, maxVolumes, trimEvery`},
		{"maxVolumes: 0", "maxVolumes: is 0, must be a whole number from 1 to 10000"},
		{"maxVolumes: 1.5", "maxVolumes: is 1.5, must be a whole number from 1 to 10000"},
		{"trimEvery: 5m", `trimEvery: is "5m", must be 0 for never, or at least 1h, as in 168h`},
		{"trimEvery: -1h", `trimEvery: is "-1h", must be 0 for never`},
		{"trimEvery: 12", "trimEvery: is 12, must be 0"},
		{"trimEvery: weekly", `trimEvery: is "weekly", must be 0`},
		{"maxVolumes: many", `maxVolumes: is "many", must be a whole number from 1 to 10000`},
		{"classes: fast", `classes: is "fast", must be a list`},
		{"classes: []", "classes: is [], must be at least one class, or nothing for the default class"},
		{"classes: [null]", "classes[0]: is null, must be a class"},
		{"classes: [{}]", "classes[0].name: is missing, must be a name of at most 32 characters"},
		{"classes: [{name: Fast}]", `classes[0].name: is "Fast", must be a name of at most 32 characters`},
		{"classes: [{name: 5}]", "classes[0].name: is 5, must be a name"},
		{"classes: [{name: a-}]", `classes[0].name: is "a-", must be a name`},
		{"classes: [{name: a23456789012345678901234567890123}]", `classes[0].name: is "a23456789012345678901234567890123", must`},
		{"classes: [{name: a}, {name: b}, {name: a}]", `classes[2].name: is "a", which is the name of classes[0] already`},
		{"classes: [{name: a, color: red}]", "classes[0].color: unknown field, allowed are name, select,"},
		{"classes: [{name: a, select: [x]}]", `classes[0].select: is ["x"], must be a mapping`},
		{"classes: [{name: a, select: {transport: [usb]}}]", `classes[0].select.transport[0]: is "usb", must be one of pcie, tcp,`},
		{"classes: [{name: a, select: {transport: pcie}}]", `classes[0].select.transport: is "pcie", must be a list`},
		{"classes: [{name: a, select: {models: []}}]", "classes[0].select.models: is [], must be a list with something in it, or be left out"},
		{`classes: [{name: a, select: {models: ["[x"]}}]`, `classes[0].select.models[0]: is "[x", must be a shell glob`},
		{`classes: [{name: a, select: {models: [x, null]}}]`, `classes[0].select.models[1]: is null, must be a shell glob`},
		{"classes: [{name: a, select: {serials: [0123]}}]", "classes[0].select.serials[0]: is 83, must be a shell glob in quotes"},
		{"classes: [{name: a, select: {paths: [/dev/nvme0n1]}}]", `classes[0].select.paths[0]: is "/dev/nvme0n1", must be a shell glob below /dev/disk/by-id/ or /dev/disk/by-path/`},
		{"classes: [{name: a, select: {numaNodes: [-1]}}]", "classes[0].select.numaNodes[0]: is -1, must be a whole number from 0 to 1023"},
		{"classes: [{name: a, select: {numaNodes: [null]}}]", "classes[0].select.numaNodes[0]: is null, must be a whole number"},
		{"classes: [{name: a, select: {minSize: 1.5Ti}}]", `classes[0].select.minSize: is "1.5Ti", must be a whole number of bytes, or`},
		{"classes: [{name: a, select: {minSize: 0}}]", "classes[0].select.minSize: is 0, must be more than 0"},
		{"classes: [{name: a, select: {minSize: 2Ti, maxSize: 1Ti}}]", `classes[0].select.maxSize: is "1Ti", must be at least minSize 2Ti`},
		{"classes: [{name: a, auto: yes please}]", `classes[0].auto: is "yes please", must be true or false`},
		{"classes: [{name: a, auto: true}]", "classes[0].auto: is true, must be false with an empty select"},
		{"classes: [{name: a, auto: true, select: {}}]", "classes[0].auto: is true, must be false with an empty select"},
		{"classes: [{name: a, layout: raid0}]", `classes[0].layout: is "raid0", must be one of per-drive, striped, mirrored`},
		{"classes: [{name: a, placement: random}]", `classes[0].placement: is "random", must be one of spread, pack`},
		{"classes: [{name: a, stripeSize: 64Ki}]", "classes[0].stripeSize: is only for layout: striped, and this class is per-drive"},
		{"classes: [{name: a, layout: striped, stripeSize: 96Ki}]", `classes[0].stripeSize: is "96Ki", must be a power of two from 4Ki to 1Gi`},
		{"classes: [{name: a, layout: striped, stripeSize: 2Ki}]", `classes[0].stripeSize: is "2Ki", must be a power of two from 4Ki to 1Gi`},
		{"classes: [{name: a, thin: {chunkSize: 100Ki}}]", `classes[0].thin.chunkSize: is "100Ki", must be a multiple of 64Ki from 64Ki to 1Gi`},
		{"classes: [{name: a, thin: {chunkSize: 2Gi}}]", `classes[0].thin.chunkSize: is "2Gi", must be`},
		{"classes: [{name: a, thin: {chunkSize: 0}}]", `classes[0].thin.chunkSize: is 0, must be`},
		{"classes: [{name: a, thin: {overcommit: 0.9}}]", "classes[0].thin.overcommit: is 0.9, must be a number from 1.0 to 100.0"},
		{"classes: [{name: a, thin: {overcommit: .nan}}]", "unsupported value: NaN"},
		{"classes: [{name: a, thin: {giveBack: 1}}]", "classes[0].thin.giveBack: is 1, must be true or false"},
		{"classes: [{name: a, thin: {share: 101%}}]", `classes[0].thin.share: is "101%", must be a whole per cent from 0% to 100%`},
		{"classes: [{name: a, thin: {share: -1}}]", "classes[0].thin.share: is -1, must be"},
		{"classes: [{name: a, reserve: 12.5%}]", `classes[0].reserve: is "12.5%", must be`},
		{"classes: [{name: a, thin: {share: 100%}}]", "classes[0]: thin.share 100% + thick.share 0% + reserve 10% is 110%, must be at most 100%"},
		{"classes: [{name: a, reserve: 100%}]", "classes[0]: thin.share and thick.share are both 0%, one must be more"},
		{"maxVolumes: 1\nmaxVolumes: 2", `"maxVolumes" already set`},
		{"maxVolumes: 1\n---\nmaxVolumes: 2", "several YAML documents"},
		{"classes: [", "yaml"},
		{strings.Repeat("# long\n", 200000), "must have at most 1048576"},
	} {
		_, err := ParseConfig([]byte(tc.text))
		if err == nil || !strings.Contains(err.Error(), tc.want) {
			t.Errorf("%.60q:\ngot  %v\nwant %s", tc.text, err, tc.want)
		}
	}
}

func TestParseConfigNamesEveryFault(t *testing.T) {
	_, err := ParseConfig([]byte(`
classes:
- name: Fast
  colour: red
  thin: {chunkSize: 1, overcommit: 0}
- layout: raid6
  select: {minSize: big, models: [7]}
maxVolumes: -3
`))
	if err == nil {
		t.Fatal("accepted")
	}
	for _, field := range []string{
		"classes[0].name:", "classes[0].colour:", "classes[0].thin.chunkSize:", "classes[0].thin.overcommit:",
		"classes[1].name:", "classes[1].layout:", "classes[1].select.minSize:", "classes[1].select.models[0]:", "maxVolumes:",
	} {
		if strings.Count(err.Error(), field) != 1 {
			t.Errorf("%s is not named once in:\n%v", field, err)
		}
	}
	if got := strings.Count(err.Error(), "\n"); got != 8 {
		t.Errorf("%d lines of faults, want 9:\n%v", got+1, err)
	}
}

func TestSelector(t *testing.T) {
	d := Drive{
		Model: "INTEL SSD/X 4T", Serial: "S1", Transport: "pcie", NUMANode: 1, Bytes: 4 << 40,
		Paths: []string{"/dev/disk/by-id/nvme-eui.1", "/dev/disk/by-path/pci-0000:81:00.0-nvme-1"},
	}
	for _, tc := range []struct {
		name string
		s    Selector
		want string // of Mismatches, joined
	}{
		{"empty", Selector{}, ""},
		{"all match", Selector{Transport: []string{"tcp", "pcie"}, Models: []string{"SAM*", "INTEL*4T"}, Serials: []string{"S?"},
			Paths: []string{"/dev/disk/by-path/pci-0000:81:*"}, NUMANodes: []int{0, 1}, MinSize: 4 << 40, MaxSize: 4 << 40}, ""},
		{"transport", Selector{Transport: []string{"tcp"}}, `transport "pcie" is not in ["tcp"]`},
		{"case counts", Selector{Models: []string{"intel*"}}, `model "INTEL SSD/X 4T" is not in ["intel*"]`},
		{"whole text", Selector{Serials: []string{"S"}}, `serial "S1" is not in ["S"]`},
		{"path", Selector{Paths: []string{"/dev/disk/by-path/pci-0000:82:*"}},
			`none of its links ["/dev/disk/by-id/nvme-eui.1" "/dev/disk/by-path/pci-0000:81:00.0-nvme-1"] is in paths ["/dev/disk/by-path/pci-0000:82:*"]`},
		{"node", Selector{NUMANodes: []int{0}}, "NUMA node 1 is not in [0]"},
		{"small", Selector{MinSize: 4<<40 + 1}, "size 4.0 TiB (4398046511104 bytes) is below minSize 4398046511105"},
		{"large and other", Selector{MaxSize: 1 << 40, NUMANodes: []int{3}}, "NUMA node 1 is not in [3]|size 4.0 TiB (4398046511104 bytes) is above maxSize 1Ti"},
		{"broken pattern", Selector{Models: []string{"[INTEL"}}, `model "INTEL SSD/X 4T" is not in ["[INTEL"]`},
	} {
		if got := strings.Join(tc.s.Mismatches(d), "|"); got != tc.want || tc.s.Matches(d) != (tc.want == "") {
			t.Errorf("%s: got %q, want %q", tc.name, got, tc.want)
		}
	}
}

func TestConfigClass(t *testing.T) {
	cfg := Config{Classes: []Class{
		{Name: "fast", Select: Selector{Models: []string{"A*"}}},
		{Name: "any"},
	}}
	for name, want := range map[string]string{"": "fast", "fast": "fast", "any": "any", "none": ""} {
		got, ok := cfg.Class(name)
		if got.Name != want || ok != (want != "") {
			t.Errorf("Class(%q) = %q, %t", name, got.Name, ok)
		}
	}
	for model, want := range map[string]string{"A1": "fast", "B1": "any"} {
		if got, ok := cfg.ClassOf(Drive{Model: model}); got.Name != want || !ok {
			t.Errorf("ClassOf(%q) = %q, %t", model, got.Name, ok)
		}
	}
	if got, ok := (Config{Classes: cfg.Classes[:1]}).ClassOf(Drive{Model: "B1"}); ok {
		t.Errorf("B1 is selected by %q", got.Name)
	}
}

func TestParseSize(t *testing.T) {
	for text, want := range map[string]int64{
		"0": 0, "1": 1, "4096": 4096, "007": 7, "1k": 1000, "1Ki": 1024, "3M": 3e6, "3Mi": 3 << 20, "2G": 2e9, "100Gi": 100 << 30,
		"8T": 8e12, "8Ti": 8 << 40, "1P": 1e15, "2Pi": 2 << 50, "9223372036854775807": math.MaxInt64, "8191Pi": 8191 << 50,
	} {
		if got, err := ParseSize(text); err != nil || got != want {
			t.Errorf("%q: got %d, %v, want %d", text, got, err, want)
		}
	}
	for _, text := range []string{"", " ", "Gi", "-1", "+1", "1.5Gi", "1 Gi", "1gi", "1K", "1GiB", "1e3", "0x10", "1_000", "٣", "9223372036854775808", "8192Pi", "99999999999999999999Ki"} {
		if got, err := ParseSize(text); err == nil {
			t.Errorf("%q: got %d, want an error", text, got)
		}
	}
}

func TestFormatSize(t *testing.T) {
	for n, want := range map[int64]string{0: "0", 1: "1", 1000: "1k", 1024: "1Ki", 512 << 10: "512Ki", 1 << 40: "1Ti", 8e12: "8T", 1<<30 + 1: "1073741825", -1024: "-1Ki"} {
		if got := FormatSize(n); got != want {
			t.Errorf("%d: got %s, want %s", n, got, want)
		}
	}
}

func TestHuman(t *testing.T) {
	for n, want := range map[int64]string{0: "0 bytes", 1023: "1023 bytes", 1024: "1.0 KiB", 1536: "1.5 KiB", 1920383410176: "1.7 TiB", math.MaxInt64: "7.9 EiB"} {
		if got := human(n); got != want {
			t.Errorf("%d: got %s, want %s", n, got, want)
		}
	}
}

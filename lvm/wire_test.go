package lvm

import (
	"errors"
	"os"
	"reflect"
	"strings"
	"testing"
	"time"
)

func readReport(t *testing.T, file string) Report {
	t.Helper()
	data, err := os.ReadFile("testdata/" + file)
	if err != nil {
		t.Fatal(err)
	}
	report, err := parseReport(data)
	if err != nil {
		t.Fatal(err)
	}
	return report
}

func TestReport(t *testing.T) {
	r := readReport(t, "2.03.31/report.json")
	if len(r.VGs) != 1 || len(r.Orphans) != 1 || r.Orphans[0].Device != "/dev/loop2" || r.Orphans[0].VG != "" || r.Orphans[0].Segments != nil {
		t.Fatalf("%d VGs, orphans %+v", len(r.VGs), r.Orphans)
	}
	vg, found := r.VG("lvme-x")
	if !found || !reflect.DeepEqual(vg.Tags, []string{"a/b", "lvme.store=abc"}) || vg.ExtentSize != 4<<20 || vg.Size != 2508193792 || vg.MissingPVs != 0 || vg.Seqno != 17 {
		t.Errorf("VG %+v", vg)
	}
	if got := vg.PVs[1]; got.Device != "/dev/loop1" || len(got.Segments) != 8 || got.Segments[6] != (PVSegment{100, 1, "t-lin"}) || got.Segments[7] != (PVSegment{101, 198, ""}) {
		t.Errorf("PV %+v", got)
	}
	const unknown = Unknown
	for _, want := range []LV{
		{Name: "pool", SegType: "thin-pool", Size: 109051904, Active: true, DataPercent: 0.96, MetadataPercent: 10.5, WhenFull: "error",
			ChunkSize: 65536, MetadataSize: 8388608, Zero: true, TransactionID: 4, Stripes: 2, StripeSize: 65536, SyncPercent: unknown},
		{Name: "v-a", SegType: "thin", Size: 16777216, Tags: []string{"fresh", "name=a"}, Pool: "pool", Active: true, DataPercent: 6.25,
			MetadataPercent: unknown, SyncPercent: unknown, ThinID: 1},
		{Name: "s-a", SegType: "thin", Size: 16777216, Pool: "pool", Origin: "v-a", ReadOnly: true, DataPercent: unknown,
			MetadataPercent: unknown, SyncPercent: unknown, TransactionID: 2, ThinID: 3},
		{Name: "s-skip", SegType: "thin", Size: 16777216, Pool: "pool", Origin: "v-a", SkipActivation: true, DataPercent: unknown,
			MetadataPercent: unknown, SyncPercent: unknown, TransactionID: 3, ThinID: 4},
		{Name: "t-str", SegType: "striped", Size: 41943040, Stripes: 2, StripeSize: 65536, DataPercent: unknown, MetadataPercent: unknown, SyncPercent: unknown},
		{Name: "t-raid", SegType: "raid1", Size: 8388608, Stripes: 2, Active: true, DataPercent: unknown, MetadataPercent: unknown, SyncPercent: 100},
		{Name: "t-raid_rmeta_0", SegType: "linear", Size: 4194304, Stripes: 1, Active: true, Hidden: true, DataPercent: unknown, MetadataPercent: unknown, SyncPercent: unknown},
	} {
		got, found := vg.LV(want.Name)
		if !found || got.UUID == "" || got.Created.Before(time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)) {
			t.Errorf("%s: %t, %+v", want.Name, found, got)
		}
		got.UUID, got.Created = "", time.Time{}
		if !reflect.DeepEqual(got, want) {
			t.Errorf("got  %+v\nwant %+v", got, want)
		}
	}
}

// TestReportShapes: LVM's two JSON formats tell the same.
func TestReportShapes(t *testing.T) {
	if plain, std := readReport(t, "2.03.31/report.json"), readReport(t, "2.03.31/report-std.json"); !reflect.DeepEqual(plain, std) {
		t.Errorf("json     %+v\njson_std %+v", plain, std)
	}
}

func TestReportOfOldLVM(t *testing.T) {
	r := readReport(t, "2.03.16/report.json")
	vg, found := r.VG("lvme-x")
	lv, _ := vg.LV("t-lin")
	if !found || lv.Size != 20<<20 || !reflect.DeepEqual(lv.Tags, []string{"a", "b=c"}) || lv.Active || len(r.Orphans) != 1 {
		t.Errorf("%+v", r)
	}
}

func TestReportWithADriveMissing(t *testing.T) {
	vg, _ := readReport(t, "2.03.31/report-missing.json").VG("lvme-x")
	pool, _ := vg.LV("pool")
	if vg.MissingPVs != 1 || pool.Health != "partial" || len(vg.VG().Devices) != 1 {
		t.Errorf("%+v", vg)
	}
}

const emptyVG = `{"report":[{"vg":[{"vg_name":"x","vg_uuid":"u","vg_tags":"","vg_size":"1","vg_free":"1","vg_extent_size":"1",` +
	`"vg_mda_size":"1","vg_mda_free":"1","vg_seqno":"1","vg_missing_pv_count":"0"}],"pv":[],"lv":[],"pvseg":[],"seg":[]}]}`

func TestReportAmongOtherLines(t *testing.T) {
	r, err := parseReport([]byte("  WARNING: {something} is odd.\n{ not JSON\n" + emptyVG + "\n  done.\n"))
	if err != nil || len(r.VGs) != 1 || r.VGs[0].Name != "x" {
		t.Errorf("got %+v, %v", r, err)
	}
}

func TestReportNotUnderstood(t *testing.T) {
	for name, text := range map[string]string{
		"empty":           "",
		"no JSON":         "  LV VG Attr\n",
		"cut short":       emptyVG[:len(emptyVG)-3],
		"other JSON":      `{"log":[]}`,
		"field missing":   strings.Replace(emptyVG, `"vg_free":"1",`, "", 1),
		"not a number":    strings.Replace(emptyVG, `"vg_free":"1"`, `"vg_free":"1.5g"`, 1),
		"negative":        strings.Replace(emptyVG, `"vg_free":"1"`, `"vg_free":"-1"`, 1),
		"too large":       strings.Replace(emptyVG, `"vg_free":"1"`, `"vg_free":"9223372036854775808"`, 1),
		"of a wrong kind": strings.Replace(emptyVG, `"vg_free":"1"`, `"vg_free":{}`, 1),
	} {
		if r, err := parseReport([]byte(text)); !errors.Is(err, ErrReport) {
			t.Errorf("%s: got %+v, %v; want %v", name, r, err, ErrReport)
		}
	}
}

func FuzzParseReport(f *testing.F) {
	// A small one: the fuzzer would spend its time on making a large one small.
	data, err := os.ReadFile("testdata/2.03.16/report.json")
	if err != nil {
		f.Fatal(err)
	}
	f.Add(data)
	f.Add([]byte(emptyVG))
	f.Fuzz(func(t *testing.T, data []byte) {
		r, err := parseReport(data)
		if err != nil {
			if !errors.Is(err, ErrReport) {
				t.Errorf("not an ErrReport: %v", err)
			}
			return
		}
		for _, vg := range r.VGs {
			for _, lv := range vg.LVs {
				if lv.Size < 0 || lv.DataPercent > 100 || lv.DataPercent < Unknown {
					t.Errorf("impossible LV %+v", lv)
				}
			}
		}
	})
}

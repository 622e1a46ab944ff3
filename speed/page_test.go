package speed

import (
	"regexp"
	"strings"
	"testing"
)

func pageOf(t *testing.T, r Report) string {
	t.Helper()
	var b strings.Builder
	if err := Page(&b, r); err != nil {
		t.Fatal(err)
	}
	return b.String()
}

func TestPageNeedsNothingElse(t *testing.T) {
	r := testReport()
	r.About.Drives = []Drive{{Name: "nvme0n1", Model: `<script>alert("x")</script>`}}
	r.Missing = []string{"raw: no room"}
	text := pageOf(t, r)
	for _, want := range []string{"<svg", "0.970 (0.900 to 1.000)", "25600 IOPS", "&lt;script&gt;", "raw: no room", "as expected"} {
		if !strings.Contains(text, want) {
			t.Errorf("the page has no %q", want)
		}
	}
	if found := regexp.MustCompile(`<script|<link|<img|src=|href=|https?:|url\(|@import|NaN|Inf`).FindAllString(text, -1); found != nil {
		t.Errorf("the page has %q", found)
	}
}

func TestPlotsStayInTheirPicture(t *testing.T) {
	for _, p := range plots(testReport()) {
		for _, row := range p.Rows {
			for what, x := range map[string]float64{"bar": barsLeft + row.Bar, "least": row.Least, "most": row.Most, "p50": row.P50, "p99.9": row.P999} {
				if x < 0 || x > float64(p.Width) {
					t.Errorf("%s of %s is at %f of %d", what, row.Layer, x, p.Width)
				}
			}
			if row.Bar > barsWidth {
				t.Errorf("the bar of %s runs into its text", row.Layer)
			}
		}
	}
}

func TestLatency(t *testing.T) {
	for ns, want := range map[float64]string{900: "1 µs", 85e3: "85 µs", 1.25e6: "1.2 ms", 250e6: "250 ms", 3e9: "3.0 s"} {
		if got := Latency(ns); got != want {
			t.Errorf("%v: %s, want %s", ns, got, want)
		}
	}
}

package table

import (
	"errors"
	"math"
	"strings"
	"testing"
	"time"
)

func TestWrite(t *testing.T) {
	tb := New("NAME", "SIZE", "NOTE")
	tb.Add("nvme0n1", "1Ti", "a long note at the end")
	tb.Add("größe", "", "")
	tb.Add("evil\x1b[2J\nnext", "5", " spaced ")
	var b strings.Builder
	if err := tb.Write(&b); err != nil {
		t.Fatal(err)
	}
	want := `NAME                SIZE   NOTE
nvme0n1             1Ti    a long note at the end
größe               -      -
evil\x1b[2J\nnext   5      spaced
`
	if b.String() != want {
		t.Errorf("got\n%swant\n%s", b.String(), want)
	}
	if tb.Len() != 3 {
		t.Errorf("%d rows", tb.Len())
	}
}

type broken struct{}

func (broken) Write([]byte) (int, error) { return 0, errors.New("disk full") }

func TestWriteReportsFailure(t *testing.T) {
	if err := New("A").Write(broken{}); err == nil {
		t.Error("no error")
	}
}

func TestAddRefusesWrongWidth(t *testing.T) {
	defer func() {
		if recover() == nil {
			t.Error("a row of one cell under two headings was taken")
		}
	}()
	New("A", "B").Add("1")
}

func TestPlain(t *testing.T) {
	for in, want := range map[string]string{
		"":              "-",
		"  \t ":         "-",
		" INTEL SSD  ":  "INTEL SSD",
		"say \"hi\"\n!": `say "hi"\n!`,
		"\xff":          `\xff`,
		"\u202egnp":     `\u202egnp`,
		"übergröße":     "übergröße",
	} {
		if got := Plain(in); got != want {
			t.Errorf("Plain(%q) = %q, want %q", in, got, want)
		}
	}
}

func TestBytes(t *testing.T) {
	for in, want := range map[int64]string{
		0: "0", 1: "1", 1023: "1023", 1024: "1Ki", 1536: "1.5Ki", 2047: "1.9Ki", 1 << 20: "1Mi", 10 << 30: "10Gi",
		1920383410176: "1.7Ti", 153<<30 + 900<<20: "153Gi", math.MaxInt64: "7.9Ei", -2048: "-2Ki", math.MinInt64: "-8Ei",
	} {
		if got := Bytes(in); got != want {
			t.Errorf("Bytes(%d) = %q, want %q", in, got, want)
		}
	}
}

func TestPercent(t *testing.T) {
	for _, tc := range []struct {
		part, whole int64
		want        string
	}{{0, 0, ""}, {0, 10, "0%"}, {1, 1000, "<1%"}, {1, 3, "33%"}, {3, 3, "100%"}, {5, 4, "125%"}, {1 << 60, 1 << 61, "50%"}} {
		if got := Percent(tc.part, tc.whole); got != tc.want {
			t.Errorf("Percent(%d, %d) = %q, want %q", tc.part, tc.whole, got, tc.want)
		}
	}
}

func TestAge(t *testing.T) {
	for in, want := range map[time.Duration]string{
		-time.Second: "0s", 0: "0s", 119 * time.Second: "119s", 2 * time.Minute: "2m", 119 * time.Minute: "119m",
		2 * time.Hour: "2h", 47 * time.Hour: "47h", 48 * time.Hour: "2d", 9999 * time.Hour: "416d",
	} {
		if got := Age(in); got != want {
			t.Errorf("Age(%s) = %q, want %q", in, got, want)
		}
	}
}

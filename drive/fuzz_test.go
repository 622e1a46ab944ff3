package drive

import (
	"testing"
)

// What ParseConfig accepts obeys every rule, whatever the text.
func FuzzParseConfig(f *testing.F) {
	f.Add([]byte(wholeConfig))
	f.Add([]byte("classes: [{name: a, auto: true, select: {numaNodes: [0]}}]\nmaxVolumes: 1"))
	f.Add([]byte(`{"classes": [{"name": "a", "thin": {"share": 1e1, "overcommit": 1e400}}]}`))
	f.Add([]byte("a: &a [*a]"))
	f.Fuzz(func(t *testing.T, data []byte) {
		cfg, err := ParseConfig(data)
		if err != nil {
			return
		}
		if len(cfg.Classes) == 0 || cfg.MaxVolumes < 1 || cfg.MaxVolumes > maxVolumes {
			t.Fatalf("accepted %+v", cfg)
		}
		seen := map[string]bool{}
		for _, c := range cfg.Classes {
			if seen[c.Name] || !className.MatchString(c.Name) || len(c.Name) > maxClassName {
				t.Errorf("name %q (twice: %t)", c.Name, seen[c.Name])
			}
			seen[c.Name] = true
			obeys(t, c)
		}
	})
}

func obeys(t *testing.T, c Class) {
	t.Helper()
	for what, ok := range map[string]bool{
		"auto":       !c.Auto || !c.Select.Empty(),
		"layout":     c.Layout == PerDrive || c.Layout == Striped || c.Layout == Mirrored,
		"placement":  c.Placement == Spread || c.Placement == Pack,
		"shares":     c.Thin.Share >= 0 && c.Thick.Share >= 0 && c.Reserve >= 0 && c.Thin.Share+c.Thick.Share+c.Reserve <= 100 && c.Thin.Share+c.Thick.Share > 0,
		"chunk":      c.Thin.ChunkSize >= chunkUnit && c.Thin.ChunkSize <= maxChunk && c.Thin.ChunkSize%chunkUnit == 0,
		"overcommit": c.Thin.Overcommit >= 1 && c.Thin.Overcommit <= maxOvercommit,
		"stripe":     c.StripeSize >= minStripe && c.StripeSize <= maxStripe && c.StripeSize&(c.StripeSize-1) == 0,
		"limits":     c.Select.MinSize >= 0 && c.Select.MaxSize >= 0 && (c.Select.MaxSize == 0 || c.Select.MaxSize >= c.Select.MinSize),
	} {
		if !ok {
			t.Errorf("accepted a class whose %s is wrong: %+v", what, c)
		}
	}
}

// What ParseSize reads, FormatSize writes so that it is read the same.
func FuzzParseSize(f *testing.F) {
	for _, s := range []string{"0", "1Ki", "100Gi", "8T", "9223372036854775807", "8192Pi", "1.5Gi", "k"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		n, err := ParseSize(s)
		if err != nil {
			return
		}
		if n < 0 {
			t.Errorf("%q is %d bytes", s, n)
		}
		if again, err := ParseSize(FormatSize(n)); err != nil || again != n {
			t.Errorf("%q is %d, written %q, read as %d, %v", s, n, FormatSize(n), again, err)
		}
	})
}

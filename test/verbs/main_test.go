package main

import (
	"slices"
	"testing"
)

func TestParse(t *testing.T) {
	o, format, err := parse([]string{"-volumes", "20,2000", "-groups", "8", "-at-once", "0", "-o", "json"})
	if err != nil || format != "json" || !slices.Equal(o.Volumes, []int{20, 2000}) || !slices.Equal(o.Groups, []int{8}) || o.AtOnce != nil {
		t.Errorf("%+v, %q, %v", o, format, err)
	}
	if o, _, err := parse(nil); err != nil || len(o.Volumes) != 3 || len(o.Groups) != 2 || !o.Peers {
		t.Errorf("without flags: %+v, %v", o, err)
	}
	for _, bad := range [][]string{
		{"-rounds", "0"}, {"-volumes", "ten"}, {"-volumes", "20,10"}, {"-volumes", "4", "-groups", "8"}, {"-groups", "9"}, {"-large", "200"}, {"-o", "html"}, {"-rest", "0s"},
	} {
		if _, _, err := parse(bad); err == nil {
			t.Errorf("%q: no error", bad)
		}
	}
}

// TestLast: a run that was ended in its middle has what it told before.
func TestLast(t *testing.T) {
	for text, want := range map[string]int{
		"": 0, `{"Sizes":[{}]}`: 1, "{\"Sizes\":[{}]}\n{\"Sizes\":[{},{}]}\n": 2, "{\"Sizes\":[{}]}\n{\"Sizes\":[{},": 1,
	} {
		if got := last(text); len(got.Sizes) != want {
			t.Errorf("%q: %d parts, want %d", text, len(got.Sizes), want)
		}
	}
}

package hostrecord

import (
	"errors"
	"reflect"
	"strings"
	"testing"
)

func TestDecide(t *testing.T) {
	mine := &Record{StoreKey: "kaaaaaaa"}
	for _, tc := range []struct {
		name   string
		record *Record
		keys   []string
		want   Decision
	}{
		{"a: record and no drive", mine, nil, Decision{Action: Serve, Key: "kaaaaaaa"}},
		{"a: record and its drives", mine, []string{"kaaaaaaa", "kaaaaaaa"}, Decision{Action: Serve, Key: "kaaaaaaa"}},
		{"b: nothing at all", nil, nil, Decision{Action: MakeKey}},
		{"b: VGs without a key are nobody's", nil, []string{"", ""}, Decision{Action: MakeKey}},
		{"c: drives of one store", nil, []string{"kbbbbbbb", "kbbbbbbb", ""}, Decision{Action: Adopt, Key: "kbbbbbbb"}},
		{"d: foreign drives only", mine, []string{"kbbbbbbb"}, Decision{Action: Serve, Key: "kaaaaaaa", Foreign: []string{"kbbbbbbb"}}},
		{"d: own and foreign drives", mine, []string{"kccccccc", "kaaaaaaa", "kbbbbbbb", "kbbbbbbb"},
			Decision{Action: Serve, Key: "kaaaaaaa", Foreign: []string{"kbbbbbbb", "kccccccc"}}},
		{"d: a broken tag is foreign too", mine, []string{"?"}, Decision{Action: Serve, Key: "kaaaaaaa", Foreign: []string{"?"}}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			got, err := Decide(tc.record, tc.keys)
			if err != nil {
				t.Fatal(err)
			}
			if len(got.Foreign) == 0 {
				got.Foreign = nil
			}
			if !reflect.DeepEqual(got, tc.want) {
				t.Errorf("got %+v, want %+v", got, tc.want)
			}
		})
	}
}

func TestDecideRefuses(t *testing.T) {
	_, err := Decide(nil, []string{"kbbbbbbb", "kaaaaaaa", "kbbbbbbb"})
	if !errors.Is(err, ErrTwoKeys) || !strings.Contains(err.Error(), "kaaaaaaa and kbbbbbbb") {
		t.Errorf("two stores: got %v, want ErrTwoKeys naming both", err)
	}
	if _, err = Decide(nil, []string{"NOT-A-KEY"}); err == nil || !strings.Contains(err.Error(), "NOT-A-KEY") {
		t.Errorf("broken tag: got %v, want an error naming it", err)
	}
	if _, err = Decide(&Record{}, nil); !errors.Is(err, ErrCorrupt) {
		t.Errorf("record without a key: got %v, want ErrCorrupt", err)
	}
}

func TestDecideLeavesItsArgumentAlone(t *testing.T) {
	keys := []string{"kccccccc", "", "kaaaaaaa", "kaaaaaaa"}
	want := append([]string(nil), keys...)
	if _, err := Decide(&Record{StoreKey: "kaaaaaaa"}, keys); err != nil {
		t.Fatal(err)
	}
	if !reflect.DeepEqual(keys, want) {
		t.Errorf("the caller's keys became %q", keys)
	}
}

func TestKeys(t *testing.T) {
	seen := map[string]bool{}
	for range 1000 {
		k := NewKey()
		if !ValidKey(k) || seen[k] {
			t.Fatalf("made %q (made before: %t)", k, seen[k])
		}
		seen[k] = true
	}
	for _, bad := range []string{"", "a", "1aaaaaaa", "aaaaaaa", "aaaaaaaaa", "aaaaaaaA", "aaaa-aaa", "aaaaaaa\n", "äaaaaaa"} {
		if ValidKey(bad) {
			t.Errorf("%q counts as a key", bad)
		}
	}
}

package lvm

import (
	"encoding/json"
	"maps"
	"testing"
)

// FuzzRow: a row reads the same as by package json alone.
func FuzzRow(f *testing.F) {
	for _, text := range []string{
		`{"lv_name":"v-a", "lv_size":"4194304"}`, `{ "lv_tags" : "a,b" ,"x":"" }`, `{}`, ` {"a":"b\"c"}`, `{"a\u0062":"c"}`, `{"a":["b","c"],"d":1,"e":null}`,
		`{"a":"ü"}`, `{"a":{"b":"c"}}`, `null`, `["a","b"]`, `"a"`, `{"a":"b","a":"c"}`, `{"a":"}","{":","}`,
	} {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		var got row
		var want map[string]value
		gotErr, wantErr := json.Unmarshal([]byte(text), &got), json.Unmarshal([]byte(text), &want)
		if (gotErr == nil) != (wantErr == nil) || gotErr == nil && !maps.Equal(got, want) {
			t.Errorf("%q read as %q (%v), by package json %q (%v)", text, got, gotErr, want, wantErr)
		}
	})
}

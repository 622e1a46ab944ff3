package volume

import (
	"reflect"
	"strings"
	"testing"
	"time"
)

func TestRecordSurvivesItsTags(t *testing.T) {
	created := time.Unix(1_790_000_000, 0).UTC()
	for name, r := range map[string]record{
		"volume":   {name: "pvc-1", state: Fresh, mode: Filesystem, fsType: "xfs", profile: "kafka", created: created},
		"hostile":  {name: "a/../b,c\n=41 ü\x00\"'%", state: Raw, mode: Block, profile: "general", created: created},
		"longest":  {name: strings.Repeat("ü", 64), state: Formatted, mode: Filesystem, fsType: "ext4", created: created},
		"options":  {name: "x", state: Formatting, mode: Filesystem, mkfs: []string{"-m", "1", "-T", "largefile"}, created: created},
		"copy":     {name: "x", state: Formatted, mode: Filesystem, source: "s-a+b", target: 5 << 30, created: created},
		"snapshot": {name: "s", snapshot: true, state: Formatted, mode: Filesystem, source: "v-x", reserved: 123, created: created},
		"empty":    {name: "s", snapshot: true, state: Fresh, mode: Block, source: "v-x", created: created},
	} {
		t.Run(name, func(t *testing.T) {
			tags := r.tags()
			for _, tag := range tags {
				if len(tag) > 1024 || strings.Trim(tag, lvmTagChars) != "" {
					t.Errorf("LVM takes no tag like %q", tag)
				}
			}
			got, err := parseRecord(append(tags, "somebody-else", "other:tag=1"))
			if err != nil || !reflect.DeepEqual(got, r) {
				t.Errorf("got %+v, %v\nwant %+v", got, err, r)
			}
		})
	}
}

// lvmTagChars are the characters of a tag (lvm(8), "TAGS").
const lvmTagChars = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_+.-/=!:&#"

func TestParseRecordRefuses(t *testing.T) {
	good := []string{"lvme:volume=a", "lvme:state=fresh", "lvme:mode=block"}
	for name, tc := range map[string]struct {
		tags []string
		want string
	}{
		"no tags":       {nil, "lvme:volume"},
		"two kinds":     {append([]string{"lvme:snapshot=a"}, good...), "one of the tags"},
		"two values":    {append([]string{"lvme:state=raw"}, good...), "stands twice"},
		"no state":      {[]string{"lvme:volume=a", "lvme:mode=block"}, "lvme:state"},
		"unknown state": {[]string{"lvme:volume=a", "lvme:mode=block", "lvme:state=melted"}, "melted"},
		"unknown mode":  {[]string{"lvme:volume=a", "lvme:mode=tape", "lvme:state=fresh"}, "tape"},
		"bad number":    {append([]string{"lvme:created=soon"}, good...), "lvme:created"},
		"negative":      {append([]string{"lvme:target=-1"}, good...), "lvme:target"},
		"cut escape":    {[]string{"lvme:volume=a=4", "lvme:state=fresh", "lvme:mode=block"}, "within an escape"},
		"loose escape":  {[]string{"lvme:volume=a=61", "lvme:state=fresh", "lvme:mode=block"}, "not as lvme writes it"},
	} {
		t.Run(name, func(t *testing.T) {
			if r, err := parseRecord(tc.tags); err == nil || !strings.Contains(err.Error(), tc.want) {
				t.Errorf("got %+v, %v; want an error with %q", r, err, tc.want)
			}
		})
	}
}

func TestVGRecordSurvivesItsTags(t *testing.T) {
	want := vgRecord{store: "abcd1234", class: "fast", number: 3, layout: "mirrored", thin: 60, thick: 30, reserve: 10, stripe: 256 << 10, chunk: 512 << 10}
	got, err := parseVGRecord(want.tags())
	if err != nil || got != want {
		t.Errorf("got %+v, %v, want %+v", got, err, want)
	}
	want.clean = true
	if got, err = parseVGRecord(append(want.tags(), cleanTag)); err != nil || got != want {
		t.Errorf("clean: got %+v, %v, want %+v", got, err, want)
	}
}

func FuzzEscape(f *testing.F) {
	for _, s := range []string{"", "a", "=", "=3d", "a/b c", "\x00\xff", "ü"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		escaped := escape(s)
		if strings.Trim(escaped, lvmTagChars) != "" {
			t.Fatalf("%q has characters that LVM does not take", escaped)
		}
		if back, err := unescape(escaped); err != nil || back != s {
			t.Fatalf("%q became %q, %v", s, back, err)
		}
		if plain, err := unescape(s); err == nil && escape(plain) != s {
			t.Fatalf("%q was taken for %q, which is written %q", s, plain, escape(plain))
		}
	})
}

func FuzzParseRecord(f *testing.F) {
	f.Add("lvme:volume=a\nlvme:state=fresh\nlvme:mode=block")
	f.Add("lvme:snapshot=a=20b\nlvme:state=raw\nlvme:mode=block\nlvme:reserved=12\nlvme:source=v-a")
	f.Fuzz(func(t *testing.T, lines string) {
		r, err := parseRecord(strings.Split(lines, "\n"))
		if err != nil {
			return
		}
		again, err := parseRecord(r.tags())
		if !r.snapshot {
			r.reserved = 0 // only snapshots keep it
		}
		if err != nil || !reflect.DeepEqual(again, r) {
			t.Fatalf("%+v became %+v, %v", r, again, err)
		}
	})
}

package crowd

import (
	"fmt"
	"strings"
	"testing"
)

const group = "lvme-abcd1234 {\n\tid = \"aaaaaa-aaaa-aaaa-aaaa-aaaa-aaaa-aaaaaa\"\n\tseqno = 5\n\n\tlogical_volumes {\n\n" +
	"\t\tpool {\n\t\t\tid = \"pppppp-aaaa-aaaa-aaaa-aaaa-aaaa-aaaaaa\"\n\t\t\tsegment1 {\n\t\t\t\ttype = \"thin-pool\"\n\t\t\t\ttransaction_id = 3\n\t\t\t}\n\t\t}\n\n" +
	"\t\tv-pvc-1 {\n\t\t\tid = \"vvvvvv-aaaa-aaaa-aaaa-aaaa-aaaa-aaaaaa\"\n\t\t\ttags = [\"lvme:volume=pvc-1\", \"lvme:state=fresh\"]\n" +
	"\t\t\tsegment1 {\n\t\t\t\ttype = \"thin\"\n\t\t\t\ttransaction_id = 2\n\t\t\t\tdevice_id = 7\t# its number\n\t\t\t}\n\t\t}\n\n" +
	"\t\tpool_tmeta {\n\t\t\tid = \"mmmmmm-aaaa-aaaa-aaaa-aaaa-aaaa-aaaaaa\"\n\t\t}\n\t}\n}\n"

const dump = `<superblock uuid="" time="0" transaction="3" version="2" data_block_size="1024" nr_data_blocks="0">
  <device dev_id="7" mapped_blocks="0" transaction="2" creation_time="0" snap_time="0">
  </device>
</superblock>
`

func twins(n int) Twins {
	return Twins{Pool: "pool", LV: "v-pvc-1", Count: n, First: 40, Rename: func(i int, text string) string {
		return strings.ReplaceAll(text, "pvc-1", fmt.Sprintf("pvc-twin%d", i))
	}}
}

func TestInGroup(t *testing.T) {
	text, n, err := InGroup(group, twins(3))
	if err != nil {
		t.Fatal(err)
	}
	if n != (Numbers{Transaction: 6, FirstID: 8}) {
		t.Errorf("numbers %+v", n)
	}
	for _, want := range []string{
		"\t\tv-pvc-1 {\n", "\t\tv-pvc-twin0 {\n", "\t\tv-pvc-twin2 {\n", `tags = ["lvme:volume=pvc-twin2", "lvme:state=fresh"]`,
		"device_id = 7\t# its number", "device_id = 10\t# its number", "\t\t\t\ttransaction_id = 6\n", `"CROWD0-0000-0000-0000-0000-0000-000042"`,
		"\t\tpool_tmeta {\n", "vvvvvv-aaaa",
	} {
		if strings.Count(text, want) != 1 {
			t.Errorf("stands %d times: %q", strings.Count(text, want), want)
		}
	}
	if strings.Count(text, "{") != strings.Count(text, "}") || strings.Count(text, "{") != strings.Count(group, "{")+6 {
		t.Errorf("not every twin is whole:\n%s", text)
	}
	// What was made can be made into more.
	more := twins(2)
	more.Rename = func(i int, text string) string {
		return strings.ReplaceAll(text, "pvc-1", fmt.Sprintf("pvc-more%d", i))
	}
	if _, n, err = InGroup(text, more); err != nil || n != (Numbers{Transaction: 8, FirstID: 11}) {
		t.Errorf("twice: %+v, %v", n, err)
	}
}

func TestInGroupRefuses(t *testing.T) {
	for name, change := range map[string]func(*Twins){
		"no such pool": func(w *Twins) { w.Pool = "other" },
		"no such LV":   func(w *Twins) { w.LV = "v-pvc" },
		"no pool":      func(w *Twins) { w.Pool = "pool_tmeta" },
		"no thin":      func(w *Twins) { w.LV = "pool" },
	} {
		w := twins(1)
		change(&w)
		if _, _, err := InGroup(group, w); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
}

func TestInPool(t *testing.T) {
	xml, err := InPool(dump, 3, Numbers{Transaction: 6, FirstID: 8})
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{`transaction="6" version`, `dev_id="7"`, `dev_id="8"`, `dev_id="10"`} {
		if strings.Count(xml, want) != 1 {
			t.Errorf("stands %d times: %s in\n%s", strings.Count(xml, want), want, xml)
		}
	}
	if !strings.HasSuffix(xml, "</superblock>\n") || strings.Count(xml, "</device>") != 4 {
		t.Errorf("not whole:\n%s", xml)
	}
	if _, err := InPool("<nothing/>", 1, Numbers{}); err == nil {
		t.Error("took what is no dump")
	}
}

func TestMap(t *testing.T) {
	xml, err := Map(dump, 7, 100, 50)
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{`mapped_blocks="50"`, `<range_mapping origin_begin="0" data_begin="100" length="50" time="0"/>`} {
		if strings.Count(xml, want) != 1 {
			t.Errorf("lacks %s:\n%s", want, xml)
		}
	}
	if _, err := Map(xml, 7, 0, 1); err == nil {
		t.Error("mapped twice")
	}
	if _, err := Map(dump, 8, 0, 1); err == nil {
		t.Error("mapped what is not there")
	}
}

func TestIDOf(t *testing.T) {
	if id, err := IDOf(group, "v-pvc-1"); id != 7 || err != nil {
		t.Errorf("%d, %v", id, err)
	}
	if _, err := IDOf(group, "pool"); err == nil {
		t.Error("a pool has a number")
	}
}

package check

import (
	"encoding/json"
	"fmt"
	"strconv"
	"strings"
)

// ReportArgs is the command whose output State.Node reads.
var ReportArgs = []string{"lvs", "--reportformat", "json", "--units", "b", "--nosuffix", "-o", "vg_name,vg_tags,lv_name,lv_size"}

// storeTag begins the tag that makes a volume group one of lvme.
const storeTag = "lvme:store="

// Node fills in what LVM on a node says: the output of ReportArgs.
func (s *State) Node(name string, report []byte) error {
	var said struct {
		Report []struct {
			LV []struct {
				VG   string `json:"vg_name"`
				Tags string `json:"vg_tags"`
				Name string `json:"lv_name"`
				Size string `json:"lv_size"`
			} `json:"lv"`
		} `json:"report"`
	}
	if err := json.Unmarshal(report, &said); err != nil || len(said.Report) != 1 {
		return fmt.Errorf("read LVM's report of %s: %d reports in %q: %w", name, len(said.Report), report, err)
	}
	for _, lv := range said.Report[0].LV {
		store := storeOf(lv.Tags)
		if store == "" {
			continue
		}
		bytes, err := strconv.ParseInt(lv.Size, 10, 64)
		if err != nil {
			return fmt.Errorf("read the size of %s of %s: %w", lv.Name, name, err)
		}
		s.LVs = append(s.LVs, LV{Node: name, Store: store, VG: lv.VG, Name: lv.Name, Bytes: bytes})
	}
	s.see(name)
	return nil
}

// see notes that a node was looked at that may have no Node object.
func (s *State) see(name string) {
	for _, n := range s.Nodes {
		if n.Name == name {
			return
		}
	}
	s.Nodes = append(s.Nodes, Node{Name: name})
}

// storeOf finds the store key in the tags of a volume group.
func storeOf(tags string) string {
	for tag := range strings.SplitSeq(tags, ",") {
		if key, ok := strings.CutPrefix(tag, storeTag); ok {
			return key
		}
	}
	return ""
}

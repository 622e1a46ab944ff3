package check

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
)

// files answers as kubectl did.
func files(_ context.Context, args ...string) ([]byte, error) {
	return os.ReadFile(filepath.Join("testdata", args[1]+".json"))
}

// fixture is the state that the files of testdata tell.
func fixture(t *testing.T) State {
	t.Helper()
	var s State
	if err := s.Cluster(t.Context(), files); err != nil {
		t.Fatal(err)
	}
	for _, node := range []string{"node1", "node2"} {
		report, err := os.ReadFile(filepath.Join("testdata", node+".json"))
		if err != nil {
			t.Fatal(err)
		}
		if err := s.Node(node, report); err != nil {
			t.Fatal(err)
		}
	}
	return s
}

func TestState(t *testing.T) {
	s := fixture(t)
	const volume = "k3m9x2ab/b7qz01xy/v-pvc-2f0c1111-0000-0000-0000-000000000001"
	want := State{
		Nodes: []Node{{"node1", "k3m9x2ab"}, {"node2", "q7w1e5rt"}},
		Volumes: []Volume{
			{Object: "pv/pvc-2f0c1111-0000-0000-0000-000000000001", ID: volume, Bytes: 1 << 30, Store: "k3m9x2ab"},
			{Object: "volumesnapshotcontent/snapcontent-81aa", ID: "k3m9x2ab/b7qz01xy/s-snapshot-81aa"},
		},
		Making: []string{"pvc-77770000-0000-0000-0000-000000000002", "snapshot-99bb"},
		Debts:  []Debt{{Store: "q7w1e5rt", ID: "q7w1e5rt/m2n3b4v5/v-pvc-dead"}},
		LVs: []LV{
			{"node1", "k3m9x2ab", "lvme-b7qz01xy", "pool", 15212740608},
			{"node1", "k3m9x2ab", "lvme-b7qz01xy", "s-snapshot-81aa", 1 << 30},
			{"node1", "k3m9x2ab", "lvme-b7qz01xy", "v-pvc-2f0c1111-0000-0000-0000-000000000001", 1 << 30},
			{"node1", "k3m9x2ab", "lvme-b7qz01xy", "v-pvc-77770000-0000-0000-0000-000000000002", 1 << 30},
			{"node2", "q7w1e5rt", "lvme-m2n3b4v5", "pool", 15212740608},
			{"node2", "q7w1e5rt", "lvme-m2n3b4v5", "v-pvc-dead", 1 << 30},
		},
	}
	if !reflect.DeepEqual(s, want) {
		t.Errorf("is\n%+v\nwant\n%+v", s, want)
	}
	v := Judge(s)
	if err := v.Err(); err != nil {
		t.Error(err)
	}
	if len(v.Owed) != 1 || len(v.Making) != 1 {
		t.Errorf("owed %q, in the making %q: want one of each", v.Owed, v.Making)
	}
}

func TestNodeWithoutObject(t *testing.T) {
	var s State
	if err := s.Node("node9", []byte(`{"report": [{"lv": []}]}`)); err != nil {
		t.Fatal(err)
	}
	if want := []Node{{Name: "node9"}}; !reflect.DeepEqual(s.Nodes, want) {
		t.Errorf("nodes are %v, want %v", s.Nodes, want)
	}
}

// TestNotSeen: what cannot be read is an error, never an empty state.
func TestNotSeen(t *testing.T) {
	for name, report := range map[string]string{
		"nothing":   ``,
		"no report": `{}`,
		"size":      `{"report": [{"lv": [{"vg_name": "lvme-a", "vg_tags": "lvme:store=a", "lv_name": "v-a", "lv_size": "1g"}]}]}`,
	} {
		t.Run(name, func(t *testing.T) {
			var s State
			if err := s.Node("node1", []byte(report)); err == nil {
				t.Error("no error")
			}
		})
	}
	broken := errors.New("broken")
	for _, list := range []string{"nodes", "persistentvolumes", "volumesnapshotcontents", "persistentvolumeclaims", "volumesnapshots", "configmaps"} {
		t.Run(list, func(t *testing.T) {
			var s State
			err := s.Cluster(t.Context(), func(ctx context.Context, args ...string) ([]byte, error) {
				if args[1] == list {
					return nil, broken
				}
				return files(ctx, args...)
			})
			if !errors.Is(err, broken) || !strings.Contains(err.Error(), list) {
				t.Errorf("the error is %v", err)
			}
			err = s.Cluster(t.Context(), func(ctx context.Context, args ...string) ([]byte, error) {
				if args[1] == list {
					return []byte("no JSON"), nil
				}
				return files(ctx, args...)
			})
			if err == nil || !strings.Contains(err.Error(), list) {
				t.Errorf("the error of a list that is no JSON is %v", err)
			}
		})
	}
}

func TestQuantity(t *testing.T) {
	for text, want := range map[string]int64{"1Gi": 1 << 30, "320Mi": 320 << 20, "1073741824": 1 << 30, "5G": 5e9, "10Ki": 10240} {
		if have, err := quantity(text); err != nil || have != want {
			t.Errorf("%s is %d (%v), want %d", text, have, err, want)
		}
	}
	for _, text := range []string{"", "Gi", "1.5Gi", "1e9", "1GiB", "1kk"} {
		if have, err := quantity(text); err == nil {
			t.Errorf("%q is %d, want an error", text, have)
		}
	}
}

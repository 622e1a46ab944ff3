package check

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"strings"

	"github.com/lvme/lvme/driver"
	"github.com/lvme/lvme/router"
)

// Kubectl runs kubectl and returns what it prints.
type Kubectl func(ctx context.Context, args ...string) ([]byte, error)

// tombstones is the label of the ConfigMaps with the deletions that are owed.
const tombstones = "lvme.dev/tombstones"

// Cluster fills in what Kubernetes says.
func (s *State) Cluster(ctx context.Context, kubectl Kubectl) error {
	for _, part := range []struct {
		argv []string
		add  func([]byte) error
	}{
		{[]string{"nodes"}, s.addNodes},
		{[]string{"persistentvolumes"}, s.addVolumes},
		{[]string{"volumesnapshotcontents"}, s.addContents},
		{[]string{"persistentvolumeclaims", "-A"}, s.addClaims},
		{[]string{"volumesnapshots", "-A"}, s.addSnapshots},
		{[]string{"configmaps", "-A", "-l", tombstones}, s.addDebts},
	} {
		out, err := kubectl(ctx, append(append([]string{"get"}, part.argv...), "-o", "json")...)
		if err != nil {
			return fmt.Errorf("list %s: %w", part.argv[0], err)
		}
		if err := part.add(out); err != nil {
			return fmt.Errorf("read the list of %s: %w", part.argv[0], err)
		}
	}
	return nil
}

// meta is what is read of an object's metadata.
type meta struct {
	Name   string            `json:"name"`
	UID    string            `json:"uid"`
	Labels map[string]string `json:"labels"`
}

// items reads a list of kubectl.
func items[T any](raw []byte) ([]T, error) {
	var list struct {
		Items []T `json:"items"`
	}
	err := json.Unmarshal(raw, &list)
	return list.Items, err
}

// addNodes notes which store each Node object is labelled with, for nodes that are there already and others.
func (s *State) addNodes(raw []byte) error {
	nodes, err := items[struct {
		Metadata meta `json:"metadata"`
	}](raw)
	for _, n := range nodes {
		s.Nodes = append(s.Nodes, Node{Name: n.Metadata.Name, Store: n.Metadata.Labels[driver.TopologyKey]})
	}
	return err
}

// pv is what is read of a PersistentVolume.
type pv struct {
	Metadata meta `json:"metadata"`
	Spec     struct {
		CSI *struct {
			Driver       string `json:"driver"`
			VolumeHandle string `json:"volumeHandle"`
		} `json:"csi"`
		Capacity     map[string]string `json:"capacity"`
		NodeAffinity struct {
			Required struct {
				Terms []struct {
					Expressions []struct {
						Key    string   `json:"key"`
						Values []string `json:"values"`
					} `json:"matchExpressions"`
				} `json:"nodeSelectorTerms"`
			} `json:"required"`
		} `json:"nodeAffinity"`
	} `json:"spec"`
}

// store is the store that the volume's pods are sent to, "nowhere" for none: a PersistentVolume has one.
func (p pv) store() string {
	for _, term := range p.Spec.NodeAffinity.Required.Terms {
		for _, e := range term.Expressions {
			if e.Key == driver.TopologyKey {
				return strings.Join(e.Values, ",")
			}
		}
	}
	return "nowhere"
}

func (s *State) addVolumes(raw []byte) error {
	pvs, err := items[pv](raw)
	for _, p := range pvs {
		if p.Spec.CSI == nil || p.Spec.CSI.Driver != driver.Name {
			continue
		}
		bytes, err := quantity(p.Spec.Capacity["storage"])
		if err != nil {
			return fmt.Errorf("capacity of %s: %w", p.Metadata.Name, err)
		}
		s.Volumes = append(s.Volumes, Volume{Object: "pv/" + p.Metadata.Name, ID: p.Spec.CSI.VolumeHandle, Bytes: bytes, Store: p.store()})
	}
	return err
}

// units are those in which Kubernetes writes capacities.
var units = map[string]int64{"Ki": 1 << 10, "Mi": 1 << 20, "Gi": 1 << 30, "Ti": 1 << 40, "k": 1e3, "M": 1e6, "G": 1e9, "T": 1e12, "": 1}

// quantity reads an amount of bytes as Kubernetes writes it.
func quantity(text string) (int64, error) {
	number := strings.TrimRight(text, "KMGTik")
	unit, known := units[text[len(number):]]
	n, err := strconv.ParseInt(number, 10, 64)
	if err != nil || !known {
		return 0, errors.Join(fmt.Errorf("%q is no amount of bytes", text), err)
	}
	return n * unit, nil
}

func (s *State) addContents(raw []byte) error {
	contents, err := items[struct {
		Metadata meta `json:"metadata"`
		Spec     struct {
			Driver string `json:"driver"`
			Source struct {
				SnapshotHandle string `json:"snapshotHandle"`
			} `json:"source"`
		} `json:"spec"`
		Status struct {
			SnapshotHandle string `json:"snapshotHandle"`
		} `json:"status"`
	}](raw)
	for _, c := range contents {
		id := cmp.Or(c.Status.SnapshotHandle, c.Spec.Source.SnapshotHandle)
		if c.Spec.Driver == driver.Name && id != "" {
			s.Volumes = append(s.Volumes, Volume{Object: "volumesnapshotcontent/" + c.Metadata.Name, ID: id})
		}
	}
	return err
}

// addClaims notes the volumes that claims without one wait for, by the names that csi-provisioner gives them.
func (s *State) addClaims(raw []byte) error {
	claims, err := items[struct {
		Metadata meta `json:"metadata"`
		Spec     struct {
			VolumeName string `json:"volumeName"`
		} `json:"spec"`
	}](raw)
	for _, c := range claims {
		if c.Spec.VolumeName == "" {
			s.Making = append(s.Making, "pvc-"+c.Metadata.UID)
		}
	}
	return err
}

// addSnapshots notes the snapshots that are not there yet, by the names that csi-snapshotter gives them.
func (s *State) addSnapshots(raw []byte) error {
	snapshots, err := items[struct {
		Metadata meta `json:"metadata"`
		Status   struct {
			ReadyToUse bool `json:"readyToUse"`
		} `json:"status"`
	}](raw)
	for _, v := range snapshots {
		if !v.Status.ReadyToUse {
			s.Making = append(s.Making, "snapshot-"+v.Metadata.UID)
		}
	}
	return err
}

// addDebts reads the tombstones.
func (s *State) addDebts(raw []byte) error {
	maps, err := items[struct {
		Metadata meta              `json:"metadata"`
		Data     map[string]string `json:"data"`
	}](raw)
	for _, m := range maps {
		for key, text := range m.Data {
			var t router.Tombstone
			if err := json.Unmarshal([]byte(text), &t); err != nil {
				return fmt.Errorf("%s of %s: %w", key, m.Metadata.Name, err)
			}
			s.Debts = append(s.Debts, Debt{Store: t.Store, ID: t.ID, Name: t.Name})
		}
	}
	return err
}

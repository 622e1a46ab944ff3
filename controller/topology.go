package controller

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/container-storage-interface/spec/lib/go/csi"

	"github.com/lvme/lvme/driver"
	"github.com/lvme/lvme/volume"
)

// checkRequirement says whether what is made in that store satisfies the
// requirement. A preference binds nobody who has one place only.
func checkRequirement(field string, r *csi.TopologyRequirement, store string) error {
	terms := r.GetRequisite()
	if len(terms) == 0 {
		return nil
	}
	for _, t := range terms {
		if within(t, store) {
			return nil
		}
	}
	for i, t := range terms {
		if key := foreignKey(t); key != "" {
			return volume.Invalid(fmt.Sprintf("%s.requisite[%d]", field, i), key, "the topology key "+driver.TopologyKey)
		}
	}
	return fmt.Errorf("%s: none of the %d stores in requisite is this node's, %s: %w", field, len(terms), store, driver.ErrElsewhere)
}

// within says whether that store lies in the topology. An empty topology is
// everywhere; one with a key that lvme does not know is nowhere.
func within(t *csi.Topology, store string) bool {
	for key, value := range t.GetSegments() {
		if !isOurs(key) || value != store {
			return false
		}
	}
	return true
}

// foreignKey is the first key of the topology that lvme does not know.
func foreignKey(t *csi.Topology) string {
	for _, key := range slices.Sorted(maps.Keys(t.GetSegments())) {
		if !isOurs(key) {
			return key
		}
	}
	return ""
}

// isOurs compares as CSI asks for: topology keys have no case.
func isOurs(key string) bool { return strings.EqualFold(key, driver.TopologyKey) }

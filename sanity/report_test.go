package sanity

import (
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/container-storage-interface/spec/lib/go/csi"
	"github.com/onsi/ginkgo/v2/types"
	"google.golang.org/grpc"

	"github.com/lvme/lvme/volume"
)

// leastSpecs guards against a round that has hardly any: csi-sanity 5.6 has 103.
const leastSpecs = 103

// pending are the specs that csi-sanity itself never runs, with their reasons.
var pending = map[string]string{
	"pagination should detect volumes added between pages and accept tokens when the last volume from a page is deleted": "switched off in csi-sanity itself; the controller's own tests page through volumes",
}

// absent are the reasons for which a spec may be skipped, each with the
// capability that must then not be offered.
var absent = map[string]string{
	"ControllerPublishVolume not supported":             "controller PUBLISH_UNPUBLISH_VOLUME",
	"ControllerUnpublishVolume not supported":           "controller PUBLISH_UNPUBLISH_VOLUME",
	"Controller Publish, UnpublishVolume not supported": "controller PUBLISH_UNPUBLISH_VOLUME",
	"Modify volume not supported":                       "controller MODIFY_VOLUME",
	"Modify Volume not supported":                       "controller MODIFY_VOLUME",
	"ControllerModifyVolume not supported":              "controller MODIFY_VOLUME",
	"ControllerGetVolumeHealth not supported":           "controller GET_VOLUME_HEALTH",
	"ControllerListVolumeHealth not supported":          "controller LIST_VOLUME_HEALTH",
	"GroupControllerService not supported":              "plugin GROUP_CONTROLLER_SERVICE",
	"SNAPSHOT_ACCESSIBILITY_CONSTRAINTS not supported":  "plugin SNAPSHOT_ACCESSIBILITY_CONSTRAINTS",
	"Snapshot not supported":                            "controller CREATE_DELETE_SNAPSHOT",
	"CreateSnapshot not supported":                      "controller CREATE_DELETE_SNAPSHOT",
	"DeleteSnapshot not supported":                      "controller CREATE_DELETE_SNAPSHOT",
	"ListSnapshots not supported":                       "controller LIST_SNAPSHOTS",
	"GetSnapshot not supported":                         "controller GET_SNAPSHOT",
	"Volume Cloning not supported":                      "controller CLONE_VOLUME",
}

// everyAgent and thinAgent are what an agent offers: no less, or specs would be
// skipped with good reason, and no more.
var (
	everyAgent = []string{
		"plugin CONTROLLER_SERVICE", "plugin VOLUME_ACCESSIBILITY_CONSTRAINTS", "plugin expansion ONLINE",
		"controller CREATE_DELETE_VOLUME", "controller LIST_VOLUMES", "controller GET_VOLUME", "controller GET_CAPACITY",
		"controller EXPAND_VOLUME", "controller SINGLE_NODE_MULTI_WRITER",
		"node STAGE_UNSTAGE_VOLUME", "node GET_VOLUME_STATS", "node EXPAND_VOLUME", "node SINGLE_NODE_MULTI_WRITER",
		"node GET_VOLUME_HEALTH", "node GET_STORAGE_HEALTH",
	}
	thinAgent = []string{
		"controller CREATE_DELETE_SNAPSHOT", "controller LIST_SNAPSHOTS", "controller GET_SNAPSHOT", "controller CLONE_VOLUME",
	}
)

// offered are the capabilities that an agent tells of, and the controller that
// stands before it, if any.
func offered(tb testing.TB, agent, before *grpc.ClientConn) map[string]bool {
	tb.Helper()
	all := map[string]bool{}
	plugin, err := csi.NewIdentityClient(before).GetPluginCapabilities(tb.Context(), &csi.GetPluginCapabilitiesRequest{})
	if err != nil {
		tb.Fatal(err)
	}
	for _, c := range plugin.GetCapabilities() {
		if c.GetVolumeExpansion() != nil {
			all["plugin expansion "+c.GetVolumeExpansion().GetType().String()] = true
			continue
		}
		all["plugin "+c.GetService().GetType().String()] = true
	}
	controller, err := csi.NewControllerClient(before).ControllerGetCapabilities(tb.Context(), &csi.ControllerGetCapabilitiesRequest{})
	if err != nil {
		tb.Fatal(err)
	}
	for _, c := range controller.GetCapabilities() {
		all["controller "+c.GetRpc().GetType().String()] = true
	}
	node, err := csi.NewNodeClient(agent).NodeGetCapabilities(tb.Context(), &csi.NodeGetCapabilitiesRequest{})
	if err != nil {
		tb.Fatal(err)
	}
	for _, c := range node.GetCapabilities() {
		all["node "+c.GetRpc().GetType().String()] = true
	}
	return all
}

// was says how a spec ended: "passed", "skipped" or "failed".
func was(spec types.SpecReport) string {
	switch spec.State { //nolint:exhaustive // whatever else there is, is a failure
	case types.SpecStatePassed:
		return "passed"
	case types.SpecStateSkipped, types.SpecStatePending:
		return "skipped"
	default:
		return "failed"
	}
}

// reason says why a spec was skipped.
func reason(spec types.SpecReport) string {
	if spec.State == types.SpecStatePending {
		return pending[spec.LeafNodeText]
	}
	return spec.Failure.Message
}

// excused says whether a spec may have been skipped.
func (r *round) excused(spec types.SpecReport) bool {
	if spec.State == types.SpecStatePending {
		return reason(spec) != ""
	}
	capability, known := absent[reason(spec)]
	return known && !r.offered[capability]
}

// text is the spec's name within the round.
func text(spec types.SpecReport) string {
	names := spec.ContainerHierarchyTexts
	return strings.Join(append(slices.Clone(names[min(1, len(names)):]), spec.LeafNodeText), ": ")
}

// print says how the round went.
func (r *round) print(w io.Writer) {
	count := map[string]int{}
	var took time.Duration
	for _, spec := range r.specs {
		count[was(spec)]++
		took += spec.RunTime
	}
	fmt.Fprintf(w, "sanity %s %s %s: run %d, passed %d, failed %d, skipped %d, in %s\n", r.where, r.kind, r.access,
		count["passed"]+count["failed"], count["passed"], count["failed"], count["skipped"], took.Round(100*time.Millisecond))
	skipped := map[string][]string{}
	for _, spec := range r.specs {
		if was(spec) == "skipped" {
			skipped[why(spec)] = append(skipped[why(spec)], text(spec))
		}
	}
	for _, why := range slices.Sorted(maps.Keys(skipped)) {
		fmt.Fprintf(w, "  skipped %d, %s:\n    %s\n", len(skipped[why]), why, strings.Join(skipped[why], "\n    "))
	}
}

// why explains to people why a spec was skipped.
func why(spec types.SpecReport) string {
	if capability, known := absent[reason(spec)]; known {
		return "since there is no capability " + capability
	}
	return reason(spec)
}

// faults is what was wrong with the round besides the specs that failed, for
// which ginkgo fails the test.
func (r *round) faults() []string {
	faults := slices.Clone(r.left)
	if len(r.specs) < leastSpecs {
		faults = append(faults, fmt.Sprintf("has %d specs, and csi-sanity at least %d", len(r.specs), leastSpecs))
	}
	for _, spec := range r.specs {
		if was(spec) == "skipped" && !r.excused(spec) {
			faults = append(faults, fmt.Sprintf("%s was skipped without need: %q", text(spec), reason(spec)))
		}
	}
	want := map[string]bool{}
	for _, capability := range everyAgent {
		want[capability] = true
	}
	for _, capability := range thinAgent {
		if r.kind == volume.Thin {
			want[capability] = true
		}
	}
	if !maps.Equal(r.offered, want) {
		faults = append(faults, fmt.Sprintf("the agent offers %q, want %q", slices.Sorted(maps.Keys(r.offered)), slices.Sorted(maps.Keys(want))))
	}
	return faults
}

// TestFaults shows rounds that went wrong to the judge of rounds.
func TestFaults(t *testing.T) {
	spec := func(state types.SpecState, why string) types.SpecReport {
		return types.SpecReport{State: state, Failure: types.Failure{Message: why}}
	}
	for name, tc := range map[string]struct {
		spec   types.SpecReport
		change func(*round)
		want   int
	}{
		"good":                      {spec(types.SpecStatePassed, ""), func(*round) {}, 0},
		"excused":                   {spec(types.SpecStateSkipped, "Modify volume not supported"), func(*round) {}, 0},
		"skipped though offered":    {spec(types.SpecStateSkipped, "Snapshot not supported"), func(*round) {}, 1},
		"a reason that nobody knew": {spec(types.SpecStateSkipped, "no time"), func(*round) {}, 1},
		"filtered out":              {spec(types.SpecStateSkipped, ""), func(*round) {}, 1},
		"pending without a reason":  {spec(types.SpecStatePending, ""), func(*round) {}, 1},
		"hardly a spec":             {spec(types.SpecStatePassed, ""), func(r *round) { r.specs = r.specs[:50] }, 1},
		"left behind":               {spec(types.SpecStatePassed, ""), func(r *round) { r.left = []string{"a mount"} }, 1},
		"a capability less":         {spec(types.SpecStatePassed, ""), func(r *round) { delete(r.offered, "node EXPAND_VOLUME") }, 1},
		"a capability more":         {spec(types.SpecStatePassed, ""), func(r *round) { r.offered["node VOLUME_MOUNT_GROUP"] = true }, 1},
	} {
		t.Run(name, func(t *testing.T) {
			r := &round{kind: volume.Thin, offered: map[string]bool{}}
			for _, capability := range slices.Concat(everyAgent, thinAgent) {
				r.offered[capability] = true
			}
			for range leastSpecs - 1 {
				r.specs = append(r.specs, spec(types.SpecStatePassed, ""))
			}
			r.specs = append(r.specs, tc.spec)
			tc.change(r)
			if got := r.faults(); len(got) != tc.want {
				t.Errorf("%q, want %d", got, tc.want)
			}
		})
	}
}

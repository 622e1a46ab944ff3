package suite

import (
	"cmp"
	"fmt"
	"regexp"
	"slices"
	"strings"
)

// Exclusion leaves specs out.
type Exclusion struct {
	Specs  *regexp.Regexp
	Reason string
}

// Exclusions are the specs of the suite that are not run. docs/testing.md lists them.
var Exclusions = []Exclusion{
	{regexp.MustCompile(`\(ntfs\)|\[Feature:Windows\]`), "Windows"},
	{regexp.MustCompile(`\(ext3\)`), "ext3 is not offered"},
	{regexp.MustCompile(`Inline-volume|Pre-provisioned PV`), "volumes that the test makes itself: the suite cannot for an external driver"},
	{regexp.MustCompile(`CSI Ephemeral-volume`), "lvme has persistent volumes only; generic ephemeral ones are tested"},
	{regexp.MustCompile(`\(ROX mode\)|single read-only volume`), "ReadOnlyMany is not offered"},
	{regexp.MustCompile(`VolumeGroupSnapshot|volumegroupsnapshot`), "group snapshots are not built yet"},
	{regexp.MustCompile(`(?i)SnapshotMetadata|snapshot-metadata`), "changed blocks are not built yet"},
	{regexp.MustCompile(`VolumeAttributesClass|volume-modify`), "mutable parameters are not built yet"},
	{regexp.MustCompile(`SELinux`), "the nodes have no SELinux"},
	{regexp.MustCompile(`\[Disruptive\]`), "stops kubelets over SSH, which the nodes have not; the fault tests cut the power instead"},
	{regexp.MustCompile(`volume-lifecycle-performance|pvc-deletion-performance`), "performance of the suite's own clusters"},
	{regexp.MustCompile(`any volume data source`), "fetches a volume populator from a registry"},
}

// excluded is the reason why a spec is left out, "" for none.
func excluded(spec string) string {
	for _, e := range Exclusions {
		if e.Specs.MatchString(spec) {
			return e.Reason
		}
	}
	return ""
}

// otherFS are patterns of the suite for filesystems, each of which is tested with a driver file of its own.
var otherFS = map[string]string{"ext4": "(xfs)", "xfs": "(ext4)"}

// Applicable are the specs of a list that are run for a filesystem.
func Applicable(specs []string, fs string) []string {
	return slices.DeleteFunc(slices.Clone(specs), func(spec string) bool {
		return excluded(spec) != "" || strings.Contains(spec, otherFS[fs])
	})
}

// Pick names one spec by what it is for and by parts of its name.
type Pick struct {
	What  string
	Parts []string
}

// Handful are the specs that every change runs, on ext4, those first that tell most.
var Handful = []Pick{
	{"provision", []string{"Dynamic PV (default fs)]", "provisioning should provision storage with mount options"}},
	{"expand", []string{"Dynamic PV (default fs)(allowExpansion)]", "should resize volume when PVC is edited while pod is using it"}},
	{"restore", []string{"Dynamic PV (default fs)]", "provisioning should provision storage with snapshot data source"}},
	{"clone", []string{"Dynamic PV (default fs)]", "provisioning should provision storage with pvc data source"}},
	{"block", []string{"Dynamic PV (block volmode)]", "volumes should store data"}},
	{"capacity", []string{"Dynamic PV (default fs)]", "capacity provides storage capacity information"}},
	{"topology", []string{"Dynamic PV (delayed binding)]", "should provision a volume and schedule a pod with AllowedTopologies"}},
	{"RWOP", []string{"Dynamic PV (default fs)]", "should block a second pod from using an in-use ReadWriteOncePod volume"}},
	{"ext4", []string{"Dynamic PV (ext4)]", "volumes should store data"}},
	{"larger restore", []string{"Dynamic PV (default fs)]", "should provision correct filesystem size when restoring snapshot to larger size pvc"}},
}

// Choose finds the specs that are picked. Of several the shortest name is meant: the others are variants of it.
func Choose(specs []string, picks []Pick) ([]string, error) {
	var chosen []string
	for _, p := range picks {
		var found []string
		for _, spec := range specs {
			if containsAll(spec, p.Parts) {
				found = append(found, spec)
			}
		}
		if len(found) == 0 {
			return nil, fmt.Errorf("the suite has no spec %q", p.Parts)
		}
		chosen = append(chosen, slices.MinFunc(found, func(a, b string) int { return cmp.Compare(len(a), len(b)) }))
	}
	return chosen, nil
}

func containsAll(text string, parts []string) bool {
	for _, part := range parts {
		if !strings.Contains(text, part) {
			return false
		}
	}
	return true
}

// alone says that nothing else may run beside a spec.
func alone(spec string) bool { return strings.Contains(spec, "[Serial]") }

// Package sanity holds the agent to csi-sanity, the CSI project's own suite:
// whole agents on a host in memory (TestFake) and on real drives and real LVM
// (TestReal), called over their sockets as the kubelet and the sidecars do.
// TestFake has rounds through a router too, with two agents behind it over
// mutual TLS and the first one for a node: the same specs, the same
// expectations.
//
// Each round has an agent of its own and says how many specs were run. A spec
// may be skipped only for a capability that CSI has and lvme does not offer,
// and nothing may be left behind. What csi-sanity does not look at (content,
// concurrency, faults) is not tested here.
package sanity

import (
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/onsi/ginkgo/v2"
	"github.com/onsi/ginkgo/v2/types"
	"github.com/onsi/gomega"
	"k8s.io/klog/v2"

	"github.com/lvme/lvme/volume"
)

// allRounds are the rounds on one kind of host.
func allRounds(where string, host func(testing.TB) *bench) []*round {
	var all []*round
	for _, kind := range []volume.Type{volume.Thin, volume.Thick} {
		for _, access := range []string{"mount", "block"} {
			all = append(all, &round{where: where, kind: kind, access: access, host: host, number: len(all)})
		}
	}
	return all
}

func TestFake(t *testing.T) {
	if os.Getenv("LVME_BED") == "1" {
		t.Skip("in the bed TestReal runs the specs, and ginkgo runs them once a process")
	}
	runRounds(t, append(allRounds("fake", fakeBench), routedRounds()...))
}

// TestReal runs all rounds, or those that LVME_SANITY names, such as
// "thin-mount,thick-block".
func TestReal(t *testing.T) {
	if os.Getenv("LVME_BED") != "1" {
		t.Skip("needs the bed: make test-real")
	}
	chosen, err := choose(allRounds("real", realBench), os.Getenv("LVME_SANITY"))
	if err != "" {
		t.Fatal(err)
	}
	runRounds(t, chosen)
}

// choose are the rounds with these names; "" and "all" are all of them.
func choose(rounds []*round, names string) (chosen []*round, fault string) {
	if names == "" || names == "all" {
		return rounds, ""
	}
	for name := range strings.SplitSeq(names, ",") {
		i := slices.IndexFunc(rounds, func(r *round) bool { return r.name() == name })
		if i < 0 {
			return nil, "LVME_SANITY names the round " + name + ", which is neither all nor one of thin-mount, thin-block, thick-mount, thick-block"
		}
		chosen = append(chosen, rounds[i])
	}
	return chosen, ""
}

func TestChoose(t *testing.T) {
	for names, want := range map[string]int{"": 4, "all": 4, "thin-mount": 1, "thin-mount,thick-block": 2, "thin": 0, "thin-mount,": 0} {
		if got, fault := choose(allRounds("fake", nil), names); len(got) != want || (fault == "") != (want > 0) {
			t.Errorf("%q: %d rounds, %q; want %d", names, len(got), fault, want)
		}
	}
}

// runRounds runs the rounds one after the other as one suite: ginkgo runs one
// a process. What the agents log is shown with the specs that fail.
func runRounds(t *testing.T, rounds []*round) {
	klog.SetLogger(ginkgo.GinkgoLogr)
	gomega.RegisterFailHandler(ginkgo.Fail)
	for _, r := range rounds {
		ginkgo.Describe(r.where+" "+r.name(), ginkgo.Ordered, ginkgo.ContinueOnFailure, r.register)
	}
	suite, reporter := ginkgo.GinkgoConfiguration()
	reporter.Succinct, reporter.NoColor = !reporter.Verbosity().GTE(types.VerbosityLevelVerbose), true
	ginkgo.RunSpecs(t, "lvme", suite, reporter)
	fmt.Println() // ginkgo's last line has no end
	for _, r := range rounds {
		r.print(os.Stdout)
		for _, fault := range r.faults() {
			t.Errorf("%s %s: %s", r.where, r.name(), fault)
		}
	}
}

package control

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/lvme/lvme/lvm/lvmtest"
)

// provisionerLease is what the leader of the csi-provisioners holds.
const provisionerLease = "csi-lvme-dev"

// lvOf is the name of a volume's logical volume.
func lvOf(id string) string { return id[strings.LastIndexByte(id, '/')+1:] }

// testAgentKilled: an agent is killed while lvcreate runs, which then does its work or does not.
func testAgentKilled(t *testing.T, r *rig) {
	n := r.node("node1")
	for _, tc := range []struct {
		name string
		done bool
		away time.Duration
	}{
		{"the-command-did-it", true, 0},
		{"the-command-did-nothing", false, 0},
		{"away-for-half-a-minute", true, 30 * time.Second},
	} {
		hold := n.host.LVM.Hold("lvcreate")
		r.claim(t, tc.name, "waits", "1Gi")
		r.pod(t, tc.name, "node1", tc.name)
		wait(t, hold, n)
		n.kill()
		if !tc.done {
			n.host.LVM.Inject(lvmtest.Fault{Verb: "lvcreate", Crash: true})
		}
		hold.Release()
		time.Sleep(time.Second + tc.away)
		r.innocent(t, tc.name+", while the agent is away")
		n.boot(t)
		volumes, took := r.bound(t, tc.name)
		if count := n.has(t, lvOf(volumes[0].Spec.CSI.VolumeHandle)); count != 1 {
			t.Errorf("%s: there are %d logical volumes", tc.name, count)
		}
		t.Logf("%s: bound %.1f s after the agent was back", tc.name, took.Seconds())
		r.settle(t, tc.name)
	}
}

// testAgentKilledLater: an agent is killed while it copies, expands and deletes, once before LVM has done it and once
// after.
func testAgentKilledLater(t *testing.T, r *rig) {
	n := r.node("node2")
	for _, name := range []string{"early", "late"} {
		r.claim(t, name, "waits", "1Gi")
		r.pod(t, name, "node2", name)
		r.bound(t, name)
	}
	r.deletePods(t)
	for _, name := range []string{"early", "late"} {
		during := func(verb string, begin, end func()) {
			hold := n.host.LVM.Hold(verb)
			begin()
			wait(t, hold, n)
			n.kill()
			if name == "early" {
				n.host.LVM.Inject(lvmtest.Fault{Verb: verb, Crash: true})
			}
			hold.Release()
			time.Sleep(time.Second)
			r.innocent(t, name+" in "+verb+", while the agent is away")
			n.boot(t)
			end()
		}
		snapshot, clone := name+"-snapshot", name+"-clone"
		during("lvcreate", func() { r.takeSnapshot(t, snapshot, name) }, func() { r.awaitSnapshot(t, snapshot) })
		during("lvcreate", func() { r.claim(t, clone, "waits", "1Gi", of("VolumeSnapshot", snapshot)) }, func() { r.bound(t, clone) })
		during("lvextend", func() { r.enlarge(t, name, "2Gi") }, func() { r.awaitSize(t, name, "2Gi") })
		during("lvremove", func() { r.deleteClaims(t, clone) }, func() { r.claimGone(t, clone) })
		r.settle(t, name)
	}
}

// wait waits until a command has come to be held.
func wait(t *testing.T, h *lvmtest.Hold, n *node) {
	t.Helper()
	t.Cleanup(h.Release)
	select {
	case <-h.Waiting:
	case <-time.After(patience):
		t.Fatalf("not within %s: %s is asked for a volume", patience, n.name)
	}
}

// slow has every lvcreate and lvremove take that long until the test ends.
func (r *rig) slow(t *testing.T, d time.Duration) {
	t.Helper()
	for _, n := range r.all() {
		n.slow.Store(int64(d))
		t.Cleanup(func() { n.slow.Store(0) })
	}
}

// testRouterKilled: the replica whose provisioner leads is killed while 30 volumes are made, and the router of the other
// one while they are deleted.
func testRouterKilled(t *testing.T, r *rig) {
	const count = 30
	r.slow(t, 500*time.Millisecond)
	var names []string
	for i := range count {
		names = append(names, fmt.Sprintf("many-%d", i))
		r.claim(t, names[i], []string{"now", "waits"}[i%2], "1Gi")
		if i%2 == 1 {
			r.pod(t, names[i], "", names[i])
		}
	}
	before := r.volumes(t, 5)
	leader := r.leader(t, provisionerLease)
	leader.kill()
	t.Logf("%s killed when %d of %d volumes were there", leader.pod, before, count)
	r.innocent(t, "at once")
	_, took := r.bound(t, names...)
	t.Logf("all %d bound %.1f s later, with one replica", count, took.Seconds())
	r.settle(t, "with one replica")
	leader.start(t)

	r.slow(t, 0)
	r.deletePods(t)
	r.deleteClaims(t, names...)
	other := r.leader(t, provisionerLease)
	left := r.fewer(t, count)
	other.processes["controller"].crash()
	took = r.gone(t)
	t.Logf("the router of %s killed with %d volumes left; all gone %.1f s later", other.pod, left, took.Seconds())
}

// made is for how many volumes and snapshots LVM was asked, on all nodes.
func (r *rig) made() (n int32) {
	for _, one := range r.all() {
		n += one.made.Load()
	}
	return n
}

// volumes waits until there are so many volumes.
func (r *rig) volumes(t *testing.T, least int) (count int) {
	t.Helper()
	await(t, fmt.Sprintf("%d volumes are there", least), func(ctx context.Context) (bool, string) {
		list, err := r.client.CoreV1().PersistentVolumes().List(ctx, metav1.ListOptions{})
		count = len(list.Items)
		return err == nil && count >= least, fmt.Sprint(count, err)
	})
	return count
}

// fewer waits until there are fewer volumes than that.
func (r *rig) fewer(t *testing.T, than int) (left int) {
	t.Helper()
	await(t, "some are deleted", func(ctx context.Context) (bool, string) {
		list, err := r.client.CoreV1().PersistentVolumes().List(ctx, metav1.ListOptions{})
		left = len(list.Items)
		return err == nil && left < than, fmt.Sprint(left, err)
	})
	return left
}

// testAPIAway: the API server is killed while volumes are made, and hangs while they are deleted.
func testAPIAway(t *testing.T, r *rig) {
	const count = 12
	r.slow(t, 10*time.Second)
	var names []string
	asked := r.made()
	for i := range count {
		names = append(names, fmt.Sprintf("api-%d", i))
		r.claim(t, names[i], "now", "1Gi")
	}
	await(t, "some are being made", func(context.Context) (bool, string) { return r.made() > asked+1, fmt.Sprint(r.made(), asked) })
	before := r.volumes(t, 0)
	restarts, restarted := r.restarts(), map[*replica]int{}
	for _, x := range r.replicas {
		restarted[x] = x.processes["controller"].restarts()
	}
	if err := r.plane.KillAPI(); err != nil {
		t.Fatal(err)
	}
	time.Sleep(time.Minute)
	r.slow(t, 0)
	if err := r.plane.StartAPI(t.Context()); err != nil {
		t.Fatal(err)
	}
	r.innocent(t, "as soon as the API server is back")
	_, took := r.bound(t, names...)
	t.Logf("killed for a minute when %d of %d volumes were there: all bound %.1f s after it was back; %d processes were started anew",
		before, count, took.Seconds(), r.restarts()-restarts)
	r.settle(t, "after the minute")

	r.slow(t, 2*time.Second)
	r.deleteClaims(t, names...)
	left := r.fewer(t, count)
	if err := r.plane.PauseAPI(); err != nil {
		t.Fatal(err)
	}
	time.Sleep(30 * time.Second)
	r.slow(t, 0)
	if err := r.plane.ResumeAPI(t.Context()); err != nil {
		t.Fatal(err)
	}
	took = r.gone(t) // meanwhile some are deleted, and their objects are not yet
	t.Logf("hung for half a minute with %d of %d volumes left: all gone %.1f s later", left, count, took.Seconds())
	for _, x := range r.replicas {
		if n := x.processes["controller"].restarts(); n > restarted[x] {
			t.Errorf("the controller of %s has ended %d times", x.pod, n-restarted[x])
		}
	}
}

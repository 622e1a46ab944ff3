package kube

import (
	"context"
	"sync"
	"sync/atomic"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/leaderelection"
	"k8s.io/client-go/tools/leaderelection/resourcelock"
	"k8s.io/klog/v2"
)

// The Lease by which one replica leads, and how long another waits for it.
const (
	Lease         = "lvme-controller"
	leaseDuration = 15 * time.Second
	renewDeadline = 10 * time.Second
	retryPeriod   = 2 * time.Second
)

// lead does work while this replica leads. Who lost the lead stands for it
// again: routing goes on, so the process does not end.
type lead struct {
	client              kubernetes.Interface
	namespace, identity string
	work                func(context.Context)

	working sync.Mutex // held during the work of one term
	leads   atomic.Bool
}

// run stands for election until ctx ends. The work of each term has ended when
// it returns, or the next begins.
func (l *lead) run(ctx context.Context) {
	elector, err := leaderelection.NewLeaderElector(leaderelection.LeaderElectionConfig{
		Lock: &resourcelock.LeaseLock{
			LeaseMeta: metav1.ObjectMeta{Name: Lease, Namespace: l.namespace}, Client: l.client.CoordinationV1(),
			LockConfig: resourcelock.ResourceLockConfig{Identity: l.identity},
		},
		Name: Lease, LeaseDuration: leaseDuration, RenewDeadline: renewDeadline, RetryPeriod: retryPeriod,
		// What the leader writes is safe beside another one, so the Lease may be
		// given back while its last write is on its way.
		ReleaseOnCancel: true,
		Callbacks:       leaderelection.LeaderCallbacks{OnStartedLeading: l.term, OnStoppedLeading: func() {}},
	})
	if err != nil {
		klog.FromContext(ctx).Error(err, "certificates are not kept, claims not steered and events not told by this replica")
		return
	}
	for ctx.Err() == nil {
		elector.Run(ctx)
		l.working.Lock()
		l.working.Unlock() //nolint:staticcheck // that it could be taken says that the work has ended
	}
}

// term is one time of leading.
func (l *lead) term(ctx context.Context) {
	l.working.Lock()
	defer l.working.Unlock()
	log := klog.FromContext(ctx)
	log.Info("leading: certificates are kept, claims steered and events told by this replica", "identity", l.identity)
	l.leads.Store(true)
	l.work(ctx)
	l.leads.Store(false)
	log.Info("not leading any more", "identity", l.identity)
}

// gauge is 1 while this replica leads.
func (l *lead) gauge() float64 {
	if l.leads.Load() {
		return 1
	}
	return 0
}

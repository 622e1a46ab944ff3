package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/lvme/lvme/test/e2e/bench"
)

// questions are what is asked of a cluster when something has failed.
var questions = [][]string{
	{"get", "nodes,pods,pvc,pv,volumesnapshots,volumesnapshotcontents,csistoragecapacities", "-A", "-o", "wide"},
	{"get", "events", "-A", "--sort-by=.lastTimestamp"},
	{"describe", "pods,pvc", "-A"},
	{"-n", bench.Namespace, "logs", "-l", "app.kubernetes.io/name=lvme", "--all-containers", "--prefix", "--tail=400", "--max-log-requests=30"},
	{"-n", bench.Namespace, "get", "configmaps", "-o", "yaml"},
}

// diagnose writes down how the cluster is.
func (c *config) diagnose(ctx context.Context, b *bench.Bench, stage string) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 2*time.Minute)
	defer cancel()
	var text strings.Builder
	for _, argv := range questions {
		out, err := b.Kubectl(ctx, argv...)
		fmt.Fprintf(&text, "\n$ kubectl %s\n%s", strings.Join(argv, " "), out)
		if err != nil {
			fmt.Fprintln(&text, err)
		}
	}
	for _, node := range b.Nodes {
		const look = `lvs -a -o+tags; vgs; dmsetup ls; ps axo pid,stat,etime,args | grep -v '\[' | tail -60; tail -n 60 /var/log/kubelet.log; dmesg | tail -n 40`
		out, err := b.Sh(ctx, node, look)
		fmt.Fprintf(&text, "\n%s$ %s\n%s\n%v\n", node, look, out, err)
	}
	file := filepath.Join(c.dir, stage+"-failed.txt")
	if err := os.WriteFile(file, []byte(text.String()), 0o644); err != nil {
		fmt.Fprintln(os.Stderr, "e2e:", err)
		return
	}
	fmt.Println("how the cluster is:", file)
}

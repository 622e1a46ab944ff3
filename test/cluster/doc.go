// Package cluster is a real Kubernetes on virtual bare-metal nodes: the control plane runs as processes of this machine,
// each node is a machine of test/bed with containerd, a kubelet and NVMe drives. All of it is in one network namespace,
// and none of it is visible outside.
package cluster

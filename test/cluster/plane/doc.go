// Package plane runs the control plane of a cluster as processes of this machine: etcd, the API server, the controller
// manager, the scheduler and the snapshot controller, with certificates of their own.
//
// It is a control plane as it is found in the field where that decides on what a driver may do: nodes are authorized by
// Node and RBAC, NodeRestriction is on, feature gates are at their defaults, service accounts' tokens are bound, and the
// API server proves to kubelets who it is. It is not one where that costs time only: etcd does not wait for its disk, no
// leader is elected, and priority and fairness are off.
//
// The processes are children of this one, in its network namespace, and end with it. There are no nodes here: they are
// made by package cluster and join with the kubeconfig that they are given. There is no DNS and no service proxy.
package plane

// Package control tests lvme's controller against a real Kubernetes control plane, without any machine: API server,
// controller manager, scheduler and snapshot controller of a release run as processes, beside them two replicas of
// `lvme controller` with the sidecars of the chart, each with the chart's flags and the token of the chart's
// ServiceAccount; the agents are real ones on drives in memory, behind a network that the test can cut.
//
// The test stands in for the kubelets: it makes the Node objects, the topology, the EndpointSlices, and brings the
// certificates from the Secret to the agents. Pods are scheduled and never run, and nothing is ever mounted.
//
// After each scenario, what Kubernetes says is compared with what LVM has, by package check.
package control

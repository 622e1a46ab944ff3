// Package kube is all that lvme says to the Kubernetes API, for the central
// controller alone: it is the router's Cluster and Ledger, keeps the
// certificates that router and agents know each other by, steers restores and
// clones to the node that holds their source, and tells by events what changes in
// the storage of nodes.
//
// Its words: the bearer of a store is a Node object with the store's key as
// its topology label; the vigil is the watch over stores that no Node bears;
// the keeper keeps the certificates in Secrets; steering is to set a claim's
// selected-node annotation before the scheduler does; the herald tells what the
// router has heard of the agents.
//
// What a call needs is answered from memory, which informers keep: while the
// API server is away, what was known is known on. Every write is safe from
// several replicas at once; the leader alone keeps certificates, steers and tells.
// It knows nothing of volumes but their ids, and speaks to no agent.
// docs/decisions/0010-steering.md tells of the steering,
// docs/decisions/0012-events.md of the events.
package kube

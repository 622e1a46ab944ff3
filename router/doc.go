// Package router is the CSI controller service in front of many agents. It
// finds the agent that a call is for, by the store key in the id or by the
// topology that is asked for, and forwards the call to it as it is; it answers
// itself only what a list of agents is asked: capacity, lists, capabilities.
//
// Its words: a store is the set of drives that an id belongs to; an agent
// serves one store from one node; a seat is the place of a store, which one
// agent has at a time; a tombstone is a deletion that is owed to a store which
// could not be reached.
//
// It keeps connections and caches and no records but the tombstones. It knows
// nothing of Kubernetes, which package kube stands for, and nothing of LVM:
// requests are checked by the agents. That a node cannot be reached is never
// taken for "not there".
package router

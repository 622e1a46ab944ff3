package router

import (
	"context"
	"errors"
	"time"
)

// Endpoint is where an agent can be reached.
type Endpoint struct {
	// Node is the name of the Kubernetes node the agent runs on.
	Node string
	// Address is host:port of the agent's cluster listener.
	Address string
}

// Cluster is what the router has to know of the cluster around it. Package
// kube asks the Kubernetes API; tests make it up. Every method answers from
// memory, but for Claim.
type Cluster interface {
	// Endpoints sends all agents' endpoints, whole, at first and after each
	// change, until ctx ends. A slow reader gets the newest list only.
	Endpoints(ctx context.Context) <-chan []Endpoint
	// Holder is the node that the cluster records as the store's: the Node
	// object that bears the topology label with this key. "" means that no node
	// bears it. An error means that it could not be looked.
	Holder(store string) (node string, err error)
	// Lost says that the store's node was deleted from the cluster: for the
	// grace period, and without a gap since the cluster could be watched, no
	// Node object has borne the store's label. False while in doubt.
	Lost(store string) bool
	// Segments are the topology segments that the cluster adds to the store's
	// own on that node (zone, rack), nil for none.
	Segments(node string) map[string]string
	// Claim moves the store's label to that node, and takes it off any other.
	Claim(ctx context.Context, store, node string) error
	// Wanted says that a PersistentVolume stands for the volume of that id, whose
	// creation was asked for under that CSI name. It asks the API itself and
	// believes no cache: what is not wanted may be deleted.
	Wanted(ctx context.Context, name, id string) (bool, error)
}

// Tombstone is a deletion owed to a store that could not be reached: of a
// volume or snapshot that its users were told is gone.
type Tombstone struct {
	// Store is the store key.
	Store string `json:"store"`
	// ID is the CSI id; "" when only the name is known, of a volume whose
	// creation may have happened.
	ID string `json:"id,omitempty"`
	// Name is the CSI name of the volume, if ID is empty.
	Name string `json:"name,omitempty"`
	// Since is when it was recorded.
	Since time.Time `json:"since"`
}

// ErrTaken is what a Ledger says of a tombstone that another replica has taken.
var ErrTaken = errors.New("tombstone taken by another replica")

// Ledger keeps the tombstones, the only record of the router. All replicas of
// the router share it. Two tombstones are the same if store, id and name are.
type Ledger interface {
	// Owed are the tombstones of a store, or of all stores for "". It answers
	// from memory, and knows at least what this replica added and removed.
	Owed(store string) []Tombstone
	// Add records a tombstone durably before it returns. One that is there
	// already stays as it is, and is no error.
	Add(ctx context.Context, t Tombstone) error
	// Take reserves a tombstone for this replica until then, durably and by
	// compare and swap: until it is removed or the time has come, no other
	// replica can take it, and it is taken before anything is done about what
	// it stands for. It may be taken again by who has it, for longer. ErrTaken
	// says that another has it; taken is false when it is not there any more.
	Take(ctx context.Context, t Tombstone, until time.Time) (taken bool, err error)
	// Remove forgets a tombstone that this replica has taken. One that is not
	// there is no error; one that another has taken meanwhile is ErrTaken.
	Remove(ctx context.Context, t Tombstone) error
}

// Package walk torments a node: it makes random calls, valid and invalid, to
// its agent, has things go wrong in the middle of them, and after each fault
// holds what is there against package model. The same walk runs on a host in
// memory and on a node of the bed; what it does follows from its seed.
//
// It also goes through all deaths one by one: see Table.
//
// It knows no host: see Host.
package walk

import (
	"context"
	"time"

	"github.com/container-storage-interface/spec/lib/go/csi"
	"google.golang.org/grpc"

	"github.com/lvme/lvme/test/demo/rig"
	"github.com/lvme/lvme/test/torture/model"
	"github.com/lvme/lvme/test/torture/mortal"
)

// Agent is an agent's socket.
type Agent struct {
	csi.IdentityClient
	csi.ControllerClient
	csi.NodeClient
}

// NewAgent speaks through a connection.
func NewAgent(conn grpc.ClientConnInterface) Agent {
	return Agent{csi.NewIdentityClient(conn), csi.NewControllerClient(conn), csi.NewNodeClient(conn)}
}

// Host is a node with drives that were taken and an agent, which runs or not.
type Host interface {
	Daemon
	Content
	// Root is the kubelet's directory.
	Root() string
	// Look says what is there.
	Look(ctx context.Context) (model.Sight, error)
	// Settled waits until all that a killed agent left running has ended.
	Settled(ctx context.Context) error
	// Patience is how long a caller tries again, and what is done in the
	// background may take.
	Patience() time.Duration
}

// Daemon is the agent as a process.
type Daemon interface {
	// Start starts it and waits until it serves.
	Start(ctx context.Context) (Agent, error)
	// Stop ends it as SIGTERM does, Kill at once.
	Stop(ctx context.Context) error
	Kill(ctx context.Context) error
	// Doom orders a death, Struck says whether it has come, and Spare takes the
	// order back.
	Doom(ctx context.Context, d mortal.Deed) error
	Struck(ctx context.Context) (bool, error)
	Spare(ctx context.Context) error
	// Changes are those of the host that the agent made since the last time.
	Changes(ctx context.Context) ([]Change, error)
	// PowerCut switches the node off and on. The agent does not run afterwards.
	PowerCut(ctx context.Context) error
}

// Change is one that an agent made to its host.
type Change struct {
	What string
	Took time.Duration
}

// Content is what stands in published volumes.
type Content interface {
	// MakeDirs makes directories as a kubelet does.
	MakeDirs(ctx context.Context, dirs ...string) error
	// Fill writes new content to a published volume, and it is on the drive when
	// it returns. Sum is a checksum of what is there, read from the drive.
	Fill(ctx context.Context, v *rig.Volume, seed uint64) error
	Sum(ctx context.Context, v *rig.Volume) (string, error)
	// Check has the filesystem on a published block volume checked, by a
	// program that changes nothing.
	Check(ctx context.Context, v *rig.Volume, fs string) error
	// Write starts a program that writes record after record to a published
	// filesystem volume. nil where nothing can be lost by a power cut.
	Write(ctx context.Context, v *rig.Volume) (Writer, error)
	// Hold verifies that the records are there.
	Hold(ctx context.Context, v *rig.Volume, records string) error
}

// Writer is a program that writes records.
type Writer interface {
	// Records are those that it was told to be safely written, once it has ended
	// with its node or was ended.
	Records() string
	// End ends it.
	End()
}

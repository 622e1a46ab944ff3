package router

import (
	"errors"
	"fmt"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"google.golang.org/grpc/credentials"
)

// Config is what a Router is made of. Zero durations and counts stand for the
// defaults.
type Config struct {
	// Cluster and Ledger are what the router has of the cluster around it.
	Cluster Cluster
	Ledger  Ledger
	// Credentials secure the connections to the agents: mutual TLS.
	Credentials credentials.TransportCredentials
	// Registerer gets the router's metrics; nil for none.
	Registerer prometheus.Registerer

	// Dial bounds one attempt to connect to an agent.
	Dial time.Duration
	// Backoff bounds the time between two attempts.
	Backoff time.Duration
	// Restart is how long calls wait for an agent since it was lost: as long as
	// it takes an agent to be replaced by a newer one. Later calls do not wait.
	Restart time.Duration
	// GiveUp is how long CreateVolume says Unavailable of a node that cannot be
	// reached. From then on it says ResourceExhausted, upon which the scheduler
	// looks for another node.
	GiveUp time.Duration
	// Displace is how long the agent of a store must be away before an agent on
	// another node may serve the store.
	Displace time.Duration
	// Settle is how old the tombstone of a name must be before it is paid: by
	// then no request that was on its way arrives any more.
	Settle time.Duration
	// Tend is how often an agent's tombstones and label are looked after.
	Tend time.Duration
	// Changes is how many changes, and how many reads, one agent is asked for at
	// the same time. Whoever comes then is told Aborted.
	Changes int
	// Refresh is the age at which a capacity that is asked for is fetched anew.
	// With csi-provisioner asking every 15 s, what changes on a node by itself,
	// such as a drive that is taken, is known to the scheduler within half a
	// minute.
	Refresh time.Duration
	// Health is how often an agent is asked how its storage is.
	Health time.Duration
	// CapacityWait bounds how long GetCapacity waits for a fresh value.
	CapacityWait time.Duration
	// Arrive is how long an agent that has come may take to say which store it
	// serves, before GetCapacity takes that store's room for none.
	Arrive time.Duration
}

// The defaults of a Config.
const (
	DefaultDial         = 3 * time.Second
	DefaultBackoff      = 5 * time.Second
	DefaultRestart      = 4 * time.Second
	DefaultGiveUp       = 15 * time.Second
	DefaultDisplace     = 5 * time.Minute
	DefaultSettle       = time.Minute
	DefaultTend         = 10 * time.Second
	DefaultChanges      = 8
	DefaultRefresh      = 10 * time.Second
	DefaultHealth       = 30 * time.Second
	DefaultCapacityWait = time.Second
	DefaultArrive       = time.Minute
)

// withDefaults fills in what is left open.
func (c Config) withDefaults() (Config, error) {
	for _, d := range []struct {
		name     string
		value    *time.Duration
		standard time.Duration
	}{
		{"Dial", &c.Dial, DefaultDial},
		{"Backoff", &c.Backoff, DefaultBackoff},
		{"Restart", &c.Restart, DefaultRestart},
		{"GiveUp", &c.GiveUp, DefaultGiveUp},
		{"Displace", &c.Displace, DefaultDisplace},
		{"Settle", &c.Settle, DefaultSettle},
		{"Tend", &c.Tend, DefaultTend},
		{"Refresh", &c.Refresh, DefaultRefresh},
		{"Health", &c.Health, DefaultHealth},
		{"CapacityWait", &c.CapacityWait, DefaultCapacityWait},
		{"Arrive", &c.Arrive, DefaultArrive},
	} {
		if *d.value < 0 {
			return c, fmt.Errorf("router: %s %s is negative", d.name, *d.value)
		}
		if *d.value == 0 {
			*d.value = d.standard
		}
	}
	if c.Changes == 0 {
		c.Changes = DefaultChanges
	}
	if c.Changes < 0 {
		return c, fmt.Errorf("router: Changes %d is negative", c.Changes)
	}
	if c.Cluster == nil || c.Ledger == nil || c.Credentials == nil {
		return c, errors.New("router: needs a Cluster, a Ledger and Credentials")
	}
	return c, nil
}

package routertest

import (
	"context"
	"slices"
	"sync"
	"time"

	"github.com/lvme/lvme/router"
)

// Ledger is a ledger in memory, which replicas share. Its zero value is empty.
type Ledger struct {
	mu   sync.Mutex
	rows []row
	down bool
}

type row struct {
	router.Tombstone
	by    *replica
	until time.Time
}

// Replica is the ledger as one replica of the router has it.
func (l *Ledger) Replica() router.Ledger { return &replica{l} }

type replica struct{ ledger *Ledger }

// SetDown has every change fail.
func (l *Ledger) SetDown(down bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.down = down
}

// All are the tombstones that there are.
func (l *Ledger) All() []router.Tombstone { return l.Replica().Owed("") }

// find is where the row of a tombstone is, -1 for nowhere; l.mu is held.
func (l *Ledger) find(t router.Tombstone) int {
	return slices.IndexFunc(l.rows, func(r row) bool { return r.Store == t.Store && r.ID == t.ID && r.Name == t.Name })
}

// change makes a change unless the ledger is down or the call has ended.
func (r *replica) change(ctx context.Context, f func(l *Ledger) error) error {
	r.ledger.mu.Lock()
	defer r.ledger.mu.Unlock()
	if r.ledger.down {
		return ErrDown
	}
	if err := ctx.Err(); err != nil {
		return err
	}
	return f(r.ledger)
}

// Owed implements router.Ledger.
func (r *replica) Owed(store string) (owed []router.Tombstone) {
	r.ledger.mu.Lock()
	defer r.ledger.mu.Unlock()
	for _, row := range r.ledger.rows {
		if store == "" || row.Store == store {
			owed = append(owed, row.Tombstone)
		}
	}
	return owed
}

// Add implements router.Ledger.
func (r *replica) Add(ctx context.Context, t router.Tombstone) error {
	return r.change(ctx, func(l *Ledger) error {
		if l.find(t) < 0 {
			l.rows = append(l.rows, row{Tombstone: t})
		}
		return nil
	})
}

// Take implements router.Ledger.
func (r *replica) Take(ctx context.Context, t router.Tombstone, until time.Time) (taken bool, err error) {
	err = r.change(ctx, func(l *Ledger) error {
		i := l.find(t)
		if i < 0 {
			return nil
		}
		if one := l.rows[i]; one.by != nil && one.by != r && time.Now().Before(one.until) {
			return router.ErrTaken
		}
		l.rows[i].by, l.rows[i].until, taken = r, until, true
		return nil
	})
	return taken, err
}

// Remove implements router.Ledger.
func (r *replica) Remove(ctx context.Context, t router.Tombstone) error {
	return r.change(ctx, func(l *Ledger) error {
		i := l.find(t)
		if i < 0 {
			return nil
		}
		if l.rows[i].by != r {
			return router.ErrTaken
		}
		l.rows = slices.Delete(l.rows, i, i+1)
		return nil
	})
}

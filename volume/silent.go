package volume

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync/atomic"
	"time"

	"github.com/lvme/lvme/drive"
)

// A drive may stop answering and give no error, for seconds or for ever. Who
// waits for it cannot be ended, so nobody waits for it that has others to see
// to:
//
//   - a drive that did not answer when the drives were listed is shown to no
//     command. Its pool keeps what is known of it, is given no new volume, and
//     every change of it fails at once with ErrUnavailable;
//   - a drive that begins to hang later holds the command that meets it, and
//     with it the writer's right to that one pool. Looks at the drives and
//     whoever sees to all pools wait for a pool a bounded time only;
//   - commands that read, and the kernel's status of devices, are given up by
//     package lvm, and are not begun again before they have ended.
//
// A drive that answers, and with errors only, is treated alike but for one
// thing: devices of its volumes can be taken away, since that needs no drive.

// defaultPatience is Options.Patience unless it says otherwise.
const defaultPatience = 30 * time.Second

func (s *Store) patience() time.Duration {
	if s.Patience > 0 {
		return s.Patience
	}
	return defaultPatience
}

// silence is why a pool cannot be commanded though its drive is in this node.
type silence struct {
	why string
	// hung: even what needs no drive may never end.
	hung bool
}

// quiet holds a pool's silence. It is looked at by who waits for the pool, who
// must not hold Store.mu.
type quiet struct{ now atomic.Pointer[silence] }

// reason is why the pool cannot be commanded, "" for nothing.
func (q *quiet) reason() string {
	if now := q.now.Load(); now != nil {
		return now.why
	}
	return ""
}

func (q *quiet) hung() bool {
	now := q.now.Load()
	return now != nil && now.hung
}

// unheard says why the VG on these drives was not seen though one of them is in
// this node, nil when none is, or when it is readable and the VG not on it.
func (v sight) unheard(drives []PoolDrive) *silence {
	for _, known := range drives {
		for _, d := range v.drives {
			if known.ID == "" || !d.Is(known.ID) || !d.Live() {
				continue
			}
			switch {
			case d.Content.Silent:
				return &silence{hung: true, why: fmt.Sprintf("drive %s %s (%s) does not answer: %s", d.Model, d.Serial, d.Path, d.Content.Error)}
			case !d.Content.Probed:
				return &silence{why: fmt.Sprintf("drive %s %s (%s) cannot be read: %s", d.Model, d.Serial, d.Path, d.Content.Error)}
			}
		}
	}
	return nil
}

// bare names the first of these drives that is in this node and can be read, ""
// for none. LVM saw no VG of ours on it.
func (v sight) bare(drives []PoolDrive) string {
	for _, known := range drives {
		for _, d := range v.drives {
			if known.ID != "" && d.Is(known.ID) && d.Live() && d.Content.Probed {
				return fmt.Sprintf("%s %s (%s)", d.Model, d.Serial, d.Path)
			}
		}
	}
	return ""
}

// shown says whether LVM may look at the drive.
func shown(d drive.Drive) bool {
	return d.Live() && d.Bytes > 0 && len(d.Partitions) == 0 && !d.Content.Silent
}

// silentDrives names the drives that nobody knows the content of.
func (v sight) silentDrives() []string {
	var paths []string
	for _, d := range v.drives {
		if d.Live() && d.Content.Silent {
			paths = append(paths, d.Path)
		}
	}
	return paths
}

// hush notes that the pool's drive is here and cannot be asked; Store.mu is
// held. What is known of it stays. Of one that was away nothing is known.
func (p *pool) hush(why *silence) {
	p.now.Store(why)
	if p.away {
		p.away, p.stale = false, why.why
	}
}

// trouble is why a pool gives no room that is not want of room: a drive of it
// hangs, cannot be read, was pulled out, or is missing. Store.mu is held.
func (p *pool) trouble() error {
	problem := p.problem()
	switch {
	case p.missing > 0 && problem != "":
		return fmt.Errorf("VG %s: %w: %s", VGName(p.id), ErrAway, problem)
	case p.reason() != "", p.stuck != "", !p.slow().IsZero():
		return fmt.Errorf("VG %s: %w (the agent looks again by itself): %s", VGName(p.id), ErrUnavailable, problem)
	}
	return nil
}

// errHeld is the cause of a wait for a pool that was given up.
var errHeld = errors.New("a change of it has not ended: its drive may hang")

// use is what the kernel says of a thin pool.
type use struct{ thin, metadata int64 }

// Ailing says that some pool or its drive cannot be asked, or that a pool waits
// for something to end: whoever looks from time to time should look again soon.
func (s *Store) Ailing() bool {
	s.mu.RLock()
	defer s.mu.RUnlock()
	for _, p := range s.pools {
		if p.reason() != "" || p.stuck != "" || p.stale != "" || !p.slow().IsZero() {
			return true
		}
	}
	return false
}

// askable says whether the kernel can be asked of a pool: it may wait for the
// drive itself before it answers, and then nothing ends the question, nor the
// process that asked it.
func (s *Store) askable(ctx context.Context, p *pool, drives []PoolDrive) bool {
	if p.hung() || !p.slow().IsZero() {
		return false
	}
	return s.Stalled == nil || !slices.ContainsFunc(drives, func(d PoolDrive) bool { return s.Stalled(ctx, d.Path) })
}

// remember keeps what the kernel said of a pool, and recall is it.
func (s *Store) remember(p *pool, d Pool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	p.use = use{d.ThinUsed, d.MetadataUsed}
}

func (s *Store) recall(p *pool, d *Pool) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	d.ThinUsed, d.MetadataUsed = p.use.thin, p.use.metadata
}

// lock waits for the right to change the VG. Of one whose drive cannot be asked
// nobody gets it.
func (p *pool) lock(ctx context.Context) (unlock func(), err error) {
	if why := p.reason(); why != "" {
		return nil, fmt.Errorf("VG %s: %w (the agent looks again by itself): %s", VGName(p.id), ErrUnavailable, why)
	}
	return p.take(ctx)
}

// take is lock whether or not the drive can be asked.
func (p *pool) take(ctx context.Context) (unlock func(), err error) {
	select {
	case p.writer <- struct{}{}:
		p.held.Store(time.Now().UnixNano())
		return func() {
			p.held.Store(0)
			<-p.writer
		}, nil
	case <-ctx.Done():
		return nil, fmt.Errorf("wait for other changes of %s: %w", VGName(p.id), context.Cause(ctx))
	}
}

// slow is since when a change of the pool has been running that takes
// suspiciously long, zero for none.
func (p *pool) slow() time.Time {
	if since := p.held.Load(); since != 0 {
		if began := time.Unix(0, since); time.Since(began) > p.patience {
			return began
		}
	}
	return time.Time{}
}

// lockSoon is lock for those who have other pools to see to: they wait for this
// one a bounded time.
func (p *pool) lockSoon(ctx context.Context) (unlock func(), err error) {
	wait := p.patience
	if !p.slow().IsZero() {
		wait = 0
	}
	ctx, cancel := context.WithTimeoutCause(ctx, wait, errHeld)
	defer cancel()
	return unavailable(p.lock(ctx))
}

// lockInTurn is lock for who can go elsewhere while the drive hangs: it waits for
// any number of changes before it, each of which may take as long as a drive that
// works takes, and keeps its place among them.
func (p *pool) lockInTurn(ctx context.Context) (unlock func(), err error) {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	go func() {
		look := time.NewTicker(p.patience)
		defer look.Stop()
		for {
			select {
			case <-look.C:
			case <-ctx.Done():
				return
			}
			if !p.slow().IsZero() {
				cancel(errHeld)
			}
		}
	}()
	return unavailable(p.lock(ctx))
}

// unavailable is what the caller learns whose wait for the pool was given up.
func unavailable(unlock func(), err error) (func(), error) {
	if errors.Is(err, errHeld) {
		err = fmt.Errorf("%w: %w", ErrUnavailable, err)
	}
	return unlock, err
}

// effort is work that is being done for a pool.
type effort struct {
	done chan struct{}
	err  error
}

// eachSoon does work for every pool at once, and waits for all of them a
// bounded time. For a pool that is still worked on the error says so.
func (s *Store) eachSoon(ctx context.Context, pools []*pool, wait time.Duration, work func(context.Context, *pool) error) error {
	limited, cancel := context.WithTimeoutCause(ctx, wait, fmt.Errorf("%w: not ready within %s: its drive may hang; it goes on", ErrUnavailable, wait))
	defer cancel()
	ended := make(chan error, len(pools))
	for _, p := range pools {
		go func() { ended <- s.seeTo(limited, p, work) }()
	}
	var errs []error
	for range pools {
		errs = append(errs, <-ended)
	}
	return errors.Join(errs...)
}

// seeTo does work for a pool, after what is being done for it already, until ctx
// ends; the work does not end with it.
func (s *Store) seeTo(ctx context.Context, p *pool, work func(context.Context, *pool) error) error {
	for {
		mine := &effort{done: make(chan struct{})}
		begun := p.effort.CompareAndSwap(nil, mine)
		now := mine
		if begun {
			s.background.Go(func() {
				defer close(mine.done)
				mine.err = work(context.WithoutCancel(ctx), p)
				p.effort.Store(nil)
			})
		} else if now = p.effort.Load(); now == nil {
			continue // it has just ended
		}
		select {
		case <-now.done:
			if begun && mine.err != nil {
				return fmt.Errorf("VG %s: %w", VGName(p.id), mine.err)
			}
			if begun {
				return nil
			}
		case <-ctx.Done():
			return fmt.Errorf("VG %s: %w", VGName(p.id), context.Cause(ctx))
		}
	}
}

package main

import (
	"context"
	"fmt"
	"strings"
	"sync"

	"github.com/lvme/lvme/test/bed"
	"github.com/lvme/lvme/test/demo/rig"
)

// writeRecords writes one file after the other, and says its checksum when it is safely on the drive. Beside it
// another writer never waits for the drive at all.
const writeRecords = `cd "$1"; (while :; do head -c 200000 /dev/urandom >noise; done) &
for ((i = 1; ; i++)); do head -c 50000 /dev/urandom >record-$i; sync record-$i .; sha256sum record-$i; done`

// writer is a program that writes records to a volume.
type writer struct {
	mu     sync.Mutex
	said   string
	more   chan struct{} // closed and replaced whenever it said something
	cancel context.CancelFunc
	ended  chan struct{}
}

func startWriter(ctx context.Context, node *bed.Node, v *rig.Volume) *writer {
	ctx, cancel := context.WithCancel(ctx)
	w := &writer{more: make(chan struct{}), cancel: cancel, ended: make(chan struct{})}
	go func() {
		defer close(w.ended)
		// It ends by being killed; what else may happen to it, it says.
		_, _ = node.Run(ctx, bed.Cmd{Args: []string{"bash", "-c", writeRecords, "bash", v.Target()}, Stdout: w, Stderr: w})
	}()
	return w
}

// Write takes what the program says.
func (w *writer) Write(b []byte) (int, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.said += string(b)
	close(w.more)
	w.more = make(chan struct{})
	return len(b), nil
}

// acknowledged are the checksums of the records that are safely written.
func (w *writer) acknowledged() (sums string, n int) {
	w.mu.Lock()
	defer w.mu.Unlock()
	whole := w.said[:strings.LastIndexByte(w.said, '\n')+1]
	return strings.TrimSuffix(whole, "\n"), strings.Count(whole, "\n")
}

// await waits until so many records are written.
func (w *writer) await(ctx context.Context, n int) error {
	for {
		w.mu.Lock()
		more := w.more
		w.mu.Unlock()
		said, have := w.acknowledged()
		if have >= n {
			return nil
		}
		select {
		case <-more:
		case <-w.ended:
			return fmt.Errorf("the writer has ended: %s", said)
		case <-ctx.Done():
			return fmt.Errorf("the writer has written %d records, not yet %d: %w", have, n, ctx.Err())
		}
	}
}

// stop kills the program and returns the checksums of all records.
func (w *writer) stop() (sums string) {
	w.cancel()
	<-w.ended
	sums, _ = w.acknowledged()
	return sums
}

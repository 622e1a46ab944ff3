package rig

import (
	"context"
	"fmt"
	"strings"
	"sync"

	"github.com/lvme/lvme/test/bed"
)

// Records is a program on the node that writes file after file into a directory and says the checksum of each once it
// is safely on the drive.
type Records struct {
	end  context.CancelFunc
	done chan struct{}

	mu   sync.Mutex
	said strings.Builder
}

const writeRecords = `cd "$1"; for ((i = 1; ; i++)); do
	head -c 50000 /dev/urandom >record-$i && sync record-$i . && sha256sum record-$i || exit 0
done`

// StartRecords starts it. It ends with its node's power, by End, or when the directory takes no more.
func StartRecords(ctx context.Context, node *bed.Node, dir string) *Records {
	ctx, end := context.WithCancel(ctx)
	r := &Records{end: end, done: make(chan struct{})}
	go func() {
		defer close(r.done)
		// How it ends is its end.
		_, _ = node.Run(ctx, bed.Cmd{Args: []string{"bash", "-c", writeRecords, "bash", dir}, Stdout: r, Stderr: r})
	}()
	return r
}

// End ends it.
func (r *Records) End() {
	r.end()
	<-r.done
}

// Ended is closed when it has ended.
func (r *Records) Ended() <-chan struct{} { return r.done }

// Write implements io.Writer.
func (r *Records) Write(b []byte) (int, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.said.Write(b)
}

// Lines are what it has said so far, a checksum and a name each.
func (r *Records) Lines() []string {
	r.mu.Lock()
	defer r.mu.Unlock()
	text := r.said.String()
	text = text[:strings.LastIndexByte(text, '\n')+1]
	if text == "" {
		return nil
	}
	return strings.Split(strings.TrimSuffix(text, "\n"), "\n")
}

// CheckRecords verifies that all of them are there.
func CheckRecords(ctx context.Context, node *bed.Node, dir string, lines []string) error {
	var complaint strings.Builder
	code, err := node.Run(ctx, bed.Cmd{
		Args: []string{"sha256sum", "--quiet", "--check", "-"}, Dir: dir,
		Stdin: strings.NewReader(strings.Join(lines, "\n") + "\n"), Stdout: &complaint, Stderr: &complaint,
	})
	if err == nil && code != 0 {
		err = fmt.Errorf("records in %s: %s", dir, complaint.String())
	}
	return err
}

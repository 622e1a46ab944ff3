package rig

import (
	"bytes"
	"sync"
)

// tailBytes is how much a Tail keeps.
const tailBytes = 64 << 10

// Tail keeps the end of what is written to it. It may be used from several goroutines.
type Tail struct {
	mu   sync.Mutex
	kept []byte
}

// Write implements io.Writer.
func (t *Tail) Write(p []byte) (int, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.kept = append(t.kept, p...)
	if over := len(t.kept) - tailBytes; over > 0 {
		t.kept = append(t.kept[:0], t.kept[over:]...)
	}
	return len(p), nil
}

// Lines returns the last n lines.
func (t *Tail) Lines(n int) string {
	t.mu.Lock()
	defer t.mu.Unlock()
	text := bytes.TrimRight(t.kept, "\n")
	for i := len(text) - 1; i >= 0; i-- {
		if text[i] == '\n' {
			if n--; n == 0 {
				return string(text[i+1:])
			}
		}
	}
	return string(text)
}

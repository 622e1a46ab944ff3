package volatile

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
)

// entry is something that a drive was told.
type entry struct {
	offset, length int64
	data           []byte // nil for zeros
	durable        bool   // from then on, whatever happens
	flush          bool
}

// record is all that a drive was told since a moment, and what it was then.
type record struct {
	base    string
	entries []entry
}

// Left says what of the writes since the last flush a power cut leaves.
type Left int

// The kinds of power cuts.
const (
	// LeftAll: all of them.
	LeftAll Left = iota
	// LeftNone: none.
	LeftNone
	// LeftLast: the last of them alone.
	LeftLast
)

// Record begins to remember what the drive is told.
func (c *Cache) Record() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	base := c.file.Name() + ".base"
	if err := copyFile(base, c.file, c.size); err != nil {
		return fmt.Errorf("copy the drive: %w", err)
	}
	c.record = &record{base: base}
	return nil
}

// Moment is how much the drive has been told since it is recorded.
func (c *Cache) Moment() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return len(c.record.entries)
}

// Writes says whether what the drive was told last at a moment is to be written.
func (c *Cache) Writes(moment int) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return moment > 0 && !c.record.entries[moment-1].flush
}

// note remembers what the drive is told; c.mu is held.
func (c *Cache) note(e entry) {
	if c.record != nil && !c.rewound {
		e.data = slices.Clone(e.data)
		c.record.entries = append(c.record.entries, e)
	}
}

// Rewind makes the drive what a power cut at a moment leaves of it. It goes on
// from there without being recorded; the record stays. Nobody may use the drive.
func (c *Cache) Rewind(moment int, left Left) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	base, err := os.Open(c.record.base)
	if err != nil {
		return err
	}
	defer base.Close()
	if err := copyFile(c.file.Name(), base, c.size); err != nil {
		return fmt.Errorf("copy the drive back: %w", err)
	}
	c.flush()
	c.rewound = true
	told := c.record.entries[:moment]
	flushed := 0
	for i, e := range told {
		if e.flush {
			flushed = i + 1
		}
	}
	for i, e := range told {
		if i >= flushed && !e.durable && (left == LeftNone || left == LeftLast && i < moment-1) {
			continue
		}
		if err := c.apply(e); err != nil {
			return fmt.Errorf("write what the drive was told: %w", err)
		}
	}
	return nil
}

func (c *Cache) apply(e entry) error {
	switch {
	case e.flush:
		return nil
	case e.data == nil:
		return punch(c.file, e.offset, e.length)
	}
	_, err := c.file.WriteAt(e.data, e.offset)
	return err
}

// copyFile copies the first bytes of a file over another's, and leaves out what
// is zeros.
func copyFile(to string, from io.ReaderAt, size int64) error {
	f, err := os.OpenFile(to, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return err
	}
	defer f.Close()
	if err := errors.Join(f.Truncate(0), f.Truncate(size)); err != nil {
		return err
	}
	buf, zeros := make([]byte, 1<<20), make([]byte, 1<<20)
	for at := int64(0); at < size; at += int64(len(buf)) {
		part := buf[:min(int64(len(buf)), size-at)]
		if _, err := from.ReadAt(part, at); err != nil {
			return err
		}
		if bytes.Equal(part, zeros[:len(part)]) {
			continue
		}
		if _, err := f.WriteAt(part, at); err != nil {
			return err
		}
	}
	return nil
}

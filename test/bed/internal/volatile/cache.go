// Package volatile is a drive with a volatile write cache: of what was written
// since its last flush, a power cut leaves some and takes the rest, block by
// block, in no order.
//
// It serves the drive to QEMU by the NBD protocol. It knows neither what is on
// the drive nor when the power is cut.
package volatile

import (
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"sync"
)

// blockSize is what a drive writes whole or not at all, in bytes. NVMe drives
// promise it for their logical block, and those made for servers for 4 KiB.
const blockSize = 4096

// cacheBlocks is how much the cache holds, 64 MiB: as a drive that has no more
// room in it, it then makes all of it durable without having been told to.
const cacheBlocks = 64 << 20 / blockSize

// QEMU's NVMe controller takes "force unit access" of a write, and forgets it (10.0;
// NBD would carry it). Who wants it has the drive flush first: the kernel makes a
// flush and such a write of what a journal commits with. So of the writes after a
// flush the first are durable. Drives may do that; without it they would break
// promises that they made.
const (
	forcedWrites    = 2
	maxForcedWrites = 2 * forcedWrites
)

// Cache is the drive: a file that has what was last written, and what its blocks
// were before that, as far as they are not durable. Its methods may be called at
// the same time.
type Cache struct {
	mu   sync.Mutex
	file *os.File
	size int64
	// states are those that each block has had since the last flush, the durable
	// one first, and without the last, which is in the file.
	states map[int64][][]byte
	held   int // of all blocks

	// forced is how many of the next writes are durable at once: see forcedWrites.
	forced int

	record  *record // nil for none
	rewound bool
}

// New makes a drive of a file.
func New(file *os.File, size int64) *Cache {
	return &Cache{file: file, size: size, states: map[int64][][]byte{}}
}

// ReadAt implements io.ReaderAt: what was written last.
func (c *Cache) ReadAt(p []byte, offset int64) (int, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.file.ReadAt(p, offset)
}

// WriteAt implements io.WriterAt. Nothing of it is durable yet.
func (c *Cache) WriteAt(p []byte, offset int64) (int, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if err := c.remember(offset, int64(len(p))); err != nil {
		return 0, err
	}
	c.note(entry{offset: offset, length: int64(len(p)), data: p, durable: c.forced > 0})
	n, err := c.file.WriteAt(p, offset)
	if c.forced > 0 {
		c.forced--
		c.settle(offset, int64(len(p)))
	}
	return n, err
}

// Zero makes a range read as zeros. What is larger than the cache is durable at
// once: no drive takes that into its cache.
func (c *Cache) Zero(offset, length int64) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if length > cacheBlocks/2*blockSize {
		c.settle(offset, length)
	} else if err := c.remember(offset, length); err != nil {
		return err
	}
	c.note(entry{offset: offset, length: length, durable: length > cacheBlocks/2*blockSize})
	return punch(c.file, offset, length)
}

// Flush makes all that was written durable.
func (c *Cache) Flush() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.note(entry{flush: true})
	c.flush()
	c.forced = min(maxForcedWrites, c.forced+forcedWrites)
}

func (c *Cache) flush() {
	clear(c.states)
	c.held = 0
}

// Settle makes a range durable that was written just before, as "force unit
// access" of the write demands.
func (c *Cache) Settle(offset, length int64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.record != nil && !c.rewound {
		c.record.entries[len(c.record.entries)-1].durable = true
	}
	c.settle(offset, length)
}

func (c *Cache) settle(offset, length int64) {
	for block := offset / blockSize; block*blockSize < offset+length; block++ {
		c.held -= len(c.states[block])
		delete(c.states, block)
	}
}

// remember keeps the state that the blocks of a range have before they are written.
func (c *Cache) remember(offset, length int64) error {
	if c.held > cacheBlocks {
		c.note(entry{flush: true})
		c.flush()
	}
	for block := offset / blockSize; block*blockSize < offset+length; block++ {
		state := make([]byte, min(blockSize, c.size-block*blockSize))
		if _, err := c.file.ReadAt(state, block*blockSize); err != nil {
			return fmt.Errorf("read block %d: %w", block, err)
		}
		c.states[block] = append(c.states[block], state)
		c.held++
	}
	return nil
}

// Cut is a power cut: each block keeps one of its states, or, where all is to be
// lost, the durable one. It returns how many blocks were written since the last
// flush, and how many of them did not keep what was written last.
func (c *Cache) Cut(dice *rand.Rand, all bool) (written, lost int, err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	defer c.flush()
	c.forced = 0
	for block, states := range c.states {
		written++
		choice := 0
		if !all {
			choice = dice.IntN(len(states) + 1)
		}
		if choice == len(states) {
			continue
		}
		lost++
		if _, err := c.file.WriteAt(states[choice], block*blockSize); err != nil {
			return written, lost, fmt.Errorf("write block %d: %w", block, err)
		}
	}
	return written, lost, nil
}

var (
	_ io.ReaderAt = (*Cache)(nil)
	_ io.WriterAt = (*Cache)(nil)
)

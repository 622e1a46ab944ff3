package volatile

import (
	"bytes"
	"io"
	"math/rand/v2"
	"net"
	"os"
	"path/filepath"
	"testing"
)

func newCache(t *testing.T, size int64) *Cache {
	t.Helper()
	f, err := os.Create(filepath.Join(t.TempDir(), "drive"))
	if err == nil {
		err = f.Truncate(size)
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.Close() })
	return New(f, size)
}

func block(value byte) []byte { return bytes.Repeat([]byte{value}, blockSize) }

func put(t *testing.T, c *Cache, number int64, value byte) {
	t.Helper()
	if _, err := c.WriteAt(block(value), number*blockSize); err != nil {
		t.Fatal(err)
	}
}

func get(t *testing.T, c *Cache, number int64) byte {
	t.Helper()
	p := make([]byte, blockSize)
	if _, err := c.ReadAt(p, number*blockSize); err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(p, block(p[0])) {
		t.Fatalf("block %d is torn", number)
	}
	return p[0]
}

func cut(t *testing.T, c *Cache, seed uint64, all bool) (written, lost int) {
	t.Helper()
	written, lost, err := c.Cut(rand.New(rand.NewPCG(seed, 0)), all)
	if err != nil {
		t.Fatal(err)
	}
	return written, lost
}

func TestCutKeepsWhatWasFlushed(t *testing.T) {
	for seed := range uint64(20) {
		c := newCache(t, 8*blockSize)
		put(t, c, 0, 1)
		put(t, c, 1, 2)
		flushed(c)
		put(t, c, 1, 3)
		c.Settle(blockSize, blockSize)
		if written, lost := cut(t, c, seed, seed%2 == 0); written != 0 || lost != 0 {
			t.Errorf("%d blocks were at risk, %d lost", written, lost)
		}
		if a, b := get(t, c, 0), get(t, c, 1); a != 1 || b != 3 {
			t.Errorf("seed %d: %d, %d", seed, a, b)
		}
	}
}

// TestCutTakesWhatWasNot: over many cuts a block is seen in each of its states,
// and two blocks in each order.
func TestCutTakesWhatWasNot(t *testing.T) {
	seen := map[[2]byte]int{}
	for seed := range uint64(200) {
		c := newCache(t, 8*blockSize)
		put(t, c, 0, 1)
		flushed(c)
		put(t, c, 0, 2)
		put(t, c, 0, 3)
		if err := c.Zero(0, 2*blockSize); err != nil {
			t.Fatal(err)
		}
		put(t, c, 1, 9)
		cut(t, c, seed, seed >= 150)
		seen[[2]byte{get(t, c, 0), get(t, c, 1)}]++
	}
	for _, want := range [][2]byte{{1, 0}, {2, 0}, {3, 0}, {0, 0}, {1, 9}, {0, 9}} {
		if seen[want] == 0 {
			t.Errorf("never seen: %v; %v", want, seen)
		}
	}
	if seen[[2]byte{1, 0}] < 50 {
		t.Errorf("all is lost in %d cuts, and should be in 50 at least", seen[[2]byte{1, 0}])
	}
}

// flushed is a flush, after which nothing is durable before the next.
func flushed(c *Cache) {
	c.Flush()
	c.forced = 0
}

// TestFirstWritesAfterFlush: QEMU does not tell which of them must be durable.
func TestFirstWritesAfterFlush(t *testing.T) {
	c := newCache(t, 8*blockSize)
	c.Flush()
	for block := range int64(3) {
		put(t, c, block, 7)
	}
	cut(t, c, 1, true)
	if have := [3]byte{get(t, c, 0), get(t, c, 1), get(t, c, 2)}; have != [3]byte{7, 7, 0} {
		t.Errorf("%v", have)
	}
	for range 9 {
		c.Flush()
	}
	if c.forced != maxForcedWrites {
		t.Errorf("%d writes are durable after many flushes", c.forced)
	}
}

// TestRewind: a drive becomes what it was at each moment of its record.
func TestRewind(t *testing.T) {
	c := newCache(t, 8*blockSize)
	put(t, c, 0, 1)
	if err := c.Record(); err != nil {
		t.Fatal(err)
	}
	put(t, c, 0, 2)
	put(t, c, 1, 2)
	flushed(c)
	put(t, c, 0, 3)
	put(t, c, 2, 3)
	c.Settle(2*blockSize, blockSize)
	put(t, c, 1, 3)
	if err := c.Zero(0, blockSize); err != nil {
		t.Fatal(err)
	}
	if c.Moment() != 7 || c.Writes(3) || !c.Writes(4) {
		t.Fatalf("moment %d", c.Moment())
	}
	for _, test := range []struct {
		moment int
		left   Left
		want   [3]byte
	}{
		{0, LeftAll, [3]byte{1, 0, 0}}, {1, LeftAll, [3]byte{2, 0, 0}}, {1, LeftNone, [3]byte{1, 0, 0}}, {2, LeftLast, [3]byte{1, 2, 0}},
		{3, LeftNone, [3]byte{2, 2, 0}}, {4, LeftNone, [3]byte{2, 2, 0}}, {5, LeftNone, [3]byte{2, 2, 3}}, {6, LeftLast, [3]byte{2, 3, 3}},
		{6, LeftAll, [3]byte{3, 3, 3}}, {7, LeftAll, [3]byte{0, 3, 3}}, {7, LeftLast, [3]byte{0, 2, 3}},
	} {
		if err := c.Rewind(test.moment, test.left); err != nil {
			t.Fatal(err)
		}
		if have := [3]byte{get(t, c, 0), get(t, c, 1), get(t, c, 2)}; have != test.want {
			t.Errorf("moment %d, left %d: %v, want %v", test.moment, test.left, have, test.want)
		}
		put(t, c, 5, 9) // which is not recorded
		cut(t, c, 1, true)
	}
}

func TestCacheIsFinite(t *testing.T) {
	c := newCache(t, (cacheBlocks+2)*blockSize)
	big := make([]byte, cacheBlocks*blockSize)
	for range 2 {
		if _, err := c.WriteAt(big, 0); err != nil {
			t.Fatal(err)
		}
	}
	if c.held > 2*cacheBlocks {
		t.Errorf("%d blocks are held", c.held)
	}
}

// TestProtocol speaks to the server as QEMU does.
func TestProtocol(t *testing.T) {
	c := newCache(t, 4*blockSize)
	socket := filepath.Join(t.TempDir(), "s")
	s, err := Serve(c, socket)
	if err != nil {
		t.Fatal(err)
	}
	conn, err := net.Dial("unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	expect := func(want []byte) {
		t.Helper()
		have := make([]byte, len(want))
		if _, err := io.ReadFull(conn, have); err != nil || !bytes.Equal(have, want) {
			t.Fatalf("%x, %v; want %x", have, err, want)
		}
	}
	bytesOf := func(values ...any) []byte {
		var b bytes.Buffer
		write(&b, values...)
		return b.Bytes()
	}
	say := func(values ...any) { write(conn, values...) }
	expect([]byte("NBDMAGICIHAVEOPT\x00\x03"))
	say(uint32(3), uint64(optionMagic), uint32(8), uint32(0)) // structured replies
	expect(bytesOf(uint64(replyMagic), uint32(8), uint32(replyUnsupported), uint32(0)))
	say(uint64(optionMagic), uint32(optionGo), uint32(7), uint32(1), []byte("a"), uint16(0))
	expect(bytesOf(uint64(replyMagic), uint32(optionGo), uint32(replyInfo), uint32(12), uint16(0), uint64(4*blockSize), uint16(transmission)))
	expect(bytesOf(uint64(replyMagic), uint32(optionGo), uint32(replyAck), uint32(0)))

	send := func(kind, flags uint16, start, length int, data []byte) {
		say(request{requestMagic, flags, kind, 77, uint64(start), uint32(length)}, data)
	}
	done := bytesOf(uint32(simpleMagic), uint32(0), uint64(77))
	send(commandWrite, commandFUA, 0, blockSize, block(5))
	expect(done)
	send(commandWrite, 0, blockSize, blockSize, block(6))
	expect(done)
	if len(c.states) != 1 {
		t.Errorf("%d blocks at risk", len(c.states))
	}
	send(commandFlush, 0, 0, 0, nil)
	expect(done)
	if len(c.states) != 0 {
		t.Errorf("%d blocks at risk after a flush", len(c.states))
	}
	send(commandRead, 0, blockSize, blockSize, nil)
	expect(append(bytes.Clone(done), block(6)...))
	send(commandRead, 0, 64*blockSize, blockSize, nil)
	expect(bytesOf(uint32(simpleMagic), uint32(5), uint64(77)))
	send(commandWriteZeroes, 0, 0, blockSize, nil)
	expect(done)
	if get(t, c, 0) != 0 {
		t.Error("not zeroed")
	}
	if err := s.Close(); err != nil {
		t.Error(err)
	}
}

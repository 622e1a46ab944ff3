package data

import (
	"bytes"
	"errors"
	"io"
	"os"
	"testing"
	"unsafe"

	"golang.org/x/sys/unix"
)

// secret is what no other tenant may ever read.
var secret = bytes.Repeat([]byte("TENANT-A-SECRET "), int(mib/16))

// aligned is memory that a device can write to directly.
func aligned(n int) []byte {
	const page = 4096
	b := make([]byte, n+page)
	return b[page-int(uintptr(unsafe.Pointer(&b[0]))%page):][:n]
}

// nonZero counts the bytes of a part of a device that are not zero, past all
// caches.
func nonZero(t *testing.T, path string, from, to int64) (n int64) {
	t.Helper()
	f, err := os.OpenFile(path, os.O_RDONLY|unix.O_DIRECT, 0)
	must(t, err)
	defer f.Close()
	b, zeros := aligned(int(4*mib)), make([]byte, 4*mib)
	for at := from; at < to; {
		k, err := f.ReadAt(b[:min(int64(len(b)), to-at)], at)
		if err != nil && !errors.Is(err, io.EOF) || k == 0 {
			t.Fatalf("read %s at %d: %d bytes, %v", path, at, k, err)
		}
		if !bytes.Equal(b[:k], zeros[:k]) {
			n += int64(k) - int64(bytes.Count(b[:k], []byte{0}))
		}
		at += int64(k)
	}
	return n
}

// holdsSecret says whether the device holds the secret in that MiB.
func holdsSecret(t *testing.T, path string, at int64) bool {
	t.Helper()
	f, err := os.OpenFile(path, os.O_RDONLY|unix.O_DIRECT, 0)
	must(t, err)
	defer f.Close()
	b := aligned(int(mib))
	_, err = f.ReadAt(b, at)
	must(t, err)
	return bytes.Contains(b, secret[:4096])
}

// write puts secrets on a device, a MiB every so many bytes, down to the drive.
func write(t *testing.T, path string, size, every int64) {
	t.Helper()
	f, err := os.OpenFile(path, os.O_WRONLY, 0)
	must(t, err)
	defer f.Close()
	for at := int64(0); at+mib <= size; at += every {
		_, err := f.WriteAt(secret, at)
		must(t, err)
	}
	must(t, f.Sync())
}

// deviceBytes is the size of a device.
func deviceBytes(t *testing.T, path string) int64 {
	t.Helper()
	f, err := os.Open(path)
	must(t, err)
	defer f.Close()
	size, err := f.Seek(0, io.SeekEnd)
	must(t, err)
	return size
}

// soil gives a drive an earlier life. Its ends stay free of it: what it is
// judged by is there.
func soil(t *testing.T, drive string) {
	t.Helper()
	f, err := os.OpenFile(drive, os.O_WRONLY, 0)
	must(t, err)
	defer f.Close()
	for at := 16 * mib; at < deviceBytes(t, drive)-16*mib; at += 4 * mib {
		_, err := f.WriteAt(secret, at)
		must(t, err)
	}
	must(t, f.Sync())
}

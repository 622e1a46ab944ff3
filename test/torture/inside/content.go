package main

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// sizes are those of the files that are written.
var sizes = []int{0, 1, 4096, 70_000, 700_000}

// Of a block volume a part in each of its first steps is written.
const (
	blockSteps = 5
	blockStep  = 3 * mib // not a multiple of any chunk
	blockPart  = 300_000
)

// random is a stream of bytes that a seed gives.
func random(seed uint64) io.Reader {
	var key [32]byte
	for i := range 8 {
		key[i] = byte(seed >> (8 * i))
	}
	return rand.NewChaCha8(key)
}

// fill writes to the filesystem or device at path; it is on the drive then.
func fill(path string, seed uint64) error {
	info, err := os.Stat(path)
	if err != nil {
		return err
	}
	r := random(seed)
	if info.IsDir() {
		return fillDir(path, r)
	}
	f, err := os.OpenFile(path, os.O_WRONLY, 0)
	if err != nil {
		return err
	}
	for i := range int64(blockSteps) {
		b := make([]byte, blockPart)
		_, readErr := io.ReadFull(r, b)
		_, writeErr := f.WriteAt(b, i*blockStep)
		err = errors.Join(err, readErr, writeErr)
	}
	return errors.Join(err, f.Sync(), f.Close())
}

func fillDir(dir string, r io.Reader) error {
	for i, size := range sizes {
		f, err := os.Create(filepath.Join(dir, fmt.Sprint("data-", i)))
		if err != nil {
			return err
		}
		_, err = io.CopyN(f, r, int64(size))
		if err = errors.Join(err, f.Close()); err != nil {
			return err
		}
	}
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	defer d.Close()
	return unix.Syncfs(int(d.Fd()))
}

// sum reads from the drive what fill has written.
func sum(path string) (string, error) {
	if err := os.WriteFile("/proc/sys/vm/drop_caches", []byte("3"), 0); err != nil {
		return "", err
	}
	info, err := os.Stat(path)
	if err != nil {
		return "", err
	}
	h := sha256.New()
	if info.IsDir() {
		for i := range sizes {
			b, err := os.ReadFile(filepath.Join(path, fmt.Sprint("data-", i)))
			if err != nil {
				return "", err
			}
			fmt.Fprintln(h, len(b))
			h.Write(b)
		}
		return fmt.Sprintf("%x", h.Sum(nil)), nil
	}
	f, err := os.Open(path)
	if err != nil {
		return "", err
	}
	defer f.Close()
	_, err = io.Copy(h, io.NewSectionReader(f, 0, blockSteps*blockStep))
	return fmt.Sprintf("%x", h.Sum(nil)), err
}

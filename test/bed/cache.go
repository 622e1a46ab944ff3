package bed

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"
	"time"
)

// cache keeps what is built: one directory per stage and recipe, complete or not there.
type cache struct {
	dir string
	log func(format string, args ...any)
}

// stage is one step of the build. Its recipe is everything that decides on its result.
type stage struct {
	name   string
	recipe []string
	make   func(ctx context.Context, dir string) error
}

// openCache returns the user's cache.
func openCache(log func(string, ...any)) (*cache, error) {
	dir := os.Getenv("LVME_BED_CACHE")
	if dir == "" {
		home, err := os.UserHomeDir()
		if err != nil {
			return nil, fmt.Errorf("find the bed's cache: %w (or set LVME_BED_CACHE)", err)
		}
		dir = filepath.Join(home, ".cache", "lvme", "bed")
	}
	dir, err := filepath.Abs(dir)
	if err != nil {
		return nil, err
	}
	return &cache{dir, log}, os.MkdirAll(dir, 0o755)
}

// path is where the stage's result is, or will be.
func (c *cache) path(s stage) string {
	hash := sha256.New()
	for _, part := range s.recipe {
		fmt.Fprintf(hash, "%d:%s", len(part), part)
	}
	return filepath.Join(c.dir, s.name+"-"+hex.EncodeToString(hash.Sum(nil))[:12])
}

// ensure builds the stage unless it is there. An interrupted build leaves nothing that a later one would use.
func (c *cache) ensure(ctx context.Context, s stage) error {
	if exists(c.path(s)) {
		return nil
	}
	unlock, err := lockFile(ctx, filepath.Join(c.dir, "."+s.name+".lock"))
	if err != nil {
		return err
	}
	defer unlock()
	if exists(c.path(s)) {
		return nil // built by somebody else while this one waited
	}
	if err := c.sweep(s); err != nil {
		return err
	}
	tmp, err := os.MkdirTemp(c.dir, ".tmp-"+s.name+"-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(tmp)
	start := time.Now()
	c.log("%s: building", filepath.Base(c.path(s)))
	if err := s.make(ctx, tmp); err != nil {
		return fmt.Errorf("build %s: %w", filepath.Base(c.path(s)), err)
	}
	c.log("%s: built in %.1fs", filepath.Base(c.path(s)), time.Since(start).Seconds())
	return os.Rename(tmp, c.path(s))
}

// sweep removes what interrupted builds of the stage left. The caller holds its lock.
func (c *cache) sweep(s stage) error {
	left, err := filepath.Glob(filepath.Join(c.dir, ".tmp-"+s.name+"-*"))
	for _, dir := range left {
		err = errors.Join(err, os.RemoveAll(dir))
	}
	return err
}

// clean removes every stage, and what interrupted builds left. The directory may be one of the user's: what the bed did
// not put there stays.
func (c *cache) clean() error {
	var errs []error
	for _, pattern := range []string{"tools-*", "root-*", "boot-*", "ready-*", ".tmp-*"} {
		found, err := filepath.Glob(filepath.Join(c.dir, pattern))
		errs = append(errs, err)
		for _, dir := range found {
			errs = append(errs, os.RemoveAll(dir))
		}
	}
	return errors.Join(errs...)
}

func exists(path string) bool {
	_, err := os.Stat(path)
	return !errors.Is(err, fs.ErrNotExist)
}

// lockFile takes an exclusive lock on a file, which ends with the process at the latest.
func lockFile(ctx context.Context, path string) (unlock func(), err error) {
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o644)
	if err != nil {
		return nil, err
	}
	for {
		err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB)
		if err == nil {
			return func() { f.Close() }, nil
		}
		if !errors.Is(err, syscall.EWOULDBLOCK) {
			return nil, errors.Join(fmt.Errorf("lock %s: %w", path, err), f.Close())
		}
		select {
		case <-ctx.Done():
			return nil, errors.Join(fmt.Errorf("wait for the lock %s: %w", path, ctx.Err()), f.Close())
		case <-time.After(200 * time.Millisecond):
		}
	}
}

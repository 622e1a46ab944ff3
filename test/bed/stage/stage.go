// Package stage keeps what is slow to make: a build is cut into stages, and the result of each stands in a directory of
// the cache that is named after a hash of the stage's recipe. A directory is complete or not there, is made by one
// process at a time, and is never changed afterwards. It does not know what is built, and throws nothing away by itself.
package stage

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"time"
)

// Cache keeps what is built: one directory per stage and recipe, complete or not there.
type Cache struct {
	dir string
	log func(format string, args ...any)
}

// hashDigits is how much of a recipe's hash stands in a name.
const hashDigits = 12

// Stage is one step of a build.
type Stage struct {
	// Name is what the directory's name begins with; it also names the lock, so that two stages of one name are not made
	// at once.
	Name string
	// Recipe is everything that decides on the result.
	Recipe []string
	// Make puts the result into an empty directory, which is moved afterwards: it must not remember its path.
	Make func(ctx context.Context, dir string) error
}

// Open returns the user's cache: $LVME_BED_CACHE, or ~/.cache/lvme/bed. The log gets a line when a stage is begun and
// when it is done.
func Open(log func(format string, args ...any)) (*Cache, error) {
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
	return &Cache{dir, log}, os.MkdirAll(dir, 0o755)
}

// Path is where the stage's result is, or will be.
func (c *Cache) Path(s Stage) string {
	hash := sha256.New()
	for _, part := range s.Recipe {
		fmt.Fprintf(hash, "%d:%s", len(part), part)
	}
	return filepath.Join(c.dir, s.Name+"-"+hex.EncodeToString(hash.Sum(nil))[:hashDigits])
}

// Log writes a line of progress.
func (c *Cache) Log(format string, args ...any) {
	c.log(format, args...)
}

// Has tells whether the stage is built.
func (c *Cache) Has(s Stage) bool {
	return exists(c.Path(s))
}

// Ensure builds the stage unless it is there. An interrupted build leaves nothing that a later one would use.
func (c *Cache) Ensure(ctx context.Context, s Stage) error {
	if exists(c.Path(s)) {
		return nil
	}
	unlock, err := lockFile(ctx, filepath.Join(c.dir, "."+s.Name+".lock"))
	if err != nil {
		return err
	}
	defer unlock()
	if exists(c.Path(s)) {
		return nil // built by somebody else while this one waited
	}
	if err := c.sweep(s); err != nil {
		return err
	}
	tmp, err := os.MkdirTemp(c.dir, ".tmp-"+s.Name+"-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(tmp)
	start := time.Now()
	c.log("%s: building", filepath.Base(c.Path(s)))
	if err := s.Make(ctx, tmp); err != nil {
		return fmt.Errorf("build %s: %w", filepath.Base(c.Path(s)), err)
	}
	c.log("%s: built in %.1fs", filepath.Base(c.Path(s)), time.Since(start).Seconds())
	return os.Rename(tmp, c.Path(s))
}

// sweep removes what interrupted builds of the stage left. The caller holds its lock.
func (c *Cache) sweep(s Stage) error {
	left, err := filepath.Glob(filepath.Join(c.dir, ".tmp-"+s.Name+"-*"))
	for _, dir := range left {
		err = errors.Join(err, os.RemoveAll(dir))
	}
	return err
}

// Clean removes the stages of these names, of whatever recipe, and what interrupted builds of them left. The directory
// may be one of the user's: everything else stays.
func (c *Cache) Clean(names ...string) error {
	var errs []error
	for _, name := range names {
		for _, pattern := range []string{name + "-" + strings.Repeat("[0-9a-f]", hashDigits), ".tmp-" + name + "-*"} {
			found, err := filepath.Glob(filepath.Join(c.dir, pattern))
			errs = append(errs, err)
			for _, dir := range found {
				errs = append(errs, os.RemoveAll(dir))
			}
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

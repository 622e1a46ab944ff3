package hostrecord

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"
)

const (
	fileName = "host.json"
	tempName = fileName + ".tmp" // one name is enough: only the lock's holder writes
	lockName = "lock"

	dirMode  = 0o700
	fileMode = 0o600
)

// version of the format. A field that is added raises it: a version of lvme
// that does not know the field would drop it at its next save, and it may be
// the reason not to touch a drive. So unknown fields and unknown versions are
// both refused. A newer version that need not say anything new writes the
// older number, and can be rolled back.
const version = 1

// file is the record as it is written.
type file struct {
	Version    int         `json:"version"`
	Generation int64       `json:"generation"`
	Machine    binding     `json:"machine"`
	StoreKey   string      `json:"storeKey"`
	VGs        []VG        `json:"vgs"`
	Forgotten  []Forgotten `json:"forgotten,omitempty"`
}

// Load reads the record in dir. With ErrOtherMachine the record is returned
// too, to be reported, not to be used; with ErrNone, ErrCorrupt and ErrVersion
// it is empty.
func Load(dir string, m Machine) (Record, error) {
	path := filepath.Join(dir, fileName)
	data, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return Record{}, fmt.Errorf("%s: %w", path, ErrNone)
	}
	if err != nil {
		return Record{}, fmt.Errorf("read host record: %w", err)
	}
	f, err := parse(data)
	if err != nil {
		return Record{}, fmt.Errorf("%s: %w", path, err)
	}
	rec := Record{StoreKey: f.StoreKey, VGs: f.VGs, Forgotten: f.Forgotten, Generation: f.Generation}
	if !f.Machine.is(m) {
		return rec, fmt.Errorf("%s: %w: it is that of store %s; this machine has another machine-id or DMI product UUID: `lvme adopt` if the store's drives are here", path, ErrOtherMachine, f.StoreKey)
	}
	return rec, nil
}

func parse(data []byte) (file, error) {
	var head struct {
		Version int `json:"version"`
	}
	if err := json.Unmarshal(data, &head); err != nil {
		return file{}, corrupt(err)
	}
	if head.Version > version {
		return file{}, fmt.Errorf("%w: it has format %d, this lvme knows formats up to %d: install the newer lvme again", ErrVersion, head.Version, version)
	}
	if head.Version < 1 {
		return file{}, corrupt(fmt.Errorf("version is %d, must be 1 or more", head.Version))
	}
	dec := json.NewDecoder(bytes.NewReader(data))
	dec.DisallowUnknownFields()
	var f file
	if err := dec.Decode(&f); err != nil {
		return file{}, corrupt(err)
	}
	rec := Record{StoreKey: f.StoreKey, VGs: f.VGs, Forgotten: f.Forgotten}
	if err := rec.check(); err != nil {
		return file{}, corrupt(err)
	}
	return f, nil
}

func corrupt(err error) error {
	return fmt.Errorf("%w: %w: put a copy back, or move it away and use `lvme adopt`", ErrCorrupt, err)
}

// write replaces the record, all or nothing: whoever reads sees the old one or
// the new one, after a power cut too.
func write(dir string, f file) (err error) {
	data, err := json.MarshalIndent(f, "", "  ")
	if err != nil {
		return err
	}
	temp := filepath.Join(dir, tempName)
	// A torn temporary file of an earlier crash is simply overwritten.
	out, err := os.OpenFile(temp, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, fileMode)
	if err != nil {
		return err
	}
	_, err = out.Write(append(data, '\n'))
	if err = errors.Join(err, out.Sync(), out.Close()); err != nil {
		return errors.Join(err, os.Remove(temp))
	}
	if err := os.Rename(temp, filepath.Join(dir, fileName)); err != nil {
		return err
	}
	return syncDir(dir)
}

// syncDir makes a rename or a new name in dir last.
func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}

// Stamp changes whenever the record in a directory does. It is cheap to get
// and to be compared with ==; the zero Stamp is that of no record.
type Stamp struct {
	modified int64
	inode    uint64
	size     int64
}

// ReadStamp returns the stamp of the record in dir.
func ReadStamp(dir string) (Stamp, error) {
	info, err := os.Stat(filepath.Join(dir, fileName))
	if errors.Is(err, fs.ErrNotExist) {
		return Stamp{}, nil
	}
	if err != nil {
		return Stamp{}, fmt.Errorf("look at host record: %w", err)
	}
	s := Stamp{modified: info.ModTime().UnixNano(), size: info.Size()}
	if sys, ok := info.Sys().(*syscall.Stat_t); ok {
		s.inode = sys.Ino
	}
	return s, nil
}

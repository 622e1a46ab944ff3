package main

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"testing"
)

// TestReadFile: a file that came with the pod goes before the host's of the
// same name.
func TestReadFile(t *testing.T) {
	host := filepath.Join(t.TempDir(), "config.yaml")
	if err := os.WriteFile(host, []byte("host"), 0o600); err != nil {
		t.Fatal(err)
	}
	image := t.TempDir()
	root, err := os.Open(image)
	if err != nil {
		t.Fatal(err)
	}
	defer root.Close()
	p := &process{}
	read := func(want string) {
		t.Helper()
		if text, err := p.readFile(host); string(text) != want || err != nil {
			t.Errorf("read %q, %v, want %q", text, err, want)
		}
	}
	read("host")
	p.image = root
	read("host")
	inImage := filepath.Join(image, host)
	if err := os.MkdirAll(filepath.Dir(inImage), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(inImage, []byte("image"), 0o600); err != nil {
		t.Fatal(err)
	}
	read("image")
	if _, err := p.readFile(host + "x"); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("what is nowhere: %v", err)
	}
}

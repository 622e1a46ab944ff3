package parts

import (
	"archive/tar"
	"bytes"
	"errors"
	"fmt"
	"os"
)

// layer is a tar stream in the making. The first error is kept for the end.
type layer struct {
	buf bytes.Buffer
	tar *tar.Writer
	err error
}

func newLayer() *layer {
	l := &layer{}
	l.tar = tar.NewWriter(&l.buf)
	return l
}

func (l *layer) dir(name string, mode int64) {
	l.add(&tar.Header{Typeflag: tar.TypeDir, Name: name + "/", Mode: mode}, nil)
}

func (l *layer) file(name string, mode int64, content []byte) {
	l.add(&tar.Header{Typeflag: tar.TypeReg, Name: name, Mode: mode, Size: int64(len(content))}, content)
}

func (l *layer) link(name, to string) {
	l.add(&tar.Header{Typeflag: tar.TypeSymlink, Name: name, Linkname: to, Mode: 0o777}, nil)
}

func (l *layer) add(header *tar.Header, content []byte) {
	if l.err != nil {
		return
	}
	if l.err = l.tar.WriteHeader(header); l.err == nil {
		_, l.err = l.tar.Write(content)
	}
}

// bytes ends the stream and returns it.
func (l *layer) bytes() ([]byte, error) {
	if err := errors.Join(l.err, l.tar.Close()); err != nil {
		return nil, fmt.Errorf("write a layer: %w", err)
	}
	return l.buf.Bytes(), nil
}

// packDir writes the files of a directory into a tar file.
func packDir(dir, file string) error {
	out, err := os.Create(file)
	if err != nil {
		return err
	}
	to := tar.NewWriter(out)
	return errors.Join(to.AddFS(os.DirFS(dir)), to.Close(), out.Close())
}

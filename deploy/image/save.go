package main

import (
	"archive/tar"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/types"
)

// blobs are the contents of an archive by their names in it.
type blobs map[string][]byte

func hash(text []byte) v1.Hash {
	sum := sha256.Sum256(text)
	return v1.Hash{Algorithm: "sha256", Hex: hex.EncodeToString(sum[:])}
}

func blobName(h v1.Hash) string { return "blobs/" + h.Algorithm + "/" + h.Hex }

// dockerManifest is what older versions of docker load look for: files of the
// same archive by their names.
type dockerManifest struct {
	Config   string   `json:"Config"`
	RepoTags []string `json:"RepoTags"`
	Layers   []string `json:"Layers"`
}

// save writes an archive that holds the index both as an OCI image layout (ctr,
// podman, skopeo, docker) and, of the first architecture, as docker save did
// before. The file is whole or not there.
func save(index v1.ImageIndex, ref, file string) (err error) {
	tag, err := name.NewTag(ref)
	if err != nil {
		return fmt.Errorf("name of the image: %w", err)
	}
	files, err := archive(index, tag)
	if err != nil {
		return err
	}
	f, err := os.OpenFile(file+".part", os.O_CREATE|os.O_TRUNC|os.O_WRONLY, 0o644)
	if err != nil {
		return err
	}
	if err := errors.Join(pack(f, files), f.Close()); err != nil {
		return errors.Join(err, os.Remove(f.Name()))
	}
	return os.Rename(f.Name(), file)
}

// pack writes the files in the order of their names, with one age.
func pack(to io.Writer, files blobs) error {
	w := tar.NewWriter(to)
	for _, name := range slices.Sorted(maps.Keys(files)) {
		if err := writeFile(w, name, 0o644, time.Unix(0, 0).UTC(), files[name]); err != nil {
			return err
		}
	}
	return w.Close()
}

// archive is every file of the archive.
func archive(index v1.ImageIndex, tag name.Tag) (blobs, error) {
	files := blobs{"oci-layout": []byte(`{"imageLayoutVersion":"1.0.0"}`)}
	manifest, err := index.IndexManifest()
	if err != nil {
		return nil, fmt.Errorf("index: %w", err)
	}
	var docker []dockerManifest
	for _, d := range manifest.Manifests {
		image, err := index.Image(d.Digest)
		if err != nil {
			return nil, fmt.Errorf("image %s: %w", d.Digest, err)
		}
		m, err := files.addImage(image)
		if err != nil {
			return nil, fmt.Errorf("image %s: %w", d.Digest, err)
		}
		m.RepoTags = []string{familiar(tag)}
		docker = append(docker, m)
	}
	// One tag can only be of one architecture there.
	if files["manifest.json"], err = json.Marshal(docker[:1]); err != nil {
		return nil, err
	}
	files["index.json"], err = files.addIndex(index, tag)
	return files, err
}

// addImage adds the parts of an image.
func (b blobs) addImage(image v1.Image) (dockerManifest, error) {
	var m dockerManifest
	config, err := image.RawConfigFile()
	if err != nil {
		return m, fmt.Errorf("configuration: %w", err)
	}
	raw, err := image.RawManifest()
	if err != nil {
		return m, fmt.Errorf("manifest: %w", err)
	}
	m.Config = b.add(config)
	b.add(raw)
	layers, err := image.Layers()
	if err != nil {
		return m, fmt.Errorf("layers: %w", err)
	}
	for _, l := range layers {
		r, err := l.Compressed()
		if err != nil {
			return m, fmt.Errorf("layer: %w", err)
		}
		text, err := io.ReadAll(r)
		if err := errors.Join(err, r.Close()); err != nil {
			return m, fmt.Errorf("layer: %w", err)
		}
		m.Layers = append(m.Layers, b.add(text))
	}
	return m, nil
}

// add adds a blob and returns its name.
func (b blobs) add(text []byte) string {
	h := hash(text)
	b[blobName(h)] = text
	return blobName(h)
}

// addIndex adds the index and returns the layout's own, which names it.
func (b blobs) addIndex(index v1.ImageIndex, tag name.Tag) ([]byte, error) {
	raw, err := index.RawManifest()
	if err != nil {
		return nil, fmt.Errorf("index: %w", err)
	}
	b.add(raw)
	return json.Marshal(v1.IndexManifest{
		SchemaVersion: 2, MediaType: types.OCIImageIndex,
		Manifests: []v1.Descriptor{{
			MediaType: types.OCIImageIndex, Size: int64(len(raw)), Digest: hash(raw),
			Annotations: map[string]string{
				"org.opencontainers.image.ref.name": tag.TagStr(),
				"io.containerd.image.name":          qualified(tag), // what ctr and the kubelet call it
			},
		}},
	})
}

// qualified is the name as containerd knows it, with its registry.
func qualified(tag name.Tag) string {
	return strings.Replace(tag.Name(), name.DefaultRegistry+"/", "docker.io/", 1)
}

// familiar is the name as docker shows it, without its own registry.
func familiar(tag name.Tag) string { return strings.TrimPrefix(qualified(tag), "docker.io/") }

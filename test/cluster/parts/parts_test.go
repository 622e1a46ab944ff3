package parts

import (
	"os"
	"slices"
	"strings"
	"testing"
)

func open(t *testing.T) *Set {
	t.Helper()
	s, err := Open(t.Logf)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func TestEveryPartHasAPlace(t *testing.T) {
	s := open(t)
	lists := [][]Part{Control(), Node(), Sidecars(), E2E(), {Helm, ImageSnapshotController}}
	for _, p := range slices.Concat(lists...) {
		if _, ok := s.recipes[p]; !ok {
			t.Errorf("nobody makes %s", p)
		}
	}
	seen := map[string]Part{}
	for _, p := range s.All() {
		path := s.Path(p)
		if other := seen[path]; other != "" {
			t.Errorf("%s and %s are both at %s", p, other, path)
		}
		seen[path] = p
		for _, need := range s.recipes[p].needs {
			if _, ok := s.recipes[need]; !ok {
				t.Errorf("%s needs %s, which nobody makes", p, need)
			}
		}
	}
}

func TestPathFollowsRecipe(t *testing.T) {
	s := open(t)
	before, image := s.Path(provisioner), s.Path(ImageProvisioner)
	other := s.Path(APIServer)
	r := s.recipes[provisioner]
	r.lines = append(slices.Clone(r.lines), "a new version")
	s.recipes[provisioner] = r
	if s.Path(provisioner) == before {
		t.Error("a program with another recipe is at the same place")
	}
	if s.Path(ImageProvisioner) == image {
		t.Error("an image with another program is at the same place")
	}
	if s.Path(APIServer) != other {
		t.Error("a sidecar's recipe moves Kubernetes")
	}
}

func TestRefs(t *testing.T) {
	s := open(t)
	for p, want := range map[Part]string{
		ImagePause:       "registry.k8s.io/pause:3.10.2",
		ImageProvisioner: "registry.k8s.io/sig-storage/csi-provisioner:v6.3.0",
		Kubelet:          "",
	} {
		if got := s.Ref(p); got != want {
			t.Errorf("%s is called %q, want %q", p, got, want)
		}
	}
}

func TestVersionFlags(t *testing.T) {
	m := module{name: "a", mod: []byte("module a\n\nrequire k8s.io/kubernetes v1.36.3\n\nrequire (\n\tk8s.io/kubernetesque v9.9.9\n)\n")}
	flags, err := kubernetesVersion(m)
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"k8s.io/component-base/version.gitVersion=v1.36.3", "version.gitMajor=1 ", "version.gitMinor=36 "} {
		if !strings.Contains(flags, want) {
			t.Errorf("flags %q lack %q", flags, want)
		}
	}
	if _, err := m.version("k8s.io/other"); err == nil {
		t.Error("a version of what is not required was found")
	}
	if _, err := sidecarVersion(provisionerModule)(m); err == nil {
		t.Error("a sidecar's version was found where there is none")
	}
}

// TestHelmIsOne fails when charts are tested with another version than they are installed with.
func TestHelmIsOne(t *testing.T) {
	makefile, err := os.ReadFile("../../../Makefile")
	if err != nil {
		t.Fatal(err)
	}
	m, err := readModule("helm")
	if err != nil {
		t.Fatal(err)
	}
	version, err := m.version("helm.sh/helm/v4")
	if err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(string(makefile), "\nHELM_VERSION := "+version+"\n") {
		t.Errorf("the cluster has Helm %s, the Makefile another", version)
	}
}

func TestUnknownPart(t *testing.T) {
	if err := open(t).Ensure(t.Context(), "kube-nothing"); err == nil {
		t.Error("an unknown part was made")
	}
}

package parts

import (
	"os/exec"
	"slices"
	"testing"
)

func TestPinSidecars(t *testing.T) {
	if _, err := exec.LookPath("go"); err != nil {
		t.Skip("needs the go command")
	}
	m := module{name: "sidecars", mod: []byte("module bed/sidecars\n\nrequire example.com/sidecar v1.2.3\n")}
	kubernetes := []byte(`module bed/kubernetes

go 1.26.0

require k8s.io/kubernetes v1.36.3

require (
	google.golang.org/grpc v1.79.3
	golang.org/x/net v0.49.0
	k8s.io/api v0.36.3
)

replace k8s.io/api => k8s.io/api v0.36.3
`)
	pinned, err := pinSidecars(t.Context(), m, []string{"example.com/sidecar"}, kubernetes)
	if err != nil {
		t.Fatal(err)
	}
	got, err := parseMod(t.Context(), pinned.mod)
	if err != nil {
		t.Fatal(err)
	}
	if want := []required{{"example.com/sidecar", "v1.2.3"}}; !slices.Equal(got.Require, want) {
		t.Errorf("the sidecars require %v, want %v", got.Require, want)
	}
	var replaced []required
	for _, r := range got.Replace {
		replaced = append(replaced, r.New)
	}
	if want := []required{{"golang.org/x/net", "v0.49.0"}, {"k8s.io/api", "v0.36.3"}}; !slices.Equal(replaced, want) {
		t.Errorf("the sidecars have %v of Kubernetes, want %v", replaced, want)
	}
	if _, err := pinSidecars(t.Context(), m, []string{"example.com/other"}, kubernetes); err == nil {
		t.Error("a sidecar without a version was pinned")
	}
}

// TestSidecarsShareKubernetes fails when Kubernetes was raised and the sidecars were not pinned again.
func TestSidecarsShareKubernetes(t *testing.T) {
	var all [2]goMod
	for i, name := range []string{"kubernetes", "sidecars"} {
		m, err := readModule(name)
		if err != nil {
			t.Fatal(err)
		}
		if all[i], err = parseMod(t.Context(), m.mod); err != nil {
			t.Fatal(err)
		}
	}
	for _, r := range all[0].Replace {
		if !slices.Contains(all[1].Replace, r) {
			t.Errorf("Kubernetes has %s %s, the sidecars have not", r.New.Path, r.New.Version)
		}
	}
}

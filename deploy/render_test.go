package deploy

import (
	"bytes"
	"flag"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"testing"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/runtime"

	"github.com/lvme/lvme/internal/run"
)

var update = flag.Bool("update", false, "write the files that the tests compare with")

const (
	root      = ".."
	chart     = "chart/lvme"
	namespace = "lvme-system"
	// tested is the version of Kubernetes that lvme is tested with.
	tested = "1.36.3"
)

// sets are the sets of values that everything is checked for, by their files
// below testdata/values, and what the cluster is that they are rendered for.
var sets = map[string][]string{
	"defaults":            {"--kube-version", tested},
	"everything":          {"--kube-version", "1.37.1", "--api-versions", "snapshot.storage.k8s.io/v1/VolumeSnapshotClass"},
	"minimal":             {"--kube-version", "1.34.0"},
	"k3s":                 {"--kube-version", "v1.36.3+k3s1", "--api-versions", "snapshot.storage.k8s.io/v1/VolumeSnapshotClass"},
	"k0s":                 {"--kube-version", "v1.36.3+k0s"},
	"microk8s":            {"--kube-version", tested},
	"files":               {"--kube-version", "1.38.0"},
	"cert-manager":        {"--kube-version", tested},
	"cert-manager-issuer": {"--kube-version", tested},
}

// inRoot runs a program in the module's directory with this process's PATH.
func inRoot(t *testing.T, argv ...string) run.Result {
	t.Helper()
	args := []string{"-C", absolute(t, root), "PATH=" + os.Getenv("PATH"), "HOME=" + os.Getenv("HOME")}
	for _, name := range []string{"GOCACHE", "GOMODCACHE", "GOPATH", "GOPROXY", "GONOSUMDB", "GONOSUMCHECK", "GOFLAGS", "GOSUMDB", "GOTOOLCHAIN"} {
		if value, ok := os.LookupEnv(name); ok {
			args = append(args, name+"="+value)
		}
	}
	res, err := run.Host{}.Run(t.Context(), run.Cmd{Name: "env", Args: append(args, argv...)})
	if err != nil {
		t.Fatal(err)
	}
	return res
}

func absolute(t *testing.T, path string) string {
	t.Helper()
	abs, err := filepath.Abs(path)
	if err != nil {
		t.Fatal(err)
	}
	return abs
}

func read(t *testing.T, path string) string {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// helm runs the version of Helm that the Makefile builds.
func helm(t *testing.T, args ...string) run.Result {
	t.Helper()
	m := regexp.MustCompile(`(?m)^HELM_VERSION := (\S+)$`).FindStringSubmatch(read(t, root+"/Makefile"))
	if m == nil {
		t.Fatal("the Makefile does not say which version of Helm it takes")
	}
	tool := "bin/tools/helm-" + m[1]
	if _, err := os.Stat(filepath.Join(root, tool)); err != nil {
		t.Fatalf("%s is not there: run `make %s`, as `make test-unit` does", tool, tool)
	}
	return inRoot(t, append([]string{"HELM_CACHE_HOME=" + t.TempDir(), tool}, args...)...)
}

// template renders the chart.
func template(t *testing.T, args ...string) string {
	t.Helper()
	res := helm(t, append([]string{"template", "lvme", "deploy/" + chart, "--namespace", namespace}, args...)...)
	if res.Code != 0 {
		t.Fatalf("helm template %q: exit %d\n%s", args, res.Code, res.Stderr)
	}
	return string(res.Stdout)
}

var rendered sync.Map // set → []runtime.Object

// objects are what Helm makes of the set, as the API's types.
func objects(t *testing.T, set string) []runtime.Object {
	t.Helper()
	if all, ok := rendered.Load(set); ok {
		return all.([]runtime.Object)
	}
	text := template(t, append([]string{"--values", "deploy/testdata/values/" + set + ".yaml"}, sets[set]...)...)
	all := decodeAll(t, text)
	if len(all) < 8 {
		t.Fatalf("%s: %d objects only:\n%s", set, len(all), text)
	}
	rendered.Store(set, all)
	return all
}

// each runs a test for every set of values.
func each(t *testing.T, test func(t *testing.T, all []runtime.Object)) {
	t.Helper()
	for set := range sets {
		t.Run(set, func(t *testing.T) { test(t, objects(t, set)) })
	}
}

// documents splits YAML into its documents, without those that hold nothing.
func documents(text string) []string {
	var all []string
	for _, doc := range regexp.MustCompile(`(?m)^---\s*$`).Split(text, -1) {
		if strings.TrimSpace(regexp.MustCompile(`(?m)^#.*$`).ReplaceAllString(doc, "")) != "" {
			all = append(all, doc)
		}
	}
	return all
}

// of are the objects of one type.
func of[T runtime.Object](all []runtime.Object) []T {
	var found []T
	for _, o := range all {
		if o, ok := o.(T); ok {
			found = append(found, o)
		}
	}
	return found
}

// one is the only object of its type.
func one[T runtime.Object](t *testing.T, all []runtime.Object) T {
	t.Helper()
	found := of[T](all)
	if len(found) != 1 {
		t.Fatalf("%d objects of type %T, want one", len(found), *new(T))
	}
	return found[0]
}

// container is the container of that name.
func container(t *testing.T, pod corev1.PodSpec, name string) corev1.Container {
	t.Helper()
	for _, c := range pod.Containers {
		if c.Name == name {
			return c
		}
	}
	t.Fatalf("no container %s", name)
	return corev1.Container{}
}

// TestEverySetIsListed: a file of values that no test renders proves nothing.
func TestEverySetIsListed(t *testing.T) {
	files, err := filepath.Glob("testdata/values/*.yaml")
	if err != nil || len(files) != len(sets) {
		t.Errorf("%d files (%v) and %d sets", len(files), err, len(sets))
	}
	for _, f := range files {
		if _, ok := sets[strings.TrimSuffix(filepath.Base(f), ".yaml")]; !ok {
			t.Errorf("%s is in no set", f)
		}
	}
}

func TestLint(t *testing.T) {
	for set := range sets {
		res := helm(t, "lint", "--strict", "deploy/"+chart, "--values", "deploy/testdata/values/"+set+".yaml")
		if res.Code != 0 || bytes.Contains(res.Stdout, []byte("[WARNING]")) {
			t.Errorf("helm lint --strict with %s: exit %d\n%s%s", set, res.Code, res.Stdout, res.Stderr)
		}
	}
}

package deploy

import (
	"encoding/json"
	"flag"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/runtime"
)

// sidecar is a stock sidecar: the Go module that it is built of and where in it
// its flags are.
type sidecar struct{ name, module, version, command string }

// sidecars are tested together, and stand as one table in docs/kubernetes.md.
var sidecars = []sidecar{
	{"csi-provisioner", "github.com/kubernetes-csi/external-provisioner/v6", "v6.3.0", "cmd/csi-provisioner"},
	{"csi-resizer", "github.com/kubernetes-csi/external-resizer/v2", "v2.2.0", "cmd/csi-resizer"},
	{"csi-snapshotter", "github.com/kubernetes-csi/external-snapshotter/v8", "v8.6.0", "cmd/csi-snapshotter"},
}

func (s sidecar) file() string { return fmt.Sprintf("testdata/flags/%s-%s.txt", s.name, s.version) }

// flags are the flags of that version, as testdata/flags has them.
func (s sidecar) flags(t *testing.T) *flag.FlagSet {
	t.Helper()
	fs := flag.NewFlagSet(s.name, flag.ContinueOnError)
	fs.SetOutput(io.Discard)
	for line := range strings.Lines(read(t, s.file())) {
		name, kind, _ := strings.Cut(strings.TrimSpace(line), " ")
		switch kind {
		case "Bool":
			fs.Bool(name, false, "")
		case "Int", "Uint":
			fs.Uint(name, 0, "")
		case "Float32", "Float64":
			fs.Float64(name, 0, "")
		case "Duration":
			fs.Duration(name, time.Second, "")
		case "String", "Value":
			fs.String(name, "", "")
		default:
			t.Fatalf("%s: flag %s is of the unknown kind %q", s.file(), name, kind)
		}
	}
	return fs
}

// TestSidecarFlags: every sidecar takes what it is told, at the version that the
// chart names.
func TestSidecarFlags(t *testing.T) {
	if *update {
		for _, s := range sidecars {
			if err := os.WriteFile(s.file(), []byte(flagsInSource(t, s)), 0o644); err != nil {
				t.Fatal(err)
			}
		}
	}
	each(t, func(t *testing.T, all []runtime.Object) {
		for _, c := range controllerPod(t, all).Containers {
			i := slices.IndexFunc(sidecars, func(s sidecar) bool { return s.name == c.Name })
			if i < 0 {
				continue
			}
			fs := sidecars[i].flags(t)
			if err := fs.Parse(c.Args); err != nil || fs.NArg() > 0 {
				t.Errorf("%s: %v, left over %q", c.Name, err, fs.Args())
			}
			if slices.Contains(c.Args, "--default-fstype") {
				t.Errorf("%s: a default filesystem would override the profile's", c.Name)
			}
		}
	})
}

func TestSidecarFlagsRule(t *testing.T) {
	for _, arg := range []string{"--no-such-flag", "--timeout=soon", "--worker-threads=many", "--leader-election=perhaps"} {
		if err := sidecars[0].flags(t).Parse([]string{arg}); err == nil {
			t.Errorf("%s is taken", arg)
		}
	}
}

// TestSidecarVersions: one set of versions, in the chart, here and in the documents.
func TestSidecarVersions(t *testing.T) {
	pod := controllerPod(t, objects(t, "defaults"))
	for _, s := range sidecars {
		want := "registry.k8s.io/sig-storage/" + s.name + ":" + s.version
		if got := container(t, pod, s.name).Image; got != want {
			t.Errorf("image %s, want %s", got, want)
		}
		if row := "| " + s.name + " | " + s.version + " |"; !strings.Contains(read(t, root+"/docs/kubernetes.md"), row) {
			t.Errorf("docs/kubernetes.md has no row %q", row)
		}
	}
}

// TestSidecarSettings: what the driver's correctness hangs on.
func TestSidecarSettings(t *testing.T) {
	pod := controllerPod(t, objects(t, "defaults"))
	for name, want := range map[string][]string{
		"csi-provisioner": {"--strict-topology", "--immediate-topology=false", "--enable-capacity", "--capacity-ownerref-level=2", "--extra-create-metadata", "--leader-election", "--timeout=60s", "--worker-threads=100"},
		"csi-resizer":     {"--handle-volume-inuse-error=false", "--leader-election", "--timeout=60s", "--workers=100"},
		"csi-snapshotter": {"--extra-create-metadata", "--leader-election", "--timeout=60s", "--worker-threads=100"},
	} {
		args := container(t, pod, name).Args
		for _, w := range want {
			if !slices.Contains(args, w) {
				t.Errorf("%s is not told %s: %q", name, w, args)
			}
		}
	}
	for _, name := range []string{"NAMESPACE", "POD_NAME"} { // csi-provisioner ends without
		env := container(t, pod, "csi-provisioner").Env
		if !slices.ContainsFunc(env, func(e corev1.EnvVar) bool { return e.Name == name }) {
			t.Errorf("csi-provisioner gets no %s", name)
		}
	}
}

// flagsInSource reads the flags of a sidecar from its source: those of its
// command, those that all sidecars share, and the logger's -v.
func flagsInSource(t *testing.T, s sidecar) string {
	t.Helper()
	dir := download(t, s.module, s.version)
	m := regexp.MustCompile(`github.com/kubernetes-csi/csi-lib-utils (v\S+)`).FindStringSubmatch(read(t, dir+"/go.mod"))
	if m == nil {
		t.Fatalf("%s: no csi-lib-utils in its go.mod", s.module)
	}
	found := map[string]string{"v": "Int"}
	for _, d := range []string{filepath.Join(dir, s.command), filepath.Join(download(t, "github.com/kubernetes-csi/csi-lib-utils", m[1]), "standardflags")} {
		files, err := filepath.Glob(d + "/*.go")
		if err != nil || len(files) == 0 {
			t.Fatalf("%s: %v, %d files", d, err, len(files))
		}
		for _, f := range files {
			if !strings.HasSuffix(f, "_test.go") {
				flagsInFile(t, f, found)
			}
		}
	}
	var text strings.Builder
	for _, name := range slices.Sorted(maps.Keys(found)) {
		fmt.Fprintf(&text, "%s %s\n", name, found[name])
	}
	return text.String()
}

// download returns the directory of a module's source.
func download(t *testing.T, module, version string) string {
	t.Helper()
	res := inRoot(t, "GOFLAGS=-mod=mod", "go", "mod", "download", "-json", module+"@"+version)
	var got struct{ Dir, Error string }
	if err := json.Unmarshal(res.Stdout, &got); err != nil || got.Error != "" {
		t.Fatalf("download %s: %v %s\n%s", module, err, got.Error, res.Stderr)
	}
	return got.Dir
}

// flagsInFile adds the flags that a file declares with package flag.
func flagsInFile(t *testing.T, file string, found map[string]string) {
	t.Helper()
	f, err := parser.ParseFile(token.NewFileSet(), file, nil, parser.SkipObjectResolution)
	if err != nil {
		t.Fatal(err)
	}
	declares := regexp.MustCompile(`^(Bool|Int|Uint|Float32|Float64|Duration|String|Bool)?(Var|Func)?$`)
	ast.Inspect(f, func(n ast.Node) bool {
		call, ok := n.(*ast.CallExpr)
		if !ok {
			return true
		}
		sel, ok := call.Fun.(*ast.SelectorExpr)
		if !ok {
			return true
		}
		pkg, ok := sel.X.(*ast.Ident)
		if !ok || !strings.HasPrefix(pkg.Name, "flag") && pkg.Name != "goflag" {
			return true
		}
		m := declares.FindStringSubmatch(sel.Sel.Name)
		if m == nil {
			return true
		}
		at := 0
		if m[2] == "Var" {
			at = 1
		}
		if len(call.Args) > at {
			if lit, ok := call.Args[at].(*ast.BasicLit); ok && lit.Kind == token.STRING {
				name, _ := strconv.Unquote(lit.Value)
				found[name] = m[1]
				if m[1] == "" {
					found[name] = "Value"
				}
			}
		}
		return true
	})
}

// TestOwnFlags: lvme takes what it is told. The program itself reads the
// arguments, and shows its help instead of starting.
func TestOwnFlags(t *testing.T) {
	program := filepath.Join(t.TempDir(), "lvme")
	if res := inRoot(t, "go", "build", "-o", program, "./cmd/lvme"); res.Code != 0 {
		t.Fatalf("build: %s", res.Stderr)
	}
	help := func(t *testing.T, args ...string) (code int, said string) {
		t.Helper()
		res := inRoot(t, append(append([]string{program}, args...), "--help")...)
		return res.Code, string(res.Stderr)
	}
	each(t, func(t *testing.T, all []runtime.Object) {
		for _, c := range []corev1.Container{container(t, agentPod(t, all), "agent"), container(t, controllerPod(t, all), "controller")} {
			// What the kubelet puts in does not matter.
			if code, said := help(t, c.Args...); code != 0 {
				t.Errorf("lvme %s: exit %d: %s", strings.Join(c.Args, " "), code, said)
			}
		}
	})
	for _, bad := range [][]string{{"agent", "--no-such-flag"}, {"agent", "--grace=soon"}, {"no-such-command"}} {
		if code, _ := help(t, bad...); code == 0 {
			t.Errorf("lvme %q is taken", bad)
		}
	}
}

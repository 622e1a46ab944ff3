package arch

import (
	"maps"
	"slices"
	"strings"
	"testing"
)

// row says which packages of this module a package may import, and why these.
type row struct {
	may []string
	why string
}

// everything is what whoever wires the parts together may import, but for what
// itself wires.
var everything = []string{
	"controller", "node", "driver", "volume", "drive", "lvm",
	"speed", "internal/blockdev", "internal/dm", "internal/hostns", "internal/hostrecord", "internal/mount", "internal/mtls", "internal/run", "internal/table", "internal/web",
}

// house is the import table: imports point downwards only. A package that is
// not in it does not belong to the house yet.
var house = map[string]row{
	"cmd/lvme": {append([]string{"agent", "kube", "router"}, everything...), "the program: it reads flags, calls and prints, and nothing imports it"},
	"agent/agenttest": {
		append([]string{"agent", "lvm/lvmtest", "internal/mount/mounttest"}, everything...),
		"an agent on a host in memory, for the tests of others",
	},
	"agent":                    {everything, "one node's processes wired by hand, so that tests can run them as the program does"},
	"controller":               {[]string{"driver", "volume"}, "CSI words on one side, the domain on the other; LVM is none of its business"},
	"node":                     {[]string{"driver", "volume", "internal/mount", "internal/keyed"}, "it mounts what the domain activates, and sees no LVM"},
	"router":                   {[]string{"driver", "volume", "internal/keyed"}, "it forwards: of the domain it needs ids, sentinel errors and what can be wrong with a pool, of Kubernetes and LVM nothing"},
	"router/routertest":        {[]string{"router", "driver", "volume", "internal/mtls"}, "it stands in for the cluster and the agents around a router"},
	"kube":                     {[]string{"router", "driver", "volume", "internal/mtls"}, "it stands in for the cluster before the router; of the domain it needs ids, sentinel errors, what can be wrong with a pool and which profile is thick"},
	"speed":                    {[]string{"driver", "volume", "internal/blockdev", "internal/run"}, "it uses volumes as a kubelet does, and looks at what the kernel makes of them; LVM is none of its business"},
	"driver":                   {[]string{"volume"}, "a central controller without LVM shares it: of the domain it needs types and sentinel errors"},
	"volume":                   {[]string{"lvm", "drive", "internal/hostrecord", "internal/keyed", "internal/dm", "internal/blockdev"}, "the domain: it decides, others do"},
	"drive":                    {[]string{"internal/run"}, "drives are known from sysfs and blkid; it must not know what is built on them"},
	"lvm":                      {[]string{"internal/run", "internal/dm", "internal/patience"}, "free of policy, so that it can be tested on a bare VG"},
	"lvm/lvmtest":              {[]string{"lvm", "internal/run", "internal/dm"}, "it stands in for the programs and the kernel below lvm"},
	"deploy":                   {[]string{"driver", "drive"}, "tests of the chart: the names and configuration that it has to have right"},
	"deploy/image":             {nil, "it packs what was built"},
	"internal/arch":            {nil, "it reads source, it runs none"},
	"internal/blockdev":        {nil, "ioctls on a device that it is given"},
	"internal/dm":              {nil, "ioctls on device-mapper"},
	"internal/hostns":          {nil, "it runs before anything else does"},
	"internal/hostrecord":      {nil, "one file, whose content others decide"},
	"internal/keyed":           {nil, "locks by name"},
	"internal/mount":           {[]string{"internal/run"}, "mkfs, mount and their kin, whatever the device is"},
	"internal/mount/mounttest": {[]string{"internal/mount", "internal/run"}, "it stands in for the programs and the kernel below mount"},
	"internal/mtls":            {nil, "certificates and TLS, wherever they are kept"},
	"internal/patience":        {nil, "it waits, whatever the call is"},
	"internal/run":             {nil, "the bottom: it starts programs"},
	"internal/table":           {nil, "columns for people"},
	"internal/web":             {nil, "the HTTP port of whatever process"},
}

// testPackages are made for tests; any test may import them.
var testPackages = []string{"agent/agenttest", "lvm/lvmtest", "internal/mount/mounttest", "router/routertest", "test/bed"}

// runner starts programs, for tests too.
const runner = "internal/run"

// loose are directories of tests: they may import everything but each other's
// insides. The bed is the exception: it must not know what is tested in it.
var loose = []string{"sanity", "test"}

const bed = "test/bed"

// ours is the directory of a package of this module.
func ours(importPath string) (dir string, ok bool) {
	if importPath == module {
		return ".", true
	}
	return strings.CutPrefix(importPath, module+"/")
}

// reachable are the packages that pkg may reach through others.
func reachable(pkg string) []string {
	seen := map[string]bool{}
	var visit func(string)
	visit = func(p string) {
		for _, next := range house[p].may {
			if !seen[next] {
				seen[next] = true
				visit(next)
			}
		}
	}
	visit(pkg)
	return slices.Sorted(maps.Keys(seen))
}

// internalImports holds a file to the table.
func internalImports(f source) []string {
	var faults []string
	for _, p := range f.imports() {
		dir, ok := ours(p)
		if ok && !mayImport(f, dir) {
			faults = append(faults, fault(f.path, "imports %s; package %s may import %q of this module: %s", dir, f.pkg(), house[f.pkg()].may, house[f.pkg()].why))
		}
	}
	return faults
}

func mayImport(f source, dir string) bool {
	if f.below(bed) {
		return dir == bed || strings.HasPrefix(dir, bed+"/")
	}
	if f.below(loose...) {
		return true
	}
	if slices.Contains(house[f.pkg()].may, dir) {
		return true
	}
	return f.isTest() && (dir == f.pkg() || dir == runner || slices.Contains(testPackages, dir) || slices.Contains(reachable(f.pkg()), dir))
}

func TestImports(t *testing.T) {
	hold(t, internalImports)
}

func TestImportsRule(t *testing.T) {
	catches(t, internalImports,
		offence{"downwards", "controller/a.go", `package controller; import _ "` + module + `/volume"`, 0},
		offence{"upwards", "lvm/a.go", `package lvm; import _ "` + module + `/volume"`, 1},
		offence{"past a layer", "controller/a.go", `package controller; import _ "` + module + `/lvm"`, 1},
		offence{"past a layer in a test", "controller/a_test.go", `package controller; import _ "` + module + `/lvm"`, 0},
		offence{"upwards in a test", "lvm/a_test.go", `package lvm; import _ "` + module + `/volume"`, 1},
		offence{"own package in a test", "lvm/a_test.go", `package lvm_test; import _ "` + module + `/lvm"`, 0},
		offence{"test code outside tests", "volume/a.go", `package volume; import _ "` + module + `/lvm/lvmtest"`, 1},
		offence{"the bed knows nothing", "test/bed/a.go", `package bed; import _ "` + module + `/lvm"`, 1},
		offence{"tests know all", "sanity/a.go", `package sanity; import _ "` + module + `/lvm"`, 0},
		offence{"unknown package", "other/a.go", `package other; import _ "` + module + `/lvm"`, 1},
	)
}

// TestEveryPackageHasARow fails for a package without a row, and for a row
// without a package or a reason.
func TestEveryPackageHasARow(t *testing.T) {
	there := map[string]bool{}
	for _, f := range files(t) {
		there[f.pkg()] = true
		if _, ok := house[f.pkg()]; !ok && !f.below(loose...) {
			t.Errorf("%s: package %s is not in the import table of internal/arch: give it a row with the reason", f.path, f.pkg())
		}
	}
	for pkg, row := range house {
		if !there[pkg] {
			t.Errorf("the table has a row for %s, which is not there", pkg)
		}
		if row.why == "" {
			t.Errorf("the row of %s has no reason", pkg)
		}
		if slices.Contains(reachable(pkg), pkg) {
			t.Errorf("the table lets %s reach itself: imports point downwards only", pkg)
		}
	}
}

// outside are the modules that the house is built of and which packages may
// import each. What is not here needs a reason to come in.
var outside = map[string]row{
	"github.com/container-storage-interface/spec":    {[]string{"driver", "controller", "node", "agent", "router", "speed"}, "the domain and what is below it speak no CSI"},
	"google.golang.org/grpc/codes":                   {[]string{"driver", "router"}, "errors become codes in one table"},
	"google.golang.org/grpc/status":                  {[]string{"driver", "router"}, "errors become codes in one table"},
	"google.golang.org/grpc":                         {[]string{"driver", "agent", "router", "speed", "cmd/lvme"}, "handlers need no gRPC"},
	"google.golang.org/protobuf":                     {[]string{"driver", "controller", "node", "router"}, "as CSI"},
	"github.com/kubernetes-csi/csi-lib-utils":        {[]string{"driver"}, "for stripping secrets from logs"},
	"github.com/prometheus/client_golang":            {[]string{"driver", "agent", "router", "kube", "internal/web", "cmd/lvme"}, "what is counted is told by hooks"},
	"github.com/spf13/cobra":                         {[]string{"cmd/lvme"}, "flags are read in one place"},
	"github.com/spf13/pflag":                         {[]string{"cmd/lvme", "agent"}, "flags are read in one place"},
	"golang.org/x/sys":                               {[]string{"drive", "driver", "internal", "agent", "speed", "cmd/lvme", "node"}, "system calls; not above the domain, nor in it"},
	"k8s.io/klog/v2":                                 {[]string{"driver", "controller", "node", "volume", "drive", "lvm", "internal", "agent", "router", "kube", "cmd/lvme"}, "the one logger"},
	"github.com/kubernetes-csi/external-snapshotter": {[]string{"kube"}, "one package speaks to the API server"},
	"k8s.io/api":                                     {[]string{"kube"}, "one package speaks to the API server"},
	"k8s.io/apimachinery":                            {[]string{"kube"}, "one package speaks to the API server"},
	"k8s.io/client-go":                               {[]string{"kube"}, "one package speaks to the API server"},
	"k8s.io/kubelet":                                 {[]string{"agent"}, "the agent registers itself"},
	"k8s.io/mount-utils":                             {[]string{"internal/mount"}, "mounts are made in one place"},
	"k8s.io/utils":                                   {[]string{"internal/mount"}, "what mount-utils takes"},
	"sigs.k8s.io/yaml":                               {[]string{"drive", "agent", "cmd/lvme"}, "configuration is read at the edge"},
	"github.com/go-logr/logr":                        {[]string{"driver", "agent"}, "the interface of klog"},
	"github.com/google/go-containerregistry":         {[]string{"deploy/image"}, "images are made by programs of their own"},
	"go.yaml.in/yaml/v3":                             {nil, "tests only: it reads comments too"},
	"github.com/kubernetes-csi/csi-test":             {nil, "tests only"},
	"github.com/onsi/ginkgo":                         {nil, "tests only, because csi-test is written in it"},
	"github.com/google/uuid":                         {nil, "tests only, because csi-test's configuration asks for it"},
	"github.com/onsi/gomega":                         {nil, "tests only, because csi-test is written in it"},
}

// rowOf is the longest row that the import path falls under.
func rowOf(importPath string) (row, bool) {
	best, found := "", false
	for prefix := range outside {
		if (importPath == prefix || strings.HasPrefix(importPath, prefix+"/")) && len(prefix) > len(best) {
			best, found = prefix, true
		}
	}
	return outside[best], found
}

// foreignImports holds a file to the modules of others that it may import. In
// tests every module of the table may be imported.
func foreignImports(f source) []string {
	var faults []string
	for _, p := range f.imports() {
		first, _, _ := strings.Cut(p, "/")
		if _, own := ours(p); own || !strings.Contains(first, ".") {
			continue
		}
		row, known := rowOf(p)
		switch {
		case !known:
			faults = append(faults, fault(f.path, "imports %s, which the table of internal/arch does not know: every dependency needs a reason", p))
		case !f.isTest() && !f.below(loose...) && !f.below(row.may...) && !isTestPackage(f):
			faults = append(faults, fault(f.path, "imports %s, which is for %q: %s", p, row.may, row.why))
		}
	}
	return faults
}

func isTestPackage(f source) bool { return slices.Contains(testPackages, f.pkg()) }

func TestForeignImports(t *testing.T) {
	hold(t, foreignImports)
}

func TestForeignImportsRule(t *testing.T) {
	catches(t, foreignImports,
		offence{"standard library", "volume/a.go", `package volume; import _ "net/http"`, 0},
		offence{"CSI in the domain", "volume/a.go", `package volume; import _ "github.com/container-storage-interface/spec/lib/go/csi"`, 1},
		offence{"CSI above it", "controller/a.go", `package controller; import _ "github.com/container-storage-interface/spec/lib/go/csi"`, 0},
		offence{"the longest row", "agent/a.go", `package agent; import _ "google.golang.org/grpc/codes"`, 1},
		offence{"and the shorter", "agent/a.go", `package agent; import _ "google.golang.org/grpc/credentials"`, 0},
		offence{"codes in a handler", "controller/a.go", `package controller; import _ "google.golang.org/grpc/codes"`, 1},
		offence{"codes in its test", "controller/a_test.go", `package controller; import _ "google.golang.org/grpc/codes"`, 0},
		offence{"unknown", "controller/a_test.go", `package controller; import _ "github.com/stretchr/testify/require"`, 1},
	)
}

// osExec: programs are started by internal/run, so that every one obeys the
// same rules.
func osExec(f source) []string {
	if slices.Contains(f.imports(), "os/exec") && !f.below("internal/run", "test") {
		return []string{fault(f.path, "imports os/exec: programs are started by internal/run")}
	}
	return nil
}

func TestOneExec(t *testing.T) {
	hold(t, osExec)
}

func TestOneExecRule(t *testing.T) {
	catches(t, osExec,
		offence{"elsewhere", "drive/a.go", `package drive; import _ "os/exec"`, 1},
		offence{"in a test elsewhere", "drive/a_test.go", `package drive; import _ "os/exec"`, 1},
		offence{"in run", "internal/run/a.go", `package run; import _ "os/exec"`, 0},
		offence{"below test", "test/bed/a.go", `package bed; import _ "os/exec"`, 0},
	)
}

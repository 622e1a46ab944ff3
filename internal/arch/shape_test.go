package arch

import (
	"go/ast"
	"path"
	"regexp"
	"slices"
	"strings"
	"testing"
)

const (
	maxFunction = 60  // lines, first to last
	maxFile     = 400 // lines
)

// sizes bounds files and functions. Tests may be long: a table is one.
func sizes(f source) []string {
	if f.isTest() {
		return nil
	}
	var faults []string
	if n := f.lines(f.ast); n > maxFile {
		faults = append(faults, fault(f.path, "has %d lines, at most %d are readable: split it by meaning", n, maxFile))
	}
	for _, d := range f.ast.Decls {
		fn, ok := d.(*ast.FuncDecl)
		if ok && f.lines(fn) > maxFunction {
			faults = append(faults, fault(f.at(fn), "function %s has %d lines, at most %d", fn.Name.Name, f.lines(fn), maxFunction))
		}
	}
	return faults
}

func TestSizes(t *testing.T) {
	hold(t, sizes)
}

func TestSizesRule(t *testing.T) {
	body := strings.Repeat("\n", maxFunction)
	catches(t, sizes,
		offence{"long function", "volume/a.go", "package volume\nfunc f() {" + body + "}", 1},
		offence{"long test", "volume/a_test.go", "package volume\nfunc f() {" + body + "}", 0},
		offence{"longest function", "volume/a.go", "package volume\nfunc f() {" + body[1:] + "}", 0},
		offence{"long file", "volume/a.go", "package volume" + strings.Repeat("\n", maxFile) + "var x int", 1},
		offence{"longest file", "volume/a.go", "package volume" + strings.Repeat("\n", maxFile-1) + "var x int", 0},
	)
}

// nonJob are words of which a package comment needs one: it says what the
// package leaves to others. Packages of tests need not.
var nonJob = regexp.MustCompile(`(?i)\b(no|not|nor|none|nothing|never|neither|only|without)\b`)

// packageComment says what is wrong with the comment of a package, "" for
// nothing. The files are those of one directory that are no tests.
func packageComment(dir string, files []source) string {
	name := files[0].ast.Name.Name
	begin := "Package " + name + " "
	if name == "main" {
		begin = "Command " + path.Base(dir) + " "
	}
	comment := ""
	for _, f := range files {
		if f.ast.Doc == nil {
			continue
		}
		if comment != "" {
			return "has two package comments; the second is in " + f.path
		}
		comment = f.ast.Doc.Text()
	}
	switch {
	case comment == "":
		return "has no package comment: say its job, its words, and what is not its job"
	case !strings.HasPrefix(comment, begin):
		return "has a package comment that does not begin with " + begin
	case name != "main" && !files[0].below(loose...) && !nonJob.MatchString(comment):
		return "has a package comment that does not say what is not its job"
	}
	return ""
}

func TestPackageComments(t *testing.T) {
	packages := map[string][]source{}
	for _, f := range files(t) {
		if !f.isTest() {
			packages[f.pkg()] = append(packages[f.pkg()], f)
		}
	}
	for dir, files := range packages {
		if why := packageComment(dir, files); why != "" {
			t.Errorf("package %s %s", dir, why)
		}
	}
}

func TestPackageCommentsRule(t *testing.T) {
	for _, tc := range []struct {
		name, dir string
		texts     []string
		good      bool
	}{
		{"good", "lvm", []string{"// Package lvm knows LVM. It has no policy.\npackage lvm", "package lvm"}, true},
		{"command", "cmd/lvme", []string{"// Command lvme is the agent.\npackage main"}, true},
		{"none", "lvm", []string{"package lvm"}, false},
		{"two", "lvm", []string{"// Package lvm knows no policy.\npackage lvm", "// Package lvm knows nothing.\npackage lvm"}, false},
		{"another name", "lvm", []string{"// Package vg knows no policy.\npackage lvm"}, false},
		{"no job left out", "lvm", []string{"// Package lvm does everything.\npackage lvm"}, false},
	} {
		t.Run(tc.name, func(t *testing.T) {
			var files []source
			for i, text := range tc.texts {
				f, err := parse(path.Join(tc.dir, string(rune('a'+i))+".go"), text)
				if err != nil {
					t.Fatal(err)
				}
				files = append(files, f)
			}
			if why := packageComment(tc.dir, files); (why == "") != tc.good {
				t.Errorf("got %q, want it good: %t", why, tc.good)
			}
		})
	}
}

// empty are names that say nothing of what is inside.
var empty = []string{"util", "utils", "common", "helper", "helpers", "base", "misc", "shared", "lib", "types"}

// names refuses packages whose name says nothing, and files of such names but
// types.go.
func names(f source) []string {
	var faults []string
	for part := range strings.SplitSeq(f.pkg(), "/") {
		if slices.Contains(empty, part) {
			faults = append(faults, fault(f.path, "a package called %s says nothing of what is in it", part))
		}
	}
	base := strings.TrimSuffix(strings.TrimSuffix(path.Base(f.path), ".go"), "_test")
	if slices.Contains(empty, base) && base != "types" {
		faults = append(faults, fault(f.path, "a file called %s says nothing of what is in it", base))
	}
	return faults
}

func TestNames(t *testing.T) {
	hold(t, names)
}

func TestNamesRule(t *testing.T) {
	catches(t, names,
		offence{"package", "internal/utils/a.go", "package utils", 1},
		offence{"file", "lvm/helpers.go", "package lvm", 1},
		offence{"test file", "lvm/util_test.go", "package lvm", 1},
		offence{"types in a file", "volume/types.go", "package volume", 0},
		offence{"a word in a name", "internal/library/a.go", "package library", 0},
	)
}

// initFunctions: what a program does it does because somebody called it.
func initFunctions(f source) []string {
	var faults []string
	for _, d := range f.ast.Decls {
		if fn, ok := d.(*ast.FuncDecl); ok && fn.Name.Name == "init" && fn.Recv == nil {
			faults = append(faults, fault(f.at(fn), "func init runs without being called: do it where it is needed"))
		}
	}
	return faults
}

func TestNoInit(t *testing.T) {
	hold(t, initFunctions)
}

func TestNoInitRule(t *testing.T) {
	catches(t, initFunctions,
		offence{"init", "lvm/a.go", "package lvm\nfunc init() {}", 1},
		offence{"a method", "lvm/a.go", "package lvm\ntype a int\nfunc (a) init() {}", 0},
	)
}

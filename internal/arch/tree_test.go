package arch

import (
	"errors"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
)

// root is the module's directory, seen from this package's.
const root = "../.."

// module is the path of the module; TestModulePath holds it to go.mod.
const module = "github.com/lvme/lvme"

// source is one Go file of the module.
type source struct {
	path string // below the module's root, with slashes
	fset *token.FileSet
	ast  *ast.File
}

// pkg is the directory of the file's package, "." for the root.
func (s source) pkg() string { return path.Dir(s.path) }

// isTest says that the file is compiled for tests only.
func (s source) isTest() bool { return strings.HasSuffix(s.path, "_test.go") }

// below says that the file's package is one of these or lies in one.
func (s source) below(dirs ...string) bool {
	for _, dir := range dirs {
		if s.pkg() == dir || strings.HasPrefix(s.pkg(), dir+"/") {
			return true
		}
	}
	return false
}

// at is where a node stands, for a message.
func (s source) at(n ast.Node) string {
	return s.path + ":" + strconv.Itoa(s.fset.Position(n.Pos()).Line)
}

// lines is how many lines a node has.
func (s source) lines(n ast.Node) int {
	return s.fset.Position(n.End()).Line - s.fset.Position(n.Pos()).Line + 1
}

// imports are the paths that the file imports.
func (s source) imports() []string {
	var paths []string
	for _, spec := range s.ast.Imports {
		if p, err := strconv.Unquote(spec.Path.Value); err == nil {
			paths = append(paths, p)
		}
	}
	return paths
}

// tree reads all Go files of the module once.
var tree = sync.OnceValues(func() ([]source, error) {
	var files []source
	err := walk(func(name string) error {
		if path.Ext(name) != ".go" {
			return nil
		}
		text, err := os.ReadFile(filepath.Join(root, name))
		if err != nil {
			return err
		}
		file, err := parse(name, string(text))
		files = append(files, file)
		return err
	})
	if err == nil && len(files) < 20 {
		err = errors.New("hardly a Go file was found: the tests look in the wrong place")
	}
	return files, err
})

// walk calls visit with every file of the module that is kept in git, but for
// test data and other modules in it.
func walk(visit func(name string) error) error {
	return filepath.WalkDir(root, func(p string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		name, err := filepath.Rel(root, p)
		if err != nil {
			return err
		}
		if !d.IsDir() {
			return visit(filepath.ToSlash(name))
		}
		if name == "." {
			return nil
		}
		_, notModule := os.Stat(filepath.Join(p, "go.mod"))
		base := d.Name()
		if base == "testdata" || strings.HasPrefix(base, ".") || strings.HasPrefix(base, "_") || name == "bin" || name == "out" || notModule == nil {
			return fs.SkipDir
		}
		return nil
	})
}

func parse(name, text string) (source, error) {
	fset := token.NewFileSet()
	file, err := parser.ParseFile(fset, name, text, parser.ParseComments|parser.SkipObjectResolution)
	return source{path: name, fset: fset, ast: file}, err
}

// files returns what tree read.
func files(t *testing.T) []source {
	t.Helper()
	all, err := tree()
	if err != nil {
		t.Fatal(err)
	}
	return all
}

// read returns a file of the module as text.
func read(t *testing.T, name string) string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(root, name))
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// rule looks at one file and returns what is wrong in it.
type rule func(source) []string

// hold applies a rule to every file.
func hold(t *testing.T, r rule) {
	t.Helper()
	for _, f := range files(t) {
		for _, fault := range r(f) {
			t.Error(fault)
		}
	}
}

// offence is a file that a rule must find something wrong in, or nothing.
type offence struct {
	name string
	path string
	text string
	want int
}

// catches shows offences to a rule.
func catches(t *testing.T, r rule, offences ...offence) {
	t.Helper()
	for _, o := range offences {
		t.Run(o.name, func(t *testing.T) {
			f, err := parse(o.path, o.text)
			if err != nil {
				t.Fatal(err)
			}
			if got := r(f); len(got) != o.want {
				t.Errorf("found %d faults, want %d: %q", len(got), o.want, got)
			}
		})
	}
}

func TestModulePath(t *testing.T) {
	if first, _, _ := strings.Cut(read(t, "go.mod"), "\n"); first != "module "+module {
		t.Errorf("go.mod begins with %q, these tests are for module %s", first, module)
	}
}

// inspect calls visit for every node below n.
func inspect(n ast.Node, visit func(ast.Node)) {
	ast.Inspect(n, func(n ast.Node) bool {
		if n != nil {
			visit(n)
		}
		return true
	})
}

// called is the name of a called function as it is written: "fmt.Println".
func called(call *ast.CallExpr) string {
	switch f := call.Fun.(type) {
	case *ast.Ident:
		return f.Name
	case *ast.SelectorExpr:
		if x, ok := f.X.(*ast.Ident); ok {
			return x.Name + "." + f.Sel.Name
		}
		return "." + f.Sel.Name
	}
	return ""
}

// fault makes one message.
func fault(at, format string, args ...any) string { return at + ": " + fmt.Sprintf(format, args...) }

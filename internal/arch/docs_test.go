package arch

import (
	"go/ast"
	"go/token"
	"os"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// documents are the Markdown files of the module.
func documents(t *testing.T) map[string]string {
	t.Helper()
	docs := map[string]string{}
	err := walk(func(name string) error {
		if path.Ext(name) == ".md" {
			docs[name] = read(t, name)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if len(docs) < 5 {
		t.Fatalf("found %d documents only: the test looks in the wrong place", len(docs))
	}
	return docs
}

// link is a link in Markdown to something in the repository.
var link = regexp.MustCompile(`\]\(([^)#:\s]+)(#[^)\s]*)?\)`)

// TestLinks: what a document links to is there.
func TestLinks(t *testing.T) {
	for name, text := range documents(t) {
		for _, m := range link.FindAllStringSubmatch(text, -1) {
			target := path.Join(path.Dir(name), m[1])
			if _, err := os.Stat(filepath.Join(root, target)); err != nil {
				t.Errorf("%s links to %s, which is not there", name, target)
			}
		}
	}
}

// mention is a place in the code that names a document.
var mention = regexp.MustCompile(`\b((?:docs/[\w/-]+|README|CONTRIBUTING|CHANGELOG)\.md)`)

// TestMentions: the documents that comments and messages point to are there,
// from the root of the repository or beside the file.
func TestMentions(t *testing.T) {
	for _, f := range files(t) {
		if f.below("internal/arch") {
			continue
		}
		for _, m := range mention.FindAllString(read(t, f.path), -1) {
			_, err := os.Stat(filepath.Join(root, m))
			_, beside := os.Stat(filepath.Join(root, f.pkg(), m))
			if err != nil && beside != nil {
				t.Errorf("%s points to %s, which is not there", f.path, m)
			}
		}
	}
}

// TestDocumentsNameWhatTheCodeHas: tags, parameters, options and fields stand
// in the documents that specify them.
func TestDocumentsNameWhatTheCodeHas(t *testing.T) {
	for _, tc := range []struct {
		name, document string
		want           []string
		least          int
	}{
		{"tags", "docs/on-disk-format.md", prefixed("lvme:", constants(t, "volume", "tag[A-Z]")), 15},
		{"parameters", "docs/parameters.md", constants(t, "driver", "Param[A-Z]"), 5},
		{"mount and mkfs options", "docs/parameters.md", arguments(t, "driver", "allow"), 60},
		{"fields of the configuration", "docs/parameters.md", arguments(t, "drive", ".fields"), 15},
		{"layouts and placements", "docs/parameters.md", typed(t, "drive", "Layout", "Placement"), 5},
		{"checks of the doctor", "docs/operations.md", typed(t, "volume", "Check"), 25},
		{"reasons of what is wrong", "docs/operations.md", typed(t, "volume", "Reason"), 17},
		{"states and modes", "docs/on-disk-format.md", typed(t, "volume", "State", "Mode"), 7},
	} {
		t.Run(tc.name, func(t *testing.T) {
			if len(tc.want) < tc.least {
				t.Fatalf("found %q in the code: the test looks in the wrong place", tc.want)
			}
			text := strings.ReplaceAll(read(t, tc.document), `\|`, `|`)
			for _, w := range tc.want {
				if !strings.Contains(text, w) {
					t.Errorf("%s does not name %q", tc.document, w)
				}
			}
		})
	}
}

func prefixed(prefix string, values []string) []string {
	var all []string
	for _, v := range values {
		all = append(all, prefix+v)
	}
	return all
}

// source files of a package that are no tests.
func filesOf(t *testing.T, pkg string) []source {
	t.Helper()
	return slices.DeleteFunc(slices.Clone(files(t)), func(f source) bool { return f.pkg() != pkg || f.isTest() })
}

// specs calls visit for each constant or variable of a package with its value.
func specs(t *testing.T, pkg string, visit func(spec *ast.ValueSpec, name string, value ast.Expr)) {
	t.Helper()
	for _, f := range filesOf(t, pkg) {
		inspect(f.ast, func(n ast.Node) {
			if spec, ok := n.(*ast.ValueSpec); ok {
				for i, name := range spec.Names {
					if i < len(spec.Values) {
						visit(spec, name.Name, spec.Values[i])
					}
				}
			}
		})
	}
}

// constants are the texts of the package's constants with such a name.
func constants(t *testing.T, pkg, name string) []string {
	t.Helper()
	var all []string
	form := regexp.MustCompile("^" + name)
	specs(t, pkg, func(_ *ast.ValueSpec, name string, value ast.Expr) {
		if text, ok := literal(value); ok && form.MatchString(name) && name != "tagPrefix" {
			all = append(all, text)
		}
	})
	return all
}

// typed are the texts of the package's constants of these types.
func typed(t *testing.T, pkg string, types ...string) []string {
	t.Helper()
	var all []string
	specs(t, pkg, func(spec *ast.ValueSpec, _ string, value ast.Expr) {
		of, isIdent := spec.Type.(*ast.Ident)
		if text, ok := literal(value); ok && isIdent && slices.Contains(types, of.Name) {
			all = append(all, text)
		}
	})
	return all
}

// arguments are the texts given to a function of that name in the package.
func arguments(t *testing.T, pkg, function string) []string {
	t.Helper()
	var all []string
	for _, f := range filesOf(t, pkg) {
		inspect(f.ast, func(n ast.Node) {
			call, ok := n.(*ast.CallExpr)
			if !ok || called(call) != function && !strings.HasSuffix(called(call), function) {
				return
			}
			for _, arg := range call.Args {
				if text, ok := literal(arg); ok {
					all = append(all, text)
				}
			}
		})
	}
	return all
}

func literal(e ast.Expr) (string, bool) {
	lit, ok := e.(*ast.BasicLit)
	if !ok || lit.Kind != token.STRING {
		return "", false
	}
	text, err := strconv.Unquote(lit.Value)
	return text, err == nil
}

// targets are the targets of the Makefile that `make help` lists.
func targets(t *testing.T) []string {
	t.Helper()
	var all []string
	for _, m := range regexp.MustCompile(`(?m)^([a-z][a-z0-9-]*):.*## `).FindAllStringSubmatch(read(t, "Makefile"), -1) {
		all = append(all, m[1])
	}
	if len(all) < 10 {
		t.Fatalf("found the targets %q only", all)
	}
	return all
}

// TestMakeTargets: what people are told to make, and what CI makes, exists.
func TestMakeTargets(t *testing.T) {
	known := targets(t)
	made := regexp.MustCompile("(?m)(?:`|^|phase )make ([a-z][a-z0-9-]*)")
	texts := documents(t)
	texts[".ci/run"] = read(t, ".ci/run")
	for name, text := range texts {
		for _, m := range made.FindAllStringSubmatch(text, -1) {
			if !slices.Contains(known, m[1]) {
				t.Errorf("%s says make %s, which the Makefile does not have", name, m[1])
			}
		}
	}
}

// TestSmall: what everybody reads stays short.
func TestSmall(t *testing.T) {
	for name, limit := range map[string]int{"Makefile": 220, "README.md": 150} {
		if n := strings.Count(read(t, name), "\n"); n > limit {
			t.Errorf("%s has %d lines, at most %d", name, n, limit)
		}
	}
}

// TestRealTestsAreRun: a package whose tests look for the bed is in one of the
// Makefile's lists of those that are run in it, or with it.
func TestRealTestsAreRun(t *testing.T) {
	for variable, list := range map[string]string{"LVME_BED": "REAL", "LVME_TESTS": "OUTSIDE"} {
		listed := makeList(t, list)
		for _, f := range files(t) {
			if f.isTest() && !f.below(bed, "internal/arch") && asksFor(f, variable) && !slices.Contains(listed, "./"+f.pkg()) {
				t.Errorf("%s looks for %s, and %s in the Makefile does not list ./%s: its tests are never run", f.path, variable, list, f.pkg())
			}
		}
	}
}

// makeList is a list of packages in the Makefile.
func makeList(t *testing.T, name string) []string {
	t.Helper()
	m := regexp.MustCompile(`(?m)^` + name + ` \?= (.*)$`).FindStringSubmatch(read(t, "Makefile"))
	if m == nil {
		t.Fatalf("the Makefile has no list %s", name)
	}
	return strings.FieldsFunc(m[1], func(r rune) bool { return strings.ContainsRune(" (),", r) })
}

// asksFor says that the file reads a variable of that name, or one that begins
// with it.
func asksFor(f source, variable string) bool {
	asks := false
	inspect(f.ast, func(n ast.Node) {
		call, ok := n.(*ast.CallExpr)
		if !ok || !strings.HasPrefix(called(call), "os.") || len(call.Args) == 0 {
			return
		}
		text, _ := literal(call.Args[0])
		asks = asks || strings.HasPrefix(text, variable)
	})
	return asks
}

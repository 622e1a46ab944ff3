package arch

import (
	"go/ast"
	"go/token"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// only forbids calls outside some directories, and outside tests.
type only struct {
	name *regexp.Regexp
	in   []string // directories in which the call is right
	why  string
}

var onlyCalls = []only{
	{regexp.MustCompile(`^(fmt\.Print(f|ln)?|print|println)$`), []string{"cmd", "sanity", "test"}, "what is said goes to the log, or to a writer that is given"},
	{regexp.MustCompile(`^os\.(Getenv|LookupEnv|Environ|ExpandEnv)$`), []string{"cmd", "sanity", "test"}, "configuration is read in cmd and handed down"},
	{regexp.MustCompile(`^os\.Exit$`), []string{"cmd", "deploy/image", "sanity", "test"}, "only main ends the program"},
	{regexp.MustCompile(`^time\.Sleep$`), []string{"sanity", "test"}, "wait for the event, or for a timer and the context together"},
	{regexp.MustCompile(`^(log\.(Print|Fatal|Panic)(f|ln)?|klog\.(Fatal|Exit)\w*)$`), []string{"test"}, "klog is the one logger, and only main ends the program"},
	{regexp.MustCompile(`^status\.(Error|Errorf|New|Newf)$`), []string{"driver", "sanity", "test"}, "errors become gRPC codes in driver/status.go"},
}

// calls holds a file to onlyCalls.
func calls(f source) []string {
	if f.isTest() {
		return nil
	}
	var faults []string
	inspect(f.ast, func(n ast.Node) {
		call, ok := n.(*ast.CallExpr)
		if !ok {
			return
		}
		for _, o := range onlyCalls {
			if o.name.MatchString(called(call)) && !f.below(o.in...) {
				faults = append(faults, fault(f.at(call), "calls %s, which is for %q: %s", called(call), o.in, o.why))
			}
		}
	})
	return faults
}

func TestCalls(t *testing.T) {
	hold(t, calls)
}

func TestCallsRule(t *testing.T) {
	body := func(call string) string { return "package p\nfunc f() { " + call + " }" }
	catches(t, calls,
		offence{"print", "volume/a.go", body(`fmt.Println("x")`), 1},
		offence{"builtin print", "volume/a.go", body(`println("x")`), 1},
		offence{"print to a writer", "volume/a.go", body(`fmt.Fprintln(w, "x")`), 0},
		offence{"print in cmd", "cmd/lvme/a.go", body(`fmt.Println("x")`), 0},
		offence{"environment", "drive/a.go", body(`_ = os.Getenv("X")`), 1},
		offence{"environment in a test", "drive/a_test.go", body(`_ = os.Getenv("X")`), 0},
		offence{"exit", "node/a.go", body(`os.Exit(1)`), 1},
		offence{"sleep", "cmd/lvme/a.go", body(`time.Sleep(1)`), 1},
		offence{"a status", "controller/a.go", body(`return status.Error(codes.Internal, "x")`), 1},
		offence{"a status in driver", "driver/a.go", body(`return status.Error(codes.Internal, "x")`), 0},
		offence{"another print", "driver/a.go", body(`x.Println("x")`), 0},
	)
}

// judges are the functions that look into a text.
var judges = []string{"strings.Contains", "strings.HasPrefix", "strings.HasSuffix", "strings.EqualFold", "strings.Index", "regexp.MatchString"}

// errorText: errors are told apart with errors.Is and errors.As; a text is for
// people and changes. Tests may look at what people get to read.
func errorText(f source) []string {
	if f.isTest() {
		return nil
	}
	var faults []string
	add := func(n ast.Node) {
		faults = append(faults, fault(f.at(n), "decides on the text of an error: use errors.Is or errors.As"))
	}
	inspect(f.ast, func(n ast.Node) {
		switch n := n.(type) {
		case *ast.CallExpr:
			if slices.Contains(judges, called(n)) && slices.ContainsFunc(n.Args, isErrorText) {
				add(n)
			}
		case *ast.BinaryExpr:
			if (n.Op == token.EQL || n.Op == token.NEQ) && (isErrorText(n.X) || isErrorText(n.Y)) {
				add(n)
			}
		}
	})
	return faults
}

// isErrorText says that the expression is err.Error().
func isErrorText(e ast.Expr) bool {
	call, ok := e.(*ast.CallExpr)
	return ok && len(call.Args) == 0 && strings.HasSuffix(called(call), ".Error")
}

func TestErrorsAreNotReadAsText(t *testing.T) {
	hold(t, errorText)
}

func TestErrorTextRule(t *testing.T) {
	body := func(expr string) string { return "package p\nfunc f(err error) bool { return " + expr + " }" }
	catches(t, errorText,
		offence{"contains", "volume/a.go", body(`strings.Contains(err.Error(), "x")`), 1},
		offence{"compared", "volume/a.go", body(`err.Error() == "x"`), 1},
		offence{"of a field", "volume/a.go", body(`strings.HasPrefix(r.err.Error(), "x")`), 1},
		offence{"errors.Is", "volume/a.go", body(`errors.Is(err, x)`), 0},
		offence{"a text", "volume/a.go", body(`strings.Contains(text, "x")`), 0},
		offence{"in a test", "volume/a_test.go", body(`strings.Contains(err.Error(), "x")`), 0},
	)
}

// skips: a test that is not run says why not.
func skips(f source) []string {
	var faults []string
	inspect(f.ast, func(n ast.Node) {
		call, ok := n.(*ast.CallExpr)
		if !ok {
			return
		}
		sel, ok := call.Fun.(*ast.SelectorExpr)
		if !ok {
			return
		}
		switch {
		case sel.Sel.Name == "SkipNow":
		case (sel.Sel.Name == "Skip" || sel.Sel.Name == "Skipf") && isTestingVar(sel.X) && !hasReason(call):
		default:
			return
		}
		faults = append(faults, fault(f.at(call), "skips a test without saying why"))
	})
	return faults
}

func isTestingVar(e ast.Expr) bool {
	x, ok := e.(*ast.Ident)
	return ok && slices.Contains([]string{"t", "b", "f", "tb"}, x.Name)
}

func hasReason(call *ast.CallExpr) bool {
	if len(call.Args) == 0 {
		return false
	}
	text, ok := call.Args[0].(*ast.BasicLit)
	return !ok || len(text.Value) > len(`""`)
}

func TestSkipsHaveReasons(t *testing.T) {
	hold(t, skips)
}

func TestSkipsRule(t *testing.T) {
	body := func(call string) string { return "package p\nfunc f(t *testing.T) { " + call + " }" }
	catches(t, skips,
		offence{"no reason", "lvm/a_test.go", body(`t.Skip()`), 1},
		offence{"empty reason", "lvm/a_test.go", body(`t.Skip("")`), 1},
		offence{"now", "lvm/a_test.go", body(`t.SkipNow()`), 1},
		offence{"reason", "lvm/a_test.go", body(`t.Skip("needs the bed")`), 0},
		offence{"another Skip", "lvm/a.go", body(`r.Skip()`), 0},
	)
}

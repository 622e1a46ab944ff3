package stage

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"testing"
)

func open(t *testing.T) *Cache {
	t.Helper()
	t.Setenv("LVME_BED_CACHE", t.TempDir())
	c, err := Open(t.Logf)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// writing is a stage that makes one file and counts how often.
func writing(name, recipe string, made *int) Stage {
	return Stage{Name: name, Recipe: []string{recipe}, Make: func(_ context.Context, dir string) error {
		*made++
		return os.WriteFile(filepath.Join(dir, "file"), []byte(recipe), 0o644)
	}}
}

func TestEnsureMakesOnce(t *testing.T) {
	c := open(t)
	made := 0
	for _, recipe := range []string{"a", "a", "b", "a"} {
		s := writing("tools", recipe, &made)
		if err := c.Ensure(t.Context(), s); err != nil {
			t.Fatal(err)
		}
		if got, err := os.ReadFile(filepath.Join(c.Path(s), "file")); err != nil || string(got) != recipe {
			t.Errorf("the stage of %s holds %q, %v", recipe, got, err)
		}
	}
	if made != 2 {
		t.Errorf("two recipes were made %d times", made)
	}
}

func TestFailureLeavesNothing(t *testing.T) {
	c := open(t)
	broken := errors.New("broken")
	s := Stage{Name: "tools", Make: func(_ context.Context, dir string) error {
		return errors.Join(broken, os.WriteFile(filepath.Join(dir, "half"), nil, 0o644))
	}}
	if err := c.Ensure(t.Context(), s); !errors.Is(err, broken) {
		t.Errorf("the failure is told as %v", err)
	}
	if c.Has(s) {
		t.Error("what failed is there")
	}
	left, err := filepath.Glob(filepath.Join(c.dir, ".tmp-*"))
	if err != nil || len(left) > 0 {
		t.Errorf("left behind: %v, %v", left, err)
	}
}

func TestCleanSparesOthers(t *testing.T) {
	c := open(t)
	made := 0
	root, other := writing("root", "a", &made), writing("root-fs", "a", &made)
	for _, s := range []Stage{root, other} {
		if err := c.Ensure(t.Context(), s); err != nil {
			t.Fatal(err)
		}
	}
	mine := filepath.Join(c.dir, "root-of-mine")
	if err := os.Mkdir(mine, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := c.Clean("root"); err != nil {
		t.Fatal(err)
	}
	if c.Has(root) {
		t.Error("the stage is still there")
	}
	if !c.Has(other) || !exists(mine) {
		t.Error("what is not the stage's is gone")
	}
}

// TestPathIsOfTheWholeRecipe: two recipes differ when their lines do, whatever they are together.
func TestPathIsOfTheWholeRecipe(t *testing.T) {
	c := open(t)
	if c.Path(Stage{Name: "a", Recipe: []string{"ab", "c"}}) == c.Path(Stage{Name: "a", Recipe: []string{"a", "bc"}}) {
		t.Error("two recipes are at one place")
	}
}

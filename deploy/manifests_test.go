package deploy

import (
	"os"
	"strings"
	"testing"
)

const manifests = "manifests/lvme.yaml"

const manifestsHead = `# The chart deploy/chart/lvme rendered with deploy/manifests/values.yaml, for
# whoever has no Helm. Made by ` + "`make manifests`" + `.
`

// TestManifests: the plain manifests are what the chart renders.
func TestManifests(t *testing.T) {
	want := manifestsHead + strings.TrimPrefix(template(t, "--kube-version", tested, "--values", "deploy/manifests/values.yaml"), "---\n")
	if *update {
		if err := os.WriteFile(manifests, []byte(want), 0o644); err != nil {
			t.Fatal(err)
		}
	} else if read(t, manifests) != want {
		t.Errorf("%s is not what the chart renders: run `make manifests`", manifests)
	}
	decodeAll(t, want)
}

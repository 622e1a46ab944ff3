package deploy

import (
	"encoding/json"
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"

	"go.yaml.in/yaml/v3"
)

// value is a value of the chart, as values.yaml has it.
type value struct{ path, preset, meaning string }

// node is a part of the schema.
type node struct {
	Ref                  string          `json:"$ref"`
	Properties           map[string]node `json:"properties"`
	AdditionalProperties any             `json:"additionalProperties"`
}

func valuesSchema(t *testing.T) node {
	t.Helper()
	var n node
	if err := json.Unmarshal([]byte(read(t, chart+"/values.schema.json")), &n); err != nil {
		t.Fatal(err)
	}
	return n
}

// values are the values in values.yaml, in its order.
func values(t *testing.T) []value {
	t.Helper()
	var doc yaml.Node
	if err := yaml.Unmarshal([]byte(read(t, chart+"/values.yaml")), &doc); err != nil {
		t.Fatal(err)
	}
	var all []value
	walk(t, doc.Content[0], valuesSchema(t), "", &all)
	if len(all) < 80 {
		t.Fatalf("%d values only", len(all))
	}
	return all
}

// walk goes down as far as the schema names properties.
func walk(t *testing.T, y *yaml.Node, s node, prefix string, all *[]value) {
	t.Helper()
	for i := 0; i < len(y.Content); i += 2 {
		key, val := y.Content[i], y.Content[i+1]
		path := prefix + key.Value
		below, ok := s.Properties[key.Value]
		if !ok {
			t.Errorf("values.schema.json does not know %s", path)
		}
		if len(below.Properties) > 0 && len(val.Content) > 0 && val.Kind == yaml.MappingNode {
			walk(t, val, below, path+".", all)
			continue
		}
		*all = append(*all, value{path, preset(t, val), comment(key.HeadComment)})
	}
}

// preset is the value on one line.
func preset(t *testing.T, y *yaml.Node) string {
	t.Helper()
	var v any
	if err := y.Decode(&v); err != nil {
		t.Fatal(err)
	}
	if text, ok := v.(string); ok {
		return text
	}
	text, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// comment is the last paragraph of a comment, on one line.
func comment(text string) string {
	paragraphs := strings.Split(text, "\n\n")
	lines := strings.Split(paragraphs[len(paragraphs)-1], "\n")
	for i, line := range lines {
		lines[i] = strings.TrimSpace(strings.TrimPrefix(line, "#"))
	}
	return strings.Join(lines, " ")
}

// TestSchemaNamesNoMore: what the schema allows stands in values.yaml with its default.
func TestSchemaNamesNoMore(t *testing.T) {
	var paths []string
	for _, v := range values(t) {
		paths = append(paths, v.path)
	}
	var check func(s node, prefix string)
	check = func(s node, prefix string) {
		for name, below := range s.Properties {
			path := prefix + name
			inside := slices.ContainsFunc(paths, func(p string) bool { return p == path || strings.HasPrefix(path, p+".") })
			switch {
			case path == "global": // Helm's own
			case inside:
			case len(below.Properties) > 0:
				check(below, path+".")
			default:
				t.Errorf("values.schema.json allows %s, which values.yaml does not have", path)
			}
		}
		if s.AdditionalProperties != false {
			t.Errorf("values.schema.json allows anything below %q", prefix)
		}
	}
	check(valuesSchema(t), "")
}

const (
	tableBegin = "<!-- values: made from values.yaml -->\n"
	tableEnd   = "<!-- end of values -->\n"
)

// TestValuesTable: docs/kubernetes.md has every value, its default and what it
// means, as the comments in values.yaml say.
func TestValuesTable(t *testing.T) {
	var table strings.Builder
	table.WriteString("| value | default | meaning |\n|---|---|---|\n")
	for _, v := range values(t) {
		if v.meaning == "" {
			t.Errorf("values.yaml does not explain %s", v.path)
		}
		fmt.Fprintf(&table, "| `%s` | %s | %s |\n", v.path, short(v.preset), strings.ReplaceAll(v.meaning, "|", `\|`))
	}
	const file = root + "/docs/kubernetes.md"
	text := read(t, file)
	before, rest, ok := strings.Cut(text, tableBegin)
	_, after, ok2 := strings.Cut(rest, tableEnd)
	if !ok || !ok2 {
		t.Fatalf("%s has no place for the table of values", file)
	}
	want := before + tableBegin + table.String() + tableEnd + after
	if *update {
		if err := os.WriteFile(file, []byte(want), 0o644); err != nil {
			t.Fatal(err)
		}
	} else if text != want {
		t.Errorf("%s and values.yaml differ: run `go test ./deploy -run TestValuesTable -update`", file)
	}
}

// short is a default for the table; what is long stands in values.yaml.
func short(preset string) string {
	switch {
	case preset == "":
		return "empty"
	case len(preset) > 60:
		return "see values.yaml"
	}
	return "`" + preset + "`"
}

// TestSchemaRefuses: typing errors are found before anything is installed.
func TestSchemaRefuses(t *testing.T) {
	for _, set := range []string{
		"agnet.port=1", "agent.prot=1", "agent.port=0", "agent.port=x", "tls.mode=plain", "kubeletDir=var/lib/kubelet", "kubeletDir=/var/lib/kubelet/",
		"timeouts.call=60", "storageClasses[0].profile=general", "storageClasses[0].name=a,storageClasses[0].fstype=xfs",
		"storageClasses[0].name=a,storageClasses[0].type=thik", "image.digest=sha256:1", "controller.replicas=0", "snapshots.class.create=perhaps",
		"sidecars.provisioner.worker=1", "csiDriver.nodeAllocatableUpdatePeriodSeconds=5", "agent.extraArgs={grace}",
	} {
		res := helm(t, "template", "lvme", "deploy/"+chart, "--set", set)
		if res.Code == 0 || !strings.Contains(string(res.Stderr), "schema") {
			t.Errorf("--set %s: exit %d\n%s", set, res.Code, res.Stderr)
		}
	}
}

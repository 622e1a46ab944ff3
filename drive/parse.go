package drive

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"

	"sigs.k8s.io/yaml"
)

var className = regexp.MustCompile(`^[a-z]([a-z0-9-]*[a-z0-9])?$`)

// transports are the kernel's words in /sys/class/nvme/*/transport.
var transports = []string{"pcie", "tcp", "rdma", "fc", "loop", "apple-nvme"}

// ParseConfig reads a configuration in YAML (or JSON) and puts defaults where
// nothing is said. Its error names every fault at once (errors.Join), each
// with the field's path, the value, and what is allowed.
func ParseConfig(data []byte) (Config, error) {
	root, err := document(data)
	if err != nil {
		return Config{}, fmt.Errorf("drive configuration: %w", err)
	}
	f := &faults{}
	top := node{faults: f, value: root}.fields("classes", "maxVolumes", "trimEvery")
	cfg := Config{
		Classes:    parseClasses(top["classes"]),
		MaxVolumes: top["maxVolumes"].integer(defaultMaxVolumes, 1, maxVolumes),
		TrimEvery:  top["trimEvery"].period(defaultTrim, minTrim),
	}
	if err := f.err(); err != nil {
		return Config{}, fmt.Errorf("drive configuration: %w", err)
	}
	return cfg, nil
}

// document reads the one YAML document. What a YAML reader would drop in
// silence, a second document or a second field of the same name, is an error.
func document(data []byte) (any, error) {
	if len(data) > maxConfigBytes {
		return nil, fmt.Errorf("has %d bytes, must have at most %d", len(data), maxConfigBytes)
	}
	if documents(data) > 1 {
		return nil, errors.New("has several YAML documents (a line of ---), must be one")
	}
	text, err := yaml.YAMLToJSONStrict(data)
	if err != nil {
		return nil, err
	}
	dec := json.NewDecoder(bytes.NewReader(text))
	dec.UseNumber()
	var root any
	if err := dec.Decode(&root); err != nil {
		return nil, err
	}
	return root, nil
}

// documents counts the documents of a YAML text that hold something.
func documents(data []byte) int {
	n, content := 0, false
	for line := range strings.Lines(string(data)) {
		line = strings.TrimRight(line, " \t\r\n")
		switch {
		case line == "---" || strings.HasPrefix(line, "--- ") || line == "...":
			content = false
		case line == "" || strings.HasPrefix(strings.TrimLeft(line, " "), "#"):
		case !content:
			n, content = n+1, true
		}
	}
	return n
}

func parseClasses(n node) []Class {
	if !n.given() {
		return DefaultConfig().Classes
	}
	var classes []Class
	seen := map[string]string{}
	for _, e := range n.list() {
		c := parseClass(e)
		if first, twice := seen[c.Name]; twice && c.Name != "" {
			n.faults.add(e.where+".name", "is %q, which is the name of %s already", c.Name, first)
		} else {
			seen[c.Name] = e.where
		}
		classes = append(classes, c)
	}
	if list, ok := n.value.([]any); ok && len(list) == 0 {
		n.refuse("at least one class, or nothing for the default class")
	}
	return classes
}

func parseClass(n node) Class {
	if !n.given() {
		n.refuse("a class")
	}
	d := defaultClass
	f := n.fields("name", "select", "auto", "layout", "placement", "thin", "thick", "reserve", "stripeSize")
	c := Class{
		Name:       parseName(f["name"]),
		Select:     parseSelector(f["select"]),
		Auto:       f["auto"].boolean(d.Auto),
		Layout:     Layout(f["layout"].oneOf(string(d.Layout), string(PerDrive), string(Striped), string(Mirrored))),
		Placement:  Placement(f["placement"].oneOf(string(d.Placement), string(Spread), string(Pack))),
		StripeSize: parseStripe(f["stripeSize"]),
	}
	if c.Auto && c.Select.Empty() {
		f["auto"].refuse("false with an empty select: what is taken without asking must be named (for every PCIe drive: select: {transport: [pcie]})")
	}
	if f["stripeSize"].given() && c.Layout != Striped {
		n.faults.add(f["stripeSize"].where, "is only for layout: striped, and this class is %s", c.Layout)
	}
	parseShares(n, f, &c)
	return c
}

func parseName(n node) string {
	allowed := fmt.Sprintf("a name of at most %d characters a-z, 0-9 and -, beginning with a letter, not ending with -", maxClassName)
	if !n.given() {
		n.faults.add(n.where, "is missing, must be %s", allowed)
	}
	return n.text("", allowed, func(s string) bool { return len(s) <= maxClassName && className.MatchString(s) })
}

func parseStripe(n node) int64 {
	return n.size(defaultClass.StripeSize, "a power of two from 4Ki to 1Gi", func(s int64) bool {
		return s >= minStripe && s <= maxStripe && s&(s-1) == 0
	})
}

// parseShares reads how a VG is divided. Where the thin share is not given it
// is what the others leave, so that a class says only what it cares for.
func parseShares(n node, f map[string]node, c *Class) {
	d := defaultClass
	thin := f["thin"].fields("share", "chunkSize", "overcommit", "giveBack")
	thick := f["thick"].fields("share")
	c.Reserve = f["reserve"].percent(d.Reserve)
	c.Thick.Share = thick["share"].percent(d.Thick.Share)
	c.Thin = Thin{
		Share: thin["share"].percent(max(0, 100-c.Reserve-c.Thick.Share)),
		ChunkSize: thin["chunkSize"].size(d.Thin.ChunkSize, "a multiple of 64Ki from 64Ki to 1Gi", func(s int64) bool {
			return s >= chunkUnit && s <= maxChunk && s%chunkUnit == 0
		}),
		Overcommit: thin["overcommit"].float(d.Thin.Overcommit, 1, maxOvercommit),
		GiveBack:   thin["giveBack"].boolean(d.Thin.GiveBack),
	}
	switch sum := c.Thin.Share + c.Thick.Share + c.Reserve; {
	case sum > 100:
		n.faults.add(n.where, "thin.share %d%% + thick.share %d%% + reserve %d%% is %d%%, must be at most 100%% (reserve is %d%% unless it is given)",
			c.Thin.Share, c.Thick.Share, c.Reserve, sum, d.Reserve)
	case c.Thin.Share+c.Thick.Share == 0:
		n.faults.add(n.where, "thin.share and thick.share are both 0%%, one must be more")
	}
}

func parseSelector(n node) Selector {
	f := n.fields("transport", "models", "serials", "paths", "numaNodes", "minSize", "maxSize")
	s := Selector{
		Transport: f["transport"].texts("one of "+strings.Join(transports, ", "), func(s string) bool {
			return slices.Contains(transports, s)
		}),
		Models:  f["models"].globs(),
		Serials: f["serials"].globs(),
		Paths: f["paths"].texts("a shell glob below /dev/disk/by-id/ or /dev/disk/by-path/ (names like /dev/nvme0n1 change)", func(s string) bool {
			return isGlob(s) && slices.ContainsFunc(linkDirs, func(dir string) bool { return strings.HasPrefix(s, dir+"/") })
		}),
		MinSize: parseLimit(f["minSize"]),
		MaxSize: parseLimit(f["maxSize"]),
	}
	const maxNode = 1023 // of the kernel
	for _, e := range f["numaNodes"].list() {
		if !e.given() {
			e.refuse("a whole number")
		}
		s.NUMANodes = append(s.NUMANodes, int(e.integer(0, 0, maxNode)))
	}
	for _, name := range []string{"transport", "models", "serials", "paths", "numaNodes"} {
		// An empty list could mean nothing or anything; what it means is asked.
		if list, ok := f[name].value.([]any); ok && len(list) == 0 {
			f[name].refuse("a list with something in it, or be left out")
		}
	}
	if s.MaxSize > 0 && s.MaxSize < s.MinSize {
		f["maxSize"].refuse("at least minSize " + FormatSize(s.MinSize))
	}
	return s
}

func parseLimit(n node) int64 {
	return n.size(0, "more than 0", func(s int64) bool { return s > 0 })
}

package main

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"

	"github.com/lvme/lvme/test/demo/rig"
	"github.com/lvme/lvme/test/verbs/figure"
)

// bench is what is known while it is measured.
type bench struct {
	order  figure.Order
	groups []group
	agent  *agent
	// notes are the commands that the agent was seen to run for each verb, with the
	// tag token, and at its start.
	notes   map[string][]command
	started []command
	// made are the volumes that fill the node, extra those that were added to each group.
	made  int
	extra int
}

// group is a volume group of lvme's, on one drive.
type group struct {
	name, device string
	// base is the LV of which there are many.
	base string
}

const (
	// token is the tag under which commands are noted, and within names of no other.
	token = "noted-00"
	// baseName begins the names of the volumes that fill the node.
	baseName = "pvc-ba5e0000-0000-4000-8000-"
)

// measure does all that was ordered on a node with so many drives. What there is is
// told each time that it has become more.
func measure(ctx context.Context, order figure.Order, groups int, tell *json.Encoder) (err error) {
	b := &bench{order: order}
	if err := b.begin(ctx, groups); err != nil {
		return err
	}
	defer func() {
		if b.agent != nil {
			_ = b.agent.process.Process.Kill() // the node ends with it
		}
		if err != nil {
			log, _ := os.ReadFile(agentLog)
			fmt.Fprintf(os.Stderr, "the agent's log ends with\n%s\n", log[max(0, len(log)-4000):])
		}
	}()
	node, err := describe(groups)
	if err != nil {
		return err
	}
	for i, volumes := range order.Volumes {
		size, err := b.size(ctx, volumes)
		if err != nil {
			return fmt.Errorf("with %d volumes: %w", volumes, err)
		}
		node.Sizes = append(node.Sizes, size)
		if i == 0 && order.LargeGiB > 0 && groups == 1 {
			if node.Large, err = b.large(ctx); err != nil {
				return fmt.Errorf("a large volume: %w", err)
			}
		}
		if err := tell.Encode(node); err != nil {
			return err
		}
	}
	return b.agent.stop()
}

func describe(groups int) (figure.Node, error) {
	kernel, err := output("uname", "-r")
	if err != nil {
		return figure.Node{}, err
	}
	version, err := output(lvmPath, "version")
	if err != nil {
		return figure.Node{}, err
	}
	_, version, _ = strings.Cut(version, "LVM version:")
	return figure.Node{Groups: groups, Kernel: kernel, LVM: strings.Fields(version)[0], CPUs: runtime.NumCPU()}, nil
}

// begin takes the drives, makes one volume in each group, and notes what the agent
// runs for each verb.
func (b *bench) begin(ctx context.Context, groups int) error {
	if _, err := output(rig.Binary, "init", "--yes"); err != nil {
		return err
	}
	say("drives taken")
	end, err := noting()
	if err != nil {
		return err
	}
	if b.agent, _, err = startAgent(ctx); err != nil {
		return err
	}
	say("agent started")
	if b.started, err = noted(); err != nil {
		return err
	}
	if err := b.findGroups(ctx, groups); err != nil {
		return err
	}
	side := &agentSide{agent: b.agent, lives: map[string]*life{}}
	b.notes = map[string][]command{}
	for _, verb := range verbs {
		awaitNoLVM()
		if _, err := noted(); err != nil {
			return err
		}
		if _, err := side.do(ctx, verb, token); err != nil {
			return err
		}
		if b.notes[verb], err = noted(); err != nil {
			return err
		}
		all, changes := count(b.notes[verb])
		say("%s: %d commands of LVM, %d of them changes", verb, all, changes)
	}
	return end()
}

// findGroups has a volume made in each group.
func (b *bench) findGroups(ctx context.Context, groups int) error {
	for i := range groups {
		name := fmt.Sprintf("%s%012d", baseName, i)
		if _, err := b.agent.create(ctx, rig.Spec{Name: name, FS: "ext4", Bytes: baseBytes}); err != nil {
			return err
		}
	}
	b.made = groups
	text, err := output(lvmPath, "lvs", "--noheadings", "--separator", " ", "-o", "vg_name,lv_name", "-S", "segtype=thin")
	if err != nil {
		return err
	}
	for line := range strings.Lines(text) {
		f := strings.Fields(line)
		device, err := output(lvmPath, "vgs", "--noheadings", "-o", "pv_name", f[0])
		if err != nil {
			return err
		}
		b.groups = append(b.groups, group{f[0], device, f[1]})
	}
	if len(b.groups) != groups {
		return fmt.Errorf("%d volumes were not made in as many groups: %v", groups, b.groups)
	}
	return nil
}

// size measures all with so many volumes on the node.
func (b *bench) size(ctx context.Context, volumes int) (s figure.Size, err error) {
	s.Volumes = volumes
	if err := b.grow(volumes); err != nil {
		return s, err
	}
	if s.Start, err = b.starts(ctx); err != nil {
		return s, err
	}
	if s.Rest.StartKiB, _, err = b.memory(); err != nil {
		return s, err
	}
	if s.Verbs, err = b.compare(ctx); err != nil {
		return s, err
	}
	for _, calls := range b.order.AtOnce {
		a, err := b.atOnce(ctx, calls)
		if err != nil {
			return s, err
		}
		s.AtOnce = append(s.AtOnce, a)
	}
	return s, b.rest(ctx, &s.Rest)
}

// named is a side and what it is called.
type named struct {
	name string
	side
}

// sides are all that do the verbs in turn.
func (b *bench) sides() []named {
	bare := &replaySide{token: token, device: b.noteDevice(), steps: b.notes}
	plain := &replaySide{token: token, device: bare.device, steps: map[string][]command{}}
	for verb, commands := range b.notes {
		for _, c := range commands {
			plain.steps[verb] = append(plain.steps[verb], c.plain())
		}
	}
	all := []named{
		{figure.Lvme, &agentSide{b.agent, map[string]*life{}, b.notes}}, {figure.Bare, bare}, {figure.Defaults, plain},
	}
	if b.order.Peers {
		all = append(all, named{figure.TopoLVM, topoLVM(b.noteGroup())}, named{figure.OpenEBS, openEBS(b.noteGroup())})
	}
	return all
}

// noteGroup is the group in which the commands were noted.
func (b *bench) noteGroup() string {
	for _, g := range b.groups {
		if slices.Contains(b.notes[create][0].Args, g.name+"/pool") {
			return g.name
		}
	}
	return ""
}

func (b *bench) noteDevice() string {
	return filepath.Join("/dev", b.noteGroup(), "v-"+volumeName(token))
}

// compare measures each verb by all sides, which take turns at each verb of each
// round.
func (b *bench) compare(ctx context.Context) ([]figure.Verb, error) {
	sides := b.sides()
	all := make([]figure.Verb, len(verbs))
	for i, verb := range verbs {
		all[i].Name = verb
		for _, s := range sides {
			commands, changes := s.commands(verb)
			all[i].Sides = append(all[i].Sides, figure.Side{Name: s.name, Commands: commands, Changes: changes})
		}
	}
	if err := b.agent.freeze(); err != nil {
		return nil, err
	}
	for round := range b.order.Rounds {
		for i, verb := range verbs {
			for turn := range sides {
				at := (turn + round + i) % len(sides)
				tag := fmt.Sprintf("%c%02d-%04d", 'a'+at, len(sides), round)
				if err := b.sample(ctx, sides[at], verb, tag, &all[i].Sides[at]); err != nil {
					return nil, fmt.Errorf("%s: %w", sides[at].name, err)
				}
			}
		}
		say("round %d of %d", round+1, b.order.Rounds)
	}
	for i := range all {
		all[i].Sides = slices.DeleteFunc(all[i].Sides, func(s figure.Side) bool { return s.Commands == 0 && s.Name != figure.Lvme })
	}
	return all, b.agent.thaw()
}

// sample has one side do a verb. The agent stands still while others do; what it does
// beside the verb by itself makes the sample one that does not count.
func (b *bench) sample(ctx context.Context, s named, verb, tag string, into *figure.Side) error {
	if s.name != figure.Lvme {
		settle()
		took, err := s.do(ctx, verb, tag)
		into.Times = append(into.Times, figure.Of(took))
		return err
	}
	if err := b.agent.thaw(); err != nil {
		return err
	}
	before, err := b.agent.work(ctx)
	if err != nil {
		return err
	}
	took, err := s.do(ctx, verb, tag)
	if err != nil {
		return err
	}
	beside := lvmRuns()
	after, err := b.agent.work(ctx)
	if err != nil {
		return err
	}
	if beside || after.commands-before.commands != into.Commands {
		into.Disturbed++
	} else {
		into.Times = append(into.Times, figure.Of(took))
		into.Own = append(into.Own, figure.Of(took-(after.took-before.took)))
	}
	return b.agent.freeze()
}

package cluster

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"strconv"
	"time"

	"github.com/lvme/lvme/test/bed"
)

// Serve lets other processes do to the cluster what its methods do, over HTTP on a Unix socket, until ctx ends. Remote
// is the other side.
func (c *Cluster) Serve(ctx context.Context, socket string) error {
	listener, err := net.Listen("unix", socket)
	if err != nil {
		return err
	}
	mux := http.NewServeMux()
	mux.HandleFunc("POST /run", c.serveRun)
	mux.HandleFunc("POST /do", c.serveVerb)
	mux.HandleFunc("GET /nodes", c.serveNodes)
	server := &http.Server{Handler: mux, ReadHeaderTimeout: time.Minute}
	stop := context.AfterFunc(ctx, func() { _ = server.Close() })
	defer stop()
	if err := server.Serve(listener); !errors.Is(err, http.ErrServerClosed) {
		return err
	}
	return nil
}

// exitHeader is the trailer with a command's exit code, and errorHeader the one that tells that it could not be run.
const (
	exitHeader  = "Exit-Code"
	errorHeader = "Run-Error"
)

// maxError is how much of an error is told: clients take no trailer of 4 KiB and more.
const maxError = 800

// serveRun runs a command in a node. Its input is the request's body, its output the response's.
func (c *Cluster) serveRun(w http.ResponseWriter, r *http.Request) {
	node, err := c.named(r.FormValue("node"))
	if err != nil {
		http.Error(w, err.Error(), http.StatusNotFound)
		return
	}
	control := http.NewResponseController(w)
	w.Header().Set("Trailer", exitHeader+", "+errorHeader)
	if err := errors.Join(control.EnableFullDuplex(), control.Flush()); err != nil {
		return // the other side went away
	}
	out := flushing{w, control}
	code, err := node.Run(r.Context(), bed.Cmd{
		Args: r.Form["arg"], Dir: "/root", TTY: r.FormValue("rows") != "",
		Rows: number(r.FormValue("rows")), Cols: number(r.FormValue("cols")),
		Stdin: r.Body, Stdout: out, Stderr: out,
	})
	w.Header().Set(exitHeader, strconv.Itoa(code))
	if err != nil {
		text := err.Error()
		w.Header().Set(errorHeader, strconv.Quote(text[:min(len(text), maxError)])) // the reason comes first, the guest's console after it
	}
}

func number(text string) uint16 {
	n, err := strconv.ParseUint(text, 10, 16)
	if err != nil {
		return 0
	}
	return uint16(n)
}

// flushing sends what is written at once: somebody is looking.
type flushing struct {
	to      http.ResponseWriter
	control *http.ResponseController
}

func (f flushing) Write(p []byte) (int, error) {
	n, err := f.to.Write(p)
	return n, errors.Join(err, f.control.Flush())
}

// verbs are what can be done to a cluster by a word and arguments.
var verbs = map[string]func(ctx context.Context, c *Cluster, args []string) error{
	"off":    onNode(func(_ context.Context, n *Node) error { n.PowerCut(); return nil }),
	"on":     onNode(func(ctx context.Context, n *Node) error { return n.Boot(ctx) }),
	"reboot": onNode(func(ctx context.Context, n *Node) error { return n.Reboot(ctx) }),
	"cut":    onPair((*Cluster).Cut),
	"heal":   onPair((*Cluster).Heal),
	"pull":   onDrive((*bed.Node).RemoveDrive),
	"plug":   onDrive((*bed.Node).ReplugDrive),
	"hang":   onDrive((*bed.Node).HangDrive),
	"mend":   onDrive((*bed.Node).HealDrive),
	"fail": onDrive(func(n *bed.Node, ctx context.Context, serial string) error {
		return n.FailDrive(ctx, serial, bed.Fault{Reads: true, Writes: true})
	}),
	"api-kill":   func(_ context.Context, c *Cluster, _ []string) error { return c.KillAPI() },
	"api-start":  func(ctx context.Context, c *Cluster, _ []string) error { return c.StartAPI(ctx) },
	"api-pause":  func(_ context.Context, c *Cluster, _ []string) error { return c.PauseAPI() },
	"api-resume": func(ctx context.Context, c *Cluster, _ []string) error { return c.ResumeAPI(ctx) },
	"import": func(ctx context.Context, c *Cluster, args []string) error {
		if len(args) != 1 {
			return errors.New("import takes the path of an image")
		}
		return c.Import(ctx, args[0])
	},
	"install": func(ctx context.Context, c *Cluster, args []string) error {
		if len(args) != 3 {
			return errors.New("install takes the path of an image, its tag, and the directory of a chart")
		}
		return c.Install(ctx, Release{Archive: args[0], Tag: args[1], Chart: args[2]})
	},
}

func onNode(do func(context.Context, *Node) error) func(context.Context, *Cluster, []string) error {
	return func(ctx context.Context, c *Cluster, args []string) error {
		if len(args) != 1 {
			return errors.New("one node is to be named")
		}
		n, err := c.named(args[0])
		if err != nil {
			return err
		}
		return do(ctx, n)
	}
}

func onDrive(do func(n *bed.Node, ctx context.Context, serial string) error) func(context.Context, *Cluster, []string) error {
	return func(ctx context.Context, c *Cluster, args []string) error {
		if len(args) != 2 {
			return errors.New("a node and the serial number of a drive are to be named")
		}
		n, err := c.named(args[0])
		if err != nil {
			return err
		}
		return do(n.Node, ctx, args[1])
	}
}

func onPair(do func(c *Cluster, a, b int) error) func(context.Context, *Cluster, []string) error {
	return func(_ context.Context, c *Cluster, args []string) error {
		if len(args) != 2 {
			return errors.New("two ends are to be named: nodes, or " + controlName)
		}
		var ends [2]int
		for i, arg := range args {
			if arg == controlName {
				continue
			}
			n, err := c.named(arg)
			if err != nil {
				return err
			}
			ends[i] = n.Number
		}
		return do(c, ends[0], ends[1])
	}
}

// controlName is the control plane's name as an end of the network.
const controlName = "control"

// named finds a node by its name.
func (c *Cluster) named(name string) (*Node, error) {
	for _, n := range c.nodes {
		if n.Name == name {
			return n, nil
		}
	}
	return nil, fmt.Errorf("there is no node %q", name)
}

func (c *Cluster) serveVerb(w http.ResponseWriter, r *http.Request) {
	verb, ok := verbs[r.FormValue("verb")]
	if !ok {
		http.Error(w, fmt.Sprintf("there is no verb %q", r.FormValue("verb")), http.StatusNotFound)
		return
	}
	if err := verb(r.Context(), c, r.Form["arg"]); err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
	}
}

// NodeState is what is told of a node.
type NodeState struct {
	Name, Address, Pods string
	Drives              []string // serial numbers of those plugged in
}

func (c *Cluster) serveNodes(w http.ResponseWriter, _ *http.Request) {
	states := make([]NodeState, 0, len(c.nodes))
	for _, n := range c.nodes {
		states = append(states, NodeState{n.Name, nodeAddress(n.Number), podRange(n.Number), n.Serials()})
	}
	if err := json.NewEncoder(w).Encode(states); err != nil {
		fmt.Fprintln(os.Stderr, "cluster:", err)
	}
}

package cluster

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"strings"
)

// Remote is a cluster that runs in another process.
type Remote struct {
	client *http.Client
}

// Attach returns the cluster that serves on a Unix socket.
func Attach(socket string) *Remote {
	dial := func(ctx context.Context, _, _ string) (net.Conn, error) {
		var d net.Dialer
		return d.DialContext(ctx, "unix", socket)
	}
	return &Remote{&http.Client{Transport: &http.Transport{DialContext: dial, DisableKeepAlives: true}}}
}

// Do does to the cluster what a verb says: "off", "on" or "reboot" and a node's name, "cut" or "heal" and two names
// ("control" is the control plane), "pull", "plug", "hang", "fail" (reads and writes) or "mend", a node and the serial number
// of a drive, "api-kill", "api-start", "api-pause", "api-resume", "import" and the absolute path of an image, "install" and
// what is in a Release.
func (r *Remote) Do(ctx context.Context, verb string, args ...string) error {
	resp, err := r.post(ctx, "/do", url.Values{"verb": {verb}, "arg": args}, nil)
	if err != nil {
		return fmt.Errorf("%s %q: %w", verb, args, err)
	}
	return resp.Body.Close()
}

// Terminal is the size of one.
type Terminal struct {
	Rows, Cols uint16
}

// Run runs a command in a node as root and returns its exit code. Stdin may be nil. With a terminal the command has one
// of that size.
func (r *Remote) Run(ctx context.Context, node string, argv []string, stdin io.Reader, out io.Writer, tty *Terminal) (int, error) {
	query := url.Values{"node": {node}, "arg": argv}
	if tty != nil {
		query.Set("rows", strconv.Itoa(int(tty.Rows)))
		query.Set("cols", strconv.Itoa(int(tty.Cols)))
	}
	resp, err := r.post(ctx, "/run", query, stdin)
	if err != nil {
		return -1, fmt.Errorf("run %q in %s: %w", argv, node, err)
	}
	defer resp.Body.Close()
	if _, err := io.Copy(out, resp.Body); err != nil {
		return -1, fmt.Errorf("run %q in %s: %w", argv, node, err)
	}
	if text := resp.Trailer.Get(errorHeader); text != "" {
		if plain, err := strconv.Unquote(text); err == nil {
			text = plain
		}
		return -1, errors.New(text)
	}
	return strconv.Atoi(resp.Trailer.Get(exitHeader))
}

// Nodes tells of the nodes.
func (r *Remote) Nodes(ctx context.Context) ([]NodeState, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://cluster/nodes", nil)
	if err != nil {
		return nil, err
	}
	resp, err := r.client.Do(req)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	var states []NodeState
	return states, json.NewDecoder(resp.Body).Decode(&states)
}

// post sends a request. An answer that is an error becomes one.
func (r *Remote) post(ctx context.Context, path string, query url.Values, body io.Reader) (*http.Response, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, "http://cluster"+path+"?"+query.Encode(), body)
	if err != nil {
		return nil, err
	}
	resp, err := r.client.Do(req)
	if err != nil {
		return nil, err
	}
	if resp.StatusCode != http.StatusOK {
		text, err := io.ReadAll(resp.Body)
		return nil, errors.Join(errors.New(strings.TrimSpace(string(text))), err, resp.Body.Close())
	}
	return resp, nil
}

// Package web is the HTTP port of every long-running process of lvme: metrics
// for Prometheus, and health for whoever restarts processes. What is measured
// and what counts as ready is not its business.
package web

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"
	"k8s.io/klog/v2"
)

const (
	// timeout bounds each request, from its first byte on.
	timeout  = 10 * time.Second
	loopback = "127.0.0.1"
)

// Server serves /metrics, /healthz and /readyz.
type Server struct {
	listener net.Listener
	server   *http.Server
}

// Listen listens on an address that Address returned. Ready is nil when the
// process is, else what is wrong; it is called for each /readyz and must be
// cheap. That /healthz is answered at all says that the process lives: it
// depends on nothing else.
func Listen(ctx context.Context, address string, metrics prometheus.Gatherer, ready func(context.Context) error) (*Server, error) {
	var lc net.ListenConfig
	l, err := lc.Listen(ctx, "tcp", address)
	if err != nil {
		return nil, fmt.Errorf("--http %s: %w", address, err)
	}
	mux := http.NewServeMux()
	mux.Handle("GET /metrics", promhttp.HandlerFor(metrics, promhttp.HandlerOpts{
		// What one collector cannot tell must not hide what the others can.
		ErrorHandling: promhttp.ContinueOnError, MaxRequestsInFlight: 2, Timeout: timeout,
	}))
	mux.HandleFunc("GET /healthz", func(w http.ResponseWriter, _ *http.Request) { answer(w, nil) })
	mux.HandleFunc("GET /readyz", func(w http.ResponseWriter, r *http.Request) { answer(w, ready(r.Context())) })
	return &Server{listener: l, server: &http.Server{
		Handler: mux, ReadTimeout: timeout, WriteTimeout: 2 * timeout, IdleTimeout: time.Minute, MaxHeaderBytes: 16 << 10,
	}}, nil
}

// Addr is where it listens.
func (s *Server) Addr() string { return s.listener.Addr().String() }

// answer says "ok", or 503 and what is wrong.
func answer(w http.ResponseWriter, err error) {
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	w.Header().Set("Cache-Control", "no-store")
	if err != nil {
		w.WriteHeader(http.StatusServiceUnavailable)
		_, _ = fmt.Fprintln(w, err) // a caller that left needs no answer
		return
	}
	_, _ = fmt.Fprintln(w, "ok")
}

// Serve serves until ctx ends.
func (s *Server) Serve(ctx context.Context) {
	stop := context.AfterFunc(ctx, func() { _ = s.server.Close() }) // nothing of a scrape is worth waiting for
	defer stop()
	if err := s.server.Serve(s.listener); err != nil && !errors.Is(err, http.ErrServerClosed) {
		klog.FromContext(ctx).Error(err, "metrics and health are no longer served", "address", s.Addr())
	}
}

// Close closes the port of a server that does not serve.
func (s *Server) Close() error { return s.listener.Close() }

// Address is the address to listen on for what was given to --http: "", a port,
// or host:port. "" stands for none. Without a host it is a loopback address.
func Address(s string) (string, error) {
	if s == "" {
		return "", nil
	}
	if !strings.Contains(s, ":") {
		s = ":" + s
	}
	host, port, err := net.SplitHostPort(s)
	if err != nil {
		return "", err
	}
	if n, err := strconv.ParseUint(port, 10, 16); err != nil {
		return "", fmt.Errorf("port %q is no number from 0 to %d", port, 1<<16-1)
	} else if host == "" {
		host, port = loopback, strconv.FormatUint(n, 10)
	}
	return net.JoinHostPort(host, port), nil
}

package agent

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"time"

	"github.com/prometheus/client_golang/prometheus/promhttp"
	"k8s.io/klog/v2"
)

// webTimeout bounds each request of the HTTP port, from its first byte on.
const webTimeout = 10 * time.Second

// web is the HTTP port: /metrics, /healthz and /readyz.
type web struct {
	listener net.Listener
	server   *http.Server
}

func newWeb(ctx context.Context, address string, a *Agent) (*web, error) {
	var lc net.ListenConfig
	l, err := lc.Listen(ctx, "tcp", address)
	if err != nil {
		return nil, fmt.Errorf("--http %s: %w", address, err)
	}
	mux := http.NewServeMux()
	mux.Handle("GET /metrics", promhttp.HandlerFor(a.metrics.registry, promhttp.HandlerOpts{
		// What one collector cannot tell must not hide what the others can.
		ErrorHandling: promhttp.ContinueOnError, MaxRequestsInFlight: 2, Timeout: webTimeout,
	}))
	mux.HandleFunc("GET /healthz", func(w http.ResponseWriter, _ *http.Request) { answer(w, nil) })
	mux.HandleFunc("GET /readyz", func(w http.ResponseWriter, r *http.Request) { answer(w, a.ready(r.Context())) })
	return &web{listener: l, server: &http.Server{
		Handler: mux, ReadTimeout: webTimeout, WriteTimeout: 2 * webTimeout, IdleTimeout: time.Minute, MaxHeaderBytes: 16 << 10,
	}}, nil
}

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

// serve serves until ctx ends.
func (w *web) serve(ctx context.Context) {
	stop := context.AfterFunc(ctx, func() { _ = w.server.Close() }) // nothing of a scrape is worth waiting for
	defer stop()
	if err := w.server.Serve(w.listener); err != nil && !errors.Is(err, http.ErrServerClosed) {
		klog.FromContext(ctx).Error(err, "metrics and health are no longer served", "address", w.listener.Addr().String())
	}
}

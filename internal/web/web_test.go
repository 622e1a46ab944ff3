package web

import (
	"context"
	"errors"
	"io"
	"net/http"
	"strings"
	"testing"

	"github.com/prometheus/client_golang/prometheus"
)

func TestAddress(t *testing.T) {
	for in, want := range map[string]string{
		"": "", "9810": "127.0.0.1:9810", ":9810": "127.0.0.1:9810", "0": "127.0.0.1:0", "0.0.0.0:1": "0.0.0.0:1", "[::1]:1": "[::1]:1", "localhost:1": "localhost:1",
	} {
		if got, err := Address(in); err != nil || got != want {
			t.Errorf("Address(%q) = %q, %v; want %q", in, got, err, want)
		}
	}
}

func TestAddressRefuses(t *testing.T) {
	for _, in := range []string{"x", "1:2:3", "localhost", "70000", ":"} {
		if got, err := Address(in); err == nil {
			t.Errorf("Address(%q) = %q", in, got)
		}
	}
}

func TestServer(t *testing.T) {
	unready := errors.New("not yet")
	registry := prometheus.NewRegistry()
	registry.MustRegister(prometheus.NewCounter(prometheus.CounterOpts{Name: "some_total"}))
	s, err := Listen(t.Context(), "127.0.0.1:0", registry, func(context.Context) error { return unready })
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan struct{})
	go func() { s.Serve(ctx); close(ended) }()
	get := func(path string) (int, string) {
		t.Helper()
		resp, err := http.Get("http://" + s.Addr() + path)
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		text, _ := io.ReadAll(resp.Body)
		return resp.StatusCode, string(text)
	}
	for _, tc := range []struct {
		path string
		code int
		text string
	}{
		{"/healthz", http.StatusOK, "ok"},
		{"/readyz", http.StatusServiceUnavailable, "not yet"},
		{"/metrics", http.StatusOK, "some_total 0"},
		{"/other", http.StatusNotFound, ""},
	} {
		if code, text := get(tc.path); code != tc.code || !strings.Contains(text, tc.text) {
			t.Errorf("%s: %d, %s", tc.path, code, text)
		}
	}
	unready = nil
	if code, _ := get("/readyz"); code != http.StatusOK {
		t.Errorf("ready: %d", code)
	}
	if _, err := Listen(t.Context(), s.Addr(), registry, nil); err == nil || !strings.Contains(err.Error(), "--http") {
		t.Errorf("a port that is taken: %v", err)
	}
	cancel()
	<-ended
}

package driver

import (
	"context"
	"path"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"google.golang.org/grpc"
	"google.golang.org/grpc/status"
)

// Metrics counts and times the calls a process serves.
type Metrics struct {
	duration *prometheus.HistogramVec
	inFlight prometheus.Gauge
}

// NewMetrics registers the metrics with reg. One registry takes them once.
func NewMetrics(reg prometheus.Registerer) *Metrics {
	m := &Metrics{
		duration: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name: "lvme_rpc_duration_seconds",
			Help: "Time that CSI calls took, by method and gRPC code.",
			// From an answer out of memory to a wipe that a caller waited for.
			Buckets: []float64{.001, .005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10, 30, 60, 120},
		}, []string{"method", "code"}),
		inFlight: prometheus.NewGauge(prometheus.GaugeOpts{
			Name: "lvme_rpcs_in_flight",
			Help: "CSI calls being served now.",
		}),
	}
	reg.MustRegister(m.duration, m.inFlight)
	return m
}

// measure stands outside of convert, so that it sees the code the caller gets.
func (m *Metrics) measure(ctx context.Context, req any, info *grpc.UnaryServerInfo, next grpc.UnaryHandler) (any, error) {
	m.inFlight.Inc()
	defer m.inFlight.Dec()
	start := time.Now()
	resp, err := next(ctx, req)
	m.duration.WithLabelValues(method(info), status.Code(err).String()).Observe(time.Since(start).Seconds())
	return resp, err
}

// method is the bare name of the call: CSI's names are unique over its services.
func method(info *grpc.UnaryServerInfo) string { return path.Base(info.FullMethod) }

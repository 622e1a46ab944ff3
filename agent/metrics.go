package agent

import (
	"runtime"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"

	"github.com/lvme/lvme/driver"
)

// metrics are what the agent tells Prometheus. Nothing in it starts a program
// or waits for LVM: counters are counted as things happen, the rest is read
// from memory and from the kernel at each scrape.
type metrics struct {
	registry    *prometheus.Registry
	calls       *driver.Metrics
	commands    *prometheus.HistogramVec
	failedLooks prometheus.Counter
	trimmed     prometheus.Counter // bytes
	failedTrims prometheus.Counter
	refused     prometheus.Counter // connections to the cluster listener
}

func newMetrics(a *Agent) *metrics {
	m := &metrics{
		registry: prometheus.NewRegistry(),
		commands: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name: "lvme_lvm_command_duration_seconds",
			Help: "Time that LVM commands took, by verb, result (ok, error) and whether they change LVM.",
			// From a tag change on an idle host to one that waits for a hung drive.
			Buckets: []float64{.01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10, 30, 60, 300},
		}, []string{"verb", "result", "changes"}),
		failedLooks: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "lvme_failed_looks_total",
			Help: "Times that drives or the host record could not be looked at.",
		}),
		trimmed: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "lvme_trimmed_bytes_total",
			Help: "Bytes that staged filesystems have given back because they do not use them.",
		}),
		failedTrims: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "lvme_failed_trims_total",
			Help: "Filesystems that could not be trimmed.",
		}),
		refused: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "lvme_cluster_refused_total",
			Help: "Connections to the cluster listener that were refused, of others than the router.",
		}),
	}
	m.calls = driver.NewMetrics(m.registry)
	m.registry.MustRegister(m.commands, m.failedLooks, m.trimmed, m.failedTrims, buildInfo(), storeCollector{a},
		collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	m.registerCluster(a)
	return m
}

// registerCluster adds what there is to tell in a cluster only.
func (m *metrics) registerCluster(a *Agent) {
	if a.registration != nil {
		m.registry.MustRegister(prometheus.NewGaugeFunc(prometheus.GaugeOpts{
			Name: "lvme_kubelet_registered",
			Help: "1 when the kubelet has said that the driver is registered.",
		}, func() float64 { return one(a.registration.Ready() == nil) }))
	}
	if a.options.ClusterAddress != "" {
		m.registry.MustRegister(m.refused, prometheus.NewGaugeFunc(prometheus.GaugeOpts{
			Name: "lvme_certificate_expiry_timestamp_seconds",
			Help: "When the certificate for the router expires, in Unix time; 0 when there is none.",
		}, func() float64 { return a.cluster.expiry() }))
	}
}

// command is the lvm.Observer.
func (m *metrics) command(verb string, took time.Duration, err error, changes bool) {
	result := "ok"
	if err != nil {
		result = "error"
	}
	m.commands.WithLabelValues(verb, result, yesNo(changes)).Observe(took.Seconds())
}

func yesNo(yes bool) string {
	if yes {
		return "yes"
	}
	return "no"
}

func buildInfo() prometheus.Collector {
	info := prometheus.NewGauge(prometheus.GaugeOpts{
		Name:        "lvme_build_info",
		Help:        "The running version; always 1.",
		ConstLabels: prometheus.Labels{"version": driver.Version(), "goversion": runtime.Version()},
	})
	info.Set(1)
	return info
}

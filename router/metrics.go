package router

import (
	"fmt"

	"github.com/prometheus/client_golang/prometheus"
)

// metrics are what the router tells Prometheus, beyond what driver.Metrics
// tells of each call. Nothing in it is labelled by node or by volume.
type metrics struct {
	fetches   *prometheus.CounterVec
	questions *prometheus.CounterVec
	paid      prometheus.Counter
}

func newMetrics() *metrics {
	m := &metrics{
		fetches: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "lvme_router_capacity_refreshes_total", Help: "Capacities asked of agents, by result (ok, error).",
		}, []string{"result"}),
		questions: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "lvme_router_health_questions_total", Help: "Times that agents were asked how their storage is, by result (ok, error).",
		}, []string{"result"}),
		paid: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "lvme_router_tombstones_paid_total", Help: "Deletions done that were owed to a store.",
		}),
	}
	for _, r := range []string{"ok", "error"} { // there to be read before the first of them
		m.questions.WithLabelValues(r)
	}
	return m
}

// register registers them all, with what is read from that router.
func (m *metrics) register(reg prometheus.Registerer, r *Router) error {
	for _, c := range []prometheus.Collector{m.fetches, m.questions, m.paid, fleetCollector{r}} {
		if err := reg.Register(c); err != nil {
			return fmt.Errorf("register the router's metrics: %w", err)
		}
	}
	return nil
}

func (m *metrics) refreshed(err error) { m.fetches.WithLabelValues(result(err)).Inc() }

func (m *metrics) asked(err error) { m.questions.WithLabelValues(result(err)).Inc() }

func result(err error) string {
	if err != nil {
		return "error"
	}
	return "ok"
}

// fleetCollector reads the fleet at each scrape.
type fleetCollector struct{ router *Router }

var (
	agentsDesc = prometheus.NewDesc("lvme_router_agents",
		"Agents by state: serving; starting, which name no store yet; refused, which name the store of another or another node; away.", []string{"state"}, nil)
	inFlightDesc = prometheus.NewDesc("lvme_router_calls_in_flight", "Calls that agents are asked now, by kind (change, read).", []string{"kind"}, nil)
	refusedDesc  = prometheus.NewDesc("lvme_router_refusals_total", "Times that an agent was refused the store it named.", nil, nil)
	capacityDesc = prometheus.NewDesc("lvme_router_capacity_entries", "Capacities that are kept, one for each store and class asked for.", nil, nil)
	ailingDesc   = prometheus.NewDesc("lvme_router_ailing_nodes",
		"Connected nodes with something wrong in their storage, by its reason. Only the replica that leads asks them, and has this.", []string{"reason"}, nil)
	owedDesc = prometheus.NewDesc("lvme_router_tombstones", "Deletions owed to stores that could not be reached.", nil, nil)
)

// Describe implements prometheus.Collector.
func (c fleetCollector) Describe(ch chan<- *prometheus.Desc) { prometheus.DescribeByCollect(c, ch) }

// Collect implements prometheus.Collector.
func (c fleetCollector) Collect(ch chan<- prometheus.Metric) {
	gauge := func(desc *prometheus.Desc, n int, labels ...string) {
		ch <- prometheus.MustNewConstMetric(desc, prometheus.GaugeValue, float64(n), labels...)
	}
	n := c.router.fleet.count()
	for _, s := range []state{away, starting, refused, serving} {
		gauge(agentsDesc, n.agents[s], string(s))
	}
	gauge(inFlightDesc, n.changes, "change")
	gauge(inFlightDesc, n.reads, "read")
	ch <- prometheus.MustNewConstMetric(refusedDesc, prometheus.CounterValue, float64(n.refusals))
	gauge(capacityDesc, c.router.capacity.size())
	gauge(owedDesc, len(c.router.config.Ledger.Owed("")))
	if w := c.router.watching.Load(); w != nil {
		for reason, nodes := range reasonsOf(w.ailing()) {
			gauge(ailingDesc, nodes, string(reason))
		}
	}
}

// census is what the fleet is made of.
type census struct {
	agents                   map[state]int
	changes, reads, refusals int
}

func (f *fleet) count() census {
	f.mu.RLock()
	defer f.mu.RUnlock()
	n := census{agents: map[state]int{}, refusals: f.refusals}
	for _, a := range f.agents {
		n.agents[a.state]++
		n.changes += len(a.changes)
		n.reads += len(a.reads)
	}
	return n
}

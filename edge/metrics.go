package edge

import (
	"net"
	"net/http"
	"strconv"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"
)

// Metrics counts what an edge does, for Prometheus. It is an http.Handler that
// shows the counts. No label carries anything that a client chose.
type Metrics struct {
	http.Handler

	requests *prometheus.CounterVec
	seconds  *prometheus.HistogramVec
	answers  *prometheus.CounterVec
	queries  *prometheus.CounterVec
	failures *prometheus.CounterVec
	refused  prometheus.Counter
}

// NewMetrics returns metrics of an edge that answers from e.
func NewMetrics(e Engine) *Metrics {
	m := &Metrics{
		requests: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "ucedge_requests_total", Help: "HTTP requests by path and status.",
		}, []string{"path", "status"}),
		seconds: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name: "ucedge_request_duration_seconds", Help: "Time from a request's header to the end of its response.",
			Buckets: []float64{10e-6, 25e-6, 50e-6, 100e-6, 250e-6, 500e-6, 1e-3, 2.5e-3, 5e-3, 10e-3, 50e-3, 250e-3, 1, 5},
		}, []string{"path"}),
		answers: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "ucedge_answers_total", Help: "DNS answers over any transport by RCODE.",
		}, []string{"rcode"}),
		queries: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "ucedge_dns_queries_total", Help: "DNS queries over UDP and TCP by transport and outcome.",
		}, []string{"transport", "outcome"}),
		failures: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "ucedge_sync_failures_total", Help: "Attempts to follow the source of snapshots that failed, by reason.",
		}, []string{"reason"}),
		refused: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "ucedge_connections_refused_total", Help: "HTTP connections for which there was no room, of one client or at all.",
		}),
	}
	registry := prometheus.NewRegistry()
	registry.MustRegister(m.requests, m.seconds, m.answers, m.queries, m.failures, m.refused, snapshotCollector{e},
		collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	m.Handler = promhttp.HandlerFor(registry, promhttp.HandlerOpts{})
	return m
}

// request counts one HTTP request. The RCODE is that of its DNS answer, or -1.
func (m *Metrics) request(path string, status, rcode int, took time.Duration) {
	m.requests.WithLabelValues(path, statusText(status)).Inc()
	m.seconds.WithLabelValues(path).Observe(took.Seconds())
	if rcode >= 0 {
		m.answer(rcode)
	}
}

// query counts one DNS query.
func (m *Metrics) query(transport, outcome string) {
	m.queries.WithLabelValues(transport, outcome).Inc()
}

// answer counts one DNS answer.
func (m *Metrics) answer(rcode int) { m.answers.WithLabelValues(rcodeText(rcode)).Inc() }

// connectionRefused counts one connection that was closed at once. The nil
// Metrics counts nothing.
func (m *Metrics) connectionRefused(net.Conn) {
	if m != nil {
		m.refused.Inc()
	}
}

// SyncFailed counts one attempt to sync that failed. There must be few reasons.
func (m *Metrics) SyncFailed(reason string) { m.failures.WithLabelValues(reason).Inc() }

// rcodeNames are the RCODEs that a core sends (RFC 1035 4.1.1, RFC 6891 9).
var rcodeNames = map[int]string{
	0: "NOERROR", 1: "FORMERR", 2: "SERVFAIL", 3: "NXDOMAIN", 4: "NOTIMP", 5: "REFUSED", 16: "BADVERS",
}

func rcodeText(rcode int) string {
	if name, ok := rcodeNames[rcode]; ok {
		return name
	}
	return "other"
}

// statusTexts are the digits of every HTTP status, so that none are made for a
// request.
var statusTexts = func() (texts [600]string) {
	for status := range texts {
		texts[status] = strconv.Itoa(status)
	}
	return texts
}()

// statusText returns the digits of an HTTP status.
func statusText(status int) string {
	if status < 100 || status >= len(statusTexts) {
		return "other"
	}
	return statusTexts[status]
}

// A crewed engine has instances that can be busy and can trap.
type crewed interface {
	Instances() (busy, all int)
	Traps() uint64
}

// A snapshotCollector tells what an engine answers from at the time of asking.
type snapshotCollector struct{ engine Engine }

var (
	serialDesc  = prometheus.NewDesc("ucedge_snapshot_serial", "Serial of the snapshot that answers; 0 is none.", nil, nil)
	builtDesc   = prometheus.NewDesc("ucedge_snapshot_built_timestamp_seconds", "When it was built.", nil, nil)
	expiresDesc = prometheus.NewDesc("ucedge_snapshot_expires_timestamp_seconds", "When it must no longer be used.", nil, nil)
	ageDesc     = prometheus.NewDesc("ucedge_snapshot_age_seconds", "Time since it was built.", nil, nil)
	sizeDesc    = prometheus.NewDesc("ucedge_snapshot_bytes", "Size of its objects before compression.", []string{"object"}, nil)
	busyDesc    = prometheus.NewDesc("ucedge_instances_busy", "Guest instances in a call.", nil, nil)
	allDesc     = prometheus.NewDesc("ucedge_instances", "Guest instances.", nil, nil)
	trapsDesc   = prometheus.NewDesc("ucedge_guest_traps_total", "Guests that trapped and were replaced.", nil, nil)
)

// Describe implements prometheus.Collector.
func (c snapshotCollector) Describe(to chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{serialDesc, builtDesc, expiresDesc, ageDesc, sizeDesc, busyDesc, allDesc, trapsDesc} {
		to <- d
	}
}

// Collect implements prometheus.Collector.
func (c snapshotCollector) Collect(to chan<- prometheus.Metric) {
	gauge := func(d *prometheus.Desc, v float64, labels ...string) {
		to <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, v, labels...)
	}
	g := c.engine.Current()
	if g == nil {
		gauge(serialDesc, 0)
	} else {
		gauge(serialDesc, float64(g.Manifest.Serial))
		gauge(builtDesc, float64(g.Manifest.Built))
		gauge(expiresDesc, float64(g.Manifest.Expires))
		gauge(ageDesc, time.Since(time.Unix(g.Manifest.Built, 0)).Seconds())
		gauge(sizeDesc, float64(len(g.Image)), "base")
		gauge(sizeDesc, float64(len(g.Filter)), "filter")
	}
	if e, ok := c.engine.(crewed); ok {
		busy, all := e.Instances()
		gauge(busyDesc, float64(busy))
		gauge(allDesc, float64(all))
		to <- prometheus.MustNewConstMetric(trapsDesc, prometheus.CounterValue, float64(e.Traps()))
	}
}

package origin

import (
	"errors"
	"net/http"
	"strconv"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"ucedge/origin/policy"
	"ucedge/origin/publish"
	"ucedge/snapshot"
)

// Metrics counts what an origin does, for Prometheus. It is an http.Handler
// that shows the counts. No label carries anything that a client chose.
type Metrics struct {
	http.Handler
	clock func() time.Time

	builds    *prometheus.CounterVec
	seconds   prometheus.Histogram
	serial    prometheus.Gauge
	published prometheus.Gauge
	listings  *prometheus.GaugeVec
	abusers   prometheus.Gauge
	requests  *prometheus.CounterVec
}

func newMetrics(clock func() time.Time) *Metrics {
	m := &Metrics{
		clock: clock,
		builds: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "ucedge_origin_builds_total", Help: "Builds by result: published, unchanged, stopped (by a limit) or failed.",
		}, []string{"result"}),
		seconds: prometheus.NewHistogram(prometheus.HistogramOpts{
			Name: "ucedge_origin_build_duration_seconds", Help: "Time from the start of a build to its publication.",
			Buckets: []float64{.01, .03, .1, .3, 1, 3, 10, 30, 100},
		}),
		serial: prometheus.NewGauge(prometheus.GaugeOpts{
			Name: "ucedge_origin_serial", Help: "Serial of the last snapshot published.",
		}),
		published: prometheus.NewGauge(prometheus.GaugeOpts{
			Name: "ucedge_origin_published_timestamp_seconds", Help: "When the last snapshot was published.",
		}),
		listings: prometheus.NewGaugeVec(prometheus.GaugeOpts{
			Name: "ucedge_origin_listings", Help: "Listings as decided last, by level.",
		}, []string{"level"}),
		abusers: prometheus.NewGauge(prometheus.GaugeOpts{
			Name: "ucedge_origin_abusers", Help: "Addresses and /64s with an impact in the window, as decided last.",
		}),
		requests: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "ucedge_origin_requests_total", Help: "HTTP requests to the API by status.",
		}, []string{"status"}),
	}
	registry := prometheus.NewRegistry()
	registry.MustRegister(m.builds, m.seconds, m.serial, m.published, m.listings, m.abusers, m.requests,
		collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	m.Handler = promhttp.HandlerFor(registry, promhttp.HandlerOpts{})
	return m
}

// built counts one build.
func (m *Metrics) built(r publish.Result, err error, took time.Duration) {
	m.builds.WithLabelValues(outcomeOf(r, err)).Inc()
	if err != nil {
		return
	}
	m.seconds.Observe(took.Seconds())
	m.serial.Set(float64(r.Manifest.Serial))
	m.published.Set(float64(m.clock().Unix()))
}

func outcomeOf(r publish.Result, err error) string {
	var excess *publish.Excess
	switch {
	case errors.As(err, &excess):
		return "stopped"
	case err != nil:
		return "failed"
	case !r.Changed:
		return "unchanged"
	}
	return "published"
}

// decided shows what was decided.
func (m *Metrics) decided(r *policy.Result) {
	var n [snapshot.System + 1]int
	for l := range r.All() {
		if !l.Excluded {
			n[l.Level]++
		}
	}
	for level := snapshot.Address; level <= snapshot.System; level++ {
		m.listings.WithLabelValues(strconv.Itoa(int(level))).Set(float64(n[level]))
	}
	m.abusers.Set(float64(r.Abusers()))
}

// Counting returns a handler that counts the requests that next answers.
func (m *Metrics) Counting(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		s := &statusWriter{ResponseWriter: w, status: http.StatusOK}
		next.ServeHTTP(s, r)
		m.requests.WithLabelValues(strconv.Itoa(s.status)).Inc()
	})
}

// A statusWriter remembers the status that went through it.
type statusWriter struct {
	http.ResponseWriter
	status int
}

func (w *statusWriter) WriteHeader(status int) {
	w.status = status
	w.ResponseWriter.WriteHeader(status)
}

// Unwrap serves http.ResponseController, by which bodies get their deadlines.
func (w *statusWriter) Unwrap() http.ResponseWriter { return w.ResponseWriter }

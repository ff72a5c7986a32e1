package edge

// Paths that the host itself knows. Which of them exist, and what they answer,
// is the core's business, except for the last.
const (
	queryPath   = "/dns-query"
	resolvePath = "/resolve"
	checkPath   = "/v1/check"
	filterPath  = "/v1/filter"
	statusPath  = "/v1/status"
	pagePath    = "/"
	healthPath  = "/healthz"
	readyPath   = "/readyz"
	metricsPath = "/metrics"
)

// pathKind returns path if it is a known one and "other" if not: a label of a
// metric must not be the client's to choose, nor carry what it asked.
func pathKind(path string) string {
	switch path {
	case queryPath, resolvePath, checkPath, filterPath, statusPath, pagePath, healthPath, readyPath, metricsPath:
		return path
	}
	return "other"
}

// methodKind is pathKind for methods.
func methodKind(method string) string {
	switch method {
	case "GET", "HEAD", "POST", "OPTIONS":
		return method
	}
	return "other"
}

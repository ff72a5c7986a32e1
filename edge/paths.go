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

// kinds are the known paths, and methods the known methods.
var (
	kinds   = [...]string{queryPath, resolvePath, checkPath, filterPath, statusPath, pagePath, healthPath, readyPath, metricsPath}
	methods = [...]string{"GET", "HEAD", "POST", "OPTIONS"}
)

// pathKind returns path if it is a known one and "other" if not: a label of a
// metric must not be the client's to choose, nor carry what it asked.
func pathKind(path []byte) string { return known(kinds[:], path) }

// methodKind is pathKind for methods.
func methodKind(method []byte) string { return known(methods[:], method) }

func known(names []string, text []byte) string {
	for _, name := range names {
		if string(text) == name {
			return name
		}
	}
	return "other"
}

package api

// RoutesForTest returns the methods and paths that are served.
func RoutesForTest() []string {
	var patterns []string
	for pattern := range (&Handler{}).routes() {
		patterns = append(patterns, pattern)
	}
	return patterns
}

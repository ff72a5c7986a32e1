package core

// serveHealth says that the edge runs at all.
func (c *Core) serveHealth(e *exchange) {
	e.text(200, "ok\n")
}

// serveReady says whether the edge has a snapshot that it may answer from.
func (c *Core) serveReady(e *exchange) {
	switch c.condition(e.request.Now) {
	case notReady:
		e.text(503, "no snapshot loaded yet\n")
	case expired:
		e.text(503, "the snapshot has expired\n")
	default:
		e.text(200, "ready\n")
	}
}

// text makes the response a line for probes, which no cache keeps.
func (e *exchange) text(status int, line string) {
	e.begin(status, mediaText)
	e.add(nameCache, valueNoStore)
	e.Body = append(e.Body, line...)
}

// pageSeconds is how long a browser may keep the look-up page. It holds no data.
const pageSeconds = 300

// servePage gives the look-up page, which the host holds.
func (c *Core) servePage(e *exchange) {
	e.begin(200, mediaHTML)
	e.keep(pageSeconds)
	e.Ref = Page
}

package core

// pageSeconds is how long a browser may keep the look-up page. It holds no data.
const pageSeconds = 300

// PagePolicy is what a browser lets the look-up page do (CSP Level 3): run its
// one script, wear its one style, and ask the host that it came from. Nobody
// may frame it. The hashes are of what stands in edge/web/index.html; a test
// there holds them.
const PagePolicy = "default-src 'none'; " +
	"script-src 'sha256-X5sWXTRuFG+SwzLaOpAXJxi5FQ2IEjYXPFV9mn7SvZk='; " +
	"style-src 'sha256-gEvxP09t6LTJy0bVTUbR5qhDftSk4rjxeDhVqJvOCEo='; " +
	"connect-src 'self'; img-src data:; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"

var (
	valuePagePolicy = []byte(PagePolicy)
	valueNoReferrer = []byte("no-referrer") // an address that somebody asks about is nobody else's business
)

// servePage gives the look-up page, which the host holds.
func (c *Core) servePage(e exchange) {
	e.begin(200, mediaHTML)
	e.keep(pageSeconds)
	e.add(namePolicy, valuePagePolicy)
	e.add(nameReferrer, valueNoReferrer)
	e.Ref = Page
}

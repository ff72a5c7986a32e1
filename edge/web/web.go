// Package web holds the look-up page, one file that asks nothing of any other
// server.
package web

import _ "embed"

// Page is the page as it is sent.
//
//go:embed index.html
var Page []byte

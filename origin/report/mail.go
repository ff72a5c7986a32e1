package report

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"mime"
	"net/mail"
	"net/netip"
	"strings"
	"time"

	"github.com/emersion/go-message"

	"ucedge/snapshot"
)

// Bounds on the form of a mail.
const (
	maxMailHeader = 256 << 10 // bytes of one header
	maxMailDepth  = 4         // multiparts within multiparts
	maxMailParts  = 64
	maxMailPart   = 1 << 20 // bytes of a part that is read: fields, JSON, or an embedded header
)

// Mail reads one mail that holds one report: ARF (RFC 5965) or X-ARF
// version 4. Other mail is refused. As ARF mails in the wild rarely keep to
// their standard, no field but a source and a time is required, a part counts
// by its type wherever it stands, and where Source-IP is missing the source is
// looked for in the embedded message, as far as relays are trusted. Whoever
// complains is the reporter of the rules, whatever the mail says.
func Mail(body io.Reader, rules Rules, relays Relays) Reports {
	return func(yield func(Report, error) bool) {
		source := &remembering{Reader: io.LimitReader(body, MaxMail+1)}
		r, err := readMail(source, &rules, relays)
		switch {
		case source.err != nil:
			r, err = Report{}, fmt.Errorf("read mail: %w", source.err)
		case source.read > MaxMail:
			r, err = Report{}, &Refusal{1, fmt.Sprintf("mail is longer than %d bytes", MaxMail)}
		case err != nil:
			r, err = Report{}, &Refusal{1, err.Error()}
		}
		yield(r, err)
	}
}

// remembering keeps what its reader gave, since a parser of mail may take an
// error of the body for the end of a part.
type remembering struct {
	io.Reader
	read int64
	err  error
}

func (r *remembering) Read(p []byte) (int, error) {
	n, err := r.Reader.Read(p)
	r.read += int64(n)
	if err != nil && err != io.EOF {
		r.err = err
	}
	return n, err
}

// A complaint is the parts of a mail that matter.
type complaint struct {
	header   message.Header  // of the mail
	feedback *message.Header // fields of message/feedback-report
	embedded *message.Header // of the message that is complained about
	xarf     []byte          // JSON document
	parts    int
}

func readMail(body io.Reader, rules *Rules, relays Relays) (Report, error) {
	entity, err := readEntity(body)
	if err != nil {
		return Report{}, fmt.Errorf("mail cannot be read: %v", err)
	}
	c := complaint{header: entity.Header}
	if err := c.walk(entity, 0); err != nil {
		return Report{}, err
	}
	if _, err := io.Copy(io.Discard, body); err != nil { // what follows the last part counts too
		return Report{}, err
	}
	switch {
	case c.xarf != nil:
		return c.fromXARF(rules)
	case c.feedback != nil:
		return c.fromARF(rules, relays)
	}
	return Report{}, errors.New("mail holds neither a feedback report (RFC 5965) nor an X-ARF document")
}

// readEntity reads the header of a mail or a part. Charsets that are not known
// do not matter: nothing but ASCII is looked for.
func readEntity(r io.Reader) (*message.Entity, error) {
	entity, err := message.ReadWithOptions(r, &message.ReadOptions{MaxHeaderBytes: maxMailHeader})
	if err := readable(entity, err); err != nil {
		return nil, err
	}
	return entity, nil
}

// readable returns nil if a part came with nothing worse than a charset or
// encoding that is not known.
func readable(part *message.Entity, err error) error {
	switch {
	case err != nil && !message.IsUnknownCharset(err) && !message.IsUnknownEncoding(err):
		return err
	case part == nil:
		return errors.New("no header")
	}
	return nil
}

// walk takes what matters out of an entity and its parts.
func (c *complaint) walk(entity *message.Entity, depth int) error {
	c.parts++
	if c.parts > maxMailParts || depth > maxMailDepth {
		return fmt.Errorf("mail has more than %d parts or %d levels", maxMailParts, maxMailDepth)
	}
	parts := entity.MultipartReader()
	if parts == nil {
		return c.take(entity)
	}
	for {
		part, err := parts.NextPart()
		if err == io.EOF {
			return nil
		}
		if err := readable(part, err); err != nil {
			return fmt.Errorf("mail cannot be read: %v", err)
		}
		if err := c.walk(part, depth+1); err != nil {
			return err
		}
	}
}

// take keeps a part if it is the first of its kind.
func (c *complaint) take(part *message.Entity) error {
	media, parameters, err := mime.ParseMediaType(part.Header.Get("Content-Type"))
	if err != nil && media == "" {
		return nil // an attachment with a broken type is none that matters
	}
	switch media {
	case "message/feedback-report":
		return c.takeHeader(&c.feedback, part.Body)
	case "message/rfc822", "message/rfc822-headers", "text/rfc822-headers", "text/rfc822", "message/global", "message/global-headers":
		return c.takeHeader(&c.embedded, part.Body)
	case "application/json":
		return c.takeJSON(part, parameters["name"])
	}
	return nil
}

// takeHeader reads fields (RFC 5322 2.2), which is what an embedded message
// begins with and what a feedback report consists of.
func (c *complaint) takeHeader(into **message.Header, body io.Reader) error {
	if *into != nil {
		return nil
	}
	text, err := io.ReadAll(io.LimitReader(body, maxMailPart))
	if err != nil {
		return fmt.Errorf("part cannot be decoded: %v", err)
	}
	text = append(bytes.TrimLeft(text, "\r\n"), "\r\n\r\n"...) // the end may be missing
	entity, err := readEntity(bytes.NewReader(text))
	if err != nil {
		return fmt.Errorf("fields of a part cannot be read: %v", err)
	}
	*into = &entity.Header
	return nil
}

func (c *complaint) takeJSON(part *message.Entity, name string) error {
	_, disposition, _ := mime.ParseMediaType(part.Header.Get("Content-Disposition"))
	named := isXARFName(name) || isXARFName(disposition["filename"]) || c.header.Has("X-XARF")
	if c.xarf != nil || !named {
		return nil
	}
	var err error
	if c.xarf, err = io.ReadAll(io.LimitReader(part.Body, maxMailPart)); err != nil {
		return fmt.Errorf("part cannot be decoded: %v", err)
	}
	return nil
}

func isXARFName(name string) bool { return strings.HasPrefix(strings.ToLower(name), "xarf") }

// feedbackTypes are the types of feedback that speak against the source
// (RFC 5965 7.3). Not among them: not-spam, opt-out, auth-failure.
var feedbackTypes = map[string]bool{"abuse": true, "fraud": true, "virus": true}

func (c *complaint) fromARF(rules *Rules, relays Relays) (Report, error) {
	kind := strings.ToLower(strings.TrimSpace(c.feedback.Get("Feedback-Type")))
	if !feedbackTypes[kind] {
		return Report{}, fmt.Errorf("feedback type %q does not speak against the source", clip(kind))
	}
	address, err := c.source(relays)
	if err != nil {
		return Report{}, err
	}
	seen, err := c.seen()
	if err != nil {
		return Report{}, err
	}
	r := Report{Address: address, Seen: seen, Kind: snapshot.UserReport, Evidence: evidenceID(c.header.Get("Message-Id"))}
	if rules.Kind != 0 {
		r.Kind = rules.Kind
	}
	return rules.Check(r)
}

// source returns the address that is complained about.
func (c *complaint) source(relays Relays) (netip.Addr, error) {
	if text := strings.TrimSpace(c.feedback.Get("Source-IP")); text != "" {
		return parseAddress(trimLiteral(text))
	}
	if c.embedded == nil {
		return netip.Addr{}, errors.New("neither Source-IP nor an embedded message says where the mail came from")
	}
	return relays.source(c.embedded)
}

// trimLiteral takes off what some put around an address (RFC 5321 4.1.3).
func trimLiteral(text string) string {
	text = strings.TrimSuffix(strings.TrimPrefix(text, "["), "]")
	if len(text) > 5 && strings.EqualFold(text[:5], "IPv6:") {
		text = text[5:]
	}
	return text
}

// seen returns when the mail arrived where it was not wanted, or what comes
// closest: the field of the standard, its forerunner, the time of the
// complaint.
func (c *complaint) seen() (int64, error) {
	dates := []string{c.feedback.Get("Arrival-Date"), c.feedback.Get("Received-Date"), c.header.Get("Date")}
	for _, text := range dates {
		if text = strings.TrimSpace(text); text == "" {
			continue
		}
		return parseDate(text)
	}
	return 0, errors.New("no date says when the mail arrived")
}

// parseDate reads a date of mail (RFC 5322 3.3) or of RFC 3339.
func parseDate(text string) (int64, error) {
	if t, err := mail.ParseDate(text); err == nil {
		return t.Unix(), nil
	}
	if t, err := time.Parse(time.RFC3339, text); err == nil {
		return t.Unix(), nil
	}
	return 0, fmt.Errorf("date %q is none of mail", clip(text))
}

// evidenceID makes an evidence id of a Message-ID, which may be of any length.
func evidenceID(text string) string {
	text = strings.TrimSpace(text)
	if len(text) <= MaxEvidence && printable(text) {
		return text
	}
	sum := sha256.Sum256([]byte(text))
	return "sha256:" + hex.EncodeToString(sum[:])
}

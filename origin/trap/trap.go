// Package trap is an SMTP server for addresses that nobody should write to: it
// reports whoever delivers mail to one of them.
//
// Most callers use New and Serve. Promised: mail is taken for trap addresses
// only and goes nowhere (the package cannot send any); what is reported is the
// peer of the connection, never what a header says; and mail is acknowledged
// only after the sink has acknowledged its report. Not promised: that the peer
// is a spammer; a trap address must be one that nobody has ever used.
package trap

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/netip"
	"strings"
	"time"

	"github.com/emersion/go-smtp"

	"ucedge/internal/inbound"
	"ucedge/origin/report"
)

// A Sink takes reports to where they are kept. Its methods may be called at
// once from many goroutines.
type Sink interface {
	// Deliver returns nil when the report is on stable storage, and ErrRefused
	// when it never will be. Any other error means that it may or may not be:
	// the same report is delivered again later, and must then count once.
	Deliver(ctx context.Context, r report.Report) error
}

// ErrRefused is returned by a Sink for a report that it will never take.
var ErrRefused = errors.New("report is refused for good")

// A Keeper keeps the headers of trapped mail, sealed. Its methods may be
// called at once from many goroutines.
type Keeper interface {
	// Keep returns nil when the sealed header is on stable storage under the
	// evidence id of its report. To keep the same id again is no error.
	Keep(evidence string, sealed []byte) error
}

// Settings of a Trap. Name, Traps, Reporter, Sink and Clock are needed.
type Settings struct {
	Name     string   // by which the server greets
	Traps    []string // addresses, or domains with a leading @
	Reporter string   // name under which the trap reports
	Sink     Sink
	Clock    func() time.Time
	TLS      *tls.Config // for STARTTLS; nil offers none
	// Reserved says why a peer is never reported: an own host that forwards,
	// or space that is never listed. Its mail is refused. Nil reports all.
	Reserved func(netip.Addr) (reason string, reserved bool)
	// SealTo and Keeper keep headers as evidence, readable only with the
	// secret key that belongs to SealTo. Without them headers are dropped.
	SealTo *SealKey
	Keeper Keeper
	Limits Limits
	Log    *slog.Logger // nil discards; never told a trap address
}

// Limits bound what peers may cost. The zero value of each is the default that
// stands beside it.
type Limits struct {
	MessageBytes   int           // DefaultMessageBytes
	HeaderBytes    int           // kept of a header; DefaultHeaderBytes
	Recipients     int           // of one mail; DefaultRecipients
	Connections    int           // at once; DefaultConnections
	PerPeer        int           // connections of one peer at once; DefaultPerPeer
	PeerPerMinute  float64       // mails of one peer; DefaultPeerPerMinute
	PeerBurst      int           // mails of one peer at once; DefaultPeerBurst
	Silence        time.Duration // DefaultSilence: for a command, or for all of a message
	SessionAtMost  time.Duration // DefaultSession
	DeliverTimeout time.Duration // DefaultDeliverTimeout: for the sink
}

// Defaults of Limits.
const (
	DefaultMessageBytes   = 1 << 20 // spam is small; what is larger is refused
	DefaultHeaderBytes    = 64 << 10
	DefaultRecipients     = 100 // RFC 5321 4.5.3.1.8
	DefaultConnections    = 500
	DefaultPerPeer        = 10
	DefaultPeerPerMinute  = 30 // one report an hour lists as well as thousands
	DefaultPeerBurst      = 60
	DefaultSilence        = 2 * time.Minute
	DefaultSession        = 10 * time.Minute
	DefaultDeliverTimeout = 20 * time.Second // senders wait minutes (RFC 5321 4.5.3.2.6)
)

func setDefault[T int | float64 | time.Duration](value *T, otherwise T) {
	if *value == 0 {
		*value = otherwise
	}
}

func (l *Limits) setDefaults() {
	setDefault(&l.MessageBytes, DefaultMessageBytes)
	setDefault(&l.HeaderBytes, DefaultHeaderBytes)
	setDefault(&l.Recipients, DefaultRecipients)
	setDefault(&l.Connections, DefaultConnections)
	setDefault(&l.PerPeer, DefaultPerPeer)
	setDefault(&l.PeerPerMinute, DefaultPeerPerMinute)
	setDefault(&l.PeerBurst, DefaultPeerBurst)
	setDefault(&l.Silence, DefaultSilence)
	setDefault(&l.SessionAtMost, DefaultSession)
	setDefault(&l.DeliverTimeout, DefaultDeliverTimeout)
}

// A Trap is the server.
type Trap struct {
	Settings
	traps  map[string]bool // lower case; domains with their @
	server *smtp.Server
	peers  *peers
}

// New returns a trap with these settings.
func New(s Settings) (*Trap, error) {
	if s.Name == "" || s.Sink == nil || s.Clock == nil {
		return nil, errors.New("trap: settings need a name, a sink and a clock")
	}
	if (s.SealTo == nil) != (s.Keeper == nil) {
		return nil, errors.New("trap: a key to seal to and a keeper of headers need each other")
	}
	if err := report.CheckName(s.Reporter); err != nil {
		return nil, fmt.Errorf("trap: name of the reporter %w", err)
	}
	s.Limits.setDefaults()
	if s.Log == nil {
		s.Log = slog.New(slog.DiscardHandler)
	}
	t := &Trap{Settings: s, traps: map[string]bool{}, peers: newPeers(s.Limits)}
	if err := t.setTraps(s.Traps); err != nil {
		return nil, err
	}
	t.server = t.newServer()
	return t, nil
}

func (t *Trap) setTraps(traps []string) error {
	for _, trap := range traps {
		if at := strings.LastIndexByte(trap, '@'); at < 0 || at == len(trap)-1 {
			return fmt.Errorf("trap: %q is neither an address nor a domain with a leading @", trap)
		}
		t.traps[strings.ToLower(trap)] = true
	}
	if len(t.traps) == 0 {
		return errors.New("trap: there is no trap address")
	}
	return nil
}

// newServer sets up the SMTP side. There is no AUTH, so nobody can be taken
// for somebody whose mail is to be relayed.
func (t *Trap) newServer() *smtp.Server {
	server := smtp.NewServer(smtp.BackendFunc(func(c *smtp.Conn) (smtp.Session, error) {
		return &session{trap: t, peer: inbound.Peer(c.Conn())}, nil
	}))
	server.Domain = t.Name
	server.MaxRecipients = t.Limits.Recipients
	server.MaxMessageBytes = int64(t.Limits.MessageBytes)
	server.ReadTimeout = t.Limits.Silence
	server.WriteTimeout = t.Limits.Silence
	server.TLSConfig = t.TLS
	server.ErrorLog = logger{t.Log}
	return server
}

// logger writes the library's messages, which hold peers and errors only.
type logger struct{ *slog.Logger }

func (l logger) Printf(format string, v ...any) {
	l.Debug("smtp", "message", fmt.Sprintf(format, v...))
}
func (l logger) Println(v ...any) { l.Debug("smtp", "message", fmt.Sprintln(v...)) }

// Serve takes mail from the listener until Shutdown or Close.
func (t *Trap) Serve(l net.Listener) error {
	limits := inbound.Limits{All: t.Limits.Connections, Peer: t.Limits.PerPeer, Refuse: t.turnAway}
	return t.server.Serve(timed{inbound.Listen(l, limits), t.Limits.SessionAtMost})
}

// Shutdown lets sessions that are under way end, until ctx does.
func (t *Trap) Shutdown(ctx context.Context) error { return t.server.Shutdown(ctx) }

// Close ends all sessions.
func (t *Trap) Close() error { return t.server.Close() }

// isTrap reports whether mail to the address is taken. It must be one of the
// traps as it stands: routes, percent signs and bangs in it have no meaning.
func (t *Trap) isTrap(address string) bool {
	address = strings.ToLower(address)
	at := strings.LastIndexByte(address, '@')
	return at > 0 && (t.traps[address] || t.traps[address[at:]])
}

// A session is what one peer does between greeting and end.
type session struct {
	trap  *Trap
	peer  netip.Addr
	rcpts int
}

// Answers beside those of the library. None tells which addresses are traps.
var (
	answerNoRelay = &smtp.SMTPError{Code: 550, EnhancedCode: smtp.EnhancedCode{5, 7, 1}, Message: "Relaying denied"}
	answerLater   = &smtp.SMTPError{Code: 451, EnhancedCode: smtp.EnhancedCode{4, 3, 0}, Message: "Try again later"}
	answerRate    = &smtp.SMTPError{Code: 450, EnhancedCode: smtp.EnhancedCode{4, 7, 1}, Message: "Too much mail, try again later"}
	answerOwn     = &smtp.SMTPError{Code: 550, EnhancedCode: smtp.EnhancedCode{5, 7, 1}, Message: "No mail is taken from this address"}
)

// Mail begins a message. Any sender will do, the empty one too.
func (s *session) Mail(string, *smtp.MailOptions) error {
	s.rcpts = 0
	if !s.peer.IsValid() {
		return answerOwn
	}
	if s.trap.Reserved != nil {
		if reason, reserved := s.trap.Reserved(s.peer); reserved {
			s.trap.Log.Warn("mail from a peer that is never reported", "peer", s.peer, "reason", reason)
			return answerOwn
		}
	}
	if !s.trap.peers.mayMail(s.peer, s.trap.Clock()) {
		return answerRate
	}
	return nil
}

// Rcpt takes a recipient if it is a trap.
func (s *session) Rcpt(to string, _ *smtp.RcptOptions) error {
	if !s.trap.isTrap(to) {
		return answerNoRelay
	}
	s.rcpts++
	return nil
}

// Data reads the message and reports the peer. nil is told the peer as 250.
func (s *session) Data(r io.Reader) error {
	header, err := readHeader(r, s.trap.Limits.HeaderBytes)
	if err != nil {
		return dataError(err)
	}
	if s.rcpts == 0 {
		return answerNoRelay
	}
	if err := s.trap.report(s.peer, header); err != nil {
		s.trap.Log.Error("report not acknowledged", "peer", s.peer, "error", err)
		return answerLater
	}
	return nil
}

// dataError is the answer to a message that was not read to its end.
func dataError(err error) error {
	if answer := (*smtp.SMTPError)(nil); errors.As(err, &answer) {
		return answer
	}
	return answerLater
}

// Reset forgets the message.
func (s *session) Reset() { s.rcpts = 0 }

// Logout ends the session.
func (s *session) Logout() error { return nil }

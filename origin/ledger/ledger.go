// Package ledger keeps the decisions of an origin for good and its reports until
// Compact takes them out, and never changes one.
//
// Most callers use Open, which gives the Ledger in one SQLite file, and hold it
// as a Ledger. Promised: what an append acknowledged survives the death of the
// process and the loss of power, and a report sent twice counts once. Not
// promised: that a report deserves to count; that is decided by package policy
// from what Impacts and Events give it.
package ledger

import (
	"context"
	"errors"
	"iter"
	"net/netip"

	"ucedge/origin/report"
	"ucedge/snapshot"
)

// A Ledger is the history of one origin: it is appended to, and Compact takes
// old reports out. All methods may be called at once from many goroutines. Times
// are seconds since the Unix epoch, from 0 to MaxTime. An error other than those
// named means that the store failed: what was to be written may or may not be
// there, and writing it again is safe.
type Ledger interface {
	// AppendReports stores those reports whose keys are not yet known. When it
	// returns nil all of them are on stable storage. All or none of the batch
	// is stored. A key stays known at least until Compact takes its report.
	// ErrInvalid means that nothing was stored, now or later.
	AppendReports(ctx context.Context, reports []report.Report) (Receipt, error)

	// HoldReports does the same with reports that are past their reporter's
	// budget (POLICY, Level 3): they wait. A Released decision lets those of
	// its reporter count that were seen up to its time.
	HoldReports(ctx context.Context, reports []report.Report) (Receipt, error)

	// Fresh tells of each report whether AppendReports would store it: its key
	// is not known, and no report before it in the batch has it. What another
	// process has appended since this one last did may seem fresh.
	Fresh(ctx context.Context, reports []report.Report) ([]bool, error)

	// Waiting tells of each reporter how many of its reports seen after since
	// and not after until wait, as decided until then.
	Waiting(ctx context.Context, since, until int64) (map[string]int, error)

	// AppendDecisions stores the decisions in their order and numbers them.
	// When it returns nil they are on stable storage; all or none are stored.
	// ErrInvalid means that nothing was stored.
	AppendDecisions(ctx context.Context, decisions []Decision) error

	// Impacts gives the reports about addresses within a prefix (the zero
	// Prefix is all) seen after since and not after until that do not wait, as
	// decided until then. They come by address (IPv4 first), time, reporter and
	// kind: an order that does not depend on when they arrived. Evidence ids
	// are left out. Reports of a purged reporter are among them: what a purge
	// takes out depends on who else reported an address. What is appended while
	// it runs may be missing.
	Impacts(ctx context.Context, within netip.Prefix, since, until int64) (iter.Seq[report.Report], error)

	// Reports gives the reports about addresses within p seen after since and
	// not after until, waiting or not, with their evidence ids, in the order of
	// Impacts and then by evidence id.
	Reports(ctx context.Context, p netip.Prefix, since, until int64) ([]report.Report, error)

	// Events gives the decisions of those kinds that were made not after
	// until, by time and then number: to replay them gives the state at until.
	Events(ctx context.Context, until int64, kinds ...DecisionKind) ([]Decision, error)

	// Audit gives one page of decisions, the newest number first.
	Audit(ctx context.Context, page Page) ([]Decision, error)

	// TakeSerial returns a serial that no call has returned before and none
	// will return again, greater than all before and not below at. It is on
	// stable storage as used when TakeSerial returns, whether or not a snapshot
	// follows. ErrNoSerial means that 32 bits are used up.
	TakeSerial(ctx context.Context, at int64) (snapshot.Serial, error)

	// CreateKey stores an API key and the decision that actor made it, both or
	// neither. ErrKeyExists means that its id or hash is taken.
	CreateKey(ctx context.Context, key APIKey, actor string) error

	// RevokeKey marks a key as revoked from at on and stores the decision,
	// both or neither. A key that is revoked already stays as it is, which is
	// no error. ErrNoKey means that the id is unknown.
	RevokeKey(ctx context.Context, id string, at int64, actor string) error

	// KeyByHash returns the key whose secret has that SHA-256, revoked or not.
	// ErrNoKey means that there is none.
	KeyByHash(ctx context.Context, hash [32]byte) (APIKey, error)

	// Keys returns all keys, revoked ones too, by time of creation and id.
	Keys(ctx context.Context) ([]APIKey, error)

	// SetRule stores what the origin that serves from this ledger decides by
	// from at on, unless it is what it was. When it returns nil the rule is on
	// stable storage.
	SetRule(ctx context.Context, at int64, r Rule) error

	// Rule returns the rule that was set last. ErrNoRule means that no origin
	// has served from this ledger.
	Rule(ctx context.Context) (Rule, error)

	// Reporters returns the names under which reports have ever been stored or
	// a reporter's key was made, each once, in the order of the alphabet.
	Reporters(ctx context.Context) ([]string, error)

	// Compact takes out the reports seen not after before, which must be
	// outside every window that will be asked for, and tells how many. All
	// decisions stay. It may be interrupted at any time and called again.
	Compact(ctx context.Context, before int64) (removed int64, err error)

	// Close waits for appends that are under way. Later calls fail.
	Close() error
}

// MaxTime is the last time that a ledger can hold, in the year 2106: times are
// kept in 32 bits, as SOA serials are.
const MaxTime = 1<<32 - 1

// Errors that callers act upon. They are wrapped with what failed.
var (
	ErrInvalid    = errors.New("not what a ledger may hold")
	ErrNoSerial   = errors.New("no serial is left")
	ErrNoKey      = errors.New("no such key")
	ErrKeyExists  = errors.New("key exists")
	ErrNoReporter = errors.New("no such reporter")
	ErrNoRule     = errors.New("no rule is known")
)

// A Receipt says what became of a batch of reports.
type Receipt struct {
	Accepted   int // stored now
	Duplicates int // known before, or twice in the batch
}

// A Role is what the bearer of an API key may do.
type Role string

const (
	Reporter Role = "reporter" // send reports under the key's name
	Operator Role = "operator" // decide: exempt, remove, purge
)

// An APIKey is what the ledger knows of a key: enough to recognise its secret,
// too little to make it.
type APIKey struct {
	ID      string // public handle, unique
	Role    Role
	Name    string   // of the reporter or operator
	Hash    [32]byte // SHA-256 of the secret
	Created int64
	Revoked int64 // 0 is not revoked
}

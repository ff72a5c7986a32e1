package ledger

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"net/url"
	"os"
	"path/filepath"

	_ "github.com/ncruces/go-sqlite3/driver" // the driver named "sqlite3"
	_ "github.com/ncruces/go-sqlite3/embed"  // SQLite itself
)

// schemaVersion is kept in the file's user_version. A file of another version
// is refused.
const schemaVersion = 1

// schema holds no index that an append of reports would have to keep.
const schema = `
CREATE TABLE reporters (id INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE);
CREATE TABLE segments (id INTEGER PRIMARY KEY AUTOINCREMENT, first INTEGER NOT NULL, last INTEGER NOT NULL,
	count INTEGER NOT NULL, rows BLOB NOT NULL);
CREATE TABLE evidence (segment INTEGER PRIMARY KEY, ids BLOB NOT NULL);
CREATE TABLE decisions (id INTEGER PRIMARY KEY AUTOINCREMENT, at INTEGER NOT NULL, kind INTEGER NOT NULL,
	level INTEGER NOT NULL, address BLOB, bits INTEGER NOT NULL, asn INTEGER NOT NULL, until INTEGER NOT NULL,
	serial INTEGER NOT NULL, count INTEGER NOT NULL, subject TEXT NOT NULL, actor TEXT NOT NULL,
	reporter TEXT NOT NULL, reason TEXT NOT NULL, note TEXT NOT NULL);
CREATE TABLE serials (serial INTEGER PRIMARY KEY, at INTEGER NOT NULL);
CREATE TABLE keys (id TEXT PRIMARY KEY, role TEXT NOT NULL, name TEXT NOT NULL, hash BLOB NOT NULL UNIQUE,
	created INTEGER NOT NULL, revoked INTEGER NOT NULL) WITHOUT ROWID;
`

// SQLite is a Ledger in one SQLite file with its write-ahead log beside it, and
// a folder with the compiled code of SQLite, which may be removed at any time.
// Several processes may have one file open: each append sees what the others
// have committed.
type SQLite struct {
	db     *sql.DB // readers, each on the last commit
	writer *writer
}

var _ Ledger = (*SQLite)(nil)

// Open opens the ledger in the file, and makes it if it is not there; its
// folder must be.
func Open(ctx context.Context, file string) (*SQLite, error) {
	s, err := open(ctx, file)
	if err != nil {
		return nil, fmt.Errorf("open ledger %q: %w", file, err)
	}
	return s, nil
}

func open(ctx context.Context, file string) (*SQLite, error) {
	if err := startEngine(file + compiledSuffix); err != nil {
		return nil, err
	}
	db, err := sql.Open("sqlite3", source(file))
	if err != nil {
		return nil, err
	}
	s := &SQLite{db: db}
	if err := s.prepare(ctx, file); err != nil {
		return nil, errors.Join(err, db.Close())
	}
	return s, nil
}

// source names the file and the settings of every connection. A commit is one
// write and one sync of the log (synchronous=FULL); busy_timeout, milliseconds,
// is for the commits of other processes.
func source(file string) string {
	pragmas := url.Values{"_pragma": {
		"busy_timeout(20000)", "journal_mode(WAL)", "synchronous(FULL)", "page_size(8192)",
		"wal_autocheckpoint(4000)", "journal_size_limit(67108864)", "cache_size(-8192)",
	}}
	return (&url.URL{Scheme: "file", Opaque: url.PathEscape(file), RawQuery: pragmas.Encode()}).String()
}

// prepare makes the tables or checks their version, and starts the writer.
func (s *SQLite) prepare(ctx context.Context, file string) error {
	conn, err := s.db.Conn(ctx)
	if err != nil {
		return err
	}
	if err := createSchema(ctx, conn); err != nil {
		return errors.Join(err, conn.Close())
	}
	if err := syncFolder(filepath.Dir(file)); err != nil {
		return errors.Join(err, conn.Close())
	}
	s.writer, err = startWriter(ctx, conn)
	if err != nil {
		return errors.Join(err, conn.Close())
	}
	return nil
}

// createSchema makes the tables of a new file, and what one of an earlier release
// lacks.
func createSchema(ctx context.Context, conn *sql.Conn) error {
	if _, err := conn.ExecContext(ctx, "BEGIN IMMEDIATE"); err != nil {
		return err
	}
	var version int
	err := conn.QueryRowContext(ctx, "PRAGMA user_version").Scan(&version)
	if err == nil && version == 0 {
		_, err = conn.ExecContext(ctx, schema+fmt.Sprintf("PRAGMA user_version = %d", schemaVersion))
		version = schemaVersion
	}
	if err == nil && version != schemaVersion {
		err = fmt.Errorf("schema version is %d, want %d", version, schemaVersion)
	}
	if err == nil {
		_, err = conn.ExecContext(ctx, rulesTable+indexes)
	}
	if err != nil {
		conn.ExecContext(context.WithoutCancel(ctx), "ROLLBACK")
		return err
	}
	_, err = conn.ExecContext(ctx, "COMMIT")
	return err
}

// syncFolder makes the names of new files in a folder survive a loss of power.
func syncFolder(name string) error {
	folder, err := os.Open(name)
	if err != nil {
		return err
	}
	return errors.Join(folder.Sync(), folder.Close())
}

// Close is promised by Ledger.
func (s *SQLite) Close() error {
	return errors.Join(s.writer.close(), s.db.Close())
}

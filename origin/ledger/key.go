package ledger

import (
	"context"
	"database/sql"
	"errors"
	"fmt"

	"ucedge/origin/report"
)

// check says why k cannot be stored.
func (k *APIKey) check() error {
	switch {
	case k.Role != Reporter && k.Role != Operator:
		return fmt.Errorf("role %q is unknown: %w", k.Role, ErrInvalid)
	case k.ID == "" || len(k.ID) > MaxText:
		return fmt.Errorf("key of %q: its id is empty or too long: %w", k.Name, ErrInvalid)
	case k.Created <= 0 || k.Created > MaxTime || k.Revoked != 0:
		return fmt.Errorf("key %q: created %d, revoked %d: %w", k.ID, k.Created, k.Revoked, ErrInvalid)
	}
	if err := report.CheckName(k.Name); err != nil { // every report under it would be refused
		return fmt.Errorf("key %q: name %w: %w", k.ID, err, ErrInvalid)
	}
	return nil
}

// CreateKey is promised by Ledger.
func (s *SQLite) CreateKey(ctx context.Context, key APIKey, actor string) error {
	made := Decision{At: key.Created, Kind: KeyCreated, Subject: key.ID, Actor: actor, Note: string(key.Role) + " " + key.Name}
	err := errors.Join(key.check(), made.check())
	if err == nil {
		err = s.writer.do(ctx, 2, func(ctx context.Context, tx *tx) error {
			return tx.createKey(ctx, &key, &made)
		})
	}
	if err != nil {
		return fmt.Errorf("create key %q: %w", key.ID, err)
	}
	return nil
}

func (t *tx) createKey(ctx context.Context, key *APIKey, made *Decision) error {
	var taken int
	err := t.conn.QueryRowContext(ctx, "SELECT count(*) FROM keys WHERE id = ? OR hash = ?", key.ID, key.Hash[:]).Scan(&taken)
	if err != nil {
		return err
	}
	if taken > 0 {
		return refusal{ErrKeyExists}
	}
	_, err = t.conn.ExecContext(ctx, "INSERT INTO keys (id, role, name, hash, created, revoked) VALUES (?, ?, ?, ?, ?, 0)",
		key.ID, string(key.Role), key.Name, key.Hash[:], key.Created)
	if err != nil {
		return err
	}
	return t.decide(ctx, made)
}

// RevokeKey is promised by Ledger.
func (s *SQLite) RevokeKey(ctx context.Context, id string, at int64, actor string) error {
	revoked := Decision{At: at, Kind: KeyRevoked, Subject: id, Actor: actor}
	err := revoked.check()
	if err == nil {
		err = s.writer.do(ctx, 2, func(ctx context.Context, tx *tx) error {
			return tx.revokeKey(ctx, id, &revoked)
		})
	}
	if err != nil {
		return fmt.Errorf("revoke key %q: %w", id, err)
	}
	return nil
}

func (t *tx) revokeKey(ctx context.Context, id string, revoked *Decision) error {
	var before int64
	err := t.conn.QueryRowContext(ctx, "SELECT revoked FROM keys WHERE id = ?", id).Scan(&before)
	switch {
	case errors.Is(err, sql.ErrNoRows):
		return refusal{ErrNoKey}
	case err != nil || before != 0:
		return err
	}
	if _, err := t.conn.ExecContext(ctx, "UPDATE keys SET revoked = ? WHERE id = ?", revoked.At, id); err != nil {
		return err
	}
	return t.decide(ctx, revoked)
}

// KeyByHash is promised by Ledger.
func (s *SQLite) KeyByHash(ctx context.Context, hash [32]byte) (APIKey, error) {
	keys, err := s.keys(ctx, "WHERE hash = ?", hash[:])
	if err != nil {
		return APIKey{}, fmt.Errorf("look up key: %w", err)
	}
	if len(keys) == 0 {
		return APIKey{}, ErrNoKey
	}
	return keys[0], nil
}

// Keys is promised by Ledger.
func (s *SQLite) Keys(ctx context.Context) ([]APIKey, error) {
	keys, err := s.keys(ctx, "ORDER BY created, id")
	if err != nil {
		return nil, fmt.Errorf("list keys: %w", err)
	}
	return keys, nil
}

func (s *SQLite) keys(ctx context.Context, where string, args ...any) ([]APIKey, error) {
	found, err := s.db.QueryContext(ctx, "SELECT id, role, name, hash, created, revoked FROM keys "+where, args...)
	if err != nil {
		return nil, err
	}
	defer found.Close()
	var keys []APIKey
	for found.Next() {
		var k APIKey
		var hash []byte
		if err := found.Scan(&k.ID, &k.Role, &k.Name, &hash, &k.Created, &k.Revoked); err != nil {
			return nil, err
		}
		if len(hash) != len(k.Hash) {
			return nil, fmt.Errorf("key %q has a hash of %d bytes", k.ID, len(hash))
		}
		k.Hash = [32]byte(hash)
		keys = append(keys, k)
	}
	return keys, found.Err()
}

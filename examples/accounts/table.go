package main

import (
	"context"
	"crypto/rand"
	"database/sql"
	"errors"
	"time"
)

// tables are those of the service itself. The tokens are in the table of the store.
const tables = `
SELECT pg_advisory_xact_lock(20261116); -- processes that start together make them once
CREATE TABLE IF NOT EXISTS accounts (
	id           TEXT PRIMARY KEY, -- and the name of the session
	owner        TEXT NOT NULL,    -- the user of this service
	subject      TEXT NOT NULL,    -- the user at the third party
	name         TEXT NOT NULL,
	state        TEXT NOT NULL,
	connected_at TIMESTAMPTZ NOT NULL DEFAULT now(),
	due          TIMESTAMPTZ NOT NULL DEFAULT now(),
	synced_at    TIMESTAMPTZ,
	contacts     INTEGER NOT NULL DEFAULT 0,
	problem      TEXT NOT NULL DEFAULT '',
	UNIQUE (owner, subject)
);
CREATE INDEX IF NOT EXISTS accounts_due ON accounts (due);
CREATE TABLE IF NOT EXISTS sign_ins ( -- in progress
	state    TEXT PRIMARY KEY,
	owner    TEXT NOT NULL,
	verifier TEXT NOT NULL,
	begun_at TIMESTAMPTZ NOT NULL DEFAULT now()
);`

// The states of an account.
const (
	connected     = "connected"
	reconnect     = "reconnect"     // the third party has ended it, or a sign-in did not end
	disconnecting = "disconnecting" // the third party could not be told yet
)

// An account is a connected account. Its id is never used again, so what a process still
// knows about a former connection can't do anything to a later one.
type account struct {
	ID, Owner, Subject, Name, State string
	ConnectedAt                     time.Time
	SyncedAt                        sql.NullTime
	Contacts                        int
	Problem                         string
}

const columns = "id, owner, subject, name, state, connected_at, synced_at, contacts, problem"

func scan(row interface{ Scan(...any) error }) (a account, err error) {
	err = row.Scan(&a.ID, &a.Owner, &a.Subject, &a.Name, &a.State, &a.ConnectedAt, &a.SyncedAt, &a.Contacts, &a.Problem)
	return a, err
}

func (b *backend) createTables(ctx context.Context) error {
	_, err := b.db.ExecContext(ctx, tables)
	return err
}

// accountsOf returns the accounts of a user.
func (b *backend) accountsOf(ctx context.Context, owner string) ([]account, error) {
	rows, err := b.db.QueryContext(ctx, "SELECT "+columns+" FROM accounts WHERE owner = $1 ORDER BY name, subject", owner)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	var all []account
	for rows.Next() {
		a, err := scan(rows)
		if err != nil {
			return nil, err
		}
		all = append(all, a)
	}
	return all, rows.Err()
}

// accountOf returns an account if it is owner's. The error is sql.ErrNoRows if it is not.
func (b *backend) accountOf(ctx context.Context, owner, id string) (account, error) {
	return scan(b.db.QueryRowContext(ctx, "SELECT "+columns+" FROM accounts WHERE id = $1 AND owner = $2", id, owner))
}

// claim takes the next account that is due, and makes it due again after a while. Of
// several workers each gets another. ok is false if none is due.
func (b *backend) claim(ctx context.Context, every time.Duration) (a account, ok bool, err error) {
	a, err = scan(b.db.QueryRowContext(ctx, `UPDATE accounts SET due = now() + $1 * interval '1 millisecond' WHERE id = (
		SELECT id FROM accounts WHERE due <= now() AND state <> $2 ORDER BY due LIMIT 1 FOR UPDATE SKIP LOCKED
	) RETURNING `+columns, every.Milliseconds(), disconnecting))
	if errors.Is(err, sql.ErrNoRows) {
		return account{}, false, nil
	}
	return a, err == nil, err
}

// insert returns the id of the user's account, which may have been there before. It is
// connected once [backend.markConnected] says so.
func (b *backend) insert(ctx context.Context, owner, subject, name string) (id string, err error) {
	err = b.db.QueryRowContext(ctx, `INSERT INTO accounts (id, owner, subject, name, state) VALUES ($1, $2, $3, $4, $5)
		ON CONFLICT (owner, subject) DO UPDATE SET name = excluded.name RETURNING id`,
		rand.Text(), owner, subject, name, reconnect).Scan(&id)
	return id, err
}

// markConnected is false if the account was disconnected meanwhile, or is being so: its row
// may be gone a moment later.
func (b *backend) markConnected(ctx context.Context, id string) (bool, error) {
	return b.change(ctx, `UPDATE accounts SET state = $2, connected_at = now(), due = now(), problem = ''
		WHERE id = $1 AND state <> $3`, id, connected, disconnecting)
}

func (b *backend) markDisconnecting(ctx context.Context, id string) error {
	_, err := b.change(ctx, "UPDATE accounts SET state = $2, problem = '' WHERE id = $1", id, disconnecting)
	return err
}

func (b *backend) delete(ctx context.Context, id string) error {
	_, err := b.change(ctx, "DELETE FROM accounts WHERE id = $1", id)
	return err
}

// record writes what came of a sync, unless the account was connected again or
// disconnected since a was read: then it is about a connection of the past.
func (b *backend) record(ctx context.Context, a account, state string, contacts int, problem string) error {
	_, err := b.change(ctx, `UPDATE accounts SET state = $3, problem = $5,
		contacts = CASE WHEN $5 = '' THEN $4 ELSE contacts END, synced_at = CASE WHEN $5 = '' THEN now() ELSE synced_at END
		WHERE id = $1 AND connected_at = $2 AND state <> 'disconnecting'`, a.ID, a.ConnectedAt, state, contacts, problem)
	return err
}

// rememberSignIn keeps what the callback needs. The state is good for one use, by the
// browser of owner, for ten minutes.
func (b *backend) rememberSignIn(ctx context.Context, state, owner, verifier string) error {
	_, err := b.change(ctx, "DELETE FROM sign_ins WHERE begun_at < now() - interval '10 minutes'")
	if err == nil {
		_, err = b.change(ctx, "INSERT INTO sign_ins (state, owner, verifier) VALUES ($1, $2, $3)", state, owner, verifier)
	}
	return err
}

// takeSignIn returns the verifier once. One statement checks and deletes, so it holds for
// all web processes. ok is false if the state is not one that this owner's browser got.
func (b *backend) takeSignIn(ctx context.Context, state, owner string) (verifier string, ok bool, err error) {
	err = b.db.QueryRowContext(ctx, `DELETE FROM sign_ins WHERE state = $1 AND owner = $2
		AND begun_at > now() - interval '10 minutes' RETURNING verifier`, state, owner).Scan(&verifier)
	if errors.Is(err, sql.ErrNoRows) {
		return "", false, nil
	}
	return verifier, err == nil, err
}

func (b *backend) change(ctx context.Context, statement string, args ...any) (changed bool, err error) {
	result, err := b.db.ExecContext(ctx, statement, args...)
	if err != nil {
		return false, err
	}
	n, err := result.RowsAffected()
	return n > 0, err
}

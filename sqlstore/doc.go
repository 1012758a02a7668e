// Package sqlstore keeps the tokens of sessions in a table of a PostgreSQL or
// SQLite database, over database/sql with whichever driver the program uses
// already. All processes that share the database share the sessions: a [Store]
// is a reauth.Locker, so that one of them refreshes and the others take what it
// has stored.
//
// A session is one row. The lock on it is a lease, written in the same row by
// the clock of the database: whoever holds it renews it while it works, and once
// a holder has died or been cut off for longer than [Options].Lease another may
// have it. A Save or Delete under a lease checks, in the statement that writes,
// that nobody else has had the session since. So a process that was stopped in the
// middle of a refresh cannot write over what another has stored.
//
// Everything is a single statement outside of any transaction. No connection is
// occupied while a lock is held or waited for: a pool of one connection will do,
// and a pooler that hands out connections by the transaction does no harm.
package sqlstore

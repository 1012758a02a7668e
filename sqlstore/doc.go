// Package sqlstore keeps the tokens of sessions in a table of a PostgreSQL, MySQL,
// MariaDB or SQLite database, over database/sql with the driver that the program chooses.
// All processes that share the database share the sessions. A [Store] is a reauth.Locker,
// so that one process refreshes and the others adopt the token that it has stored.
//
// A session is one row. The lock on it is a lease, written in the same row by the clock
// of the database. Its holder renews it while it works. When a holder has died, or was
// cut off for longer than [Options].Lease, another process may take it. A Load, Save or
// Delete under a lease checks, in its one statement, that nobody else has had the session
// since. Therefore a process that was stopped during a refresh cannot overwrite the token
// that another has stored.
//
// Everything is a single statement outside of any transaction. No connection is in use
// while a lock is held or waited for. A pool of one connection is enough, and a pooler
// that assigns connections to transactions works, too.
//
// [Store.Watch] tells what other processes do, [Store.Purge] removes sessions that nobody
// uses, and [Store.Sessions] walks through all of them.
package sqlstore

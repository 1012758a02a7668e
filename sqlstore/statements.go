package sqlstore

import (
	"errors"
	"fmt"
	"strings"
)

// statements are all statements that are sent to the database, each by itself and
// outside of any transaction.
//
// A row is locked while its deadline is in the future. owner identifies the holder and
// is random for each lock. version counts the locks. The holder can write as long as
// owner and version are unchanged, whatever is written without the lock. The deadline
// does not matter for that. After it has passed others may take the lock, but until one
// does nobody has held it in between, and the holder may go on.
//
// Any statement may have to be sent again if it is not known whether it has arrived, and
// the first one may still arrive much later, when a silent network delivers what it held
// back. Therefore statements under a lock leave its version unchanged, and writes counts
// the tokens that the holder stores, so that a late one does not replace the next, and
// the same one is stored once.
type statements struct {
	create, probe       string
	load, read, save    string
	clear, sweep        string
	take, left, release string
	renew, write        string
}

const (
	createTable = `CREATE TABLE IF NOT EXISTS {table} (
	session  {key} NOT NULL PRIMARY KEY,
	token    TEXT,
	version  BIGINT NOT NULL,
	writes   BIGINT NOT NULL DEFAULT 0,
	owner    TEXT,
	deadline BIGINT
)`

	probeTable = `SELECT session, token, version, writes, owner, deadline FROM {table} WHERE 1 = 0`

	loadToken = `SELECT token FROM {table} WHERE session = $1`

	saveToken = `INSERT INTO {table} AS s (session, token, version) VALUES ($1, $2, 1)
ON CONFLICT (session) DO UPDATE SET token = excluded.token`

	clearToken = `UPDATE {table} SET token = NULL WHERE session = $1 AND token IS NOT NULL`

	// sweepRow removes an empty row. It follows clearToken and releaseLock, either of
	// which may have emptied the row.
	sweepRow = `DELETE FROM {table}
WHERE session = $1 AND token IS NULL AND COALESCE(deadline, 0) <= {now}`

	// takeLock names the token, so that a role which may not write that column gets no
	// lock. It evaluates {now} again instead of using excluded.deadline, because it may
	// have waited for another's write in between.
	takeLock = `INSERT INTO {table} AS s (session, version, owner, deadline)
VALUES ($1, 1, $2, {now} + CAST($3 AS BIGINT))
ON CONFLICT (session) DO UPDATE
SET token = s.token, version = s.version + 1, writes = 0, owner = excluded.owner, deadline = {now} + CAST($3 AS BIGINT)
WHERE s.owner = excluded.owner OR COALESCE(s.deadline, 0) <= {now}
RETURNING version`

	// lockLeft returns how long another's lock lasts, in milliseconds. It only reads,
	// while repeating takeLock would write even without success.
	lockLeft = `SELECT COALESCE(deadline, 0) - {now} FROM {table} WHERE session = $1`

	releaseLock = `UPDATE {table} SET owner = NULL, deadline = NULL
WHERE session = $1 AND owner = $2
RETURNING token IS NULL`

	underLease = `WHERE session = $1 AND owner = $2 AND version = $3`

	readToken = `SELECT token FROM {table} ` + underLease

	renewLease = `UPDATE {table} SET deadline = {now} + CAST($4 AS BIGINT) ` + underLease

	writeToken = `UPDATE {table} SET token = CASE WHEN writes < $5 THEN $4 ELSE token END, writes = $5 ` + underLease + ` AND writes <= $5`
)

func newStatements(d Dialect, quotedTable string) statements {
	// Milliseconds since 1970, by the database's clock when the expression is evaluated,
	// which is after any wait for a lock.
	now := `CAST(EXTRACT(EPOCH FROM clock_timestamp()) * 1000 AS BIGINT)`
	key := `TEXT COLLATE "C"`
	parameter := "$"
	if d == SQLite {
		now = `CAST((julianday('now') - 2440587.5) * 86400000 AS INTEGER)`
		key = `TEXT`
		parameter = "?"
	}
	in := strings.NewReplacer("{table}", quotedTable, "{now}", now, "{key}", key, "$", parameter).Replace
	return statements{
		create: in(createTable), probe: in(probeTable),
		load: in(loadToken), read: in(readToken), save: in(saveToken),
		clear: in(clearToken), sweep: in(sweepRow),
		take: in(takeLock), left: in(lockLeft), release: in(releaseLock),
		renew: in(renewLease), write: in(writeToken),
	}
}

// longestIdentifier is the length to which PostgreSQL truncates longer identifiers, with
// only a notice.
const longestIdentifier = 63

// quoteTable returns a table's name, with or without a schema, for use in SQL.
func quoteTable(name string) (string, error) {
	parts := strings.Split(name, ".")
	if len(parts) > 2 {
		return "", errors.New("a table's name can have only one dot, after its schema")
	}
	for i, part := range parts {
		switch {
		case part == "":
			return "", errors.New("a part of it is empty")
		case len(part) > longestIdentifier:
			return "", fmt.Errorf("a part of it is longer than %d bytes", longestIdentifier)
		case part[0] >= '0' && part[0] <= '9':
			return "", errors.New("a part of it begins with a digit")
		}
		for _, c := range []byte(part) {
			if c != '_' && (c < '0' || c > '9') && (c < 'A' || c > 'Z') && (c < 'a' || c > 'z') {
				return "", errors.New("it may contain only ASCII letters, digits and underscores")
			}
		}
		parts[i] = `"` + part + `"`
	}
	return strings.Join(parts, "."), nil
}

package sqlstore

import "strings"

// The statements of PostgreSQL and SQLite, which differ in little.

const (
	createTable = `CREATE TABLE IF NOT EXISTS {table} (
	session    {key} NOT NULL PRIMARY KEY,
	token      TEXT,
	version    BIGINT NOT NULL,
	writes     BIGINT NOT NULL DEFAULT 0,
	owner      TEXT,
	deadline   BIGINT,
	saved_at   BIGINT,
	deleted_at BIGINT,
	changed_by TEXT,
	name       {bytes}
)`

	indexSaved   = `CREATE INDEX IF NOT EXISTS {saved index} ON {unqualified} (saved_at)`
	indexDeleted = `CREATE INDEX IF NOT EXISTS {deleted index} ON {unqualified} (deleted_at)`

	probeTable = `SELECT session, token, version, writes, owner, deadline, saved_at, deleted_at, changed_by, name
FROM {table} WHERE 1 = 0`

	probeFirstEdition = `SELECT session, token, version, writes, owner, deadline FROM {table} WHERE 1 = 0`

	readEdition = `SELECT version FROM {table} WHERE session = {schema}`

	markEdition = `INSERT INTO {table} AS s (session, version, saved_at) VALUES ({schema}, {schemaVersion}, {now})
ON CONFLICT (session) DO UPDATE SET version = excluded.version, saved_at = excluded.saved_at
WHERE s.version < excluded.version`

	loadToken = `SELECT token FROM {table} WHERE session = $1`

	// postgresLoadToken returns a row in any case, which tells that it is the answer to this
	// statement. See Store.loaded.
	postgresLoadToken = `SELECT 'token', (SELECT token FROM {table} WHERE session = $1)`

	// saveToken has a number of parameters, and clearToken one of a value, that no other
	// statement has. So the arguments of another do no harm if a pooler mixes them up.
	saveToken = `INSERT INTO {table} AS s (session, name, token, version, saved_at, changed_by) VALUES ($1, $2, $3, $5, {now}, $4)
ON CONFLICT (session) DO UPDATE
SET name = excluded.name, token = excluded.token, saved_at = {now}, deleted_at = NULL, changed_by = excluded.changed_by`

	clearToken = `UPDATE {table} SET token = NULL, saved_at = {now}, deleted_at = {now}, changed_by = $2
WHERE session = $1 AND token IS NOT NULL AND $3 = 'clear'`

	// sweepRow removes a row in which there was never a token. It follows releaseLock,
	// which may have emptied the row.
	sweepRow = `DELETE FROM {table}
WHERE session = $1 AND token IS NULL AND saved_at IS NULL AND {free}`

	// oldRows returns the rows of tokens that were deleted a while ago, and tidyRows
	// removes some of them. There are two statements so that the second one locks rows
	// only by their keys, in all databases.
	oldRows = `SELECT session FROM {table}
WHERE deleted_at <= {now} - {keepDeleted} AND token IS NULL AND {free} ORDER BY deleted_at LIMIT {batch}`

	tidyRows = `DELETE FROM {table}
WHERE session IN ({keys}) AND deleted_at <= {now} - {keepDeleted} AND token IS NULL AND {free}`

	// purgeUpgraded returns when the table was made or upgraded, which stands for the time
	// of a save that has none.
	purgeUpgraded = `SELECT saved_at FROM {table} WHERE session = {schema}`

	unusedRows = `SELECT session FROM {table}
WHERE (saved_at < {now} - $1 OR saved_at IS NULL AND $2 < {now} - $1) AND token IS NOT NULL AND {free} LIMIT {batch}`

	purgeRows = `UPDATE {table} SET token = NULL, saved_at = {now}, deleted_at = {now}, changed_by = {after keys 3}
WHERE session IN ({keys}) AND token IS NOT NULL AND {free}
	AND (saved_at < {now} - {after keys 1} OR saved_at IS NULL AND {after keys 2} < {now} - {after keys 1})`

	isDead = `token IS NULL AND {free} AND session <> {schema} AND (saved_at IS NULL OR saved_at <= {now} - {keepDeleted})`

	deadRows = `SELECT session FROM {table} WHERE {key after} AND ` + isDead + ` ORDER BY session LIMIT {batch}`

	buryRows = `DELETE FROM {table} WHERE session IN ({keys}) AND ` + isDead

	// changedRows returns what was written since a time, and in a row without a key the time now
	// and whether the server is a standby.
	changedRows = `SELECT session, name, saved_at, changed_by FROM (
	SELECT session, name, saved_at, changed_by FROM {table} WHERE saved_at >= $1 AND session <> {schema} LIMIT {mostChanges}
) c UNION ALL SELECT NULL, NULL, {now}, {standby}`

	sessionRows = `SELECT session, name, saved_at FROM {table} WHERE {key after} AND token IS NOT NULL ORDER BY session LIMIT {pageSize}`

	recordedNames = `SELECT name FROM {table} WHERE session = $1`

	// takeLock names the columns that a save writes, so that a role which may not write
	// them gets no lock. It evaluates {now} again instead of using excluded.deadline,
	// because it may have waited for another's write in between.
	takeLock = `INSERT INTO {table} AS s (session, name, version, owner, deadline)
VALUES ($1, $2, 1, $3, {now} + CAST($4 AS BIGINT))
ON CONFLICT (session) DO UPDATE
SET name = excluded.name, token = s.token, saved_at = s.saved_at, deleted_at = s.deleted_at, changed_by = s.changed_by,
	version = s.version + 1, writes = 0, owner = excluded.owner, deadline = {now} + CAST($4 AS BIGINT)
WHERE s.owner = excluded.owner OR COALESCE(s.deadline, 0) <= {now}
RETURNING version`

	// lockLeft returns how long another's lock lasts, in milliseconds, and the mark of the
	// stored token, which is NULL if there is none. It only reads, while repeating takeLock
	// would write even without success.
	lockLeft = `SELECT COALESCE(deadline, 0) - {now}, CASE WHEN token IS NOT NULL THEN COALESCE(changed_by, '') END
FROM {table} WHERE session = $1`

	releaseLock = `UPDATE {table} SET owner = NULL, deadline = NULL
WHERE session = $1 AND owner = $2
RETURNING CASE WHEN token IS NOT NULL THEN 1 WHEN saved_at IS NULL THEN 2 ELSE 3 END`

	underLease = `
WHERE session = $1 AND owner = $2 AND version = $3`

	readToken = `SELECT token FROM {table} ` + underLease

	renewLease = `UPDATE {table} SET deadline = {now} + CAST($4 AS BIGINT) ` + underLease

	writeToken = `UPDATE {table} SET token = CASE WHEN writes < $5 THEN $4 ELSE token END,
	saved_at = CASE WHEN writes < $5 THEN {now} ELSE saved_at END,
	deleted_at = CASE WHEN writes < $5 THEN CASE WHEN $4 IS NULL THEN {now} END ELSE deleted_at END,
	changed_by = CASE WHEN writes < $5 THEN $6 ELSE changed_by END,
	writes = $5 ` + underLease + ` AND writes <= $5`
)

// paged returns the statements of the first and the next page of rows in the order of keys.
// The first one has a row whose key is empty.
func paged(in func(string) statement, sql string) (first, next statement) {
	return in(strings.Replace(sql, "{key after}", "session >= $1", 1)), in(strings.Replace(sql, "{key after}", "session > $1", 1))
}

func standardStatements(in func(string) statement) statements {
	firstDead, nextDead := paged(in, deadRows)
	firstPage, nextPage := paged(in, sessionRows)
	return statements{
		firstPage: firstPage, nextPage: nextPage,
		changes: in(changedRows), name: in(recordedNames),
		upgraded: in(purgeUpgraded), unused: in(unusedRows), purge: in(purgeRows),
		firstDead: firstDead, nextDead: nextDead, bury: in(buryRows),
		probe: in(probeTable), probeFirst: in(probeFirstEdition),
		edition: in(readEdition), mark: in(markEdition),
		load: in(loadToken), read: in(readToken), save: in(saveToken),
		clear: in(clearToken), sweep: in(sweepRow), old: in(oldRows), tidy: in(tidyRows),
		take: in(takeLock), left: in(lockLeft), release: in(releaseLock),
		renew: in(renewLease), write: in(writeToken),
	}
}

// notifying returns a statement that also tells others which tokens it has written. The mark
// of the write is the argument by.
func notifying(sql, by string) string {
	return "WITH written AS (" + sql + " RETURNING session)\nSELECT pg_notify({channel}, CAST(" + by + " AS TEXT) || ' ' || session) FROM written"
}

func postgresStatements(in func(string) statement, notify bool) statements {
	typed := strings.NewReplacer("{key}", `TEXT COLLATE "C"`, "{bytes}", `BYTEA`, "{unqualified}", "{table}").Replace
	s := standardStatements(in)
	if notify {
		s.save, s.clear = in(notifying(saveToken, "$4")), in(notifying(clearToken, "$2"))
		s.write, s.purge = in(notifying(writeToken, "$6")), in(notifying(purgeRows, "{after keys 3}"))
	}
	s.load = in(postgresLoadToken)
	s.create = in(typed(createTable))
	s.indexes = []statement{in(typed(indexSaved)), in(typed(indexDeleted))}
	s.upgrade = []statement{in(`ALTER TABLE {table}
	ADD COLUMN IF NOT EXISTS saved_at BIGINT, ADD COLUMN IF NOT EXISTS deleted_at BIGINT,
	ADD COLUMN IF NOT EXISTS changed_by TEXT, ADD COLUMN IF NOT EXISTS name BYTEA`)}
	return s
}

func sqliteStatements(in func(string) statement) statements {
	typed := strings.NewReplacer("{key}", `TEXT`, "{bytes}", `BLOB`).Replace
	s := standardStatements(in)
	s.create = in(typed(createTable))
	s.indexes = []statement{in(typed(indexSaved)), in(typed(indexDeleted))}
	for _, column := range []string{"saved_at BIGINT", "deleted_at BIGINT", "changed_by TEXT", "name BLOB"} {
		s.upgrade = append(s.upgrade, in(`ALTER TABLE {table} ADD COLUMN `+column))
	}
	return s
}

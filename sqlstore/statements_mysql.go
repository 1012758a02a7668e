package sqlstore

// The statements of MySQL and MariaDB where they differ from the standard.
//
// Neither has UPDATE ... RETURNING. The number of affected rows does not tell whether a
// row was found, because one that already has its new values counts or not depending on
// an option of the connection. So a statement that must tell something of its row calls
// LAST_INSERT_ID with that number, which comes back with the statement's own answer. It is
// 0 if there is no row.
//
// Conditions hold whether the assignments of an UPDATE see those before them, which is the
// rule, or not, as with the SQL mode SIMULTANEOUS_ASSIGNMENT. The time is that of the
// statement's beginning, before any wait for a lock. So a lease is counted from then, too.
const (
	mysqlCreateTable = `CREATE TABLE IF NOT EXISTS {table} (
	session    VARBINARY(255) NOT NULL PRIMARY KEY,
	token      LONGTEXT CHARACTER SET utf8mb4 COLLATE utf8mb4_bin,
	version    BIGINT NOT NULL,
	writes     BIGINT NOT NULL DEFAULT 0,
	owner      VARBINARY(255),
	deadline   BIGINT,
	saved_at   BIGINT,
	deleted_at BIGINT,
	changed_by VARBINARY(255),
	name       LONGBLOB,
	KEY {saved index} (saved_at),
	KEY {deleted index} (deleted_at)
) ENGINE = InnoDB`

	// mysqlSettings returns 0 if writes are not committed by themselves.
	mysqlSettings = `SELECT @@autocommit`

	mysqlMarkEdition = `INSERT INTO {table} (session, version, saved_at) VALUES ({schema}, {schemaVersion}, {now})
ON DUPLICATE KEY UPDATE saved_at = IF(version < {schemaVersion}, {now}, saved_at), version = GREATEST(version, {schemaVersion})`

	mysqlSaveToken = `INSERT INTO {table} (session, name, token, version, saved_at, changed_by) VALUES ($1, $2, $3, $5, {now}, $4)
ON DUPLICATE KEY UPDATE name = $2, token = $3, saved_at = {now}, deleted_at = NULL, changed_by = $4`

	// mysqlTakeLock names the columns that a save writes among those of the new row, too.
	// MariaDB asks for the right to update those, and not for the right to what follows.
	mysqlTakeLock = `INSERT INTO {table} (session, name, token, version, owner, deadline, saved_at, deleted_at, changed_by)
VALUES ($1, $2, NULL, LAST_INSERT_ID(1), $3, {now} + $4, NULL, NULL, NULL)
ON DUPLICATE KEY UPDATE
	name = $2, token = token, saved_at = saved_at, deleted_at = deleted_at, changed_by = changed_by,
	version = IF(owner = $3 OR {free}, LAST_INSERT_ID(version + 1), version + LAST_INSERT_ID(0)),
	writes = IF(owner = $3 OR {free}, 0, writes),
	owner = IF(owner = $3 OR {free}, $3, owner),
	deadline = IF(owner = $3 OR {free}, {now} + $4, deadline)`

	mysqlReleaseLock = `UPDATE {table} SET owner = NULL, deadline = NULL,
	version = IF(LAST_INSERT_ID(CASE WHEN token IS NOT NULL THEN 1 WHEN saved_at IS NULL THEN 2 ELSE 3 END) > 0, version, version)
WHERE session = $1 AND owner = $2`

	mysqlRenewLease = `UPDATE {table} SET deadline = {now} + $4, version = LAST_INSERT_ID(version) ` + underLease

	mysqlWriteToken = `UPDATE {table} SET token = CASE WHEN writes < $5 THEN $4 ELSE token END,
	saved_at = CASE WHEN writes < $5 THEN {now} ELSE saved_at END,
	deleted_at = CASE WHEN writes < $5 THEN CASE WHEN $4 IS NULL THEN {now} END ELSE deleted_at END,
	changed_by = CASE WHEN writes < $5 THEN $6 ELSE changed_by END,
	writes = LAST_INSERT_ID($5) ` + underLease + ` AND writes <= $5`
)

func mysqlStatements(in func(string) statement) statements {
	telling := func(sql string) statement {
		st := in(sql)
		st.tells = true
		return st
	}
	s := standardStatements(in)
	s.create, s.settings, s.mark, s.save = in(mysqlCreateTable), in(mysqlSettings), in(mysqlMarkEdition), in(mysqlSaveToken)
	s.take, s.release = telling(mysqlTakeLock), telling(mysqlReleaseLock)
	s.renew, s.write = telling(mysqlRenewLease), telling(mysqlWriteToken)
	return s
}

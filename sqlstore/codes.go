package sqlstore

import (
	"errors"
	"regexp"
	"strconv"
	"strings"
)

// sqlState returns the code of an error that PostgreSQL has returned. The errors of its
// drivers all have the method, though no common type.
func sqlState(err error) string {
	var answer interface{ SQLState() string }
	if errors.As(err, &answer) {
		return answer.SQLState()
	}
	return ""
}

// errorNumberRE matches how the drivers of MySQL write an error of the server.
var errorNumberRE = regexp.MustCompile(`(?i)\berror ([0-9]{4})(?: \([0-9A-Z]{5}\))?: `)

// errorNumber returns the number of an error that MySQL has returned, or 0 if it is the
// driver's own. The drivers' types have no method for it, but all have it in their text.
func errorNumber(err error) int {
	found := errorNumberRE.FindStringSubmatch(err.Error())
	if found == nil {
		return 0
	}
	n, _ := strconv.Atoi(found[1])
	return n
}

// code returns how the database has numbered an error, for people to read, or "".
func (d Dialect) code(err error) string {
	if d == MySQL {
		if n := errorNumber(err); n != 0 {
			return "error " + strconv.Itoa(n)
		}
		return ""
	}
	if state := sqlState(err); state != "" {
		return "SQLSTATE " + state
	}
	return ""
}

// undone reports whether the database has undone a statement only because others were
// running at the same time.
func (d Dialect) undone(err error) bool {
	if err == nil {
		return false
	}
	switch d {
	case PostgreSQL:
		state := sqlState(err)
		return state == "40001" || state == "40P01" // serialization_failure, deadlock_detected
	case MySQL:
		n := errorNumber(err)
		return n == 1213 || n == 1020 // ER_LOCK_DEADLOCK, ER_CHECKREAD
	}
	return false
}

// contended reports whether a statement had no effect only because others were using the
// database at the same time.
func (d Dialect) contended(err error) bool {
	if err == nil {
		return false
	}
	switch d {
	case SQLite:
		// SQLITE_BUSY and SQLITE_LOCKED. Drivers have different error types, but all
		// pass on SQLite's own text.
		text := err.Error()
		return strings.Contains(text, "database is locked") || strings.Contains(text, "database table is locked")
	case MySQL:
		return d.undone(err) || errorNumber(err) == 1205 // ER_LOCK_WAIT_TIMEOUT
	}
	return d.undone(err) || sqlState(err) == "55P03" // lock_not_available, if lock_timeout is set
}

// demoted reports whether the database has refused to write because it is a standby, or
// its transactions are read-only.
func (d Dialect) demoted(err error) bool {
	if err == nil {
		return false
	}
	switch d {
	case PostgreSQL:
		return sqlState(err) == "25006" // read_only_sql_transaction
	case MySQL:
		switch errorNumber(err) {
		case 1290, // ER_OPTION_PREVENTS_STATEMENT: read_only, super_read_only
			1792, // ER_CANT_EXECUTE_IN_READ_ONLY_TRANSACTION
			1836: // ER_READ_ONLY_MODE
			return true
		}
	}
	return false
}

// passing reports whether it makes sense to send a statement again soon, because others
// used the database, or it could not be reached, was shutting down or starting, or could
// not write for now. It is not always known then whether the statement had an effect.
func (d Dialect) passing(err error) bool {
	if d.contended(err) || d.demoted(err) {
		return true
	}
	switch d {
	case SQLite:
		for _, text := range []string{
			"attempt to write a readonly database", "database or disk is full", "disk I/O error",
		} {
			if strings.Contains(err.Error(), text) {
				return true
			}
		}
		return false
	case MySQL:
		switch errorNumber(err) {
		case 0, // the error is the driver's, so the connection is broken
			1021, 1026, 1030, 1114, // disk full, error on write, error of the storage engine, table full
			1037, 1038, 1040, 1041, 1203, 1226, // out of memory or connections
			1047, 1180, // Galera: the node is not ready; the commit failed
			1053, 1077, 1079, 1080, 1158, 1159, 1160, 1161, 1317, 1927, // shutdown, network, killed
			1969, 3024, // max_statement_time, max_execution_time
			3100, 3101: // group replication
			return true
		}
		return false
	}
	state := sqlState(err)
	if state == "" { // the error is the driver's, so the connection is broken
		return true
	}
	class := state[:min(2, len(state))]
	return class == "08" || class == "53" || class == "57" // connection, resources, operator
}

// known reports whether a failed statement is known to have had no effect, because the
// database has answered with an error, and not that it is shutting down.
func (d Dialect) known(err error) bool {
	if d == MySQL {
		switch errorNumber(err) {
		case 0, 1053, 1077, 1079, 1080, 1158, 1159, 1160, 1161, 1180, 1317, 1927:
			return false
		}
		return true
	}
	state := sqlState(err)
	return state != "" && !strings.HasPrefix(state, "08") && !strings.HasPrefix(state, "57P")
}

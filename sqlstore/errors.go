package sqlstore

import (
	"context"
	"errors"
	"fmt"
	"strings"
)

// failed describes the failure of a statement that writes to a row, without the content
// of the row. hidden is the text that it writes. It returns nil for nil.
func failed(ctx context.Context, what, key string, err error, hidden string) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("sqlstore: %s session %q: %w", what, key, caused(ctx, discreet(err, hidden)))
}

// caused returns the cause of ctx if that is done, because drivers report it in words of
// their own.
func caused(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	return err
}

// A discreetError has the text of a driver's error, and matches by errors.Is whatever
// that matches. The error itself is not in its chain, because a field of PostgreSQL's
// errors shows the row that a constraint has refused, including the token.
type discreetError struct {
	text  string
	cause error
}

func (e *discreetError) Error() string        { return e.text }
func (e *discreetError) Is(target error) bool { return errors.Is(e.cause, target) }

func discreet(err error, hidden string) error {
	text := err.Error()
	if reveals(text, hidden) {
		text = "the database refused it, in words that repeat a part of the token"
		if state := sqlState(err); state != "" {
			text += " (SQLSTATE " + state + ")"
		}
	}
	return &discreetError{text, err}
}

// reveals reports whether text contains a piece of hidden that is long enough to be part
// of a secret.
func reveals(text, hidden string) bool {
	const piece = 12
	for i := 0; i+piece <= len(text); i++ {
		if strings.Contains(hidden, text[i:i+piece]) {
			return true
		}
	}
	return false
}

// sqlState returns the code of an error that PostgreSQL has returned. The errors of its
// drivers all have the method, though no common type.
func sqlState(err error) string {
	var answer interface{ SQLState() string }
	if errors.As(err, &answer) {
		return answer.SQLState()
	}
	return ""
}

// contended reports whether a statement had no effect only because others were using the
// database at the same time.
func (d Dialect) contended(err error) bool {
	if err == nil {
		return false
	}
	if d == SQLite {
		// SQLITE_BUSY and SQLITE_LOCKED. Drivers have different error types, but all
		// pass on SQLite's own text.
		text := err.Error()
		return strings.Contains(text, "database is locked") || strings.Contains(text, "database table is locked")
	}
	switch sqlState(err) {
	case "40001", "40P01", // serialization_failure and deadlock_detected
		"55P03": // lock_not_available, if lock_timeout is set
		return true
	}
	return false
}

// demoted reports whether PostgreSQL has refused to write because it is a standby, or its
// transactions are read-only (read_only_sql_transaction).
func (d Dialect) demoted(err error) bool { return d == PostgreSQL && sqlState(err) == "25006" }

// passing reports whether it makes sense to send a statement again soon, because others
// used the database, or it could not be reached, was shutting down or starting, or could
// not write for now. It is not always known then whether the statement had an effect.
func (d Dialect) passing(err error) bool {
	if d == SQLite {
		for _, text := range []string{
			"attempt to write a readonly database", "database or disk is full", "disk I/O error",
		} {
			if strings.Contains(err.Error(), text) {
				return true
			}
		}
		return d.contended(err)
	}
	state := sqlState(err)
	if state == "" { // the error is the driver's, so the connection is broken
		return true
	}
	class := state[:min(2, len(state))]
	return d.contended(err) || d.demoted(err) || class == "08" || class == "53" || class == "57" // connection, resources, operator
}

// known reports whether a failed statement is known to have had no effect, because
// PostgreSQL has answered with an error, and not that it is shutting down.
func known(err error) bool {
	state := sqlState(err)
	return state != "" && !strings.HasPrefix(state, "08") && !strings.HasPrefix(state, "57P")
}

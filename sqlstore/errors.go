package sqlstore

import (
	"context"
	"errors"
	"fmt"
	"strings"
)

// failed tells what went wrong with a statement that writes to a row, without
// what that row holds; hidden is what was to be written. It returns nil for nil.
func failed(ctx context.Context, what, key string, err error, hidden string) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("sqlstore: %s session %q: %w", what, key, caused(ctx, discreet(err, hidden)))
}

// caused returns why ctx has ended, where it has: drivers put that in words of
// their own.
func caused(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	return err
}

// A discreetError is what a driver's error says, and matches what that matches
// with errors.Is. The error itself is not in its chain: in a field of it,
// PostgreSQL shows the row that a constraint has refused, token included.
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

// reveals reports whether a piece of hidden occurs in text that is long enough to
// be a piece of a secret.
func reveals(text, hidden string) bool {
	const piece = 12
	for i := 0; i+piece <= len(text); i++ {
		if strings.Contains(hidden, text[i:i+piece]) {
			return true
		}
	}
	return false
}

// sqlState returns the code with which PostgreSQL has answered, if that is what
// err is. The errors of its drivers all have the method, though no common type.
func sqlState(err error) string {
	var answer interface{ SQLState() string }
	if errors.As(err, &answer) {
		return answer.SQLState()
	}
	return ""
}

// contended reports whether a statement had no effect for no other reason than
// that others were using the database at the same time.
func (d Dialect) contended(err error) bool {
	if err == nil {
		return false
	}
	if d == SQLite {
		// SQLITE_BUSY and SQLITE_LOCKED. Drivers disagree about the type of their
		// errors, but all pass on SQLite's own words.
		text := err.Error()
		return strings.Contains(text, "database is locked") || strings.Contains(text, "database table is locked")
	}
	switch sqlState(err) {
	case "40001", "40P01", // serialization_failure and deadlock_detected
		"55P03": // lock_not_available: somebody has set lock_timeout
		return true
	}
	return false
}

// passing reports whether it makes sense to send a statement again soon: others
// were in the way, or the database could not be reached, or was going down or
// coming up. Whether the statement has had an effect is not known then.
func (d Dialect) passing(err error) bool {
	if d == SQLite {
		return d.contended(err)
	}
	state := sqlState(err)
	if state == "" { // it is the driver that speaks: the connection is broken
		return true
	}
	class := state[:min(2, len(state))]
	return d.contended(err) || class == "08" || class == "53" || class == "57" // connection, resources, operator
}

// known reports whether a statement that has failed is known to have had no
// effect: PostgreSQL has said so, and not that it is going down.
func known(err error) bool {
	state := sqlState(err)
	return state != "" && !strings.HasPrefix(state, "08") && !strings.HasPrefix(state, "57P")
}

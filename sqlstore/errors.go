package sqlstore

import (
	"context"
	"errors"
	"fmt"
	"strings"
)

// failed describes the failure of a statement that writes to a row, without the content
// of the row. hidden is the text that it writes. It returns nil for nil.
func (s *Store) failed(ctx context.Context, what, key string, err error, hidden string) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("sqlstore: %s session %q: %w", what, key, caused(ctx, s.dialect.discreet(err, hidden)))
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

func (d Dialect) discreet(err error, hidden string) error {
	text := err.Error()
	if reveals(text, hidden) {
		text = "the database refused it, in words that repeat a part of the token"
		if code := d.code(err); code != "" {
			text += " (" + code + ")"
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

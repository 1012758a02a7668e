package sqlstore_test

import (
	"context"

	"github.com/jackc/pgx/v5"

	"github.com/reauth-go/reauth/sqlstore"
)

// A pgxListener listens on a connection of pgx. The README has the same.
type pgxListener struct{ *pgx.Conn }

func (l pgxListener) Listen(ctx context.Context, channel string) error {
	_, err := l.Exec(ctx, "LISTEN "+pgx.Identifier{channel}.Sanitize())
	return err
}

func (l pgxListener) WaitForNotification(ctx context.Context) (string, error) {
	n, err := l.Conn.WaitForNotification(ctx)
	if err != nil {
		return "", err
	}
	return n.Payload, nil
}

func listenWithPgx(dsn string) func(context.Context) (sqlstore.Listener, error) {
	return func(ctx context.Context) (sqlstore.Listener, error) {
		conn, err := pgx.Connect(ctx, dsn)
		if err != nil {
			return nil, err
		}
		return pgxListener{conn}, nil
	}
}

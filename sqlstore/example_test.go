package sqlstore_test

import (
	"context"
	"database/sql"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/reauth-go/reauth"
	"github.com/reauth-go/reauth/oauth"
	"github.com/reauth-go/reauth/reauthtest"
	"github.com/reauth-go/reauth/sqlstore"
)

// A token server ends a session whose refresh token was not used for thirty days. A job that
// runs once a day refreshes those that nobody has used for twenty, eight at a time. There are
// 10,000 sessions, and 1,000 of them are due.
func ExampleStore_Sessions() {
	ctx := context.Background()
	store, tr, server, stop := tenThousandSessions(ctx)
	defer stop()

	var mu sync.Mutex
	seen, refreshed, failed := 0, 0, 0
	keepAlive := func(name string) {
		_, err := tr.Session(name).Token(ctx) // its access token expired long ago
		mu.Lock()
		defer mu.Unlock()
		if err != nil {
			failed++ // tomorrow is time enough to try again
			return
		}
		refreshed++
	}

	const atOnce = 8
	slots := make(chan struct{}, atOnce)
	var wg sync.WaitGroup
	due := time.Now().Add(-20 * 24 * time.Hour)
	for session, err := range store.Sessions(ctx) {
		if err != nil {
			fmt.Println(err)
			break
		}
		seen++
		if session.SavedAt.After(due) {
			continue
		}
		slots <- struct{}{} // waits while eight are being refreshed; no connection is in use
		wg.Go(func() {
			defer func() { <-slots }()
			keepAlive(session.Name)
		})
	}
	wg.Wait()
	if err := tr.Wait(ctx); err != nil {
		fmt.Println(err)
	}

	fmt.Println("sessions:", seen, "refreshed:", refreshed, "failed:", failed)
	counts := server.Counts()
	fmt.Println("refreshes at the token server:", counts.RefreshesGranted, "tokens used twice:", counts.ReusesDetected)
	n := 0
	for session := range store.Sessions(ctx) {
		if !session.SavedAt.After(due) {
			n++
		}
	}
	fmt.Println("still due:", n)
	// Output:
	// sessions: 10000 refreshed: 1000 failed: 0
	// refreshes at the token server: 1000 tokens used twice: 0
	// still due: 0
}

// tenThousandSessions returns a store in which every tenth session was last saved a month
// ago, and a Transport that uses it.
func tenThousandSessions(ctx context.Context) (*sqlstore.Store, *reauth.Transport, *reauthtest.Server, func()) {
	check := func(err error) {
		if err != nil {
			panic(err)
		}
	}
	dir, err := os.MkdirTemp("", "sqlstore-example-")
	check(err)
	db, err := sql.Open("sqlite", "file:"+filepath.Join(dir, "tokens.db")+"?_pragma=busy_timeout(5000)&_pragma=journal_mode(WAL)&_pragma=synchronous(OFF)")
	check(err)
	store, err := sqlstore.New(db, sqlstore.SQLite, nil)
	check(err)
	check(store.CreateTable(ctx))
	server := reauthtest.New(reauthtest.Options{})
	tr, err := reauth.New(reauth.Config{
		Refresher: &oauth.Refresher{TokenURL: server.TokenURL(), ClientID: "nightly", Client: server.Client()},
		Origins:   []string{server.URL},
		Store:     store,
	})
	check(err)

	tx, err := db.BeginTx(ctx, nil)
	check(err)
	insert, err := tx.PrepareContext(ctx, `INSERT INTO reauth_sessions (session, token, version, saved_at) VALUES (?, ?, 1, ?)`)
	check(err)
	for i := range 10_000 {
		name, savedAt := fmt.Sprintf("user-%04d", i), time.Now()
		tok := reauth.Token{AccessToken: "fresh", Expiry: savedAt.Add(time.Hour)}
		if i%10 == 0 {
			savedAt = savedAt.AddDate(0, 0, -25)
			tok = reauth.Token(server.SignIn(name))
			tok.AccessToken, tok.Expiry = "stale", savedAt.Add(time.Hour)
		}
		text, err := tok.MarshalJSON()
		check(err)
		_, err = insert.ExecContext(ctx, name, string(text), savedAt.UnixMilli())
		check(err)
	}
	check(tx.Commit())
	return store, tr, server, func() {
		server.Close()
		_ = db.Close()
		_ = os.RemoveAll(dir)
	}
}

package sqlstore_test

import (
	"context"
	"database/sql"
	"errors"
	"io"
	"net/http"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/reauth-go/reauth"
	"github.com/reauth-go/reauth/internal/cutproxy"
	"github.com/reauth-go/reauth/oauth"
	"github.com/reauth-go/reauth/reauthtest"
	"github.com/reauth-go/reauth/sqlstore"
)

// A world is a token server and API, and Transports that share a session like
// processes, each over a pool of its own.
type world struct {
	*reauthtest.Server
	ctx        context.Context
	transports []*reauth.Transport
	pools      []*sql.DB

	mu     sync.Mutex
	events map[reauth.EventKind]int
	passed int // requests that failed temporarily
}

func newWorld(t *testing.T, d database, opts reauthtest.Options, lease time.Duration, pools ...*sql.DB) *world {
	t.Helper()
	w := &world{
		Server: reauthtest.NewServer(t, opts), ctx: reauth.WithSession(t.Context(), "ann"),
		pools: pools, events: make(map[reauth.EventKind]int),
	}
	base := &http.Transport{MaxIdleConnsPerHost: 16}
	t.Cleanup(base.CloseIdleConnections)
	for _, pool := range pools {
		transport, err := reauth.New(reauth.Config{
			Refresher:    &oauth.Refresher{TokenURL: w.TokenURL(), ClientID: "sqlstore"},
			Origins:      []string{w.URL},
			Base:         base,
			Store:        newStoreOn(t, d, pool, lease),
			EarlyRefresh: time.Hour,              // as early as it gets: after a quarter of a token's life
			RefreshPause: 100 * time.Millisecond, // and so soon a pending save is tried again
			OnEvent: func(_ context.Context, e reauth.Event) {
				w.mu.Lock()
				defer w.mu.Unlock()
				w.events[e.Kind]++
			},
		})
		require.NoError(t, err)
		w.transports = append(w.transports, transport)
	}
	require.NoError(t, w.transports[0].SignIn(w.ctx, reauth.Token(w.SignIn("ann"))))
	require.NoError(t, w.transports[0].Wait(w.ctx)) // the lock is released
	return w
}

func (w *world) event(kind reauth.EventKind) int {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.events[kind]
}

func (w *world) get(ctx context.Context, transport *reauth.Transport) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, w.APIURL("/"), nil)
	if err != nil {
		return err
	}
	resp, err := transport.RoundTrip(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if _, err := io.Copy(io.Discard, resp.Body); err != nil {
		return err
	}
	switch resp.StatusCode {
	case http.StatusOK:
		return nil
	case http.StatusUnauthorized:
		return errRefused
	}
	return errors.New(resp.Status)
}

var errRefused = errors.New("the API has refused the token twice")

// failsForNow makes a request that must fail temporarily.
func (w *world) failsForNow(t *testing.T, ctx context.Context, transport *reauth.Transport) {
	t.Helper()
	err := w.get(ctx, transport)
	var failed *reauth.RefreshError
	require.ErrorAs(t, err, &failed)
	require.NotErrorIs(t, err, reauth.ErrSignInRequired)
}

// traffic makes requests while during runs. Every request must be answered, or fail
// temporarily, and nobody is signed out.
func (w *world) traffic(t *testing.T, during func()) {
	t.Helper()
	ctx, stop := context.WithCancel(w.ctx)
	var wg sync.WaitGroup
	for _, transport := range w.transports {
		for range 4 {
			wg.Go(func() {
				tick := time.NewTicker(5 * time.Millisecond)
				defer tick.Stop()
				for ctx.Err() == nil {
					err := w.get(ctx, transport)
					var failed *reauth.RefreshError
					switch {
					case err == nil, ctx.Err() != nil:
					case err == errRefused, // tokens of seconds may expire on their way on a busy machine
						errors.As(err, &failed) && !errors.Is(err, reauth.ErrSignInRequired):
						w.mu.Lock()
						w.passed++
						w.mu.Unlock()
					default:
						assert.NoError(t, err, "not a fault that passes")
						return
					}
					<-tick.C
				}
			})
		}
	}
	during()
	stop()
	wg.Wait()
}

// await waits until the server has counted something.
func (w *world) await(t *testing.T, what string, reached func(reauthtest.Counts) bool) {
	t.Helper()
	ctx, cancel := context.WithTimeout(w.ctx, time.Minute)
	defer cancel()
	require.NoError(t, w.Await(ctx, reached), what)
}

// refreshes waits for some more refreshes.
func (w *world) refreshes(t *testing.T, more int) {
	t.Helper()
	before := w.Counts().RefreshesGranted
	w.await(t, strconv.Itoa(more)+" more refreshes", func(c reauthtest.Counts) bool { return c.RefreshesGranted >= before+more })
}

// settled checks that every caller is answered, nobody was signed out, no token was used
// twice, the newest token is stored, and no connection is in use.
func (w *world) settled(t *testing.T, store *sqlstore.Store) {
	t.Helper()
	for _, transport := range w.transports {
		// At once, unless the pause after a failure is on.
		require.Eventually(t, func() bool { return w.get(w.ctx, transport) == nil }, time.Minute, 10*time.Millisecond)
		require.NoError(t, transport.Wait(w.ctx))
	}
	counts := w.Counts()
	assert.Zero(t, counts.ReusesDetected, "refresh tokens that were used twice")
	assert.Zero(t, counts.SessionsRevoked)
	assert.Zero(t, w.event(reauth.EventSignInRequired))
	for _, pool := range w.pools { // soon, because a renewal that was sent is not cancelled
		assert.Eventually(t, func() bool { return pool.Stats().InUse == 0 }, time.Minute, time.Millisecond, "a connection is in use")
	}
	tok, ok, err := store.Load(w.ctx, "ann")
	require.NoError(t, err)
	require.True(t, ok)
	_, err = w.Refresh(tok.RefreshToken)
	assert.NoError(t, err, "the stored refresh token is not the newest")
}

func TestARestartOfTheServerSignsNobodyOut(t *testing.T) {
	onOwnServer(t, func(t *testing.T, d database, s ownedServer) {
		w := newWorld(t, d, reauthtest.Options{AccessLifetime: 4 * time.Second}, 15*time.Second, d.connect(t), d.connect(t))
		w.traffic(t, func() {
			for range 2 {
				w.refreshes(t, 2)
				s.Crash()
				s.Start(t)
				w.refreshes(t, 2)
			}
		})
		t.Logf("%d requests, of which %d failed for now", w.Counts().APIRequests, w.passed)
		w.settled(t, newStore(t, d, 0))
	})
}

// This is the worst moment. The old refresh token is spent, and the new one not stored.
func TestARestartOfTheServerBetweenRefreshAndSaveLosesNothing(t *testing.T) {
	onOwnServer(t, func(t *testing.T, d database, s ownedServer) {
		w := newWorld(t, d, reauthtest.Options{}, 15*time.Second, d.connect(t), d.connect(t))
		require.NoError(t, w.get(w.ctx, w.transports[1]))
		w.ExpireAccess()
		release := w.BlockRefresh()
		answered := make(chan error, 1)
		go func() { answered <- w.get(w.ctx, w.transports[0]) }()
		w.await(t, "a refresh", func(c reauthtest.Counts) bool { return c.Refreshes >= 1 })
		s.Crash()
		release()
		w.await(t, "its answer", func(c reauthtest.Counts) bool { return c.RefreshesGranted >= 1 })
		s.Start(t)
		// The other one needs a token too, and must not get the spent one.
		require.Eventually(t, func() bool { return w.get(w.ctx, w.transports[1]) == nil }, time.Minute, 10*time.Millisecond)
		require.NoError(t, <-answered)
		assert.Equal(t, 1, w.Counts().Refreshes)
		assert.Zero(t, w.event(reauth.EventSaveFailed))
		w.settled(t, newStore(t, d, 0))
	})
}

func TestConnectionsThatAreCutSignNobodyOut(t *testing.T) {
	t.Run("PostgreSQL", func(t *testing.T) {
		d := newPostgres(t).(postgres)
		connectionsAreCut(t, d, d.Port, func(addr string) *sql.DB { return d.connectVia(t, addr, pgx.QueryExecModeCacheStatement) })
	})
	t.Run("MySQL", func(t *testing.T) {
		d := newMariaDBTable(t)
		connectionsAreCut(t, d, d.Port, func(addr string) *sql.DB { return d.connectVia(t, "reauth", addr, d.params) })
	})
}

func connectionsAreCut(t *testing.T, d database, port int, connect func(addr string) *sql.DB) {
	proxy := cutproxy.New(t, "127.0.0.1:"+strconv.Itoa(port))
	w := newWorld(t, d, reauthtest.Options{AccessLifetime: 4 * time.Second}, 15*time.Second, connect(proxy.Addr()), connect(proxy.Addr()))
	w.traffic(t, func() {
		for range 40 { // not in step with the refreshes
			before := w.Counts().APIRequests
			w.await(t, "more requests", func(c reauthtest.Counts) bool { return c.APIRequests >= before+100 })
			proxy.Cut()
		}
		proxy.Refuse(true)
		before := w.passes()
		require.Eventually(t, func() bool { return w.passes() > before }, time.Minute, 10*time.Millisecond, "nobody has noticed")
		proxy.Refuse(false)
		w.refreshes(t, 2)
	})
	t.Logf("%d requests, of which %d failed for now", w.Counts().APIRequests, w.passed)
	w.settled(t, newStore(t, d, 0))
}

func (w *world) passes() int {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.passed
}

// The database goes silent during a refresh, and the lease expires. The request is
// answered all the same, and the new token is stored later.
func TestASilentDatabaseCostsTheLeaseAndNothingElse(t *testing.T) {
	d := newPostgres(t).(postgres)
	proxy := cutproxy.New(t, d.Addr())
	w := newWorld(t, d, reauthtest.Options{}, 600*time.Millisecond, d.connectVia(t, proxy.Addr(), pgx.QueryExecModeCacheStatement))
	w.ExpireAccess()
	release := w.BlockRefresh()
	answered := make(chan error, 1)
	go func() { answered <- w.get(w.ctx, w.transports[0]) }()
	w.await(t, "a refresh", func(c reauthtest.Counts) bool { return c.Refreshes >= 1 })
	proxy.Stall(true)
	release()
	require.NoError(t, <-answered)
	assert.Equal(t, 1, w.event(reauth.EventSaveFailed))
	proxy.Stall(false)
	w.settled(t, newStore(t, d, 0)) // Wait waits for the pending save
	assert.Equal(t, 1, w.Counts().Refreshes)
}

// A call on a silent connection returns when its context is done.
func TestASilentDatabaseIsNotWaitedForAnyLonger(t *testing.T) {
	d := newPostgres(t).(postgres)
	proxy := cutproxy.New(t, d.Addr())
	db := d.connectVia(t, proxy.Addr(), pgx.QueryExecModeCacheStatement)
	store := newStoreOn(t, d, db, 100*time.Millisecond)
	require.NoError(t, store.Save(t.Context(), "ann", token("1")))
	held, unlock := mustLock(t, store, "ann")
	proxy.Stall(true)
	for name, call := range map[string]func(ctx context.Context) error{
		"Load":   func(ctx context.Context) error { _, _, err := store.Load(ctx, "ann"); return err },
		"Save":   func(ctx context.Context) error { return store.Save(ctx, "ann", token("2")) },
		"Delete": func(ctx context.Context) error { return store.Delete(ctx, "ann") },
		"Lock":   func(ctx context.Context) error { _, _, err := store.Lock(ctx, "bob"); return err },
		"Create": store.CreateTable,
	} {
		ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
		assert.ErrorIs(t, call(ctx), context.DeadlineExceeded, name)
		cancel()
	}
	<-held.Done()
	assert.ErrorContains(t, context.Cause(held), "the lease was lost: it was not renewed in time")
	unlock()
	proxy.Stall(false) // the statements that were held back arrive now, and may be executed
	_, _, err := store.Load(t.Context(), "ann")
	assert.NoError(t, err)
}

// Another program keeps the file locked for longer than the busy timeout.
func TestALockedSQLiteFileIsWaitedFor(t *testing.T) {
	for _, mode := range []struct{ name, pragmas string }{
		{"WAL", "_pragma=busy_timeout(10)&_pragma=journal_mode(WAL)"},
		{"Rollback", "_pragma=busy_timeout(10)"},
		{"NoTimeout", ""},
	} {
		t.Run(mode.name, func(t *testing.T) {
			d := newSQLiteWith(t, mode.pragmas)
			db, m := meddle(t, d)
			w := newWorld(t, d, reauthtest.Options{}, 15*time.Second, db)
			another, err := d.connect(t).Conn(t.Context())
			require.NoError(t, err)
			defer another.Close()
			_, err = another.ExecContext(t.Context(), "BEGIN EXCLUSIVE")
			require.NoError(t, err)

			w.ExpireAccess()
			tries := m.count(takes)
			answered := make(chan error, 1)
			go func() { answered <- w.get(w.ctx, w.transports[0]) }()
			require.Eventually(t, func() bool { return m.count(takes)+m.count(looks) > tries+5 }, time.Minute, time.Millisecond, "Lock tries again")
			_, err = another.ExecContext(t.Context(), "COMMIT")
			require.NoError(t, err)
			require.NoError(t, <-answered)
			assert.Equal(t, 1, w.Counts().Refreshes)
			w.settled(t, newStore(t, d, 0))
		})
	}
}

// The same during a refresh.
func TestASaveWaitsForALockedSQLiteFile(t *testing.T) {
	d := newSQLiteWith(t, "_pragma=busy_timeout(10)")
	db, m := meddle(t, d)
	w := newWorld(t, d, reauthtest.Options{}, 15*time.Second, db)
	w.ExpireAccess()
	release := w.BlockRefresh()
	answered := make(chan error, 1)
	go func() { answered <- w.get(w.ctx, w.transports[0]) }()
	w.await(t, "a refresh", func(c reauthtest.Counts) bool { return c.Refreshes >= 1 })
	another, err := d.connect(t).Conn(t.Context())
	require.NoError(t, err)
	defer another.Close()
	_, err = another.ExecContext(t.Context(), "BEGIN EXCLUSIVE")
	require.NoError(t, err)
	tries := m.count(writes)
	release()
	require.Eventually(t, func() bool { return m.count(writes) > tries+1 }, time.Minute, time.Millisecond, "Save tries again")
	_, err = another.ExecContext(t.Context(), "COMMIT")
	require.NoError(t, err)
	require.NoError(t, <-answered)
	assert.Zero(t, w.event(reauth.EventSaveFailed))
	w.settled(t, newStore(t, d, 0))
}

// Without a lease the caller gets the error.
func TestALockedSQLiteFileIsAnErrorForThoseWithoutALock(t *testing.T) {
	d := newSQLiteWith(t, "_pragma=busy_timeout(10)")
	store := newStore(t, d, 0)
	another, err := d.connect(t).Conn(t.Context())
	require.NoError(t, err)
	defer another.Close()
	_, err = another.ExecContext(t.Context(), "BEGIN EXCLUSIVE")
	require.NoError(t, err)
	_, _, err = store.Load(t.Context(), "ann")
	assert.ErrorContains(t, err, "database is locked")
	assert.ErrorContains(t, store.Save(t.Context(), "ann", token("1")), "database is locked")
	assert.ErrorContains(t, store.Delete(t.Context(), "ann"), "database is locked")
	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	_, _, err = store.Lock(ctx, "ann")
	assert.ErrorIs(t, err, context.DeadlineExceeded)
	_, err = another.ExecContext(t.Context(), "ROLLBACK")
	require.NoError(t, err)
	require.NoError(t, store.Save(t.Context(), "ann", token("1")))
}

// This is like a failover to a standby, or a full disk.
func TestAReadOnlyDatabaseSignsNobodyOut(t *testing.T) {
	onEach(t, func(t *testing.T, d database) {
		w := newWorld(t, d, reauthtest.Options{}, 15*time.Second, d.connect(t))
		require.NoError(t, w.get(w.ctx, w.transports[0]))

		accept := refuseWrites(t, d)
		require.NoError(t, w.get(w.ctx, w.transports[0]), "a good token is used all the same")
		w.ExpireAccess()
		w.failsForNow(t, w.ctx, w.transports[0])
		assert.Zero(t, w.Counts().Refreshes, "nothing is refreshed that could not be stored")

		accept()
		require.Eventually(t, func() bool { return w.get(w.ctx, w.transports[0]) == nil }, time.Minute, 10*time.Millisecond)
		assert.Equal(t, 1, w.Counts().Refreshes)
		w.settled(t, newStore(t, d, 0))
	})
}

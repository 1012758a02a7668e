package reauth

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"runtime"
	"strconv"
	"sync"
	"testing"
	"testing/synctest"
	"time"
	"unsafe"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// A rotator is a token server and its API, for many sessions: each has one good
// token, and each refresh token can be spent once.
type rotator struct {
	refresh func(context.Context) error // unless nil, called first
	api     func(*http.Request) int     // unless nil or 0, the status

	mu    sync.Mutex
	n     int
	good  map[string]string // by session
	spent map[string]int    // by refresh token
}

func newRotator() *rotator {
	return &rotator{good: map[string]string{}, spent: map[string]int{}}
}

func (r *rotator) issue(session string) Token {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.n++
	tok := Token{AccessToken: fmt.Sprintf("%s-%d", session, r.n), RefreshToken: fmt.Sprintf("r-%s-%d", session, r.n)}
	r.good[session] = tok.AccessToken
	return tok
}

// end makes the API refuse the session's token.
func (r *rotator) end(session string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.good[session] = ""
}

func (r *rotator) Refresh(ctx context.Context, old Token) (Token, error) {
	r.mu.Lock()
	r.spent[old.RefreshToken]++
	twice := old.RefreshToken != "" && r.spent[old.RefreshToken] > 1
	refresh := r.refresh
	r.mu.Unlock()
	if refresh != nil {
		if err := refresh(ctx); err != nil {
			return Token{}, err
		}
	}
	if twice {
		return Token{}, ErrSignInRequired
	}
	return r.issue(SessionFromContext(ctx)), nil
}

func (r *rotator) refreshes() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	n := 0
	for _, times := range r.spent {
		n += times
	}
	return n
}

func (r *rotator) RoundTrip(req *http.Request) (*http.Response, error) {
	if r.api != nil {
		if status := r.api(req); status != 0 {
			return &http.Response{StatusCode: status, Body: http.NoBody}, nil
		}
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	status := http.StatusUnauthorized
	if good := r.good[SessionFromContext(req.Context())]; good != "" && req.Header.Get("Authorization") == "Bearer "+good {
		status = http.StatusOK
	}
	return &http.Response{StatusCode: status, Body: http.NoBody}, nil
}

func newCache(t *testing.T, r *rotator, limit int, with ...func(*Config)) *Transport {
	t.Helper()
	cfg := Config{Refresher: r, Base: r, Origins: []string{"https://api.example.com"}}
	for _, f := range with {
		f(&cfg)
	}
	tr, err := New(cfg)
	require.NoError(t, err)
	tr.sessions.limit = limit
	return tr
}

func getAs(ctx context.Context, tr *Transport, session string) (int, error) {
	req, err := http.NewRequestWithContext(WithSession(ctx, session), http.MethodGet, "https://api.example.com/", nil)
	if err != nil {
		return 0, err
	}
	resp, err := tr.RoundTrip(req)
	if err != nil {
		return 0, err
	}
	return resp.StatusCode, resp.Body.Close()
}

func mustGetAs(t *testing.T, tr *Transport, session string, want int) {
	t.Helper()
	status, err := getAs(t.Context(), tr, session)
	require.NoError(t, err)
	require.Equal(t, want, status)
}

func signInAs(t *testing.T, tr *Transport, r *rotator, session string) Token {
	t.Helper()
	tok := r.issue(session)
	require.NoError(t, tr.SignIn(WithSession(t.Context(), session), tok))
	return tok
}

// crowd uses enough other sessions to evict whatever can be evicted. They are
// signed out ones that the refresher is not asked about a second time.
func crowd(tr *Transport) {
	for i := range 20 * tr.sessions.limit {
		tr.sessions.enter("crowd-" + strconv.Itoa(i)).leave()
	}
}

func (m *sessions) cached(name string) *cachedSession {
	m.mu.RLock()
	defer m.mu.RUnlock()
	return m.byName[name]
}

func TestCacheOfSessionsIsBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRotator()
		tr := newCache(t, r, 10)
		for range 2 {
			for i := range 500 {
				name := strconv.Itoa(i)
				if r.good[name] == "" {
					signInAs(t, tr, r, name)
				}
				mustGetAs(t, tr, name, http.StatusOK)
				require.LessOrEqual(t, len(tr.sessions.byName), 10)
				require.Len(t, tr.sessions.ring, len(tr.sessions.byName))
			}
		}
		assert.Zero(t, r.refreshes(), "who comes back is loaded from the store")
	})
}

func TestCacheShrinksAgainAfterMoreWereInUseThanItHolds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		tr := newCache(t, newRotator(), 10)
		var used []*cachedSession
		for i := range 100 {
			used = append(used, tr.sessions.enter(strconv.Itoa(i)))
		}
		assert.Len(t, tr.sessions.byName, 100, "nobody in use is forgotten")
		for i, s := range used {
			assert.Same(t, s, tr.sessions.cached(strconv.Itoa(i)))
			s.leave()
		}
		crowd(tr)
		assert.LessOrEqual(t, len(tr.sessions.byName), 10)
	})
}

func TestCachePrefersToKeepWhatIsUsed(t *testing.T) {
	tr := newCache(t, newRotator(), 100)
	s := tr.sessions.enter("often")
	s.leave()
	for i := range 5000 {
		tr.sessions.enter(strconv.Itoa(i)).leave()
		tr.sessions.enter("often").leave()
	}
	assert.Same(t, s, tr.sessions.cached("often"))
}

func TestCacheNeverForgetsTheSessionWithoutAName(t *testing.T) {
	tr := newCache(t, newRotator(), 10)
	s := tr.sessions.enter("")
	s.leave()
	crowd(tr)
	assert.Same(t, s, tr.sessions.enter(""))
}

func TestCacheKeepsWhatCannotBeForgotten(t *testing.T) {
	fault := errors.New("fault")
	saveFails := func(store *failingStore) { store.set("Save", fault) }
	for name, c := range map[string]struct {
		arrange func(*testing.T, *Transport, *rotator, *failingStore)
		until   time.Duration // when it may be forgotten; 0: not by time alone
	}{
		"a flight that nobody waits for": {func(t *testing.T, tr *Transport, r *rotator, _ *failingStore) {
			r.refresh = func(ctx context.Context) error { time.Sleep(20 * time.Second); return nil }
			r.end("ann")
			ctx, cancel := context.WithTimeout(t.Context(), time.Second)
			defer cancel()
			_, err := getAs(ctx, tr, "ann")
			require.ErrorIs(t, err, context.DeadlineExceeded)
		}, 25 * time.Second},
		"a save that is owed": {func(t *testing.T, tr *Transport, r *rotator, store *failingStore) {
			saveFails(store)
			r.end("ann")
			mustGetAs(t, tr, "ann", http.StatusOK)
		}, 0},
		"the pause after a failure": {func(t *testing.T, tr *Transport, r *rotator, _ *failingStore) {
			r.refresh = func(context.Context) error { return &RefreshError{RetryAfter: time.Minute, Err: fault} }
			r.end("ann")
			_, err := getAs(t.Context(), tr, "ann")
			require.ErrorIs(t, err, fault)
		}, time.Minute},
		"the pause after a refresh": {func(t *testing.T, tr *Transport, r *rotator, _ *failingStore) {
			r.end("ann")
			mustGetAs(t, tr, "ann", http.StatusOK)
		}, 5 * time.Second},
		"the pause after a refresh that did not help": {func(t *testing.T, tr *Transport, r *rotator, _ *failingStore) {
			r.api = func(*http.Request) int { return http.StatusUnauthorized }
			mustGetAs(t, tr, "ann", http.StatusUnauthorized)
			r.api = nil
		}, 10 * time.Second},
		"the pause after an adoption": {func(t *testing.T, tr *Transport, r *rotator, store *failingStore) {
			require.NoError(t, store.Save(t.Context(), "ann", r.issue("ann")))
			mustGetAs(t, tr, "ann", http.StatusOK)
		}, 5 * time.Second},
		"a sign-out, where the refresher may not need a token": {func(t *testing.T, tr *Transport, _ *rotator, _ *failingStore) {
			require.NoError(t, tr.SignOut(WithSession(t.Context(), "ann")))
		}, 0},
		"when the store may be looked at again": {func(t *testing.T, tr *Transport, _ *rotator, _ *failingStore) {
			tr.sessions.needsToken.Store(true)
			require.NoError(t, tr.SignOut(WithSession(t.Context(), "ann")))
		}, 5 * time.Second},
		"a sign-out that the store does not know of": {func(t *testing.T, tr *Transport, _ *rotator, store *failingStore) {
			store.set("Delete", fault)
			require.ErrorIs(t, tr.SignOut(WithSession(t.Context(), "ann")), fault)
		}, 0},
		"a store call that hangs": {func(t *testing.T, tr *Transport, r *rotator, store *failingStore) {
			store.mu.Lock()
			store.sleep = time.Minute
			store.mu.Unlock()
			ctx, cancel := context.WithTimeout(t.Context(), time.Second)
			defer cancel()
			require.Error(t, tr.SignIn(WithSession(ctx, "ann"), r.issue("ann")))
		}, 30 * time.Second},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				r, store := newRotator(), new(failingStore)
				tr := newCache(t, r, 10, func(c *Config) { c.Store = store })
				signInAs(t, tr, r, "ann")
				require.NoError(t, tr.Wait(t.Context()))
				c.arrange(t, tr, r, store)
				s := tr.sessions.cached("ann")
				require.NotNil(t, s)

				crowd(tr)
				assert.Same(t, s, tr.sessions.cached("ann"))
				if c.until == 0 {
					time.Sleep(time.Hour)
					crowd(tr)
					assert.Same(t, s, tr.sessions.cached("ann"))
					store.set("", nil)
					require.NoError(t, tr.Wait(t.Context()))
					return
				}
				time.Sleep(c.until + time.Millisecond)
				crowd(tr)
				assert.Nil(t, tr.sessions.cached("ann"), "by now nothing would be lost")
			})
		})
	}
}

// A failingStore is a MemoryStore of which one call fails, and Save takes long.
type failingStore struct {
	MemoryStore
	mu    sync.Mutex
	call  string
	err   error
	sleep time.Duration
}

func (s *failingStore) set(call string, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.call, s.err = call, err
}

func (s *failingStore) enter(call string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.call == call {
		return s.err
	}
	return nil
}

func (s *failingStore) Save(ctx context.Context, session string, tok Token) error {
	s.mu.Lock()
	sleep := s.sleep
	s.mu.Unlock()
	time.Sleep(sleep)
	if err := s.enter("Save"); err != nil {
		return err
	}
	return s.MemoryStore.Save(ctx, session, tok)
}

func (s *failingStore) Delete(ctx context.Context, session string) error {
	if err := s.enter("Delete"); err != nil {
		return err
	}
	return s.MemoryStore.Delete(ctx, session)
}

func TestCacheKeepsAFinalAnswerToAnEarlyRefresh(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRotator()
		tr := newCache(t, r, 10)
		tok := r.issue("ann")
		tok.Expiry = time.Now().Add(100 * time.Second)
		require.NoError(t, tr.SignIn(WithSession(t.Context(), "ann"), tok))
		r.refresh = func(context.Context) error { return ErrSignInRequired }
		time.Sleep(95 * time.Second)
		mustGetAs(t, tr, "ann", http.StatusOK)
		synctest.Wait()
		crowd(tr)
		for range 49 { // until 100 ms before its end
			mustGetAs(t, tr, "ann", http.StatusOK)
			time.Sleep(100 * time.Millisecond)
		}
		assert.Equal(t, 1, r.refreshes())
	})
}

func TestCacheKeepsAFlightOverAStoreThatDoesNotLock(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRotator()
		tr := newCache(t, r, 10, func(c *Config) { c.Store = struct{ Store }{new(MemoryStore)} })
		signInAs(t, tr, r, "ann")
		r.end("ann")
		r.refresh = func(context.Context) error { time.Sleep(10 * time.Second); return nil }
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		_, err := getAs(ctx, tr, "ann")
		require.ErrorIs(t, err, context.DeadlineExceeded)
		crowd(tr)
		mustGetAs(t, tr, "ann", http.StatusOK)
		assert.Equal(t, 1, r.refreshes())
	})
}

func TestRequestInFlightAcrossEvictionsIsReplayedWithoutASecondRefresh(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRotator()
		tr := newCache(t, r, 10)
		old := signInAs(t, tr, r, "ann")
		gate := make(chan struct{})
		r.api = func(req *http.Request) int {
			if req.Header.Get("Authorization") == "Bearer "+old.AccessToken && req.Method == http.MethodGet {
				<-gate
			}
			return 0
		}
		slow := make(chan int)
		go func() { status, _ := getAs(t.Context(), tr, "ann"); slow <- status }()
		synctest.Wait()
		r.end("ann")
		_, err := tr.Refresh(WithSession(t.Context(), "ann"), old)
		require.NoError(t, err)
		time.Sleep(time.Hour) // no pause protects it
		crowd(tr)

		close(gate)
		assert.Equal(t, http.StatusOK, <-slow)
		assert.Equal(t, 1, r.refreshes())
	})
}

func TestReloadedSessionComparesWhatWasRefusedByValue(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRotator()
		store := new(MemoryStore)
		tr := newCache(t, r, 10, func(c *Config) { c.Store = store })
		old := signInAs(t, tr, r, "ann")
		r.end("ann")
		mustGetAs(t, tr, "ann", http.StatusOK)
		time.Sleep(time.Hour)
		crowd(tr)
		require.Nil(t, tr.sessions.cached("ann"))

		// A refusal that was reported late: what the store holds is another.
		tok, err := tr.Refresh(WithSession(t.Context(), "ann"), old)
		require.NoError(t, err)
		assert.NotEqual(t, old.AccessToken, tok.AccessToken)
		assert.Equal(t, 1, r.refreshes())

		// The reloaded token is refused, since another process has replaced it.
		require.NoError(t, store.Save(t.Context(), "ann", r.issue("ann")))
		mustGetAs(t, tr, "ann", http.StatusOK)
		assert.Equal(t, 1, r.refreshes())
	})
}

func TestSignedOutSessionOfASelfStartingRefresherIsRemembered(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRotator()
		tr := newCache(t, r, 10)
		mustGetAs(t, tr, "ann", http.StatusOK) // the zero token is answered
		require.NoError(t, tr.SignOut(WithSession(t.Context(), "ann")))
		for range 5 {
			time.Sleep(time.Hour)
			crowd(tr)
			_, err := getAs(t.Context(), tr, "ann")
			require.ErrorIs(t, err, ErrSignInRequired)
		}
		assert.Equal(t, 1, r.refreshes())
	})
}

func TestAHeaderItsTokenAndTheStoresAreOneString(t *testing.T) {
	ctx := WithSession(t.Context(), "ann")
	store := new(MemoryStore)
	r := newRotator()
	tr := newCache(t, r, 3, func(c *Config) { c.Store = store })
	signInAs(t, tr, r, "ann")
	check := func() {
		g := tr.sessions.cached("ann").current.Load()
		require.Equal(t, "Bearer "+r.good["ann"], g.value[0])
		stored, _, err := store.Load(ctx, "ann")
		require.NoError(t, err)
		access := g.value[0][len("Bearer "):]
		assert.Same(t, unsafe.StringData(access), unsafe.StringData(g.tok.AccessToken))
		assert.Same(t, unsafe.StringData(access), unsafe.StringData(stored.AccessToken))
	}
	check()
	r.end("ann")
	mustGetAs(t, tr, "ann", http.StatusOK) // refreshed
	check()
}

func TestTheLineIsForOneAtATimeAndGoesWithTheLast(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newCache(t, newRotator(), 3).sessions.only
		require.NoError(t, s.lockWrites(t.Context()))
		impatient, leave := context.WithCancel(t.Context())
		left := make(chan error, 1)
		go func() { left <- s.lockWrites(impatient) }()
		in := make(chan error, 2)
		for range 2 {
			go func() { in <- s.lockWrites(t.Context()) }()
		}
		synctest.Wait()
		leave()
		require.ErrorIs(t, <-left, context.Canceled)
		for range 2 {
			synctest.Wait()
			assert.Empty(t, in, "two are in")
			s.unlockWrites()
			require.NoError(t, <-in)
		}
		assert.False(t, s.forgettable(), "with somebody in it")
		s.unlockWrites()
		assert.True(t, s.forgettable())
		assert.Nil(t, s.writing, "a session at rest takes more memory than it needs")
	})
}

func TestSessionsAtRestHaveNoGoroutine(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRotator()
		tr := newCache(t, r, maxSessions)
		before := runtime.NumGoroutine()
		for i := range 1000 {
			name := strconv.Itoa(i)
			tok := r.issue(name)
			tok.Expiry = time.Now().Add(time.Hour)
			require.NoError(t, tr.SignIn(WithSession(t.Context(), name), tok))
			if i%2 == 0 {
				r.end(name)
			}
			mustGetAs(t, tr, name, http.StatusOK)
		}
		synctest.Wait()
		assert.Less(t, runtime.NumGoroutine(), before+100)
		assert.Len(t, tr.sessions.byName, 1000)
	})
}

// refusals sends a request every 100 ms to an API that refuses every token, and
// returns the times between refreshes.
func refusals(t *testing.T, tr *Transport, r *rotator, during time.Duration) []time.Duration {
	t.Helper()
	var gaps []time.Duration
	var last time.Time
	r.mu.Lock()
	r.refresh = func(context.Context) error {
		if !last.IsZero() {
			gaps = append(gaps, time.Since(last))
		}
		last = time.Now()
		return nil
	}
	r.mu.Unlock()
	r.api = func(*http.Request) int { return http.StatusUnauthorized }
	for ends := time.Now().Add(during); time.Now().Before(ends); time.Sleep(100 * time.Millisecond) {
		mustGetAs(t, tr, "", http.StatusUnauthorized)
	}
	return gaps
}

func TestPauseDoublesWhileRefreshesDoNotHelp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRotator()
		tr := newCache(t, r, 10)
		signInAs(t, tr, r, "")
		gaps := refusals(t, tr, r, 20*time.Minute)
		assert.Equal(t, []time.Duration{
			10 * time.Second, 20 * time.Second, 40 * time.Second, 80 * time.Second, 160 * time.Second,
			5 * time.Minute, 5 * time.Minute,
		}, gaps)
	})
}

func TestPauseIsAsBeforeOnceAReplayWasAccepted(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRotator()
		tr := newCache(t, r, 10)
		signInAs(t, tr, r, "")
		refusals(t, tr, r, 10*time.Minute)
		r.api = nil
		time.Sleep(5 * time.Minute)
		r.end("")
		mustGetAs(t, tr, "", http.StatusOK) // by a replay
		assert.Zero(t, tr.sessions.only.state.futile.count)
		time.Sleep(5 * time.Second)
		r.end("")
		mustGetAs(t, tr, "", http.StatusOK)
	})
}

func TestOneRefreshThatDoesNotHelpCountsOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRotator()
		tr := newCache(t, r, 10)
		signInAs(t, tr, r, "")
		r.refresh = func(context.Context) error { time.Sleep(time.Second); return nil }
		r.api = func(*http.Request) int { return http.StatusUnauthorized }
		var wg sync.WaitGroup
		for range 10 {
			wg.Go(func() { _, _ = getAs(t.Context(), tr, "") })
		}
		wg.Wait()
		assert.EqualValues(t, 1, tr.sessions.only.state.futile.count)
	})
}

func TestOneEndpointThatRefusesEveryTokenDoesNotMakeRefreshesUnhelpful(t *testing.T) {
	for name, last := range map[string]bool{"refused before others are accepted": false, "refused after": true} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				// Of those who wait for one refresh some are refused again, others not.
				r := newRotator()
				tr := newCache(t, r, 10)
				signInAs(t, tr, r, "")
				r.refresh = func(context.Context) error { time.Sleep(time.Second); return nil }
				r.api = func(req *http.Request) int {
					no := req.Context().Value(forbidden{}) == true
					if no == last {
						time.Sleep(time.Millisecond)
					}
					if no {
						return http.StatusUnauthorized
					}
					return 0
				}
				for range 10 {
					r.end("")
					var wg sync.WaitGroup
					for i := range 10 {
						ctx := context.WithValue(t.Context(), forbidden{}, i%2 == 0)
						wg.Go(func() { _, _ = getAs(ctx, tr, "") })
					}
					wg.Wait()
					assert.Zero(t, tr.sessions.only.state.futile.count)
					time.Sleep(5 * time.Second)
				}
				assert.Equal(t, 10, r.refreshes())
			})
		})
	}
}

type forbidden struct{}

func TestRefreshPauseCanBeTurnedOff(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRotator()
		tr := newCache(t, r, 10, func(c *Config) { c.RefreshPause = -1 })
		signInAs(t, tr, r, "")
		for range 10 {
			r.end("")
			mustGetAs(t, tr, "", http.StatusOK)
		}
		assert.Equal(t, 10, r.refreshes())
	})
}

func TestJitterMovesTheEarlyRefreshOnlyTowardsTheEnd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		tr := newCache(t, newRotator(), 10)
		seen := map[time.Duration]bool{}
		for range 1000 {
			g := tr.sessions.only.newGeneration(Token{AccessToken: "a", Expiry: time.Now().Add(100 * time.Second)}, time.Now(), true)
			window := g.expires - g.early
			assert.LessOrEqual(t, window, 10*time.Second)
			assert.Greater(t, window, 8*time.Second)
			seen[window] = true
		}
		assert.Greater(t, len(seen), 900, "drawn once per generation")
	})
}

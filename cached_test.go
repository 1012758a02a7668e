package reauth

import (
	"context"
	"net/http"
	"testing"
	"testing/synctest"
	"time"
	"unsafe"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func newInside(t *testing.T, store Store) *Transport {
	t.Helper()
	tr, err := New(Config{
		Refresher: RefresherFunc(func(context.Context, Token) (Token, error) {
			return Token{AccessToken: "refreshed", RefreshToken: "r"}, nil
		}),
		Origins: []string{"https://api.example.com"},
		Store:   store,
	})
	require.NoError(t, err)
	return tr
}

func TestAHeaderItsTokenAndTheStoresAreOneString(t *testing.T) {
	store := new(MemoryStore)
	tr := newInside(t, store)
	require.NoError(t, tr.SignIn(t.Context(), Token{AccessToken: "signed-in", RefreshToken: "r"}))
	check := func(access string) {
		g := tr.sessions.only.current.Load()
		require.Equal(t, "Bearer "+access, g.value[0])
		stored, _, err := store.Load(t.Context(), "")
		require.NoError(t, err)
		inHeader := unsafe.StringData(g.value[0][len("Bearer "):])
		assert.Same(t, inHeader, unsafe.StringData(g.tok.AccessToken))
		assert.Same(t, inHeader, unsafe.StringData(stored.AccessToken))
	}
	check("signed-in")
	_, err := tr.Refresh(t.Context(), Token{AccessToken: "signed-in"})
	require.NoError(t, err)
	check("refreshed")
}

func TestJitterMovesAnEarlyRefreshOnlyTowardsTheExpiry(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newInside(t, nil).sessions.only
		seen := map[time.Duration]bool{}
		for range 1000 {
			g := s.newGeneration(Token{AccessToken: "a", Expiry: time.Now().Add(100 * time.Second)}, time.Now(), true)
			window := g.expires - g.early
			assert.LessOrEqual(t, window, 25*time.Second)
			assert.Greater(t, window, 20*time.Second)
			seen[window] = true
		}
		assert.Greater(t, len(seen), 900, "drawn once per generation")
	})
}

func TestWhenAGenerationExpires(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newInside(t, nil).sessions.only
		now := time.Now()
		for name, tc := range map[string]struct {
			tok              Token
			counted          time.Time
			expires, certain time.Duration // from now
		}{
			"a lifetime from now":            {Token{AccessToken: "a", Expiry: now.Add(time.Minute)}, now, time.Minute, 59 * time.Second},
			"a lifetime from the refresh on": {Token{AccessToken: "a", Expiry: now.Add(time.Second)}, now.Add(-time.Second), time.Second, 0},
			"a short one":                    {Token{AccessToken: "a", Expiry: now.Add(time.Second)}, now, time.Second, time.Second / 2},
			"in the past":                    {Token{AccessToken: "a", Expiry: now.Add(-time.Minute)}, now, 0, 0},
			"unknown":                        {Token{AccessToken: "a"}, now, never, never},
			"without an access token":        {Token{RefreshToken: "r", Expiry: now.Add(time.Minute)}, now, 0, 0},
		} {
			g := s.newGeneration(tc.tok, tc.counted, false)
			assert.Equal(t, tc.expires, g.expires, name)
			assert.Equal(t, tc.certain, g.certain, name)
			assert.LessOrEqual(t, g.early, g.expires, name)
		}
	})
}

func TestWritesOfASessionStandInLine(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newInside(t, nil).sessions.only
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
		assert.False(t, s.forgettable(), "while somebody writes")
		time.Sleep(time.Second)
		assert.ErrorIs(t, s.lockWrites(impatient), context.Canceled, "a done context gets no turn")
		began := time.Now()
		assert.ErrorIs(t, s.lockWrites(t.Context()), errStoreBusy)
		assert.Equal(t, 30*time.Second+grace, time.Since(began))
		s.unlockWrites()
		assert.True(t, s.forgettable())
		assert.Nil(t, s.writing, "a session at rest takes no more memory than it needs")
	})
}

func TestTheFastPathIsTakenUntilTheTokenNeedsAttention(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		tr := newInside(t, nil)
		s := tr.sessions.only
		assert.Nil(t, s.fresh())
		require.NoError(t, tr.SignIn(t.Context(), Token{AccessToken: "a", Expiry: time.Now().Add(100 * time.Second)}))
		time.Sleep(75*time.Second - 1)
		assert.NotNil(t, s.fresh())
		time.Sleep(5*time.Second + 1)
		assert.Nil(t, s.fresh(), "in the early window")
	})
}

func TestWhoAcceptsATokenIsNotedUntilThePauseIsOver(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		tr := newInside(t, nil)
		s := tr.sessions.only
		require.NoError(t, tr.SignIn(t.Context(), Token{AccessToken: "signed-in", RefreshToken: "r"}))
		_, err := tr.Refresh(t.Context(), Token{AccessToken: "signed-in"})
		require.NoError(t, err)
		g := s.current.Load()
		table := g.watch.Load()
		require.NotNil(t, table)
		req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "https://api.example.com/me", nil)
		require.NoError(t, err)
		time.Sleep(defaultRefreshPause - 1)
		s.accepted(g, table, req)
		assert.NotNil(t, g.watch.Load())
		time.Sleep(time.Nanosecond)
		s.accepted(g, table, req)
		assert.Nil(t, g.watch.Load(), "from here on a request costs nothing more")
		assert.Nil(t, s.state.evidence)
	})
}

package realservers_test

import (
	"bytes"
	"math"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/reauth-go/reauth"
)

func TestAStormOnAnExpiredTokenIsAnsweredAfterOneRefresh(t *testing.T) {
	eachServer(t, func(t *testing.T, w *world) {
		get := func(int) error { return w.get(t.Context()) }
		post := func(i int) error { return w.post(t.Context(), bytes.Repeat([]byte{byte(i)}, 1000+i), false) }
		for _, s := range []struct {
			name   string
			signIn func(*testing.T) reauth.Token
			send   func(int) error
		}{
			{"GET/refused", w.mustSignInWithAWrongClock, get},
			{"POST/refused", w.mustSignInWithAWrongClock, post},
			{"GET/known to be expired", w.mustSignIn, get},
			{"POST/known to be expired", w.mustSignIn, post},
		} {
			t.Run(s.name, func(t *testing.T) {
				tok := s.signIn(t)
				w.untilExpired(t, tok)
				before := w.counts(t)
				assert.Empty(t, storm(50, s.send))
				after := w.counts(t)
				t.Logf("%d of the requests were refused", after.Refused-before.Refused)
				assert.Equal(t, 1, after.Refreshes-before.Refreshes, "refreshes")

				now, err := w.tr.Token(t.Context())
				require.NoError(t, err)
				assert.NotEqual(t, tok.AccessToken, now.AccessToken)
				if w.csrf != nil {
					assert.NotEqual(t, w.csrf(tok), w.csrf(now), "the CSRF value")
				}
				w.untilExpired(t, now)
				require.NoError(t, s.send(0), "the session is alive")
				assert.Equal(t, 2, w.counts(t).Refreshes-before.Refreshes, "refreshes")
			})
		}
		assert.Equal(t, 1, w.counts(t).MostSpent, "a refresh token was presented more than once")
	})
}

func TestASoakLosesNoRequest(t *testing.T) {
	const duration = 15 * time.Second
	eachServer(t, func(t *testing.T, w *world) {
		w.mustSignIn(t)
		began := time.Now()
		sent := w.soak(t, duration, 20*time.Millisecond)
		elapsed := time.Since(began)
		c := w.counts(t)
		early := lifetime / 10 // the default
		limit := int(math.Ceil(float64(elapsed)/float64(lifetime-early))) + 2
		t.Logf("%d requests in %s, %d of them refused and sent again; %d refreshes, at most %d allowed",
			sent, elapsed.Round(time.Millisecond), c.Refused, c.Refreshes, limit)
		assert.Equal(t, c.Requests, sent+c.Refused)
		assert.LessOrEqual(t, c.Refreshes, limit)
		assert.Equal(t, c.Refreshes, c.Refreshed, "every refresh succeeds")
		assert.Equal(t, 1, c.MostSpent, "a refresh token was presented more than once")
	})
}

func TestARefreshTokenThatTheServerRevokedRequiresSignInOnce(t *testing.T) {
	eachServer(t, func(t *testing.T, w *world) {
		tok := w.mustSignInWithAWrongClock(t)
		require.NoError(t, w.get(t.Context()))
		w.revoke(t)
		w.untilExpired(t, tok)
		for range 2 {
			failed := storm(10, func(int) error { return w.get(t.Context()) })
			require.Len(t, failed, 10)
			for _, err := range failed {
				assert.ErrorIs(t, err, reauth.ErrSignInRequired)
			}
		}
		c := w.counts(t)
		assert.Equal(t, 1, c.Refreshes)
		assert.Equal(t, 0, c.Refreshed)
		assert.Equal(t, 1, w.heard(reauth.EventSignInRequired))
		in, err := w.tr.SignedIn(t.Context())
		require.NoError(t, err)
		assert.False(t, in)

		w.mustSignIn(t)
		require.NoError(t, w.get(t.Context()), "until someone signs in")
	})
}

func TestSignOutEndsTheSession(t *testing.T) {
	eachServer(t, func(t *testing.T, w *world) {
		w.mustSignIn(t)
		require.NoError(t, w.get(t.Context()))
		before := w.counts(t)
		require.NoError(t, w.tr.SignOut(t.Context()))
		assert.ErrorIs(t, w.get(t.Context()), reauth.ErrSignInRequired)
		after := w.counts(t)
		assert.Equal(t, before.Requests, after.Requests)
		assert.Equal(t, before.Refreshes, after.Refreshes)
		assert.Equal(t, 1, w.heard(reauth.EventSignedOut))
		assert.Equal(t, 0, w.heard(reauth.EventSignInRequired))

		w.mustSignIn(t)
		require.NoError(t, w.get(t.Context()))
	})
}

func TestABodyArrivesWholeOnReplay(t *testing.T) {
	body := make([]byte, 200<<10)
	for i := range body {
		body[i] = byte(i * i >> 7)
	}
	eachServer(t, func(t *testing.T, w *world) {
		for _, s := range []struct {
			name  string
			piped bool
		}{{"with GetBody", false}, {"piped", true}} {
			t.Run(s.name, func(t *testing.T) {
				w.untilExpired(t, w.mustSignInWithAWrongClock(t))
				before := w.counts(t)
				require.NoError(t, w.post(t.Context(), body, s.piped))
				after := w.counts(t)
				assert.Equal(t, 2, after.Requests-before.Requests)
				assert.Equal(t, 1, after.Refused-before.Refused)
				assert.Equal(t, 1, after.Refreshes-before.Refreshes)
			})
		}
	})
}

package reauth_test

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"net/http"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/reauth-go/reauth"
)

func TestMemoryStoreZeroValueIsReady(t *testing.T) {
	var store reauth.MemoryStore
	_, ok, err := store.Load(t.Context(), "ann")
	require.NoError(t, err)
	assert.False(t, ok)
	require.NoError(t, store.Delete(t.Context(), "ann"), "nothing to delete is no error")

	require.NoError(t, store.Save(t.Context(), "ann", reauth.Token{AccessToken: "a"}))
	require.NoError(t, store.Save(t.Context(), "", reauth.Token{AccessToken: "b"}))
	tok, ok, err := store.Load(t.Context(), "ann")
	require.NoError(t, err)
	require.True(t, ok)
	assert.Equal(t, "a", tok.AccessToken)

	require.NoError(t, store.Delete(t.Context(), "ann"))
	_, ok, _ = store.Load(t.Context(), "ann")
	assert.False(t, ok)
	_, ok, _ = store.Load(t.Context(), "")
	assert.True(t, ok, "another session's")
}

func TestMemoryStoreSharesNothingWithItsCallers(t *testing.T) {
	var store reauth.MemoryStore
	saved := reauth.Token{AccessToken: "a", Extra: map[string]string{"scope": "read"}}
	require.NoError(t, store.Save(t.Context(), "", saved))
	saved.Extra["scope"] = "written after Save"
	loaded, _, err := store.Load(t.Context(), "")
	require.NoError(t, err)
	assert.Equal(t, "read", loaded.Extra["scope"])
	loaded.Extra["scope"] = "written after Load"
	again, _, err := store.Load(t.Context(), "")
	require.NoError(t, err)
	assert.Equal(t, "read", again.Extra["scope"])
}

func TestMemoryStoreLockKeepsOthersOffOneSession(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var store reauth.MemoryStore
		var wg sync.WaitGroup
		holders := 0 // the race detector looks at it too
		for range 50 {
			wg.Go(func() {
				_, unlock, err := store.Lock(t.Context(), "ann")
				if !assert.NoError(t, err) {
					return
				}
				holders++
				assert.Equal(t, 1, holders)
				time.Sleep(time.Second)
				holders--
				unlock()
			})
		}
		began := time.Now()
		_, unlock, err := store.Lock(t.Context(), "bob")
		require.NoError(t, err)
		unlock()
		assert.Zero(t, time.Since(began), "another session is free")
		wg.Wait()
		assert.Equal(t, 50*time.Second, time.Since(began), "every waiter got it, one after the other")
	})
}

func TestMemoryStoreLockEndsItsWaitWithItsContext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var store reauth.MemoryStore
		_, unlock, err := store.Lock(t.Context(), "")
		require.NoError(t, err)
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		_, _, err = store.Lock(ctx, "")
		assert.ErrorIs(t, err, context.DeadlineExceeded)

		unlock()
		_, unlock, err = store.Lock(t.Context(), "")
		require.NoError(t, err, "who gave up waiting holds nothing")
		unlock()
	})
}

func TestMemoryStoreHeldHasTheValuesOfItsContextButNotItsEnd(t *testing.T) {
	type key struct{}
	var store reauth.MemoryStore
	ctx, cancel := context.WithCancel(context.WithValue(t.Context(), key{}, "mine"))
	held, unlock, err := store.Lock(ctx, "")
	require.NoError(t, err)
	cancel()
	assert.NoError(t, held.Err())
	assert.Equal(t, "mine", held.Value(key{}))
	unlock()
}

// unlocked is a store that does not lock.
type unlocked struct{ reauth.Store }

func TestTransportWorksOverAStoreThatDoesNotLock(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := new(faultyStore)
		w := newWorld(t, keptIn(unlocked{store}))
		w.latency = 100 * time.Millisecond
		w.signIn(t)
		w.revoke()
		assertAllOK(t, w.storm(t.Context(), 50))
		assert.Equal(t, 1, w.refreshes())
		assert.Zero(t, store.count("Lock"))
		require.NoError(t, w.tr.SignOut(t.Context()))
		_, err := w.get(t.Context())
		require.ErrorIs(t, err, reauth.ErrSignInRequired)
		w.signIn(t)
		w.mustGet(t, http.StatusOK)
	})
}

var secretToken = reauth.Token{
	AccessToken: "secret-a", RefreshToken: "secret-r", TokenType: "secret-type",
	Expiry: time.Date(2030, 1, 2, 3, 4, 5, 0, time.UTC),
	Extra:  map[string]string{"id_token": "secret-id"},
}

func TestTokenTellsWhatItHoldsButNotTheSecrets(t *testing.T) {
	for _, c := range []struct {
		tok  reauth.Token
		want string
	}{
		{reauth.Token{}, "no token"},
		{reauth.Token{Extra: map[string]string{"id_token": "secret-id"}}, "no token"},
		{reauth.Token{AccessToken: "secret-a"}, "[access token]"},
		{reauth.Token{RefreshToken: "secret-r"}, "[refresh token]"},
		{secretToken, "[access token, refresh token, expires 2030-01-02T03:04:05Z]"},
	} {
		assert.Equal(t, c.want, c.tok.String())
		assert.Equal(t, c.want, c.tok.LogValue().String())
	}
}

func TestTokenShowsNoSecretWhateverTheVerb(t *testing.T) {
	type holder struct {
		Token   reauth.Token
		Pointer *reauth.Token
	}
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%X", "%d", "%T %v", "%10.3v", "%t", "%z"} {
		for _, v := range []any{
			secretToken, &secretToken, []reauth.Token{secretToken},
			map[string]reauth.Token{"ann": secretToken}, holder{Token: secretToken}, &holder{Token: secretToken},
		} {
			text := fmt.Sprintf(verb, v)
			assert.NotContains(t, text, "secret-", "%s of a %T", verb, v)
			assert.NotContains(t, text, fmt.Sprintf("%x", "secret-"), "%s of a %T", verb, v)
		}
	}
	assert.Equal(t, secretToken.String(), fmt.Sprintf("%d", secretToken))
}

func TestTokenShowsNoSecretInALog(t *testing.T) {
	var out bytes.Buffer
	for _, handler := range []slog.Handler{slog.NewJSONHandler(&out, nil), slog.NewTextHandler(&out, nil)} {
		slog.New(handler).Info("signed in", "token", secretToken, "pointer", &secretToken, slog.Group("of", "ann", secretToken))
	}
	assert.NotContains(t, out.String(), "secret-")
	assert.Contains(t, out.String(), "expires 2030-01-02T03:04:05Z")
}

func TestTokenJSONRoundTrips(t *testing.T) {
	text, err := json.Marshal(secretToken)
	require.NoError(t, err)
	assert.JSONEq(t, `{"access_token":"secret-a","token_type":"secret-type","refresh_token":"secret-r",
		"expiry":"2030-01-02T03:04:05Z","extra":{"id_token":"secret-id"}}`, string(text))
	var back reauth.Token
	require.NoError(t, json.Unmarshal(text, &back))
	assert.Equal(t, secretToken, back)

	text, err = json.Marshal(reauth.Token{AccessToken: "a"})
	require.NoError(t, err)
	assert.Equal(t, `{"access_token":"a"}`, string(text))
}

func TestTokenThatJSONWouldChangeHasNone(t *testing.T) {
	const odd = "secret-\xff"
	for field, tok := range map[string]reauth.Token{
		"AccessToken": {AccessToken: odd}, "TokenType": {TokenType: odd}, "RefreshToken": {RefreshToken: odd},
		`Extra["id_token"]`: {Extra: map[string]string{"id_token": odd}}, `Extra["\xff"]`: {Extra: map[string]string{"\xff": "secret-"}},
	} {
		_, err := json.Marshal(tok)
		if assert.ErrorContains(t, err, "Token."+field+" is not UTF-8") {
			assert.NotContains(t, err.Error(), "secret-")
		}
	}
	expiry := time.Date(1900, 1, 1, 0, 0, 0, 0, time.FixedZone("", 1172)) // as Amsterdam's was
	text, err := json.Marshal(&reauth.Token{AccessToken: "a", Expiry: expiry})
	require.NoError(t, err)
	var back reauth.Token
	require.NoError(t, json.Unmarshal(text, &back))
	assert.True(t, expiry.Equal(back.Expiry))
}

func TestTokenReadsTheJSONOfXOAuth2(t *testing.T) {
	// As golang.org/x/oauth2 writes a Token: without an expiry it is the zero time.
	var tok reauth.Token
	require.NoError(t, json.Unmarshal([]byte(`{"access_token":"a","token_type":"bearer","refresh_token":"r",
		"expiry":"0001-01-01T00:00:00Z","expires_in":3600}`), &tok))
	assert.Equal(t, "a", tok.AccessToken)
	assert.Equal(t, "bearer", tok.TokenType)
	assert.Equal(t, "r", tok.RefreshToken)
	assert.True(t, tok.Expiry.IsZero())

	// And the other way round: its fields, by the names of their tags.
	var theirs struct {
		AccessToken  string    `json:"access_token"`
		TokenType    string    `json:"token_type,omitempty"`
		RefreshToken string    `json:"refresh_token,omitempty"`
		Expiry       time.Time `json:"expiry,omitempty"`
		ExpiresIn    int64     `json:"expires_in,omitempty"`
	}
	text, err := json.Marshal(secretToken)
	require.NoError(t, err)
	require.NoError(t, json.Unmarshal(text, &theirs))
	assert.Equal(t, "secret-a", theirs.AccessToken)
	assert.Equal(t, "secret-type", theirs.TokenType)
	assert.Equal(t, "secret-r", theirs.RefreshToken)
	assert.True(t, secretToken.Expiry.Equal(theirs.Expiry))
}

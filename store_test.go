package reauth_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/reauth-go/reauth"
	"github.com/reauth-go/reauth/internal/testworld"
)

func TestAZeroMemoryStoreIsReady(t *testing.T) {
	var store reauth.MemoryStore
	_, ok, err := store.Load(t.Context(), "ann")
	require.NoError(t, err)
	assert.False(t, ok)
	require.NoError(t, store.Delete(t.Context(), "ann"), "there is nothing to delete")

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

func TestAMemoryStoreSharesNothingWithItsCallers(t *testing.T) {
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

func TestPurgeOfAMemoryStoreDeletesWhatWasSavedLongAgo(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var store reauth.MemoryStore
		for _, session := range []string{"old", "saved again", "locked"} {
			require.NoError(t, store.Save(t.Context(), session, reauth.Token{AccessToken: "a"}))
		}
		time.Sleep(time.Hour)
		require.NoError(t, store.Save(t.Context(), "saved again", reauth.Token{AccessToken: "b"}))
		require.NoError(t, store.Save(t.Context(), "new", reauth.Token{AccessToken: "a"}))
		_, unlock, err := store.Lock(t.Context(), "locked")
		require.NoError(t, err)
		n, err := store.Purge(t.Context(), time.Hour)
		require.NoError(t, err)
		assert.Zero(t, n, "it is not longer ago than that")
		time.Sleep(time.Nanosecond)

		n, err = store.Purge(t.Context(), time.Hour)
		require.NoError(t, err)
		assert.Equal(t, 1, n)
		assert.Equal(t, "*reauth.MemoryStore[3 sessions]", fmt.Sprint(&store))
		_, ok, err := store.Load(t.Context(), "old")
		require.NoError(t, err)
		assert.False(t, ok)

		waits := make(chan error)
		go func() {
			_, _, err := store.Lock(t.Context(), "locked")
			waits <- err
		}()
		synctest.Wait()
		unlock()
		require.NoError(t, <-waits, "whose lock nobody else has then")
		n, err = store.Purge(t.Context(), time.Nanosecond)
		require.NoError(t, err)
		assert.Equal(t, 0, n)
		time.Sleep(time.Second)
		n, err = store.Purge(t.Context(), time.Millisecond)
		require.NoError(t, err)
		assert.Equal(t, 2, n, "all but the one that is locked")

		for _, olderThan := range []time.Duration{0, -1} {
			_, err = store.Purge(t.Context(), olderThan)
			assert.EqualError(t, err, fmt.Sprintf("reauth: MemoryStore: Purge: olderThan %v is not positive", olderThan))
		}
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		_, err = store.Purge(ctx, time.Millisecond)
		assert.ErrorIs(t, err, context.Canceled)
	})
}

func TestTheLockOfAMemoryStoreKeepsOthersOffOneSession(t *testing.T) {
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

func TestTheLockOfAMemoryStoreIsWaitedForUntilTheContextIsDone(t *testing.T) {
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
		require.NoError(t, err, "a wait that ended holds nothing")
		unlock()
	})
}

func TestTheLeaseOfAMemoryStoreHasTheValuesOfItsContextButNotItsEnd(t *testing.T) {
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

func TestAMemoryStoreKeepsNoEntryForAFreeLock(t *testing.T) {
	var store reauth.MemoryStore
	assertSizes := func(wantLocks, wantTokens int) {
		t.Helper()
		locks, tokens := store.Sizes()
		assert.Equal(t, wantLocks, locks)
		assert.Equal(t, wantTokens, tokens)
	}
	var wg sync.WaitGroup
	for i := range 100 {
		wg.Go(func() {
			ctx, cancel := context.WithCancel(t.Context())
			if i%3 == 0 {
				cancel()
			}
			defer cancel()
			if _, unlock, err := store.Lock(ctx, strconv.Itoa(i%5)); err == nil {
				unlock()
			}
		})
	}
	wg.Wait()
	assertSizes(0, 0)
	_, unlock, err := store.Lock(t.Context(), "")
	require.NoError(t, err)
	require.NoError(t, store.Save(t.Context(), "", reauth.Token{AccessToken: "a"}))
	assertSizes(1, 1)
	unlock()
	require.NoError(t, store.Delete(t.Context(), ""))
	assertSizes(0, 0)
}

// withoutLock is a store that does not lock.
func withoutLock(c *reauth.Config, w *testworld.World) { c.Store = testworld.Unlocked{Store: w.Store} }

func TestAStoreThatDoesNotLock(t *testing.T) {
	testworld.Run(t, func(t *testing.T, w *testworld.World) {
		w.Latency = 100 * time.Millisecond
		signedInAndRefused(t, w)
		testworld.AssertAllOK(t, w.Storm(t.Context(), 50))
		assert.Equal(t, 1, w.Refreshes())
		assert.Zero(t, w.Store.Count("Lock"))
		require.NoError(t, w.Transport.SignOut(t.Context()))
		w.AssertSignInRequired(t)
		w.SignIn(t)
		w.MustGet(t, http.StatusOK)
	}, withoutLock)
}

// So Transports of different APIs need stores of their own.
func TestTransportsThatShareAStoreShareItsSessions(t *testing.T) {
	var store reauth.MemoryStore
	var sent []string
	transport := func(api string) *reauth.Transport {
		tr, err := reauth.New(reauth.Config{
			Refresher: reauth.RefresherFunc(testworld.NewAuthority().Refresh),
			Origins:   []string{api},
			Store:     &store,
			Base: testworld.RoundTripper(func(req *http.Request) (*http.Response, error) {
				sent = append(sent, req.URL.Host+": "+req.Header.Get("Authorization"))
				return &http.Response{StatusCode: http.StatusOK, Body: http.NoBody, Request: req}, nil
			}),
		})
		require.NoError(t, err)
		return tr
	}
	calendar, payments := transport("https://calendar.example.com"), transport("https://payments.example.com")
	require.NoError(t, calendar.Session("ann").SignIn(t.Context(), reauth.Token{AccessToken: "for-the-calendar"}))

	req := testworld.Request(t, http.MethodGet, "https://payments.example.com/", nil)
	_, err := payments.Session("ann").RoundTrip(req)
	require.NoError(t, err)
	assert.Equal(t, []string{"payments.example.com: Bearer for-the-calendar"}, sent)
}

var secretToken = reauth.Token{
	AccessToken: "secret-a", RefreshToken: "secret-r", TokenType: "secret-type",
	Expiry: time.Date(2030, 1, 2, 3, 4, 5, 0, time.UTC),
	Extra:  map[string]string{"id_token": "secret-id"},
}

func TestATokenTellsWhatItHoldsButNotTheSecrets(t *testing.T) {
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

func TestATokenShowsNoSecretWhateverTheVerb(t *testing.T) {
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

func TestATokenShowsNoSecretInALog(t *testing.T) {
	var out bytes.Buffer
	for _, handler := range []slog.Handler{slog.NewJSONHandler(&out, nil), slog.NewTextHandler(&out, nil)} {
		slog.New(handler).Info("signed in", "token", secretToken, "pointer", &secretToken, slog.Group("of", "ann", secretToken))
	}
	assert.NotContains(t, out.String(), "secret-")
	assert.Contains(t, out.String(), "expires 2030-01-02T03:04:05Z")
}

func TestATokenSurvivesJSON(t *testing.T) {
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

func TestATokenThatJSONWouldChangeHasNone(t *testing.T) {
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

func TestATokenReadsTheJSONOfXOAuth2(t *testing.T) {
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

// FuzzStoredToken hands over whatever a store may hold, as JSON. A request is then
// answered or fails with an error that shows nothing of it; and it ends.
func FuzzStoredToken(f *testing.F) {
	for _, text := range []string{
		`{}`, `null`, `[]`, `{"access_token":"a"}`, `{"refresh_token":"r"}`,
		`{"access_token":"a","token_type":"bearer","refresh_token":"r","expiry":"2030-01-02T03:04:05Z","extra":{"id_token":"i"}}`,
		`{"access_token":"a","expiry":"0001-01-01T00:00:00Z"}`, `{"access_token":"a","expiry":"9999-12-31T23:59:59Z"}`,
		`{"access_token":"a b\r\nX: y","token_type":"B\u0000"}`, `{"access_token":"a","token_type":"Basic x"}`,
		`{"access_token":"eyJhbGciOiJub25lIn0.eyJleHAiOjEuOGUxOH0.","refresh_token":"r"}`,
		`{"access_token":"eyJhbGciOiJub25lIn0.eyJleHAiOi0xfQ.x","refresh_token":"r"}`,
		`{"access_token":"` + strings.Repeat("é", 3000) + `"}`,
	} {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		var tok reauth.Token
		if err := json.Unmarshal([]byte(text), &tok); err != nil {
			t.Skip("no store can hold it")
		}
		store := new(reauth.MemoryStore)
		require.NoError(t, store.Save(t.Context(), "", tok))
		tr, err := reauth.New(reauth.Config{
			Refresher: reauth.RefresherFunc(func(context.Context, reauth.Token) (reauth.Token, error) {
				return reauth.Token{}, errors.New("not now")
			}),
			Origins: []string{"https://api.example.com"},
			Store:   store,
			Base: testworld.RoundTripper(func(req *http.Request) (*http.Response, error) {
				for _, value := range req.Header.Values("Authorization") {
					assert.NotContains(t, value, "\n")
					assert.NotContains(t, value, "\r")
				}
				return testworld.Respond(req, http.StatusOK, ""), nil
			}),
		})
		require.NoError(t, err)
		req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "https://api.example.com", nil)
		require.NoError(t, err)
		resp, err := tr.RoundTrip(req)
		if err == nil {
			require.NoError(t, resp.Body.Close())
		} else {
			for _, secret := range []string{tok.AccessToken, tok.RefreshToken} {
				if len(secret) > 20 {
					assert.False(t, strings.Contains(err.Error(), secret), "the error shows a token")
				}
			}
		}
		require.NoError(t, tr.Wait(t.Context()))
		kept, ok, err := store.Load(t.Context(), "")
		require.NoError(t, err)
		assert.True(t, ok && kept.AccessToken == tok.AccessToken && kept.RefreshToken == tok.RefreshToken, "the store no longer has it")
	})
}

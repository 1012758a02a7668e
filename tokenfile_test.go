package reauth_test

import (
	"context"
	"encoding/base64"
	"fmt"
	"io/fs"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/reauth-go/reauth"
	"github.com/reauth-go/reauth/internal/testworld"
)

// fromFile makes the tokens of a World those in a file. The API accepts the one that
// accepted returns, or any if that is nil.
func fromFile(path string, accepted func() string) testworld.Setting {
	return func(cfg *reauth.Config, w *testworld.World) {
		cfg.Refresher, cfg.Store = reauth.TokenFile(path), nil
		w.API.Decide = func(req *http.Request) int {
			if accepted == nil || req.Header.Get("Authorization") == "Bearer "+accepted() {
				return http.StatusOK
			}
			return http.StatusUnauthorized
		}
	}
}

func write(t *testing.T, path, text string) {
	t.Helper()
	require.NoError(t, os.WriteFile(path, []byte(text), 0o600))
}

// jwtUntil returns a token that was made now.
func jwtUntil(expires time.Time) string {
	claims := fmt.Sprintf(`{"iat":%d,"exp":%d}`, time.Now().Unix(), expires.Unix())
	encode := base64.RawURLEncoding.EncodeToString
	return encode([]byte(`{"alg":"RS256"}`)) + "." + encode([]byte(claims)) + ".c2ln"
}

func TestATokenFileIsReadAnewWhenItsTokenIsRefused(t *testing.T) {
	p := testworld.NewProjection(t, "one\n")
	var good atomic.Value
	good.Store("one")
	testworld.Run(t, func(t *testing.T, w *testworld.World) {
		w.API.Latency = 100 * time.Millisecond
		testworld.AssertAllOK(t, w.Storm(t.Context(), 50))
		assert.Equal(t, 1, w.Events.Count(reauth.EventRefreshed))
		time.Sleep(10 * time.Second)
		done := make([]<-chan testworld.Result, 50)
		for i := range done {
			done[i] = w.Go(t.Context())
		}
		good.Store("two") // while they are on their way
		p.Replace("two\n")
		for _, d := range done {
			testworld.AssertAllOK(t, []testworld.Result{<-d})
		}
		assert.Equal(t, 2, w.Events.Count(reauth.EventRefreshed), "all of them share one look at the file")
		tok, err := w.Transport.Token(t.Context())
		require.NoError(t, err)
		assert.Equal(t, "two", tok.AccessToken)
	}, fromFile(p.Path(), func() string { return good.Load().(string) }))
}

// What users of client-go know, and what its authors ask of all clients
// (kubernetes/kubernetes#68164): one look each minute, whatever the token says of its end.
func TestATokenFileIsLookedAtEachMinute(t *testing.T) {
	for name, tokens := range map[string]func(n int) string{
		"opaque":          func(n int) string { return fmt.Sprint("token-", n) },
		"a JWT of a year": func(n int) string { return jwtUntil(time.Now().Add(365*24*time.Hour + time.Duration(n)*time.Second)) },
		"a JWT of an hour": func(n int) string {
			return jwtUntil(time.Now().Add(time.Hour + time.Duration(n)*time.Second))
		},
	} {
		t.Run(name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "token")
			testworld.Run(t, func(t *testing.T, w *testworld.World) {
				first, second := tokens(1), tokens(2)
				require.NotEqual(t, first, second)
				write(t, path, first)
				w.MustGet(t, http.StatusOK)
				write(t, path, second)
				seen := func() string {
					w.MustGet(t, http.StatusOK)
					w.Wait(t)
					sent := w.API.Tokens()
					return strings.TrimPrefix(sent[len(sent)-1], "Bearer ")
				}
				time.Sleep(59 * time.Second)
				assert.Equal(t, first, seen())
				time.Sleep(5 * time.Second) // a little later than a minute, so that not all pods look at once
				seen()                      // which starts the look
				assert.Equal(t, second, seen())
				assert.Equal(t, 1, w.Events.Count(reauth.EventWaited), "only the first request has waited")

				before := w.Events.Count(reauth.EventRefreshed)
				for range 600 {
					time.Sleep(time.Second)
					w.MustGet(t, http.StatusOK)
				}
				looks := w.Events.Count(reauth.EventRefreshed) - before
				assert.LessOrEqual(t, looks, 10)
				assert.GreaterOrEqual(t, looks, 9)
			}, fromFile(path, nil))
		})
	}
}

// A look that finds the same token does not make it new, so that a refusal right after it is
// not taken to be about permission.
func TestATokenFileIsReadWhenItsTokenIsRefusedRightAfterALook(t *testing.T) {
	path := filepath.Join(t.TempDir(), "token")
	var good atomic.Value
	good.Store("one")
	testworld.Run(t, func(t *testing.T, w *testworld.World) {
		write(t, path, "one")
		w.MustGet(t, http.StatusOK)
		time.Sleep(time.Minute + 15*time.Second)
		w.MustGet(t, http.StatusOK) // which starts the look
		w.Wait(t)
		require.Equal(t, 2, w.Events.Count(reauth.EventRefreshed))
		good.Store("two")
		write(t, path, "two")
		time.Sleep(time.Second)
		testworld.AssertAllOK(t, w.Storm(t.Context(), 20))
		assert.Equal(t, 3, w.Events.Count(reauth.EventRefreshed))
	}, fromFile(path, func() string { return good.Load().(string) }))
}

// An API that refuses the very token that the file holds: a cluster that does not know it
// any more, or an endpoint that answers 401 for want of permission.
func TestATokenFileThatStillHoldsTheRefusedTokenCausesNoStorm(t *testing.T) {
	path := filepath.Join(t.TempDir(), "token")
	write(t, path, "one")
	var good atomic.Value
	good.Store("one")
	testworld.Run(t, func(t *testing.T, w *testworld.World) {
		w.MustGet(t, http.StatusOK)
		time.Sleep(10 * time.Second)
		good.Store("two")
		for range 60 {
			for _, r := range w.Storm(t.Context(), 20) {
				require.NoError(t, r.Err)
				assert.Equal(t, http.StatusUnauthorized, r.Status, "the caller gets the API's own answer")
			}
			time.Sleep(time.Second)
		}
		reads := w.Events.Count(reauth.EventRefreshed)
		assert.LessOrEqual(t, reads, 10, "1,200 refusals")
		said := false
		for _, e := range w.Events.Of(reauth.EventRefusalKept) {
			said = said || strings.Contains(e.Err.Error(), "returned the token that was refused")
		}
		assert.True(t, said)
		w.AssertSignedIn(t, true)

		write(t, path, "two")
		time.Sleep(time.Minute + 15*time.Second)
		_, err := w.Get(t.Context()) // which starts the look, at the latest
		require.NoError(t, err)
		w.Wait(t)
		testworld.AssertAllOK(t, w.Storm(t.Context(), 20))
	}, fromFile(path, func() string { return good.Load().(string) }))
}

// kubernetes/kubernetes#68164: some programs are given a token file when they start, and
// it is removed again.
func TestATokenFileThatCannotBeReadAnyMoreLeavesTheLastToken(t *testing.T) {
	path := filepath.Join(t.TempDir(), "token")
	testworld.Run(t, func(t *testing.T, w *testworld.World) {
		write(t, path, jwtUntil(time.Now().Add(time.Hour)))
		w.MustGet(t, http.StatusOK)
		require.NoError(t, os.Remove(path))
		for range 50 {
			time.Sleep(time.Minute)
			w.MustGet(t, http.StatusOK)
		}
		w.Wait(t)
		assert.Positive(t, w.Events.Count(reauth.EventRefreshFailed))
		time.Sleep(11 * time.Minute)
		w.AssertTemporaryFailure(t) // the token has expired
		w.AssertSignedIn(t, true)

		write(t, path, jwtUntil(time.Now().Add(time.Hour)))
		time.Sleep(time.Minute) // the pause after the failure
		w.MustGet(t, http.StatusOK)
	}, fromFile(path, nil))
}

func TestATokenFileIsReadWhenItsTokenHasExpired(t *testing.T) {
	path := filepath.Join(t.TempDir(), "token")
	testworld.Run(t, func(t *testing.T, w *testworld.World) {
		write(t, path, jwtUntil(time.Now().Add(time.Hour)))
		tok, err := w.Transport.Token(t.Context())
		require.NoError(t, err)
		assert.Equal(t, time.Hour, time.Until(tok.Expiry))
		next := jwtUntil(time.Now().Add(3 * time.Hour))
		write(t, path, next)
		time.Sleep(2 * time.Hour)
		w.MustGet(t, http.StatusOK)
		assert.Equal(t, []string{"Bearer " + next}, w.API.Tokens())
	}, fromFile(path, nil))
}

func TestATokenFileThatIsReplacedInTwoStepsIsReadAgain(t *testing.T) {
	for _, step := range []string{"absent", "empty"} {
		t.Run(step, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "token")
			if step == "empty" {
				write(t, path, "")
			}
			testworld.Run(t, func(t *testing.T, w *testworld.World) {
				go func() { // ends at once
					time.Sleep(50 * time.Millisecond)
					_ = os.WriteFile(path, []byte("\ufeffnew\r\n"), 0o600)
				}()
				w.MustGet(t, http.StatusOK)
			}, fromFile(path, func() string { return "new" }))
		})
	}
}

func TestATokenFileThatIsNoneIsATemporaryFailureThatShowsNothing(t *testing.T) {
	dir := t.TempDir()
	write(t, filepath.Join(dir, "file"), "x")
	wants := map[string]string{ // by what is below dir
		"absent":                       "no such file",
		filepath.Join("file", "token"): "", // which can't be read
		"":                             "not a regular file",
	}
	for name, no := range testworld.NoTokens {
		write(t, filepath.Join(dir, name), no.Text)
		wants[name] = no.Want
	}
	for name, want := range wants {
		t.Run(name, func(t *testing.T) {
			path := filepath.Join(dir, name)
			testworld.Run(t, func(t *testing.T, w *testworld.World) {
				began := time.Now()
				_, err := w.Get(t.Context())
				testworld.AssertTemporary(t, err)
				require.ErrorContains(t, err, want)
				assert.ErrorContains(t, err, fmt.Sprintf("token file %q: ", path))
				assert.Equal(t, 1, strings.Count(err.Error(), dir), "it names the path once")
				assert.NotContains(t, err.Error(), "SECRET")
				assert.LessOrEqual(t, time.Since(began), 80*time.Millisecond) // in virtual time
				assert.Zero(t, w.API.Requests())
			}, fromFile(path, nil))
		})
	}
}

func TestATokenFileIsReadWhileItsLinkIsSwapped(t *testing.T) {
	testworld.AssertReadWhileSwapped(t, func(path string) func(context.Context) (string, error) {
		r := reauth.TokenFile(path)
		return func(ctx context.Context) (string, error) {
			tok, err := r.Refresh(ctx, reauth.Token{})
			return tok.AccessToken, err
		}
	})
}

func TestATokenFileNeedsAPath(t *testing.T) {
	_, err := reauth.New(reauth.Config{Refresher: reauth.TokenFile(""), Origins: []string{"https://api.example.com"}})
	assert.EqualError(t, err, "reauth: TokenFile: the path is empty")
}

func TestAnEndedContextEndsTheWaitForATokenFile(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		began := time.Now()
		_, err := reauth.TokenFile(filepath.Join("no", "such", "file")).Refresh(ctx, reauth.Token{})
		assert.ErrorIs(t, err, fs.ErrNotExist)
		assert.ErrorIs(t, err, ctx.Err())
		assert.Zero(t, time.Since(began))
	})
}

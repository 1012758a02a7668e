package reauth_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/reauth-go/reauth"
	"github.com/reauth-go/reauth/internal/testworld"
)

// Foreign code may put whatever it was given into an error. What this package returns
// and reports shows none of it.
func TestErrorsOfForeignCodeShowNoSecret(t *testing.T) {
	const secret = "s3cret" // contained in everything that is one
	tok := reauth.Token{
		AccessToken: "access-" + secret, RefreshToken: "refresh-" + secret,
		Extra: map[string]string{"id_token": "id-token-" + secret, "scope": "a b"},
	}
	said := strings.Join([]string{tok.AccessToken, tok.RefreshToken, tok.Extra["id_token"], url.QueryEscape(tok.AccessToken)}, " ")
	shapes := map[string]error{
		"text":            errors.New(said),
		"wrapped":         fmt.Errorf("server: %w", errors.New(said)),
		"joined":          errors.Join(testworld.ErrFault, errors.New(said)),
		"canceled":        fmt.Errorf("%s: %w", said, context.Canceled),
		"final":           fmt.Errorf("%s: %w", said, reauth.ErrSignInRequired),
		"*url.Error":      &url.Error{Op: "Post", URL: "https://id.test/?t=" + said, Err: errors.New(said)},
		"of a client":     &url.Error{Op: "Post", URL: "https://id.test", Err: fmt.Errorf("%s: %w", said, reauth.ErrSignInRequired)},
		"*RefreshError":   &reauth.RefreshError{StatusCode: 400, Code: said, Err: errors.New(said)},
		"without a cause": &reauth.RefreshError{Code: tok.RefreshToken},
		"around one":      fmt.Errorf("%s: %w", said, &reauth.RefreshError{Code: tok.AccessToken, Err: errors.New(said)}),
	}
	for name, leak := range shapes {
		for source, fails := range map[string]func(*testworld.World){
			"Refresh": func(w *testworld.World) { w.Answer(testworld.Failing(leak)) },
			"Load":    storeFails("Load", leak), "Save": storeFails("Save", leak), "Delete": storeFails("Delete", leak), "Lock": storeFails("Lock", leak),
			"Revoke": func(*testworld.World) {},
		} {
			t.Run(source+"/"+name, func(t *testing.T) {
				var shown []string
				show := func(err error) {
					for e := err; e != nil; e = errors.Unwrap(e) {
						shown = append(shown, fmt.Sprintf("%v %+v %q", e, e, e))
					}
					if failed, ok := err.(*reauth.RefreshError); ok {
						shown = append(shown, failed.Code, fmt.Sprintf("%+v %#v", *failed, failed.Err))
					}
				}
				testworld.Run(t, func(t *testing.T, w *testworld.World) {
					require.NoError(t, w.Transport.SignIn(t.Context(), tok))
					fails(w)
					_, err := w.Get(t.Context())
					show(err)
					_, err = w.Transport.Token(t.Context())
					show(err)
					time.Sleep(time.Minute)
					show(w.Transport.SignIn(t.Context(), tok))
					_, err = w.Transport.SignedIn(t.Context())
					show(err)
					show(w.Transport.SignOut(t.Context()))
					_, err = w.Get(t.Context())
					show(err)
					w.Store.On(nil)
					require.NoError(t, w.Transport.Wait(t.Context()))
				}, func(c *reauth.Config, w *testworld.World) {
					c.OnEvent = func(_ context.Context, e reauth.Event) { show(e.Err) }
					c.Refresher = testworld.Revoker{Refresher: w.Authority, RevokeFunc: func(context.Context, reauth.Token) error {
						if source == "Revoke" {
							return leak
						}
						return nil
					}}
				})
				require.NotEmpty(t, shown)
				for _, text := range shown {
					assert.NotContains(t, text, secret)
				}
			})
		}
	}
}

func storeFails(call string, err error) func(*testworld.World) {
	return func(w *testworld.World) {
		w.Store.OnCall(call, func(context.Context) error { return err })
	}
}

func TestErrorOfACredentialShowsNoSecret(t *testing.T) {
	testworld.Run(t, func(t *testing.T, w *testworld.World) {
		tok := w.SignIn(t)
		_, err := w.Get(t.Context())
		assert.EqualError(t, err, "reauth: credential: [redacted] [redacted]")
		assert.NotContains(t, fmt.Sprintf("%#v", errors.Unwrap(err)), tok.AccessToken)
	}, with(struct{ applies }{&credential{apply: func(_ *http.Request, tok reauth.Token) error {
		return errors.New(tok.AccessToken + " " + tok.RefreshToken)
	}}}))
}

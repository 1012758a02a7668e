package realservers_test

import (
	"context"
	"fmt"
	"net/http"
	"sync"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/reauth-go/reauth"
	"github.com/reauth-go/reauth/oauth"
)

const (
	ordersAPI = "https://orders.example/"
	billsAPI  = "https://bills.example/"
)

// atResource returns a world of the sessions of w at another resource.
func atResource(t *testing.T, w *world, resource string) *world {
	t.Helper()
	r := &oauth.Resource{Transport: w.tr, Refresher: w.refresher.(*oauth.Refresher), Resource: resource}
	other := &world{server: w.server, program: w.program, renewal: renewal{refresher: r, credential: w.credential}}
	var err error
	other.tr, err = reauth.New(reauth.Config{Refresher: r, SignIn: r.SignIn, Credential: w.credential, Origins: []string{w.url}})
	require.NoError(t, err)
	other.client = &http.Client{Transport: other.tr}
	return other
}

// resourceOf returns the resource that the API's token is for.
func (w *world) resourceOf(ctx context.Context) (string, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, w.url+w.me, nil)
	if err != nil {
		return "", err
	}
	var answer struct{ Resource string }
	err = w.ask(req, &answer)
	return answer.Resource, err
}

// RFC 8707: each access token is for one resource, and costs one rotation of the refresh
// token that all share.
func TestResourcesShareOneRotatingRefreshToken(t *testing.T) {
	for _, mode := range []dpopCase{{}, {"nonces", true}} {
		t.Run(fmt.Sprintf("dpop=%s", mode.mode), func(t *testing.T) {
			var w *world
			if mode.mode == "" {
				w = newWorldOn(t, oidcProvider, startOIDC(t), nil)
			} else {
				w = newWorldOn(t, dpopServer(new(oauth.DPoP), mode.public), startOIDCWith(t, mode.mode), nil)
			}
			tok := w.mustSignIn(t)
			orders, bills := atResource(t, w, ordersAPI), atResource(t, w, billsAPI)
			for range 2 {
				var wg sync.WaitGroup
				for _, of := range []struct {
					at   *world
					want string
				}{{w, ""}, {orders, ordersAPI}, {bills, billsAPI}} {
					for range 10 {
						wg.Go(func() {
							got, err := of.at.resourceOf(t.Context())
							if assert.NoError(t, err) {
								assert.Equal(t, of.want, got)
							}
						})
					}
				}
				wg.Wait()
				w.untilExpired(t, tok)
			}
			c := w.counts(t)
			assert.Equal(t, c.Refreshes, c.Refreshed, "every refresh succeeds")
			assert.Equal(t, 1, c.MostSpent, "no refresh token is presented twice")
		})
	}
}

// oidc-provider spends the refresh token before it refuses the resource, and takes the
// session with the next use.
func TestAResourceThatIsNotGrantedCostsTheSession(t *testing.T) {
	w := newWorldOn(t, oidcProvider, startOIDC(t), nil)
	w.untilExpired(t, w.mustSignIn(t))
	err := atResource(t, w, "https://stranger.example/").get(t.Context())
	require.ErrorContains(t, err, "invalid_target")
	require.NotErrorIs(t, err, reauth.ErrSignInRequired)
	require.ErrorIs(t, w.get(t.Context()), reauth.ErrSignInRequired)

	w.mustSignIn(t)
	require.NoError(t, w.get(t.Context()))
	require.NoError(t, atResource(t, w, ordersAPI).get(t.Context()))
}

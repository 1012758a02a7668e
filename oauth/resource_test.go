package oauth_test

import (
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/reauth-go/reauth"
	"github.com/reauth-go/reauth/internal/testworld"
	"github.com/reauth-go/reauth/oauth"
)

// A oneAtATime is a token server and an API in one. It issues access tokens for one resource at
// a time, and each request spends the refresh token, also one that it refuses.
type oneAtATime struct {
	*httptest.Server

	mu       sync.Mutex
	refresh  int // the number of the refresh token that is good
	reused   int
	resource []string // of the requests
	fail     string   // an error code, with the next answer
}

func newOneAtATime(t *testing.T) *oneAtATime {
	t.Helper()
	i := &oneAtATime{refresh: 1}
	i.Server = httptest.NewServer(i)
	t.Cleanup(i.Close)
	return i
}

func (i *oneAtATime) ServeHTTP(w http.ResponseWriter, req *http.Request) {
	i.mu.Lock()
	defer i.mu.Unlock()
	if req.URL.Path != "/token" { // the APIs
		if req.Header.Get("Authorization") != "Bearer secret-for-"+strings.Trim(req.URL.Path, "/") {
			w.WriteHeader(http.StatusUnauthorized)
		}
		return
	}
	resource := req.PostFormValue("resource") + req.PostFormValue("audience")
	i.resource = append(i.resource, resource)
	answer := func(status int, text string) {
		w.Header().Set("Content-Type", "application/json")
		w.WriteHeader(status)
		_, _ = fmt.Fprint(w, text)
	}
	if req.PostFormValue("refresh_token") != fmt.Sprint("secret-refresh-", i.refresh) {
		i.reused++
		answer(http.StatusBadRequest, `{"error":"invalid_grant"}`)
		return
	}
	if code := i.fail; code != "" {
		i.fail = ""
		answer(http.StatusBadRequest, `{"error":"`+code+`"}`)
		return
	}
	i.refresh++
	if i.refresh%7 == 0 { // a body that breaks off behind the refresh token
		answer(http.StatusOK, fmt.Sprintf(`{"refresh_token":"secret-refresh-%d","access_token":"sec`, i.refresh))
		return
	}
	name := resource[strings.LastIndexByte(resource, '/')+1:]
	if name == "" {
		name = "main"
	}
	answer(http.StatusOK, fmt.Sprintf(`{"access_token":"secret-for-%s","token_type":"Bearer","expires_in":300,"refresh_token":"secret-refresh-%d"}`, name, i.refresh))
}

func (i *oneAtATime) asked() []string {
	i.mu.Lock()
	defer i.mu.Unlock()
	return i.resource
}

// transports returns one with the refresh token, which has been signed in, and one for each
// resource.
func (i *oneAtATime) transports(t *testing.T, resources ...*oauth.Resource) (main *reauth.Transport, others []*reauth.Transport) {
	t.Helper()
	refresher := &oauth.Refresher{TokenURL: i.URL + "/token", ClientID: "cli"}
	main, err := reauth.New(reauth.Config{Refresher: refresher, Origins: []string{i.URL}})
	require.NoError(t, err)
	for _, r := range resources {
		r.Transport, r.Refresher = main, refresher
		other, err := reauth.New(reauth.Config{Refresher: r, SignIn: r.SignIn, Origins: []string{i.URL}, RefreshPause: -1})
		require.NoError(t, err)
		others = append(others, other)
	}
	require.NoError(t, main.SignIn(t.Context(), reauth.Token{AccessToken: "secret-for-main", RefreshToken: "secret-refresh-1"}))
	return main, others
}

func (i *oneAtATime) get(ctx context.Context, tr *reauth.Transport, path string) (int, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, i.URL+path, nil)
	if err != nil {
		return 0, err
	}
	resp, err := (&http.Client{Transport: tr}).Do(req)
	if err != nil {
		return 0, err
	}
	return resp.StatusCode, resp.Body.Close()
}

func TestASessionHasAnAccessTokenForEachResource(t *testing.T) {
	i := newOneAtATime(t)
	main, others := i.transports(t, &oauth.Resource{Resource: "https://x.example/orders"}, &oauth.Resource{Audience: "bills"})
	for path, tr := range map[string]*reauth.Transport{"/main": main, "/orders": others[0], "/bills": others[1]} {
		for range 2 {
			status, err := i.get(t.Context(), tr, path)
			require.NoError(t, err)
			assert.Equal(t, http.StatusOK, status, path)
		}
	}
	assert.ElementsMatch(t, []string{"https://x.example/orders", "bills"}, i.asked())
	tok, err := main.Token(t.Context())
	require.NoError(t, err)
	assert.True(t, tok.AccessToken == "secret-for-main" && tok.RefreshToken == "secret-refresh-3")
	tok, err = others[0].Token(t.Context())
	require.NoError(t, err)
	assert.Empty(t, tok.RefreshToken, "it is that of the other session")
}

func TestResourcesSpendOneRefreshTokenAfterTheOther(t *testing.T) {
	i := newOneAtATime(t)
	var resources []*oauth.Resource
	for n := range 10 {
		resources = append(resources, &oauth.Resource{Resource: fmt.Sprintf("https://x.example/r%d", n)})
	}
	_, others := i.transports(t, resources...)
	var wg sync.WaitGroup
	for n, tr := range others {
		for range 5 {
			wg.Go(func() {
				for { // every seventh answer breaks off
					status, err := i.get(t.Context(), tr, fmt.Sprintf("/r%d", n))
					if err == nil {
						assert.Equal(t, http.StatusOK, status)
						return
					}
					if !assert.NotErrorIs(t, err, reauth.ErrSignInRequired) {
						return
					}
				}
			})
		}
	}
	wg.Wait()
	assert.Zero(t, i.reused)
}

func TestAResourceOfASessionThatIsSignedOutNeedsASignIn(t *testing.T) {
	i := newOneAtATime(t)
	main, others := i.transports(t, &oauth.Resource{Resource: "https://x.example/orders"})
	require.NoError(t, main.SignOut(t.Context()))
	_, err := i.get(t.Context(), others[0], "/orders")
	require.ErrorIs(t, err, reauth.ErrSignInRequired)
	require.NoError(t, main.SignIn(t.Context(), reauth.Token{AccessToken: "a", RefreshToken: "secret-refresh-1"}))
	status, err := i.get(t.Context(), others[0], "/orders")
	require.NoError(t, err)
	assert.Equal(t, http.StatusOK, status)
}

func TestASignInThatAResourceNeedsIsThatOfItsTransport(t *testing.T) {
	i := newOneAtATime(t)
	refresher := &oauth.Refresher{TokenURL: i.URL + "/token", ClientID: "cli"}
	var windows atomic.Int32
	main, err := reauth.New(reauth.Config{
		Refresher: refresher, Origins: []string{i.URL},
		SignIn: func(context.Context) (reauth.Token, error) {
			windows.Add(1)
			return reauth.Token{AccessToken: "secret-for-main", RefreshToken: "secret-refresh-1"}, nil
		},
	})
	require.NoError(t, err)
	orders := &oauth.Resource{Transport: main, Refresher: refresher, Resource: "https://x.example/orders"}
	other, err := reauth.New(reauth.Config{Refresher: orders, SignIn: orders.SignIn, Origins: []string{i.URL}})
	require.NoError(t, err)
	var wg sync.WaitGroup
	for range 20 {
		wg.Go(func() {
			status, err := i.get(t.Context(), other, "/orders")
			if assert.NoError(t, err) {
				assert.Equal(t, http.StatusOK, status)
			}
		})
	}
	wg.Wait()
	assert.EqualValues(t, 1, windows.Load())
	assert.Equal(t, []string{"https://x.example/orders"}, i.asked())
}

// The refresh token is bound to the key that it was first used with.
func TestAResourceLeavesItsKeyWithTheSession(t *testing.T) {
	server := replying(reply{200, bound, ""})
	refresher := &oauth.Refresher{TokenURL: testworld.TokenURL, DPoP: new(oauth.DPoP), Client: server.Client()}
	main, err := reauth.New(reauth.Config{Refresher: refresher, Credential: refresher.DPoP, Origins: []string{reauth.AnyOrigin}})
	require.NoError(t, err)
	require.NoError(t, main.SignIn(t.Context(), dpopToken))
	orders := &oauth.Resource{Transport: main, Refresher: refresher, Audience: "orders"}
	_, err = orders.Refresh(t.Context(), reauth.Token{})
	require.NoError(t, err)
	_, err = orders.Refresh(t.Context(), reauth.Token{})
	require.NoError(t, err)
	proofs := proofsOf(t, server)
	require.Len(t, proofs, 2)
	assert.Equal(t, proofs[0].jkt, proofs[1].jkt)
}

func TestARefusalOfAResourceLeavesTheSession(t *testing.T) {
	i := newOneAtATime(t)
	main, others := i.transports(t, &oauth.Resource{Resource: "https://x.example/orders"})
	i.fail = "invalid_target"
	_, err := i.get(t.Context(), others[0], "/orders")
	require.ErrorContains(t, err, "invalid_target")
	require.NotErrorIs(t, err, reauth.ErrSignInRequired)
	ok, err := main.SignedIn(t.Context())
	require.NoError(t, err)
	assert.True(t, ok)
}

func TestAResourceOfOneUserIsNotThatOfAnother(t *testing.T) {
	i := newOneAtATime(t)
	_, others := i.transports(t, &oauth.Resource{Resource: "https://x.example/orders"})
	_, err := i.get(reauth.WithSession(t.Context(), "bob"), others[0], "/orders")
	require.ErrorIs(t, err, reauth.ErrSignInRequired, "only the nameless session has signed in")
	status, err := i.get(t.Context(), others[0], "/orders")
	require.NoError(t, err)
	assert.Equal(t, http.StatusOK, status)
}

// An endpoint that is not there any more is looked up again, whoever has found that out.
func TestAResourceFindsAnEndpointThatHasMoved(t *testing.T) {
	at, discovered := "/token", 0
	server := testworld.AnsweringWith(func(req *http.Request) (*http.Response, error) {
		switch {
		case strings.HasPrefix(req.URL.Path, "/.well-known/"):
			discovered++
			return testworld.Respond(req, 200, `{"issuer":"https://id.example.com","token_endpoint":"https://id.example.com`+at+`"}`), nil
		case req.URL.Path != at:
			return testworld.Respond(req, 404, ""), nil
		}
		return testworld.Respond(req, 200, `{"access_token":"secret-access","token_type":"DPoP","expires_in":60}`), nil
	})
	dpop := &oauth.DPoP{Key: edKey}
	refresher := &oauth.Refresher{Issuer: "https://id.example.com", ClientID: "cli", DPoP: dpop, Client: server.Client()}
	main, err := reauth.New(reauth.Config{Refresher: refresher, Credential: dpop, Origins: []string{reauth.AnyOrigin}})
	require.NoError(t, err)
	require.NoError(t, main.SignIn(t.Context(), dpopToken))
	orders := &oauth.Resource{Transport: main, Refresher: refresher, Audience: "orders"}
	for range 2 {
		_, err = orders.Refresh(t.Context(), reauth.Token{})
		require.NoError(t, err)
	}
	assert.Equal(t, 1, discovered)
	at = "/v2/token"
	_, err = orders.Refresh(t.Context(), reauth.Token{})
	require.ErrorContains(t, err, "404")
	_, err = orders.Refresh(t.Context(), reauth.Token{})
	require.NoError(t, err)
	assert.Equal(t, 2, discovered)
}

func TestAResourceIsCheckedBeforeItIsSent(t *testing.T) {
	tr, err := reauth.New(reauth.Config{Refresher: &oauth.Refresher{TokenURL: "https://id.example.com/token"}, Origins: []string{reauth.AnyOrigin}})
	require.NoError(t, err)
	good := &oauth.Refresher{TokenURL: "https://id.example.com/token"}
	for want, r := range map[string]*oauth.Resource{
		"Resource.Transport nil: must be set":          {Refresher: good, Audience: "a"},
		"Resource.Refresher nil: must be set":          {Transport: tr, Audience: "a"},
		`Refresher.TokenURL "": must be set`:           {Transport: tr, Refresher: new(oauth.Refresher), Audience: "a"},
		`Resource.Resource "": or Audience must be`:    {Transport: tr, Refresher: good},
		`Resource.Resource "orders": must be absolute`: {Transport: tr, Refresher: good, Resource: "orders"},
		`must have no fragment (RFC 8707 section 2)`:   {Transport: tr, Refresher: good, Resource: "https://x.example#"},
		"is a nil *oauth.Resource":                     nil,
		`Resource.Refresher.Params "resource": would`: {Transport: tr, Audience: "a", Refresher: &oauth.Refresher{
			TokenURL: "https://id.example.com/token", Params: url.Values{"resource": {"https://x.example/"}},
		}},
	} {
		_, err := reauth.New(reauth.Config{Refresher: r, Origins: []string{reauth.AnyOrigin}})
		require.ErrorContains(t, err, want)
		assert.NotContains(t, err.Error(), "secret")
	}
}

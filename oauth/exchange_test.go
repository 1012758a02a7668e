package oauth_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/golang-jwt/jwt/v5"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/reauth-go/reauth"
	"github.com/reauth-go/reauth/internal/testworld"
	"github.com/reauth-go/reauth/oauth"
)

func TestJWTBearerRequest(t *testing.T) {
	server := testworld.Answering(200, `{"access_token":"access-1","expires_in":300}`)
	r := &oauth.Refresher{TokenURL: testworld.TokenURL, Grant: oauth.JWTBearer{Assertion: counting("jwt-")}, Scopes: []string{"read"}, Client: server.Client()}
	assert.False(t, r.NeedsToken())
	require.NoError(t, r.Validate(), "the server need not know the client")
	for n := 1; n <= 2; n++ { // another assertion each time
		refreshes(t, r, reauth.Token{})
		assert.Equal(t, url.Values{
			"grant_type": {"urn:ietf:params:oauth:grant-type:jwt-bearer"}, "assertion": {fmt.Sprint("jwt-", n)}, "scope": {"read"},
		}, server.Last().Form(t))
	}
	// The client can authenticate with an assertion too, which is another one.
	r.ClientID, r.Assertion = "client", counting("client-")
	refreshes(t, r, reauth.Token{})
	assert.Equal(t, "jwt-3 client-1", server.Last().Form(t).Get("assertion")+" "+server.Last().Form(t).Get("client_assertion"))
}

func TestTokenExchangeRequest(t *testing.T) {
	const exchange = "urn:ietf:params:oauth:grant-type:token-exchange"
	for name, tc := range map[string]struct {
		grant oauth.TokenExchange
		want  url.Values
	}{
		"least": {oauth.TokenExchange{Subject: returning("s")}, url.Values{
			"subject_token": {"s"}, "subject_token_type": {oauth.TokenTypeAccessToken},
		}},
		"most": {
			oauth.TokenExchange{
				Subject: returning("s"), SubjectType: oauth.TokenTypeIDToken, Actor: returning("a"), ActorType: oauth.TokenTypeJWT, RequestedType: oauth.TokenTypeRefreshToken,
				Audience: []string{"orders", "stock"}, Resource: []string{"https://orders.example.com/", "urn:stock"},
			},
			url.Values{
				"subject_token": {"s"}, "subject_token_type": {"urn:ietf:params:oauth:token-type:id_token"},
				"actor_token": {"a"}, "actor_token_type": {"urn:ietf:params:oauth:token-type:jwt"},
				"requested_token_type": {"urn:ietf:params:oauth:token-type:refresh_token"},
				"audience":             {"orders", "stock"}, "resource": {"https://orders.example.com/", "urn:stock"},
			},
		},
		"actor of the usual type": {oauth.TokenExchange{Subject: returning("s"), Actor: returning("a")}, url.Values{
			"subject_token": {"s"}, "subject_token_type": {oauth.TokenTypeAccessToken}, "actor_token": {"a"}, "actor_token_type": {oauth.TokenTypeAccessToken},
		}},
	} {
		t.Run(name, func(t *testing.T) {
			server := testworld.Answering(200, `{"access_token":"a"}`)
			r := &oauth.Refresher{TokenURL: testworld.TokenURL, Grant: tc.grant, Client: server.Client()}
			refreshes(t, r, grantToken())
			tc.want.Set("grant_type", exchange)
			assert.Equal(t, tc.want, server.Last().Form(t))
		})
	}
}

func TestSubjectIsAskedForEachExchange(t *testing.T) {
	server := testworld.Answering(200, `{"access_token":"a"}`)
	r := &oauth.Refresher{TokenURL: testworld.TokenURL, Grant: oauth.TokenExchange{Subject: counting("subject-"), Actor: counting("actor-")}, Client: server.Client()}
	for n := 1; n <= 3; n++ {
		refreshes(t, r, reauth.Token{})
		assert.Equal(t, fmt.Sprint("subject-", n, " actor-", n), server.Last().Form(t).Get("subject_token")+" "+server.Last().Form(t).Get("actor_token"))
	}
}

// An ID token is what Kubernetes takes, and it stands in access_token.
func TestAnswersOfATokenExchange(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		now := time.Now()
		idToken, err := jwt.NewWithClaims(jwt.SigningMethodHS256, jwt.MapClaims{"iat": now.Unix(), "exp": now.Add(time.Hour).Unix()}).SignedString([]byte("a key of this test"))
		require.NoError(t, err)
		for name, tc := range map[string]struct {
			body, access, refresh string
			lifetime              time.Duration
			issued                string
		}{
			"access token": {
				`{"access_token":"a","issued_token_type":"urn:ietf:params:oauth:token-type:access_token","token_type":"Bearer","expires_in":299,"scope":"openid"}`,
				"a", "", 299 * time.Second, oauth.TokenTypeAccessToken,
			},
			"ID token": {
				`{"access_token":"` + idToken + `","issued_token_type":"urn:ietf:params:oauth:token-type:id_token","token_type":"N_A"}`,
				idToken, "", time.Hour, oauth.TokenTypeIDToken,
			},
			"refresh token": {
				`{"access_token":"a","issued_token_type":"urn:ietf:params:oauth:token-type:refresh_token","token_type":"Bearer","refresh_token":"r"}`,
				"a", "r", 0, oauth.TokenTypeRefreshToken,
			},
			"of no type, as older versions of Keycloak answer": {`{"access_token":"a","token_type":"Bearer"}`, "a", "", 0, ""},
			"of another type than asked for":                   {`{"access_token":"a","token_type":"Bearer","issued_token_type":"urn:ietf:params:oauth:token-type:jwt"}`, "a", "", 0, oauth.TokenTypeJWT},
		} {
			server := testworld.Answering(200, tc.body)
			grant := oauth.TokenExchange{Subject: returning("s"), RequestedType: oauth.TokenTypeIDToken}
			var authorization string
			tr, err := reauth.New(reauth.Config{
				Refresher: &oauth.Refresher{TokenURL: testworld.TokenURL, Grant: grant, Client: server.Client()},
				Origins:   []string{"https://api.example.com"},
				Base: roundTripper(func(req *http.Request) (*http.Response, error) {
					authorization = req.Header.Get("Authorization")
					return testworld.Respond(req, 200, ""), nil
				}),
			})
			require.NoError(t, err)
			_, err = (&http.Client{Transport: tr}).Get("https://api.example.com/me")
			require.NoError(t, err)
			assert.Equal(t, "Bearer "+tc.access, authorization, name)
			tok, err := tr.Token(t.Context())
			require.NoError(t, err)
			assert.Equal(t, tc.refresh, tok.RefreshToken, name)
			assert.Equal(t, tc.issued, tok.Extra["issued_token_type"], name)
			if tc.lifetime == 0 {
				assert.Zero(t, tok.Expiry, name)
			} else {
				assert.Equal(t, tc.lifetime, tok.Expiry.Sub(now), name)
			}
		}
	})
}

// Answers of fosite, zitadel and oidc-provider. None is about the session.
func TestRefusedGrantSignsNobodyOut(t *testing.T) {
	bearer, exchange := oauth.JWTBearer{Assertion: returning("j")}, oauth.TokenExchange{Subject: returning("s")}
	for _, tc := range []struct {
		reason        string
		grant         oauth.Grant
		status        int
		body, code    string
		misconfigured bool
	}{
		{"another audience, expired, no kid, too long a life", bearer, 400, `{"error":"invalid_grant"}`, "invalid_grant", true},
		{"used twice", bearer, 400, `{"error":"jti_known"}`, "jti_known", false},
		{"dead subject, unknown type", exchange, 400, `{"error":"invalid_request"}`, "invalid_request", false},
		{"audience or resource not known", exchange, 400, `{"error":"invalid_target"}`, "invalid_target", true},
		{"wrong secret", exchange, 401, `{"error":"invalid_client"}`, "invalid_client", true},
		{"grant not allowed", exchange, 400, `{"error":"unauthorized_client"}`, "unauthorized_client", true},
		{"no such grant", bearer, 400, `{"error":"unsupported_grant_type"}`, "unsupported_grant_type", true},
	} {
		r := &oauth.Refresher{TokenURL: testworld.TokenURL, ClientID: "c", Grant: tc.grant, Client: testworld.Answering(tc.status, tc.body).Client()}
		failure := testworld.AssertRefused(t, r, oldToken, tc.status, tc.code, false)
		assert.Equal(t, tc.misconfigured, strings.Contains(failure.Error(), "misconfigured"), "%s: %s", tc.reason, failure)
	}
	// Programs can say otherwise, if for them a dead subject means that.
	r := &oauth.Refresher{
		TokenURL: testworld.TokenURL, Grant: exchange, Client: testworld.Answering(400, `{"error":"invalid_request"}`).Client(),
		Final: func(status int, body []byte) bool { return strings.Contains(string(body), "invalid_request") },
	}
	testworld.AssertRefused(t, r, oldToken, 400, "invalid_request", true)
}

// The name of an audience is in the request, but is no secret in a code of RFC 8707.
func TestInvalidTargetIsShownWhateverTheAudience(t *testing.T) {
	r := &oauth.Refresher{
		TokenURL: testworld.TokenURL, Grant: oauth.TokenExchange{Subject: returning("s"), Audience: []string{"target"}},
		Client: testworld.Answering(400, `{"error":"invalid_target"}`).Client(),
	}
	testworld.AssertRefused(t, r, oldToken, 400, "invalid_target", false)
}

func TestErrorOfASubjectOrAnAssertion(t *testing.T) {
	server := testworld.Answering(200, `{"access_token":"a"}`)
	gone := fmt.Errorf("signed out at the identity provider: %w", reauth.ErrSignInRequired)
	for field, with := range map[string]func(error) oauth.Grant{
		"JWTBearer.Assertion": func(err error) oauth.Grant { return oauth.JWTBearer{Assertion: failing(err)} },
		"TokenExchange.Subject": func(err error) oauth.Grant {
			return oauth.TokenExchange{Subject: failing(err), Actor: returning("a")}
		},
		"TokenExchange.Actor": func(err error) oauth.Grant {
			return oauth.TokenExchange{Subject: returning("s"), Actor: failing(err)}
		},
	} {
		for _, cause := range []error{errors.New("no network"), gone, nil} {
			r := &oauth.Refresher{TokenURL: testworld.TokenURL, Grant: with(cause), Client: server.Client()}
			_, err := r.Refresh(t.Context(), oldToken)
			require.ErrorContains(t, err, "oauth: Refresher.Grant: "+field)
			assert.Equal(t, cause == gone, errors.Is(err, reauth.ErrSignInRequired), "%v", err)
			if cause == nil {
				assert.ErrorContains(t, err, "returned an empty text")
			} else {
				assert.ErrorIs(t, err, cause)
			}
		}
	}
	assert.Empty(t, server.Requests())
}

func TestEveryBadFieldOfAGrantIsNamed(t *testing.T) {
	ok := returning("x")
	for _, tc := range []struct {
		grant oauth.Grant
		want  []string
	}{
		{oauth.JWTBearer{Assertion: ok}, nil},
		{oauth.TokenExchange{Subject: ok, Actor: ok, ActorType: oauth.TokenTypeJWT, Audience: []string{"a"}, Resource: []string{"https://a/?b", "urn:x"}}, nil},
		{oauth.JWTBearer{}, []string{`oauth: JWTBearer.Assertion nil: must be set`}},
		{&oauth.JWTBearer{}, []string{`oauth: JWTBearer.Assertion nil: must be set`}},
		{(*oauth.JWTBearer)(nil), []string{`oauth: Refresher.Grant *oauth.JWTBearer: is a nil pointer`}},
		{oauth.TokenExchange{}, []string{`oauth: TokenExchange.Subject nil: must be set`}},
		{
			oauth.TokenExchange{ActorType: "x", Audience: []string{"a", ""}, Resource: []string{"/orders", "https://a/#", "https://a/#b", "", "https://%zz"}},
			[]string{
				`TokenExchange.Subject nil: must be set`, `TokenExchange.ActorType "x": is set, but Actor is not`, `TokenExchange.Audience "": is empty`,
				`TokenExchange.Resource "/orders": must be absolute`, `TokenExchange.Resource "https://a/#": must have no fragment`,
				`TokenExchange.Resource "https://a/#...": must have no fragment`, `TokenExchange.Resource "": must be absolute`, `TokenExchange.Resource "https://%zz": is not a URL`,
			},
		},
	} {
		r := &oauth.Refresher{TokenURL: testworld.TokenURL, Grant: tc.grant}
		testworld.AssertFaults(t, tc.want, r.Validate())
	}
	both := &oauth.Refresher{TokenURL: "x", Grant: oauth.JWTBearer{}}
	testworld.AssertFaults(t, []string{"Refresher.TokenURL", "JWTBearer.Assertion"}, both.Validate())
}

// One grant stands behind another: what the first server says reaches the caller.
func TestGrantBehindAGrantPassesItsFailureOn(t *testing.T) {
	for _, tc := range []struct {
		status int
		body   string
		final  bool
	}{
		{503, `{}`, false},
		{400, `{"error":"invalid_grant"}`, true}, // of the session there
	} {
		first := &oauth.Refresher{TokenURL: testworld.TokenURL, Client: testworld.Answering(tc.status, tc.body, "Retry-After", "7").Client()}
		server := testworld.Answering(200, `{"access_token":"a"}`)
		r := &oauth.Refresher{TokenURL: testworld.TokenURL, Client: server.Client(), Grant: oauth.TokenExchange{Subject: func(ctx context.Context) (string, error) {
			tok, err := first.Refresh(ctx, oldToken)
			return tok.AccessToken, err
		}}}
		_, err := r.Refresh(t.Context(), reauth.Token{})
		failure, ok := errors.AsType[*reauth.RefreshError](err)
		require.True(t, ok)
		assert.Equal(t, tc.status, failure.StatusCode)
		assert.Equal(t, 7*time.Second, failure.RetryAfter)
		assert.Equal(t, tc.final, errors.Is(err, reauth.ErrSignInRequired))
		assert.Empty(t, server.Requests())
	}
}

package oauth_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/reauth-go/reauth"
	"github.com/reauth-go/reauth/internal/testworld"
	"github.com/reauth-go/reauth/oauth"
)

// A reply is one answer of a token server.
type reply struct {
	status int
	body   string
	nonce  string
}

const bound = `{"access_token":"access-2","refresh_token":"refresh-2","token_type":"DPoP","expires_in":60}`

// replying returns a token server that gives these answers, the last again and again.
func replying(replies ...reply) *testworld.TokenServer {
	n := 0
	return testworld.AnsweringWith(func(req *http.Request) (*http.Response, error) {
		r := replies[min(n, len(replies)-1)]
		n++
		resp := testworld.Respond(req, r.status, r.body)
		if r.nonce != "" {
			resp.Header["Dpop-Nonce"] = []string{r.nonce}
		}
		return resp, nil
	})
}

// proofsOf returns the proofs that a token server has received.
func proofsOf(t *testing.T, server *testworld.TokenServer) (all []proof) {
	t.Helper()
	seen := map[string]bool{}
	for _, req := range server.Requests() {
		p, err := readProof(req.Header)
		require.NoError(t, err)
		assert.Equal(t, req.Method, p.HTM)
		target, _, _ := strings.Cut(req.URL, "?")
		assert.Equal(t, target, p.HTU)
		assert.Empty(t, p.ATH)
		assert.False(t, seen[p.JTI])
		seen[p.JTI] = true
		all = append(all, p)
	}
	return all
}

func noncesOf(proofs []proof) (nonces []string) {
	for _, p := range proofs {
		nonces = append(nonces, p.Nonce)
	}
	return nonces
}

// What a token endpoint answers, as measured at oidc-provider.
func TestAnswersOfTokenEndpointsToProofs(t *testing.T) {
	grant := reply{400, `{"error":"invalid_grant","error_description":"grant request is invalid"}`, ""}
	grantWithNonce := reply{400, grant.body, "n2"}
	demand := reply{400, `{"error":"use_dpop_nonce","error_description":"nonce is required in the DPoP proof"}`, "n1"}
	demand2 := reply{400, demand.body, "n2"}
	invalid := reply{400, `{"error":"invalid_dpop_proof","error_description":"DPoP nonces are not supported"}`, ""}
	good := reply{200, bound, ""}
	for name, tc := range map[string]struct {
		known   string // the nonce from before
		replies []reply
		nonces  []string // of the proofs
		code    string   // "": a token
		final   bool
		next    string // the nonce of the next proof
	}{
		"good proof":                            {"", []reply{good}, []string{""}, "", false, ""},
		"a nonce beside a token":                {"", []reply{{200, bound, "n1"}}, []string{""}, "", false, "n1"},
		"a newer nonce beside a token":          {"n0", []reply{{200, bound, "n1"}}, []string{"n0"}, "", false, "n1"},
		"no nonce where one is required":        {"", []reply{demand, good}, []string{"", "n1"}, "", false, "n1"},
		"an outdated nonce":                     {"n0", []reply{demand, good}, []string{"n0", "n1"}, "", false, "n1"},
		"a demand, with 401":                    {"", []reply{{401, demand.body, "n1"}, good}, []string{"", "n1"}, "", false, "n1"},
		"a demand again":                        {"", []reply{demand, {400, demand.body, "n2"}}, []string{"", "n1"}, "use_dpop_nonce", false, "n2"},
		"a demand with the nonce that was sent": {"n1", []reply{demand}, []string{"n1"}, "use_dpop_nonce", false, "n1"},
		"a demand without a nonce":              {"", []reply{{400, demand.body, ""}}, []string{""}, "use_dpop_nonce", false, ""},
		"a demand of a server that fails":       {"", []reply{{503, demand.body, "n1"}}, []string{""}, "use_dpop_nonce", false, "n1"},
		"a server without nonces any more":      {"n0", []reply{invalid, good}, []string{"n0", ""}, "", false, ""},
		"an invalid proof, and then not":        {"", []reply{invalid, good}, []string{"", ""}, "", false, ""},
		"invalid proofs":                        {"", []reply{invalid}, []string{"", ""}, "invalid_dpop_proof", false, ""},
		"a jti that was used, public client":    {"", []reply{grant, good}, []string{"", ""}, "", false, ""},
		"another key, public client":            {"", []reply{grant}, []string{"", ""}, "invalid_grant", true, ""},
		"invalid_grant with a nonce":            {"n0", []reply{grantWithNonce}, []string{"n0", "n2"}, "invalid_grant", true, "n2"},
		"invalid_grant after a demand":          {"", []reply{demand, grant}, []string{"", "n1", "n1"}, "invalid_grant", true, "n1"},
		"a demand after an invalid_grant":       {"", []reply{grant, demand, good}, []string{"", "", "n1"}, "", false, "n1"},
		"one-time nonces, and invalid_grant":    {"", []reply{demand, grant, demand2, grant}, []string{"", "n1", "n1", "n2"}, "invalid_grant", true, "n2"},
		"one-time nonces, and an invalid proof": {"", []reply{demand, invalid, demand2, good}, []string{"", "n1", "", "n2"}, "", false, "n2"},
		"a nonce beside another error":          {"", []reply{{400, `{"error":"invalid_scope"}`, "n1"}}, []string{""}, "invalid_scope", false, "n1"},
		"a nonce beside a failure":              {"", []reply{{500, ``, "n1"}}, []string{""}, "", false, "n1"},
		"too many requests":                     {"", []reply{{429, grant.body, ""}}, []string{""}, "invalid_grant", false, ""},
		"two nonces":                            {"", []reply{{400, demand.body, "n1"}, good}, []string{"", "n1"}, "", false, "n1"},
	} {
		t.Run(name, func(t *testing.T) {
			d := &oauth.DPoP{Key: edKey}
			if tc.known != "" {
				server := replying(reply{200, bound, tc.known})
				refreshes(t, &oauth.Refresher{TokenURL: testworld.TokenURL, DPoP: d, Client: server.Client()}, dpopToken)
			}
			server := replying(tc.replies...)
			r := &oauth.Refresher{TokenURL: testworld.TokenURL, ClientID: "public", DPoP: d, Client: server.Client()}
			tok, err := r.Refresh(t.Context(), dpopToken)
			last := tc.replies[len(tc.replies)-1]
			if last.status == 200 {
				require.NoError(t, err)
				assert.Equal(t, "access-2", tok.AccessToken)
				assert.Equal(t, "DPoP", tok.TokenType)
			} else {
				failure, ok := errors.AsType[*reauth.RefreshError](err)
				require.True(t, ok, "%v", err)
				assert.Equal(t, tc.code, failure.Code)
				assert.Equal(t, tc.final, errors.Is(err, reauth.ErrSignInRequired))
			}
			assert.Equal(t, tc.nonces, noncesOf(proofsOf(t, server)))

			next := replying(good)
			r = &oauth.Refresher{TokenURL: testworld.TokenURL, DPoP: d, Client: next.Client()}
			refreshes(t, r, dpopToken)
			assert.Equal(t, []string{tc.next}, noncesOf(proofsOf(t, next)))
		})
	}
}

// A server that names another code for a refresh token of another key.
func TestFinalCodesCountOnceAFreshProofWasRefusedToo(t *testing.T) {
	for _, replies := range [][]reply{
		{{400, `{"error":"invalid_dpop_proof"}`, ""}},
		{{400, `{"error":"bad_key"}`, ""}},
		{{200, `{"error":"bad_key"}`, ""}},
	} {
		server := replying(replies...)
		r := &oauth.Refresher{
			TokenURL: testworld.TokenURL, DPoP: &oauth.DPoP{Key: edKey}, Client: server.Client(),
			FinalCodes: []string{"invalid_dpop_proof", "bad_key"},
		}
		_, err := r.Refresh(t.Context(), dpopToken)
		assert.ErrorIs(t, err, reauth.ErrSignInRequired)
		assert.Len(t, proofsOf(t, server), 2)
	}
}

// A demand for a nonce spends the client's assertion (measured at oidc-provider).
func TestEachProofIsSentWithAnAssertionOfItsOwn(t *testing.T) {
	server := replying(reply{400, `{"error":"use_dpop_nonce"}`, "n1"}, reply{400, `{"error":"invalid_grant"}`, ""}, reply{200, bound, ""})
	r := &oauth.Refresher{
		TokenURL: testworld.TokenURL, ClientID: "client", ClientKey: oauth.ClientKey{Signer: ecKey},
		DPoP: &oauth.DPoP{Key: edKey}, Client: server.Client(),
	}
	refreshes(t, r, dpopToken)
	seen := map[string]bool{}
	for _, req := range server.Requests() {
		form := req.Form(t)
		assert.Equal(t, "refresh-1", form.Get("refresh_token"))
		seen[form.Get("client_assertion")] = true
	}
	assert.Len(t, seen, 3)
}

// So it does that of a grant.
func TestEachProofIsSentWithAGrantOfItsOwn(t *testing.T) {
	server := replying(reply{400, `{"error":"use_dpop_nonce"}`, "n1"}, reply{200, bound, ""})
	made := 0
	r := &oauth.Refresher{
		TokenURL: testworld.TokenURL, DPoP: &oauth.DPoP{Key: edKey}, Client: server.Client(), Scopes: []string{"read"},
		Grant: oauth.JWTBearer{Assertion: func(context.Context) (string, error) {
			made++
			return fmt.Sprintf("h.%d.s", made), nil
		}},
	}
	refreshes(t, r, reauth.Token{})
	for i, req := range server.Requests() {
		assert.Equal(t, fmt.Sprintf("h.%d.s", i+1), req.Form(t).Get("assertion"))
		assert.Equal(t, "read", req.Form(t).Get("scope"))
	}
	assert.Len(t, proofsOf(t, server), 2)

	r.Client = replying(reply{400, `{"error":"use_dpop_nonce"}`, "n2"}).Client()
	r.Grant = oauth.JWTBearer{Assertion: func(context.Context) (string, error) {
		if made++; made == 4 {
			return "", errors.New("the second is not to be had")
		}
		return "h.p.s", nil
	}}
	_, err := r.Refresh(t.Context(), reauth.Token{})
	assert.ErrorContains(t, err, "the second is not to be had")
}

// A client that ignores the context may bring its answer when the session is refreshed by
// another call. The token must not be sent beside that.
func TestNoOtherProofIsSentOnceTheContextHasEnded(t *testing.T) {
	for _, code := range []string{"use_dpop_nonce", "invalid_dpop_proof", "invalid_grant"} {
		ctx, cancel := context.WithCancelCause(t.Context())
		enough := errors.New("enough")
		server := testworld.AnsweringWith(func(req *http.Request) (*http.Response, error) {
			cancel(enough)
			resp := testworld.Respond(req, 400, `{"error":"`+code+`"}`)
			resp.Header.Set("DPoP-Nonce", "n1")
			return resp, nil
		})
		r := &oauth.Refresher{TokenURL: testworld.TokenURL, DPoP: &oauth.DPoP{Key: edKey}, Client: server.Client()}
		_, err := r.Refresh(ctx, dpopToken)
		assert.ErrorIs(t, err, enough)
		assert.NotErrorIs(t, err, reauth.ErrSignInRequired, code)
		assert.Len(t, server.Requests(), 1, code)
	}
}

func TestATokenThatIsNotBoundIsAnError(t *testing.T) {
	for tokenType, want := range map[string]string{
		`,"token_type":"Bearer"`: "the access token is of the type Bearer, so the server has not bound it",
		`,"token_type":"bearer"`: "the access token is of the type Bearer",
		`,"token_type":"N_A"`:    "the access token is not of the type DPoP",
		`,"token_type":"dpop"`:   "",
		`,"token_type":"DPoP"`:   "",
		``:                       "", // as before
	} {
		server := replying(reply{200, `{"access_token":"access-2","refresh_token":"refresh-2"` + tokenType + `}`, ""})
		r := &oauth.Refresher{TokenURL: testworld.TokenURL, DPoP: &oauth.DPoP{Key: edKey}, Client: server.Client()}
		tok, err := r.Refresh(t.Context(), dpopToken)
		if want == "" {
			require.NoError(t, err, tokenType)
			continue
		}
		assert.ErrorContains(t, err, want)
		assert.NotErrorIs(t, err, reauth.ErrSignInRequired)
		assert.Equal(t, reauth.Token{RefreshToken: "refresh-2"}, tok, "which the server has given for the one that is spent")
		assert.Len(t, server.Requests(), 1)

		r.DPoP = &oauth.DPoP{Key: edKey, AllowBearer: true}
		_, err = r.Refresh(t.Context(), dpopToken)
		assert.Equal(t, strings.Contains(want, "type Bearer"), err == nil, tokenType)
	}
	server := replying(reply{200, `{"access_token":"access-2"}`, ""})
	r := &oauth.Refresher{TokenURL: testworld.TokenURL, DPoP: &oauth.DPoP{Key: edKey}, ClientID: "id", Grant: oauth.ClientCredentials{}, Client: server.Client()}
	_, err := r.Refresh(t.Context(), reauth.Token{})
	assert.ErrorContains(t, err, "the access token is of no type")
}

// The first refusal of a dead refresh token has spent a nonce that is good for one proof, and
// brings no other. So the proof that settles it needs a nonce of its own.
func TestADeadRefreshTokenIsFoundOutWithNoncesThatAreGoodOnce(t *testing.T) {
	good := ""
	server := testworld.AnsweringWith(func(req *http.Request) (*http.Response, error) {
		p, err := readProof(req.Header)
		require.NoError(t, err)
		if p.Nonce != "" && p.Nonce == good {
			good = ""
			return testworld.Respond(req, 400, `{"error":"invalid_grant"}`), nil
		}
		good = p.JTI + "-nonce"
		resp := testworld.Respond(req, 400, `{"error":"use_dpop_nonce"}`)
		resp.Header.Set("DPoP-Nonce", good)
		return resp, nil
	})
	r := &oauth.Refresher{TokenURL: testworld.TokenURL, DPoP: &oauth.DPoP{Key: edKey}, Client: server.Client()}
	_, err := r.Refresh(t.Context(), dpopToken)
	require.ErrorIs(t, err, reauth.ErrSignInRequired)
	assert.Len(t, server.Requests(), 4)
}

// A session from before is bound by its next refresh.
func TestABearerSessionIsBoundByItsNextRefresh(t *testing.T) {
	server := replying(reply{200, bound, ""})
	r := &oauth.Refresher{TokenURL: testworld.TokenURL, DPoP: &oauth.DPoP{Key: edKey}, Client: server.Client()}
	assert.Equal(t, "DPoP", refreshes(t, r, reauth.Token{AccessToken: "a", RefreshToken: "r", TokenType: "Bearer"}).TokenType)
}

func TestARedirectWithinTheOriginGetsAProofOfItsOwn(t *testing.T) {
	server := testworld.AnsweringWith(func(req *http.Request) (*http.Response, error) {
		if req.URL.Path == "/token" {
			resp := testworld.Respond(req, http.StatusTemporaryRedirect, "")
			resp.Header.Set("Location", "/v2/token?x=y")
			return resp, nil
		}
		return testworld.Respond(req, http.StatusOK, bound), nil
	})
	refreshes(t, &oauth.Refresher{TokenURL: testworld.TokenURL, DPoP: &oauth.DPoP{Key: edKey}, Client: server.Client()}, dpopToken)
	proofs := proofsOf(t, server)
	require.Len(t, proofs, 2)
	assert.Equal(t, "https://id.example.com/v2/token", proofs[1].HTU)
}

func TestRevocationHasNoProof(t *testing.T) {
	server := testworld.Answering(200, "")
	r := &oauth.Refresher{TokenURL: testworld.TokenURL, RevocationURL: "https://id.example.com/revoke", DPoP: &oauth.DPoP{Key: edKey}, Client: server.Client()}
	require.NoError(t, r.Revoke(t.Context(), dpopToken))
	assert.Empty(t, server.Last().Header.Get("DPoP"))
}

func TestErrorsWithDPoPShowNoSecret(t *testing.T) {
	tok := reauth.Token{AccessToken: "SECRET-access", RefreshToken: "SECRET-refresh", TokenType: "DPoP"}
	testworld.AssertNoLeak(t, func(c *http.Client) reauth.Refresher {
		return &oauth.Refresher{TokenURL: "https://id.example.com/token", ClientID: "id", DPoP: &oauth.DPoP{Key: edKey}, Client: c}
	}, tok, nil)
}

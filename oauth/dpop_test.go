package oauth_test

import (
	"bytes"
	"fmt"
	"io"
	"log/slog"
	"math/big"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/reauth-go/reauth"
	"github.com/reauth-go/reauth/internal/testworld"
	"github.com/reauth-go/reauth/oauth"
)

const apiURL = "https://api.example.com/orders"

func TestEachAttemptHasAProofOfItsOwn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		refused := false
		api := &proofServer{nonces: "nonce-1", gives: func() string { return "nonce-1" }, decide: func(req *http.Request, _ proof) *http.Response {
			if refused {
				return nil
			}
			refused = true
			resp := testworld.Respond(req, http.StatusUnauthorized, "")
			resp.Header.Set("WWW-Authenticate", `DPoP algs="ES256", error="invalid_token"`)
			return resp
		}}
		d := &oauth.DPoP{Key: ecKey}
		tr := signedInWith(t, api, d, &oauth.Refresher{
			TokenURL: testworld.TokenURL, DPoP: d,
			Client: testworld.Answering(200, `{"access_token":"access-2","token_type":"DPoP","expires_in":60}`).Client(),
		})
		req := testworld.Request(t, http.MethodPost, apiURL+"?a=b", strings.NewReader("a body"))
		assert.Equal(t, http.StatusOK, statusOf(t, tr, req))
		assert.Empty(t, req.Header)
		proofs := api.proofs()
		require.Len(t, proofs, 3, "no nonce, an expired token, good")
		assert.Len(t, api.jtis, 3)
		for i, p := range proofs {
			assert.Equal(t, "POST", p.HTM)
			assert.Equal(t, apiURL, p.HTU)
			assert.Equal(t, sha([]string{"access-1", "access-1", "access-2"}[i]), p.ATH)
			assert.Equal(t, []string{"", "nonce-1", "nonce-1"}[i], p.Nonce)
		}
	})
}

// What a protected resource answers, as measured at oidc-provider's userinfo endpoint and
// written for RFC 9449, 9470 and Okta.
func TestAnswersOfAPIsToProofs(t *testing.T) {
	for name, tc := range map[string]struct {
		status     int
		challenges []string
		nonce      string
		sends      int // with the first nonce known
		refreshes  int
	}{
		"expired token":                     {401, []string{`DPoP error="invalid_token", algs="ES256 EdDSA"`}, "", 2, 1},
		"expired token, with a nonce":       {401, []string{`DPoP error="invalid_token", error_description="invalid ` + "`token`" + `"`}, "next", 2, 1},
		"no challenge, with a nonce":        {401, nil, "next", 2, 1},
		"bound token as Bearer":             {401, []string{`DPoP error="invalid_token"`}, "", 2, 1},
		"scheme DPoP, no proof":             {400, []string{`DPoP error="invalid_request", algs="ES256"`}, "", 1, 0},
		"an old nonce":                      {401, []string{`DPoP error="use_dpop_nonce", error_description="nonce required"`}, "next", 2, 0},
		"an old nonce, beside Bearer":       {401, []string{`Bearer realm="x"`, `dpop error=use_dpop_nonce`}, "next", 2, 0},
		"an old nonce, with 400":            {400, []string{`DPoP error="use_dpop_nonce"`}, "next", 2, 0},
		"the nonce that was sent":           {401, []string{`DPoP error="use_dpop_nonce"`}, "first", 1, 0},
		"a demand without a nonce":          {401, []string{`DPoP error="use_dpop_nonce"`}, "", 1, 0},
		"a demand with an impossible nonce": {401, []string{`DPoP error="use_dpop_nonce"`}, `a"b`, 1, 0},
		"a demand with an endless nonce":    {401, []string{`DPoP error="use_dpop_nonce"`}, strings.Repeat("n", 5000), 1, 0},
		"a demand in a success":             {200, []string{`DPoP error="use_dpop_nonce"`}, "next", 1, 0},
		"a demand from a server that fails": {503, []string{`DPoP error="use_dpop_nonce"`}, "next", 1, 0},
		"invalid proof, of a nonce":         {401, []string{`DPoP error="invalid_dpop_proof"`}, "", 2, 0},
		"invalid proof, of a nonce, Okta":   {400, []string{`DPoP algs="RS256 ES256", error="invalid_dpop_proof", error_description="The DPoP proof JWT has already been used."`}, "", 2, 0},
		"invalid proof, with another nonce": {401, []string{`DPoP error="invalid_dpop_proof"`}, "next", 2, 0},
		"step-up":                           {401, []string{`DPoP error="insufficient_user_authentication", acr_values="mfa", max_age="60"`}, "", 1, 0},
		"scope too small":                   {403, []string{`DPoP error="insufficient_scope", scope="write"`}, "", 1, 0},
		"forbidden, with a nonce":           {403, nil, "next", 1, 0},
		"no token":                          {401, []string{`Bearer realm="x"`, `DPoP realm="x", algs="ES256"`}, "", 2, 1},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				answered := 0
				api := testworld.RoundTripper(func(req *http.Request) (*http.Response, error) {
					if answered++; answered == 1 { // gives the first nonce
						resp := testworld.Respond(req, http.StatusOK, "")
						resp.Header.Set("DPoP-Nonce", "first")
						return resp, nil
					}
					resp := testworld.Respond(req, tc.status, "")
					resp.Header["Www-Authenticate"] = tc.challenges
					if tc.nonce != "" {
						resp.Header.Set("DPoP-Nonce", tc.nonce)
					}
					return resp, nil
				})
				d := &oauth.DPoP{Key: edKey}
				server := testworld.Answering(200, `{"access_token":"access-2","token_type":"DPoP"}`)
				tr := signedInWith(t, api, d, &oauth.Refresher{TokenURL: testworld.TokenURL, DPoP: d, Client: server.Client()})
				require.Equal(t, http.StatusOK, statusOf(t, tr, get(t, apiURL)))
				assert.Equal(t, tc.status, statusOf(t, tr, get(t, apiURL)))
				assert.Equal(t, tc.sends, answered-1, "attempts")
				assert.Len(t, server.Requests(), tc.refreshes, "refreshes")
				require.NoError(t, tr.Wait(t.Context()))
			})
		})
	}
}

// Fifty requests at once with cold nonces, and again, and after the token has expired.
func TestAStormWithColdNoncesIsAnsweredWhole(t *testing.T) {
	for _, nonces := range []string{"", "a nonce", "one-time"} {
		t.Run("nonces="+nonces, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var mu sync.Mutex
				good := "access-1"
				api := &proofServer{nonces: nonces, latency: 5 * time.Millisecond, decide: func(req *http.Request, _ proof) *http.Response {
					mu.Lock()
					defer mu.Unlock()
					if req.Header.Get("Authorization") == "DPoP "+good {
						return nil
					}
					resp := testworld.Respond(req, http.StatusUnauthorized, "")
					resp.Header.Set("WWW-Authenticate", `DPoP error="invalid_token"`)
					return resp
				}}
				var refreshes atomic.Int64
				tokens := &proofServer{nonces: nonces, latency: 20 * time.Millisecond}
				server := testworld.RoundTripper(func(req *http.Request) (*http.Response, error) {
					resp, err := tokens.RoundTrip(req)
					if err != nil || resp.StatusCode != http.StatusOK {
						_, fault, _ := strings.Cut(resp.Header.Get("WWW-Authenticate"), "error=")
						answer := testworld.Respond(req, http.StatusBadRequest, `{"error":`+fault+`}`)
						answer.Header = resp.Header
						return answer, err
					}
					n := refreshes.Add(1)
					mu.Lock()
					good = fmt.Sprintf("access-%d", n+1)
					mu.Unlock()
					answer := testworld.Respond(req, http.StatusOK, fmt.Sprintf(`{"access_token":"access-%d","refresh_token":"refresh-%d","token_type":"DPoP","expires_in":3600}`, n+1, n+1))
					answer.Header = resp.Header
					return answer, nil
				})
				d := &oauth.DPoP{Key: edKey}
				tr := signedInWith(t, api, d, &oauth.Refresher{TokenURL: testworld.TokenURL, DPoP: d, Client: &http.Client{Transport: server}})
				storm := func() {
					var wg sync.WaitGroup
					for range 50 {
						wg.Go(func() { assert.Equal(t, http.StatusOK, statusOf(t, tr, get(t, apiURL))) })
					}
					wg.Wait()
				}
				storm()
				storm()
				if nonces != "one-time" {
					assert.LessOrEqual(t, len(api.proofs()), 150, "the nonce that worked stays")
				}
				assert.Zero(t, refreshes.Load())
				time.Sleep(time.Minute)
				mu.Lock()
				good = "none"
				mu.Unlock()
				storm()
				assert.Equal(t, int64(1), refreshes.Load())
				sends := len(api.proofs())
				assert.LessOrEqual(t, sends, 350)
				t.Logf("%d attempts for 150 requests", sends)
			})
		})
	}
}

func TestAPOSTIsSentAgainWithTheNonceThatWasDemanded(t *testing.T) {
	for name, body := range map[string]func() io.Reader{
		"in memory": func() io.Reader { return strings.NewReader("a body") },
		"a pipe":    func() io.Reader { return io.MultiReader(strings.NewReader("a body")) },
	} {
		t.Run(name, func(t *testing.T) {
			var bodies []string
			proofs := &proofServer{nonces: "a"}
			api := testworld.RoundTripper(func(req *http.Request) (*http.Response, error) {
				text, err := io.ReadAll(req.Body)
				if err != nil {
					return nil, err
				}
				bodies = append(bodies, string(text))
				return proofs.RoundTrip(req)
			})
			tr := signedInWith(t, api, &oauth.DPoP{Key: ecKey}, nil)
			assert.Equal(t, http.StatusOK, statusOf(t, tr, testworld.Request(t, http.MethodPost, apiURL, body())))
			assert.Equal(t, []string{"a body", "a body"}, bodies)
			assert.Len(t, proofs.jtis, 2)
		})
	}
	t.Run("too long to be kept", func(t *testing.T) {
		proofs := &proofServer{nonces: "a"}
		tr := signedInWith(t, proofs, &oauth.DPoP{Key: ecKey}, nil)
		long := io.MultiReader(strings.NewReader(strings.Repeat("x", 1<<20)))
		assert.Equal(t, http.StatusUnauthorized, statusOf(t, tr, testworld.Request(t, http.MethodPost, apiURL, long)))
		assert.Len(t, proofs.proofs(), 1)
	})
}

// A nonce that a request can't use, because its body can't be sent again, is for the next
// one. Otherwise a program that does nothing but upload would never have one.
func TestAnUploadLeavesTheNonceThatItWasRefusedFor(t *testing.T) {
	for _, code := range []string{"use_dpop_nonce", "invalid_dpop_proof"} {
		proofs := &proofServer{nonces: "a"}
		api := testworld.RoundTripper(func(req *http.Request) (*http.Response, error) {
			resp, err := proofs.RoundTrip(req)
			if err == nil && resp.StatusCode == http.StatusUnauthorized {
				resp.Header.Set("WWW-Authenticate", "DPoP error="+code)
				resp.Header.Set("DPoP-Nonce", "a")
			}
			return resp, err
		})
		tr := signedInWith(t, api, &oauth.DPoP{Key: ecKey}, nil)
		upload := func() int {
			long := io.MultiReader(strings.NewReader(strings.Repeat("x", 1<<20)))
			return statusOf(t, tr, testworld.Request(t, http.MethodPost, apiURL, long))
		}
		assert.Equal(t, http.StatusUnauthorized, upload(), code)
		assert.Equal(t, http.StatusOK, upload(), code)
		assert.Len(t, proofs.proofs(), 2, code)
	}
}

func TestATokenOfAnotherTypeIsNotSent(t *testing.T) {
	strict, lenient := &oauth.DPoP{Key: edKey}, &oauth.DPoP{Key: edKey, AllowBearer: true}
	for tokenType, want := range map[string][2]string{
		"DPoP": {"DPoP a", "DPoP a"}, "dpop": {"DPoP a", "DPoP a"}, "": {"DPoP a", "DPoP a"},
		"Bearer": {"", "Bearer a"}, "bearer": {"", "Bearer a"}, "N_A": {"", ""}, "MAC": {"", ""},
	} {
		tok := reauth.Token{AccessToken: "a", TokenType: tokenType}
		for i, d := range []*oauth.DPoP{strict, lenient} {
			req := get(t, apiURL)
			err := d.Apply(req, tok)
			assert.Equal(t, want[i], req.Header.Get("Authorization"), tokenType)
			assert.Equal(t, strings.HasPrefix(want[i], "DPoP"), req.Header.Get("DPoP") != "", tokenType)
			if want[i] == "" {
				assert.ErrorContains(t, err, "so the server has not bound it to the key", tokenType)
				tr := signedInWith(t, new(proofServer), d, nil)
				assert.ErrorContains(t, tr.SignIn(t.Context(), tok), "has not bound it")
			} else {
				assert.NoError(t, err)
			}
		}
	}
	assert.ErrorContains(t, strict.Apply(get(t, apiURL), reauth.Token{AccessToken: "a\nb"}), "no header can carry")
}

// Requests that carry a proof of their caller's go out as they are.
func TestACallersOwnProofIsLeftAlone(t *testing.T) {
	var got http.Header
	api := testworld.RoundTripper(func(req *http.Request) (*http.Response, error) {
		got = req.Header.Clone()
		return testworld.Respond(req, http.StatusUnauthorized, ""), nil
	})
	tr := signedInWith(t, api, &oauth.DPoP{Key: edKey}, nil)
	req := get(t, apiURL)
	req.Header.Set("DPoP", "its own")
	assert.Equal(t, http.StatusUnauthorized, statusOf(t, tr, req))
	assert.Equal(t, http.Header{"Dpop": {"its own"}}, got)
}

func TestDPoPIsPrintedWithoutItsKey(t *testing.T) {
	d := &oauth.DPoP{Key: ecKey}
	r := &oauth.Refresher{TokenURL: testworld.TokenURL, DPoP: d}
	var log bytes.Buffer
	slog.New(slog.NewTextHandler(&log, nil)).Info("", "dpop", d, "refresher", r)
	slog.New(slog.NewJSONHandler(&log, nil)).Info("", "inside", struct{ D *oauth.DPoP }{d})
	texts := []string{log.String()}
	for _, v := range []any{d, r, struct{ D *oauth.DPoP }{d}, []*oauth.DPoP{d}} {
		for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%d", "%x", "%q"} {
			texts = append(texts, fmt.Sprintf(verb, v))
		}
	}
	secret, err := ecKey.Bytes()
	require.NoError(t, err)
	for _, text := range texts {
		assert.NotContains(t, text, new(big.Int).SetBytes(secret).String())
		assert.NotContains(t, strings.ToLower(text), fmt.Sprintf("%x", secret))
	}
	assert.Equal(t, "[oauth.DPoP, a key for the program]", d.String())
	assert.Equal(t, "[oauth.DPoP, a key for each session]", new(oauth.DPoP).String())
	assert.Equal(t, "[no DPoP]", (*oauth.DPoP)(nil).String())
}

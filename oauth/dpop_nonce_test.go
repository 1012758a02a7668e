package oauth_test

import (
	"fmt"
	"net/http"
	"net/http/httptest"
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

// A clock that is off is set right by the server that refuses the proof (keycloak/keycloak#48025).
func TestTheClockOfAServerThatRefusesAProofIsBelieved(t *testing.T) {
	for _, ahead := range []time.Duration{-time.Hour, time.Hour} {
		synctest.Test(t, func(t *testing.T) {
			api := &proofServer{ahead: ahead}
			d := &oauth.DPoP{Key: edKey}
			tr := signedInWith(t, api, d, nil)
			assert.Equal(t, http.StatusOK, statusOf(t, tr, get(t, apiURL)))
			assert.Equal(t, http.StatusOK, statusOf(t, tr, get(t, apiURL)))
			proofs := api.proofs()
			require.Len(t, proofs, 3, "one is refused")
			assert.InDelta(t, time.Now().Add(ahead).Unix(), proofs[2].IAT, 1)

			other := &proofServer{}
			tr = signedInWith(t, other, d, nil)
			assert.Equal(t, http.StatusOK, statusOf(t, tr, get(t, "https://other.example.com/")))
			assert.Len(t, other.proofs(), 1, "another server has another clock")

			api.ahead = 0
			tr = signedInWith(t, api, d, nil)
			assert.Equal(t, http.StatusOK, statusOf(t, tr, get(t, apiURL)))
			assert.Equal(t, http.StatusOK, statusOf(t, tr, get(t, apiURL)))
			assert.Len(t, api.proofs(), 6, "a clock that has been set")
		})
	}
	synctest.Test(t, func(t *testing.T) {
		server := testworld.AnsweringWith(func(req *http.Request) (*http.Response, error) {
			p, err := readProof(req.Header)
			require.NoError(t, err)
			resp := testworld.Respond(req, 200, bound)
			if p.IAT < time.Now().Add(time.Minute).Unix() {
				resp = testworld.Respond(req, 400, `{"error":"invalid_dpop_proof","error_description":"DPoP proof is not active"}`)
			}
			resp.Header.Set("Date", time.Now().Add(time.Hour).UTC().Format(http.TimeFormat))
			return resp, nil
		})
		refreshes(t, &oauth.Refresher{TokenURL: testworld.TokenURL, DPoP: &oauth.DPoP{Key: edKey}, Client: server.Client()}, dpopToken)
		assert.Len(t, server.Requests(), 2)
	})
	// A proof that is refused for another reason is not sent again and again.
	api := &proofServer{jkt: "another key's"}
	tr := signedInWith(t, api, &oauth.DPoP{Key: edKey}, nil)
	assert.Equal(t, http.StatusUnauthorized, statusOf(t, tr, get(t, apiURL)))
	assert.Len(t, api.proofs(), 2)
}

// Keycloak answers invalid_request to every proof that it refuses (keycloak/keycloak#52747).
func TestTheClockOfAServerThatCallsAProofAnInvalidRequestIsBelieved(t *testing.T) {
	for ahead, sends := range map[time.Duration]int{time.Hour: 2, 0: 1} {
		synctest.Test(t, func(t *testing.T) {
			server := testworld.AnsweringWith(func(req *http.Request) (*http.Response, error) {
				p, err := readProof(req.Header)
				require.NoError(t, err)
				resp := testworld.Respond(req, 400, `{"error":"invalid_request","error_description":"DPoP proof is not active"}`)
				if p.IAT > time.Now().Add(time.Minute).Unix() {
					resp = testworld.Respond(req, 200, bound)
				}
				resp.Header.Set("Date", time.Now().Add(ahead).UTC().Format(http.TimeFormat))
				return resp, nil
			})
			r := &oauth.Refresher{TokenURL: testworld.TokenURL, DPoP: &oauth.DPoP{Key: edKey}, Client: server.Client()}
			_, err := r.Refresh(t.Context(), dpopToken)
			assert.Equal(t, ahead != 0, err == nil, "%v", err)
			assert.NotErrorIs(t, err, reauth.ErrSignInRequired)
			assert.Len(t, server.Requests(), sends)
		})
	}
}

// The Date of a proxy whose clock is off is believed no longer than until the next refusal.
func TestTheClockOfAProxyIsGivenUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		refuse := 1 // for another reason, such as a jti that it has seen
		inner := &proofServer{}
		api := testworld.RoundTripper(func(req *http.Request) (*http.Response, error) {
			resp, err := inner.RoundTrip(req)
			if refuse--; refuse >= 0 {
				resp = testworld.Respond(req, http.StatusUnauthorized, "")
				resp.Header.Set("WWW-Authenticate", `DPoP error="invalid_dpop_proof"`)
			}
			resp.Header.Set("Date", time.Now().Add(time.Hour).UTC().Format(http.TimeFormat))
			return resp, err
		})
		tr := signedInWith(t, api, &oauth.DPoP{Key: edKey}, nil)
		assert.Equal(t, http.StatusUnauthorized, statusOf(t, tr, get(t, apiURL)), "an hour ahead")
		assert.Equal(t, http.StatusOK, statusOf(t, tr, get(t, apiURL)))
		sends := len(inner.proofs())
		assert.Equal(t, http.StatusOK, statusOf(t, tr, get(t, apiURL)))
		assert.Len(t, inner.proofs(), sends+1)
	})
}

// net/http sends a request again by itself if a connection that it has used before breaks.
// The server may have seen the proof by then (hashgraph-online/hol-guard#1151).
func TestAProofThatWasSentTwiceIsFollowedByAnother(t *testing.T) {
	var seen sync.Map
	var requests atomic.Int64
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		_, used := seen.LoadOrStore(req.Header.Get("DPoP"), true)
		switch {
		case requests.Add(1) == 2:
			panic(http.ErrAbortHandler)
		case used:
			w.Header().Set("WWW-Authenticate", `DPoP error="invalid_dpop_proof"`)
			w.WriteHeader(http.StatusUnauthorized)
		}
	}))
	t.Cleanup(server.Close)
	tr := signedInWith(t, server.Client().Transport, &oauth.DPoP{Key: ecKey}, nil)
	for range 2 {
		assert.Equal(t, http.StatusOK, statusOf(t, tr, get(t, server.URL)))
	}
	assert.EqualValues(t, 4, requests.Load(), "good, broken off, sent again by net/http, with another proof")
}

// All requests that were sent before the first refusal have the time from before.
func TestRequestsAtOnceAreSentAgainWithTheClockOfTheServer(t *testing.T) {
	for _, ahead := range []time.Duration{-time.Hour, time.Hour} {
		synctest.Test(t, func(t *testing.T) {
			api := &proofServer{ahead: ahead, latency: 5 * time.Millisecond}
			tr := signedInWith(t, api, &oauth.DPoP{Key: edKey}, nil)
			var wg sync.WaitGroup
			for range 20 {
				wg.Go(func() { assert.Equal(t, http.StatusOK, statusOf(t, tr, get(t, apiURL))) })
			}
			wg.Wait()
			assert.Len(t, api.proofs(), 40)
			assert.Equal(t, http.StatusOK, statusOf(t, tr, get(t, apiURL)))
			assert.Len(t, api.proofs(), 41)
		})
	}
}

func TestNoncesAreKeptApartByOrigin(t *testing.T) {
	d := &oauth.DPoP{Key: edKey}
	give := func(nonce string) *proofServer { return &proofServer{gives: func() string { return nonce }} }
	for i := range 300 { // more than are remembered
		tr := signedInWith(t, give(fmt.Sprint("n", i)), d, nil)
		assert.Equal(t, http.StatusOK, statusOf(t, tr, get(t, fmt.Sprintf("https://api-%d.example.com/", i))))
	}
	known := 0
	for i := range 300 {
		p := proofOf(t, d, get(t, fmt.Sprintf("https://api-%d.example.com/other", i)), dpopToken)
		if p.Nonce != "" {
			assert.Equal(t, fmt.Sprint("n", i), p.Nonce)
			known++
		}
	}
	assert.Equal(t, 256, known)
	p := proofOf(t, d, get(t, "http://api-299.example.com/"), dpopToken)
	assert.Empty(t, p.Nonce)
}

// A nonce belongs to the request that was refused until that is answered.
func TestANonceOfARefusalIsForThatRequestAlone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var second = make(chan struct{})
		attempts := 0
		api := testworld.RoundTripper(func(req *http.Request) (*http.Response, error) {
			attempts++
			switch attempts {
			case 1:
				resp := testworld.Respond(req, http.StatusUnauthorized, "")
				resp.Header.Set("WWW-Authenticate", `DPoP error="use_dpop_nonce"`)
				resp.Header.Set("DPoP-Nonce", "mine")
				return resp, nil
			case 2:
				<-second
			}
			return testworld.Respond(req, http.StatusOK, ""), nil
		})
		d := &oauth.DPoP{Key: edKey}
		tr := signedInWith(t, api, d, nil)
		done := make(chan int)
		go func() { done <- statusOf(t, tr, get(t, apiURL)) }()
		synctest.Wait()
		assert.Empty(t, proofOf(t, d, get(t, apiURL), dpopToken).Nonce, "while it is under way")
		close(second)
		assert.Equal(t, http.StatusOK, <-done)
		assert.Equal(t, "mine", proofOf(t, d, get(t, apiURL), dpopToken).Nonce, "it was good, so it stays")
	})
}

// A redirect's nonce is not that of the next hop.
func TestANonceOfARedirectStaysAtItsOrigin(t *testing.T) {
	var nonces []string
	api := testworld.RoundTripper(func(req *http.Request) (*http.Response, error) {
		p, err := readProof(req.Header)
		require.NoError(t, err)
		nonces = append(nonces, p.Nonce)
		resp := testworld.Respond(req, http.StatusOK, "")
		if req.URL.Host == "api.example.com" {
			resp = testworld.Respond(req, http.StatusFound, "")
			resp.Header.Set("Location", "https://files.example.com/a")
			resp.Header.Set("DPoP-Nonce", "of the first")
		}
		return resp, nil
	})
	d := &oauth.DPoP{Key: edKey}
	tr, err := reauth.New(reauth.Config{
		Refresher:  &oauth.Refresher{TokenURL: testworld.TokenURL, DPoP: d},
		Credential: d, Base: api, Origins: []string{"https://api.example.com", "https://files.example.com"},
	})
	require.NoError(t, err)
	require.NoError(t, tr.SignIn(t.Context(), dpopToken))
	resp, err := (&http.Client{Transport: tr}).Get(apiURL)
	require.NoError(t, err)
	resp.Body.Close()
	assert.Equal(t, []string{"", ""}, nonces)
}

package reauth_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net/http"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/reauth-go/reauth"
	"github.com/reauth-go/reauth/internal/testworld"
)

// nonces is a Credential for an API that demands a nonce: it puts the token and the nonce of
// the response before on a request.
type nonces struct {
	again   func(*http.Response) bool // in place of the method's own rule
	answers []int                     // the statuses that Again has seen
	sent    []string                  // the Authorization of the requests it was shown
	before  []bool                    // whether these had the response before
}

func (n *nonces) Headers() []string { return []string{"Authorization", "X-Nonce"} }

func (n *nonces) Apply(req *http.Request, tok reauth.Token) error {
	req.Header.Set("Authorization", "Bearer "+tok.AccessToken)
	if req.Response != nil {
		req.Header.Set("X-Nonce", req.Response.Header.Get("X-Nonce"))
	}
	return nil
}

func (n *nonces) Again(resp *http.Response) bool {
	n.answers = append(n.answers, resp.StatusCode)
	n.sent = append(n.sent, resp.Request.Header.Get("Authorization"))
	n.before = append(n.before, resp.Request.Response != nil)
	if n.again != nil {
		return n.again(resp)
	}
	return demandsNonce(resp.Header)
}

func demandsNonce(h http.Header) bool {
	return strings.Contains(h.Get("Www-Authenticate"), "use_dpop_nonce")
}

// A step is how the API answers one attempt.
type step func(req *http.Request) *http.Response

func demand(req *http.Request) *http.Response {
	resp := testworld.Respond(req, http.StatusUnauthorized, "a nonce, please")
	resp.Header.Set("WWW-Authenticate", `DPoP error="use_dpop_nonce"`)
	resp.Header.Set("X-Nonce", "n")
	resp.Header.Add("Set-Cookie", "demanded=1")
	return resp
}

func deny(req *http.Request) *http.Response {
	resp := testworld.Respond(req, http.StatusUnauthorized, "refused")
	resp.Header.Add("Set-Cookie", "refused=1")
	return resp
}

func accept(req *http.Request) *http.Response {
	resp := testworld.Respond(req, http.StatusOK, "ok")
	resp.Header.Add("Set-Cookie", "ok=1")
	return resp
}

// stepping is an API that answers with these steps, and what it has received.
type stepping struct {
	steps  []step
	tokens []string
	nonces []string
	bodies []string
}

func (s *stepping) RoundTrip(req *http.Request) (*http.Response, error) {
	s.tokens = append(s.tokens, req.Header.Get("Authorization"))
	s.nonces = append(s.nonces, req.Header.Get("X-Nonce"))
	text := ""
	if req.Body != nil {
		read, err := io.ReadAll(req.Body)
		if err != nil {
			return nil, err
		}
		_ = req.Body.Close()
		text = string(read)
	}
	s.bodies = append(s.bodies, text)
	if req.Response != nil {
		return nil, errors.New("the base is shown an earlier response")
	}
	if len(s.steps) == 0 {
		return nil, errors.New("one attempt too many")
	}
	next := s.steps[0]
	s.steps = s.steps[1:]
	return next(req), nil
}

// stepped runs a test of a Transport with c, over an API that answers with these steps.
func stepped(t *testing.T, c reauth.Credential, test func(*testing.T, *testworld.World, *stepping), steps ...step) {
	t.Helper()
	api := &stepping{steps: steps}
	testworld.Run(t, func(t *testing.T, w *testworld.World) {
		w.SignIn(t)
		test(t, w, api)
		assert.Empty(t, api.steps, "all steps were asked for")
	}, with(c), testworld.Over(api.RoundTrip))
}

func TestAgainSendsTheRequestOnceMoreWithTheSameToken(t *testing.T) {
	c := &nonces{}
	stepped(t, c, func(t *testing.T, w *testworld.World, api *stepping) {
		req := testworld.Request(t, http.MethodGet, testworld.APIURL, nil)
		resp, err := w.Transport.RoundTrip(req)
		require.NoError(t, err)
		text, err := io.ReadAll(resp.Body)
		require.NoError(t, err)
		assert.Equal(t, "ok", string(text))
		assert.Same(t, req, resp.Request)
		assert.Empty(t, req.Header)
		assert.Nil(t, req.Response)
		assert.Equal(t, []string{"Bearer secret-access-1", "Bearer secret-access-1"}, api.tokens)
		assert.Equal(t, []string{"", "n"}, api.nonces)
		assert.Equal(t, []int{401, 200}, c.answers, "also of the second attempt")
		assert.Equal(t, api.tokens, c.sent, "it sees the request as Apply left it")
		assert.Equal(t, []bool{false, true}, c.before)
		assert.Equal(t, []string{"demanded=1", "ok=1"}, resp.Header["Set-Cookie"])
		assert.Zero(t, w.Refreshes())
	}, demand, accept)
}

// However an API mixes its refusals, no request is sent more than three times, and more
// than two only where the credential asked for it.
func TestPromise9AtMostThreeTimesWhereANonceIsDemanded(t *testing.T) {
	for name, tc := range map[string]struct {
		steps   []step
		tokens  string // which one each attempt carries
		status  int
		refresh int
	}{
		"a nonce, then a refusal":      {[]step{demand, deny, accept}, "112", 200, 1},
		"a refusal, then a nonce":      {[]step{deny, demand, accept}, "122", 200, 1},
		"two nonces":                   {[]step{demand, demand}, "11", 401, 0},
		"a refusal between two nonces": {[]step{demand, deny, demand}, "112", 401, 1},
		"refusals around a nonce":      {[]step{deny, demand, deny}, "122", 401, 1},
		"a refusal, then two nonces":   {[]step{deny, demand, demand}, "122", 401, 1},
		"two refusals":                 {[]step{deny, deny}, "12", 401, 1},
	} {
		t.Run(name, func(t *testing.T) {
			stepped(t, &nonces{}, func(t *testing.T, w *testworld.World, api *stepping) {
				w.MustGet(t, tc.status)
				tokens := ""
				for _, token := range api.tokens {
					tokens += strings.TrimPrefix(token, "Bearer secret-access-")
				}
				assert.Equal(t, tc.tokens, tokens)
				assert.Equal(t, tc.refresh, w.Refreshes())
			}, tc.steps...)
		})
	}
}

// rewinding hands out one reader again and again, as libraries that retry do.
type rewinding struct{ *bytes.Reader }

func (rewinding) Close() error { return nil }

func TestABodyArrivesWholeInEachOfThreeAttempts(t *testing.T) {
	text := strings.Repeat("0123456789", 1000)
	for name, set := range map[string]func(*http.Request){
		"of NewRequest": func(*http.Request) {},
		"in memory": func(req *http.Request) {
			req.GetBody = nil
			req.Body = io.NopCloser(strings.NewReader(text[:1000]))
			req.ContentLength = 1000
		},
		"with a GetBody": func(req *http.Request) {
			r := rewinding{bytes.NewReader([]byte(text))}
			req.Body = r
			req.GetBody = func() (io.ReadCloser, error) {
				_, err := r.Seek(0, io.SeekStart)
				return r, err
			}
		},
		"a stream": func(req *http.Request) {
			req.GetBody = nil
			req.Body = io.NopCloser(io.MultiReader(strings.NewReader(text)))
			req.ContentLength = -1
		},
	} {
		for order, steps := range map[string][]step{"nonce first": {demand, deny, accept}, "refusal first": {deny, demand, accept}} {
			t.Run(name+"/"+order, func(t *testing.T) {
				stepped(t, &nonces{}, func(t *testing.T, w *testworld.World, api *stepping) {
					req := testworld.Request(t, http.MethodPost, testworld.APIURL, strings.NewReader(text))
					set(req)
					status, err := w.Do(req)
					require.NoError(t, err)
					assert.Equal(t, http.StatusOK, status)
					want := text
					if name == "in memory" {
						want = text[:1000]
					}
					assert.Equal(t, []string{want, want, want}, api.bodies)
				}, steps...)
			})
		}
	}
}

func TestWhereTheBodyCannotBeSentAgainTheDemandIsHandedOver(t *testing.T) {
	c := &nonces{}
	stepped(t, c, func(t *testing.T, w *testworld.World, _ *stepping) {
		body := &closes{Reader: strings.NewReader(strings.Repeat("x", 300<<10))}
		req := testworld.Request(t, http.MethodPost, testworld.APIURL, body)
		resp, err := w.Transport.RoundTrip(req)
		require.NoError(t, err)
		text, err := io.ReadAll(resp.Body)
		require.NoError(t, err)
		assert.Equal(t, "a nonce, please", string(text))
		assert.Equal(t, 1, body.closed)
		assert.Zero(t, w.Refreshes())
		kept := w.Events.Of(reauth.EventRefusalKept)
		require.Len(t, kept, 1)
		assert.ErrorIs(t, kept[0].Err, reauth.ErrRefusalKept)
		assert.Equal(t, []int{401, 401}, c.answers, "it is told that no other attempt follows")
		assert.Equal(t, []bool{false, true}, c.before)
	}, demand)
}

type closes struct {
	io.Reader
	closed int
}

func (c *closes) Close() error {
	c.closed++
	return nil
}

func TestAgainIsAskedOnlyAboutItsOwnRequests(t *testing.T) {
	c := &nonces{}
	stepped(t, c, func(t *testing.T, w *testworld.World, _ *stepping) {
		for _, req := range []*http.Request{
			testworld.Request(t, http.MethodGet, testworld.APIURL, nil).WithContext(reauth.WithoutAuth(t.Context())),
			testworld.Request(t, http.MethodGet, "https://elsewhere.example.com/", nil),
		} {
			status, err := w.Do(req)
			require.NoError(t, err)
			assert.Equal(t, http.StatusUnauthorized, status)
		}
		own := testworld.Request(t, http.MethodGet, testworld.APIURL, nil)
		own.Header.Set("X-Nonce", "its own")
		status, err := w.Do(own)
		require.NoError(t, err)
		assert.Equal(t, http.StatusUnauthorized, status)
		assert.Empty(t, c.answers)
	}, demand, demand, demand)
}

func TestAPanicInAgainClosesTheResponse(t *testing.T) {
	body := &closes{Reader: strings.NewReader("a nonce, please")}
	c := &nonces{again: func(*http.Response) bool { panic("oh") }}
	stepped(t, c, func(t *testing.T, w *testworld.World, _ *stepping) {
		assert.PanicsWithValue(t, "oh", func() { _, _ = w.Get(t.Context()) })
		assert.Equal(t, 1, body.closed)
	}, func(req *http.Request) *http.Response {
		resp := demand(req)
		resp.Body = body
		return resp
	})
}

// An API that wants a nonce has not looked at the token. So this is no evidence that it
// takes the session's tokens, and the refusal of a new one is not taken for a revocation.
func TestADemandForANonceIsNoEvidenceOfTheToken(t *testing.T) {
	for _, code := range []string{"use_dpop_nonce", "invalid_dpop_proof"} {
		challenged := func(req *http.Request) *http.Response {
			resp := deny(req)
			resp.Header.Set("WWW-Authenticate", `DPoP error="`+code+`"`)
			return resp
		}
		stepped(t, reauth.HeaderCredential{}, func(t *testing.T, w *testworld.World, _ *stepping) {
			w.MustGet(t, http.StatusOK) // after a refresh
			other := testworld.Request(t, http.MethodGet, "https://api.example.com/other", nil)
			for range 2 {
				status, err := w.Do(other)
				require.NoError(t, err)
				assert.Equal(t, http.StatusUnauthorized, status)
			}
			assert.Equal(t, 1, w.Refreshes())
		}, deny, accept, challenged, deny)
	}
}

func TestTheModulesOwnMembersOfExtraStayWhenAnAnswerIsLarge(t *testing.T) {
	testworld.Run(t, func(t *testing.T, w *testworld.World) {
		tok := w.Issue()
		tok.Extra = map[string]string{"reauth.key": "the session's key", "scope": "read"}
		require.NoError(t, w.Transport.SignIn(t.Context(), tok))
		w.Answer(func(context.Context) (reauth.Token, error) {
			next := w.Issue()
			next.Extra = map[string]string{"reauth.key": "the session's key", "scope": "read", "large": strings.Repeat("x", 64<<10-len("large"))}
			return next, nil
		})
		w.Revoke()
		w.MustGet(t, http.StatusOK)
		stored, ok := w.Store.Stored(t, "")
		require.True(t, ok)
		assert.Equal(t, "the session's key", stored.Extra["reauth.key"])
		assert.NotContains(t, stored.Extra, "large")
	})
}

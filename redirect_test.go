package reauth_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/reauth-go/reauth"
	"github.com/reauth-go/reauth/oauth"
	"github.com/reauth-go/reauth/reauthtest"
)

// Redirects, as http.Client follows them: a RoundTripper sees each hop after the
// client has taken the caller's credentials off it.

var redirects = []int{
	http.StatusMovedPermanently, http.StatusFound, http.StatusSeeOther,
	http.StatusTemporaryRedirect, http.StatusPermanentRedirect,
}

// A journal is what a few servers saw, in order.
type journal struct {
	mu   sync.Mutex
	hops []hop
}

type hop struct{ place, method, body, token string }

// serve returns a handler that notes each request as one at place. The query
// says how it answers: with 401 to the token "old"; with a redirect, of the
// status "code", to where "to" says; with "status".
func (j *journal) serve(place string) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		token, _ := strings.CutPrefix(r.Header.Get("Authorization"), "Bearer ")
		j.mu.Lock()
		j.hops = append(j.hops, hop{place, r.Method, string(body), token})
		j.mu.Unlock()
		var code int
		query := r.URL.Query()
		switch {
		case query.Get("old") != "" && query.Get("old") == token:
			code = http.StatusUnauthorized
		case query.Get("to") != "":
			_, _ = fmt.Sscan(query.Get("code"), &code)
			w.Header().Set("Location", query.Get("to"))
		default:
			_, _ = fmt.Sscan(query.Get("status"), &code)
		}
		if code != 0 {
			w.WriteHeader(code)
		}
	})
}

func (j *journal) all() []hop {
	j.mu.Lock()
	defer j.mu.Unlock()
	return slices.Clone(j.hops)
}

// tokens says where a token was seen.
func (j *journal) tokens() (places []string) {
	for _, h := range j.all() {
		if h.token == "" {
			places = append(places, h.place+" -")
		} else {
			places = append(places, h.place+" token")
		}
	}
	return places
}

func (j *journal) clear() {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.hops = nil
}

// along is the address that leads through all the servers, in order. The last
// one may have a query.
func along(code int, servers ...string) string {
	if len(servers) == 1 {
		return servers[0]
	}
	return servers[0] + "/?" + url.Values{
		"code": {fmt.Sprint(code)},
		"to":   {along(code, servers[1:]...)},
	}.Encode()
}

// served starts a server for one place of j.
func served(t *testing.T, j *journal, place string) *httptest.Server {
	s := httptest.NewServer(j.serve(place))
	t.Cleanup(s.Close)
	return s
}

func TestTheTokenDoesNotFollowARedirectToAStranger(t *testing.T) {
	s := reauthtest.NewServer(t, reauthtest.Options{}) // for the sign-in
	j := new(journal)
	home, stranger := served(t, j, "home"), served(t, j, "stranger")
	home2 := served(t, j, "home 2")

	for _, c := range []struct {
		name    string
		origins []string
		way     []*httptest.Server
		want    []string
	}{
		{"to a stranger", []string{home.URL}, []*httptest.Server{home, stranger},
			[]string{"home token", "stranger -"}},
		{"to a stranger and back", []string{home.URL}, []*httptest.Server{home, stranger, home, home},
			[]string{"home token", "stranger -", "home -", "home -"}},
		{"from a stranger", []string{home.URL}, []*httptest.Server{stranger, home},
			[]string{"stranger -", "home -"}},
		{"at home", []string{home.URL}, []*httptest.Server{home, home, home},
			[]string{"home token", "home token", "home token"}},
		{"every hop is named", []string{home.URL, home2.URL}, []*httptest.Server{home, home2, home},
			[]string{"home token", "home 2 token", "home token"}},
		{"every hop but one is named", []string{home.URL, home2.URL}, []*httptest.Server{home, home2, stranger, home2, home},
			[]string{"home token", "home 2 token", "stranger -", "home 2 -", "home -"}},
		{"AnyOrigin", []string{reauth.AnyOrigin}, []*httptest.Server{home, home, stranger, stranger, home},
			[]string{"home token", "home token", "stranger -", "stranger -", "home -"}},
		{"AnyOrigin and home", []string{reauth.AnyOrigin, home.URL}, []*httptest.Server{home, stranger, home},
			[]string{"home token", "stranger -", "home -"}},
		{"AnyOrigin and every hop", []string{reauth.AnyOrigin, home.URL, home2.URL}, []*httptest.Server{home, home2, home},
			[]string{"home token", "home 2 token", "home token"}},
	} {
		for _, code := range redirects {
			for _, method := range []string{http.MethodGet, http.MethodPost} {
				t.Run(fmt.Sprintf("%s/%d/%s", c.name, code, method), func(t *testing.T) {
					client := &http.Client{Transport: signedIn(t, s, func(cfg *reauth.Config) { cfg.Origins = c.origins })}
					var way []string
					for _, server := range c.way {
						way = append(way, server.URL)
					}
					var body io.Reader
					if method == http.MethodPost {
						body = strings.NewReader("content")
					}
					req, err := http.NewRequestWithContext(bounded(t), method, along(code, way...), body)
					require.NoError(t, err)
					j.clear()

					resp, err := client.Do(req)

					require.NoError(t, err)
					resp.Body.Close()
					assert.Equal(t, http.StatusOK, resp.StatusCode)
					assert.Equal(t, c.want, j.tokens())
					last := j.all()[len(c.way)-1]
					if code >= http.StatusTemporaryRedirect {
						assert.Equal(t, method, last.method)
						assert.Equal(t, body != nil, last.body != "", "the body went along")
					} else {
						assert.Equal(t, http.MethodGet, last.method)
					}
					for r := resp.Request; r != nil; {
						assert.Empty(t, r.Header.Get("Authorization"))
						if r.Response == nil {
							break
						}
						r = r.Response.Request
					}
				})
			}
		}
	}
	assert.Zero(t, s.Counts().Refreshes)
}

func TestTheReplayLeavesTheTokenAtHomeToo(t *testing.T) {
	for _, origins := range [][]string{nil, {reauth.AnyOrigin}} {
		for _, code := range redirects {
			s := reauthtest.NewServer(t, reauthtest.Options{})
			j := new(journal)
			home, stranger := served(t, j, "home"), served(t, j, "stranger")
			tr := signedIn(t, s, func(c *reauth.Config) {
				if c.Origins = origins; origins == nil {
					c.Origins = []string{home.URL}
				}
			})
			old, err := tr.Token(t.Context())
			require.NoError(t, err)

			client := &http.Client{Transport: tr}
			resp, err := client.Get(along(code, home.URL, stranger.URL, home.URL) + "&old=" + url.QueryEscape(old.AccessToken))

			require.NoError(t, err)
			resp.Body.Close()
			assert.Equal(t, []string{"home token", "home token", "stranger -", "home -"}, j.tokens())
			hops := j.all()
			assert.NotEqual(t, hops[0].token, hops[1].token)
			assert.Equal(t, 1, s.Counts().Refreshes)
		}
	}
}

func TestAStrangersRefusalStartsNoRefresh(t *testing.T) {
	s := reauthtest.NewServer(t, reauthtest.Options{})
	j := new(journal)
	home, stranger := served(t, j, "home"), served(t, j, "stranger")
	for _, origins := range [][]string{{home.URL}, {reauth.AnyOrigin}} {
		client := &http.Client{Transport: signedIn(t, s, func(c *reauth.Config) { c.Origins = origins })}
		for way, want := range map[string][]string{
			along(307, home.URL, stranger.URL+"/?status=401"):           {"home token", "stranger -"},
			along(307, home.URL, stranger.URL, home.URL+"/?status=401"): {"home token", "stranger -", "home -"},
		} {
			j.clear()
			resp, err := client.Post(way, "text/plain", strings.NewReader("content"))
			require.NoError(t, err)
			resp.Body.Close()
			assert.Equal(t, http.StatusUnauthorized, resp.StatusCode)
			assert.Equal(t, want, j.tokens(), "nothing is replayed")
		}
	}
	assert.Zero(t, s.Counts().Refreshes)
}

func TestARefusalAtANamedHopIsReplayedThere(t *testing.T) {
	s := reauthtest.NewServer(t, reauthtest.Options{})
	j := new(journal)
	home, other := served(t, j, "home"), served(t, j, "other")
	tr := signedIn(t, s, func(c *reauth.Config) { c.Origins = []string{home.URL, other.URL} })
	old, err := tr.Token(t.Context())
	require.NoError(t, err)
	client := &http.Client{Transport: tr}
	resp, err := client.Post(along(308, home.URL, other.URL+"/?old="+url.QueryEscape(old.AccessToken)), "text/plain", strings.NewReader("content"))
	require.NoError(t, err)
	resp.Body.Close()
	assert.Equal(t, http.StatusOK, resp.StatusCode)
	assert.Equal(t, []string{"home token", "other token", "other token"}, j.tokens())
	for _, h := range j.all() {
		assert.Equal(t, "content", h.body)
	}
	assert.Equal(t, 1, s.Counts().Refreshes)
}

func TestTheTokenDoesNotFollowARedirectFromHTTPSToHTTP(t *testing.T) {
	s := reauthtest.NewServer(t, reauthtest.Options{})
	j := new(journal)
	plain := served(t, j, "http")
	secure := httptest.NewTLSServer(j.serve("https"))
	defer secure.Close()
	// The same host, and each with the port of its scheme.
	base := secure.Client().Transport.(*http.Transport).Clone()
	defer base.CloseIdleConnections()
	base.DialContext = func(ctx context.Context, network, addr string) (net.Conn, error) {
		switch addr {
		case "example.com:80":
			addr = plain.Listener.Addr().String()
		case "example.com:443":
			addr = secure.Listener.Addr().String()
		}
		return new(net.Dialer).DialContext(ctx, network, addr)
	}
	const atHTTPS, atHTTP = "https://example.com", "http://example.com"

	for _, c := range []struct {
		name    string
		origins []string
		way     []string
		want    []string
	}{
		{"https is named", []string{atHTTPS}, []string{atHTTPS, atHTTP, atHTTPS},
			[]string{"https token", "http -", "https -"}},
		{"AnyOrigin", []string{reauth.AnyOrigin}, []string{atHTTPS, atHTTP, atHTTPS},
			[]string{"https token", "http -", "https -"}},
		{"AnyOrigin, on loopback", []string{reauth.AnyOrigin}, []string{secure.URL, plain.URL, secure.URL},
			[]string{"https token", "http -", "https -"}},
		{"AnyOrigin and https", []string{reauth.AnyOrigin, atHTTPS}, []string{atHTTPS, atHTTP, atHTTPS},
			[]string{"https token", "http -", "https -"}},
		{"both are named", []string{atHTTPS, atHTTP}, []string{atHTTPS, atHTTP, atHTTPS},
			[]string{"https token", "http token", "https token"}},
		{"the port is written out", []string{atHTTPS}, []string{atHTTPS, atHTTPS + ":443", atHTTPS},
			[]string{"https token", "https token", "https token"}},
		{"up, with https named", []string{atHTTPS}, []string{atHTTP, atHTTPS},
			[]string{"http -", "https -"}},
		{"up, with AnyOrigin", []string{reauth.AnyOrigin}, []string{atHTTP, atHTTPS},
			[]string{"http -", "https -"}},
	} {
		for _, code := range redirects {
			t.Run(fmt.Sprintf("%s/%d", c.name, code), func(t *testing.T) {
				client := &http.Client{Transport: signedIn(t, s, func(cfg *reauth.Config) {
					cfg.Origins, cfg.Base = c.origins, base
				})}
				j.clear()
				resp, err := client.Post(along(code, c.way...), "text/plain", strings.NewReader("content"))
				require.NoError(t, err)
				resp.Body.Close()
				assert.Equal(t, c.want, j.tokens())
			})
		}
	}
}

func TestATokenRequestDoesNotFollowARedirectToAnotherOrigin(t *testing.T) {
	for _, code := range redirects {
		for name, client := range map[string]*http.Client{
			"a plain client":   nil,
			"one that would":   {CheckRedirect: func(*http.Request, []*http.Request) error { return nil }},
			"one without hops": {CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }},
		} {
			t.Run(fmt.Sprintf("%d/%s", code, name), func(t *testing.T) {
				s := reauthtest.NewServer(t, reauthtest.Options{})
				j := new(journal)
				thief := served(t, j, "thief")
				leads := http.RedirectHandler(thief.URL+"/token?secret=of-the-server", code)
				s.HandlePublic("/moved", leads)
				s.HandlePublic("/moved/revoke", leads)
				tr := signedIn(t, s, func(c *reauth.Config) {
					c.Refresher = &oauth.Refresher{
						TokenURL: s.APIURL("/moved"), RevocationURL: s.APIURL("/moved/revoke"),
						ClientID: "id", ClientSecret: "client-secret", Client: client,
					}
				})
				tok, err := tr.Token(t.Context())
				require.NoError(t, err)
				s.ExpireAccess()

				_, err = fetch(t.Context(), tr, s.APIURL("/"))

				refresh, ok := errors.AsType[*reauth.RefreshError](err)
				require.True(t, ok, "%v", err)
				assert.NotErrorIs(t, refresh, reauth.ErrSignInRequired, "it will pass")
				inside, err := tr.SignedIn(t.Context())
				require.NoError(t, err)
				assert.True(t, inside)

				err = tr.SignOut(t.Context())
				require.Error(t, err, "not revoked")

				for _, e := range []error{refresh, err} {
					for _, secret := range []string{tok.AccessToken, tok.RefreshToken, "client-secret", "of-the-server"} {
						assert.NotContains(t, fmt.Sprintf("%v %+v %#v", e, e, e), secret)
					}
				}
				assert.Empty(t, j.all(), "nothing has arrived there")
			})
		}
	}
}

func TestATokenRequestIsNotLedAwayByItsClient(t *testing.T) {
	s := reauthtest.NewServer(t, reauthtest.Options{})
	j := new(journal)
	thief := served(t, j, "thief")
	away, err := url.Parse(thief.URL)
	require.NoError(t, err)
	s.HandlePublic("/moved", http.RedirectHandler("/token", http.StatusTemporaryRedirect))
	tr := signedIn(t, s, func(c *reauth.Config) {
		c.Refresher = &oauth.Refresher{TokenURL: s.APIURL("/moved"), Client: &http.Client{
			CheckRedirect: func(req *http.Request, _ []*http.Request) error { req.URL = away; return nil },
		}}
	})
	s.ExpireAccess()
	_, err = fetch(t.Context(), tr, s.APIURL("/"))
	_, ok := errors.AsType[*reauth.RefreshError](err)
	assert.True(t, ok, "%v", err)
	assert.Empty(t, j.all())
}

func TestATokenRequestFollowsARedirectWithinItsOrigin(t *testing.T) {
	for _, code := range []int{http.StatusTemporaryRedirect, http.StatusPermanentRedirect} {
		s := reauthtest.NewServer(t, reauthtest.Options{})
		s.HandlePublic("/moved", http.RedirectHandler("/token", code))
		tr := signedIn(t, s, func(c *reauth.Config) {
			c.Refresher = &oauth.Refresher{TokenURL: s.APIURL("/moved")}
		})
		s.ExpireAccess()
		status, err := fetch(t.Context(), tr, s.APIURL("/"))
		require.NoError(t, err)
		assert.Equal(t, http.StatusOK, status)
		assert.Equal(t, 1, s.Counts().Refreshes)
	}
}

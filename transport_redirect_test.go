package reauth_test

import (
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/reauth-go/reauth"
	"github.com/reauth-go/reauth/internal/testworld"
)

// Redirects, as http.Client follows them. A RoundTripper sees each hop as a request of
// its own, from which the client has removed the caller's credentials.

const (
	home     = "https://home.test"
	other    = "https://other.test"
	stranger = "https://stranger.test"
	plain    = "http://home.test"
	loopback = "http://127.0.0.1:8080"
)

var redirects = []int{
	http.StatusMovedPermanently, http.StatusFound, http.StatusSeeOther,
	http.StatusTemporaryRedirect, http.StatusPermanentRedirect,
}

// A journal is a base transport that notes the requests. Their query says how they are
// answered: "to" is where a redirect leads, with the status "code". "refuse" is "all",
// or "old" for the first token.
type journal struct{ hops []hop }

type hop struct{ method, body, token string }

func (j *journal) RoundTrip(req *http.Request) (*http.Response, error) {
	h := hop{method: req.Method}
	if req.Body != nil {
		body, err := io.ReadAll(req.Body)
		if err != nil {
			return nil, err
		}
		h.body = string(body)
		_ = req.Body.Close()
	}
	h.token, _ = strings.CutPrefix(req.Header.Get("Authorization"), "Bearer secret-access-")
	j.hops = append(j.hops, h)

	query := req.URL.Query()
	resp := testworld.Respond(req, http.StatusOK, "")
	switch refuse := query.Get("refuse"); {
	case refuse == "all", refuse == "old" && h.token == "1":
		resp.StatusCode = http.StatusUnauthorized
	case query.Get("to") != "":
		resp.StatusCode, _ = strconv.Atoi(query.Get("code"))
		resp.Header.Set("Location", query.Get("to"))
	}
	return resp, nil
}

// tokens returns the number of the token that each request carried, or "-".
func (j *journal) tokens() string {
	var all []string
	for _, h := range j.hops {
		if h.token == "" {
			h.token = "-"
		}
		all = append(all, h.token)
	}
	return strings.Join(all, " ")
}

// along returns the address that leads through all the places, of which one may refuse.
func along(code int, places []string, refusing int, refuse string) string {
	address := ""
	for i := len(places) - 1; i >= 0; i-- {
		query := url.Values{}
		if address != "" {
			query = url.Values{"code": {strconv.Itoa(code)}, "to": {address}}
		}
		if i == refusing {
			query.Set("refuse", refuse)
		}
		address = places[i] + "/?" + query.Encode()
	}
	return address
}

// follow sends a request to an address with an http.Client.
func follow(t *testing.T, origins []string, method, address string) (*testworld.World, *journal, *http.Response) {
	j := new(journal)
	w := testworld.New(t, func(c *reauth.Config, _ *testworld.World) { c.Origins, c.Base = origins, j })
	w.SignIn(t)
	var body io.Reader
	if method == http.MethodPost {
		body = strings.NewReader("content")
	}
	resp, err := (&http.Client{Transport: w.Transport}).Do(testworld.Request(t, method, address, body))
	require.NoError(t, err)
	require.NoError(t, resp.Body.Close())
	return w, j, resp
}

func TestTokenOnRedirects(t *testing.T) {
	for name, tc := range map[string]struct {
		origins []string
		way     []string
		want    string
	}{
		"at home":                          {[]string{home}, []string{home, home, home}, "1 1 1"},
		"at home, with the port":           {[]string{home}, []string{home, home + ":443", home}, "1 1 1"},
		"to a stranger":                    {[]string{home}, []string{home, stranger}, "1 -"},
		"to a stranger and back":           {[]string{home}, []string{home, stranger, home, home}, "1 - - -"},
		"from a stranger":                  {[]string{home}, []string{stranger, home}, "- -"},
		"every hop is named":               {[]string{home, other}, []string{home, other, home}, "1 1 1"},
		"every hop but one is named":       {[]string{home, other}, []string{home, other, stranger, other, home}, "1 1 - - -"},
		"AnyOrigin":                        {[]string{reauth.AnyOrigin}, []string{home, home, stranger, stranger, home}, "1 1 - - -"},
		"AnyOrigin and home":               {[]string{reauth.AnyOrigin, home}, []string{home, stranger, home}, "1 - -"},
		"AnyOrigin and every hop":          {[]string{reauth.AnyOrigin, home, other}, []string{home, other, home}, "1 1 1"},
		"to http":                          {[]string{home}, []string{home, plain, home}, "1 - -"},
		"to http, AnyOrigin":               {[]string{reauth.AnyOrigin}, []string{home, plain, home}, "1 - -"},
		"to http, AnyOrigin and https":     {[]string{reauth.AnyOrigin, home}, []string{home, plain, home}, "1 - -"},
		"to http, both named":              {[]string{home, plain}, []string{home, plain, home}, "1 1 1"},
		"to http on loopback, AnyOrigin":   {[]string{reauth.AnyOrigin}, []string{home, loopback, home}, "1 - -"},
		"from http, https named":           {[]string{home}, []string{plain, home}, "- -"},
		"from http, AnyOrigin":             {[]string{reauth.AnyOrigin}, []string{plain, home}, "- -"},
		"from http on loopback, AnyOrigin": {[]string{reauth.AnyOrigin}, []string{loopback, home}, "1 -"},
	} {
		for _, code := range redirects {
			for _, method := range []string{http.MethodGet, http.MethodPost} {
				t.Run(fmt.Sprintf("%s/%d/%s", name, code, method), func(t *testing.T) {
					w, j, resp := follow(t, tc.origins, method, along(code, tc.way, -1, ""))

					assert.Equal(t, http.StatusOK, resp.StatusCode)
					assert.Equal(t, tc.want, j.tokens())
					if last := j.hops[len(tc.way)-1]; code >= http.StatusTemporaryRedirect {
						assert.Equal(t, method, last.method)
						assert.Equal(t, method == http.MethodPost, last.body != "", "the body went along")
					} else {
						assert.Equal(t, http.MethodGet, last.method)
					}
					for via := resp; via != nil; via = via.Request.Response {
						assert.Empty(t, via.Request.Header.Get("Authorization"))
					}
					assert.Zero(t, w.Refreshes())
				})
			}
		}
	}
}

func TestRefusalsOnRedirects(t *testing.T) {
	any := []string{reauth.AnyOrigin}
	for name, tc := range map[string]struct {
		origins  []string
		way      []string
		refusing int // the index of the place that does
		refuse   string
		want     string
		status   int
	}{
		"the replay keeps the token at home":       {[]string{home}, []string{home, stranger, home}, 0, "old", "1 2 - -", 200},
		"so it does with AnyOrigin":                {any, []string{home, stranger, home}, 0, "old", "1 2 - -", 200},
		"a named place is replayed":                {[]string{home, other}, []string{home, other}, 1, "old", "1 1 2", 200},
		"a stranger is not":                        {[]string{home}, []string{home, stranger}, 1, "all", "1 -", 401},
		"a stranger is not, with AnyOrigin":        {any, []string{home, stranger}, 1, "all", "1 -", 401},
		"home is not, after a stranger":            {[]string{home}, []string{home, stranger, home}, 2, "all", "1 - -", 401},
		"home is not, after a stranger, AnyOrigin": {any, []string{home, stranger, home}, 2, "all", "1 - -", 401},
	} {
		for _, code := range redirects {
			t.Run(fmt.Sprintf("%s/%d", name, code), func(t *testing.T) {
				w, j, resp := follow(t, tc.origins, http.MethodPost, along(code, tc.way, tc.refusing, tc.refuse))
				assert.Equal(t, tc.status, resp.StatusCode)
				assert.Equal(t, tc.want, j.tokens())
				assert.Equal(t, strings.Count(tc.want, "2"), w.Refreshes())
				if code >= http.StatusTemporaryRedirect {
					for _, h := range j.hops {
						assert.Equal(t, "content", h.body)
					}
				}
			})
		}
	}
}

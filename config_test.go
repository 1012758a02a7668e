package reauth_test

import (
	"context"
	"errors"
	"fmt"
	"math"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/reauth-go/reauth"
	"github.com/reauth-go/reauth/cookieauth"
	"github.com/reauth-go/reauth/internal/testworld"
	"github.com/reauth-go/reauth/jsonauth"
	"github.com/reauth-go/reauth/oauth"
)

func TestNewReportsEverythingAtOnce(t *testing.T) {
	_, err := reauth.New(reauth.Config{
		Origins: []string{
			"", "api.example.com", "https://api.example.com/v1", "https://api.example.com?k=v",
			"https://user:hunter2@api.example.com", "ftp://api.example.com", "https://api.*.example.com",
			"https://api.example.com",
		},
		RefreshTimeout: -time.Second,
		Credential:     reauth.HeaderCredential{Name: "a b"},
	})
	require.Error(t, err)
	lines := strings.Split(err.Error(), "\n")
	require.Len(t, lines, 10)
	for i := range 7 {
		assert.Contains(t, lines[i], fmt.Sprintf("reauth: Config.Origins[%d] ", i))
	}
	assert.Equal(t, []string{
		"reauth: Config.RefreshTimeout -1s is negative: a refresh must have a bound",
		"reauth: Config.Refresher is required",
		`reauth: HeaderCredential.Name "a b": is not a header name`,
	}, lines[7:])
	assert.NotContains(t, err.Error(), "hunter2")
}

func TestNewReports(t *testing.T) {
	valid := reauth.RefresherFunc(func(context.Context, reauth.Token) (reauth.Token, error) { return reauth.Token{}, nil })
	for name, tc := range map[string]struct {
		change func(*reauth.Config)
		want   string
	}{
		"no origin":              {func(c *reauth.Config) { c.Origins = nil }, "reauth: Config.Origins is empty: name the origins that the token may go to, such as https://api.example.com"},
		"a nil *Refresher":       {func(c *reauth.Config) { c.Refresher = (*oauth.Refresher)(nil) }, "reauth: Config.Refresher is a nil *oauth.Refresher"},
		"a nil RefresherFunc":    {func(c *reauth.Config) { c.Refresher = reauth.RefresherFunc(nil) }, "reauth: Config.Refresher is a nil reauth.RefresherFunc"},
		"a nil *Cookies":         {func(c *reauth.Config) { c.Refresher = (*cookieauth.Cookies)(nil) }, "reauth: Config.Refresher is a nil *cookieauth.Cookies"},
		"a nil *Credential":      {func(c *reauth.Config) { c.Credential = (*reauth.HeaderCredential)(nil) }, "reauth: Config.Credential is a nil *reauth.HeaderCredential"},
		"a Refresher's settings": {func(c *reauth.Config) { c.Refresher = &oauth.Refresher{TokenURL: "/token"} }, `oauth: Refresher.TokenURL "/token": must begin with https:// or http://`},
		"a Refresher of another protocol": {func(c *reauth.Config) { c.Refresher = &jsonauth.Endpoint{URL: "/token"} },
			`jsonauth: Endpoint.URL "/token": must begin with https:// or http://`},
		"a Credential's settings": {func(c *reauth.Config) { c.Credential = reauth.HeaderCredential{Scheme: "JWT", Bare: true} },
			`reauth: HeaderCredential.Scheme "JWT": must be empty, because Bare is set`},
		"a RefreshTimeout that would overflow": {func(c *reauth.Config) { c.RefreshTimeout = math.MaxInt64 },
			"reauth: Config.RefreshTimeout 2562047h47m16.854775807s is more than ten years"},
		"a RefreshPause that would overflow": {func(c *reauth.Config) { c.RefreshPause = math.MaxInt64 },
			"reauth: Config.RefreshPause 2562047h47m16.854775807s is more than ten years"},
		"an EarlyRefresh beyond ten years": {func(c *reauth.Config) { c.EarlyRefresh = 87600*time.Hour + 1 },
			"reauth: Config.EarlyRefresh 87600h0m0.000000001s is more than ten years"},
		"HeaderValue for two headers": {
			func(c *reauth.Config) {
				c.Credential = struct{ hasHeaderValue }{&credential{headers: []string{"A", "B"}}}
			}, `reauth: the credential, a struct { reauth_test.hasHeaderValue }, has HeaderValue, so Headers must name one header, and not Cookie: it names ["A" "B"]`,
		},
	} {
		t.Run(name, func(t *testing.T) {
			cfg := reauth.Config{Refresher: valid, Origins: []string{reauth.AnyOrigin}}
			_, err := reauth.New(cfg)
			require.NoError(t, err)
			tc.change(&cfg)
			_, err = reauth.New(cfg)
			assert.EqualError(t, err, tc.want)
		})
	}
}

// A part is a Refresher and a Credential whose settings are wrong.
type part struct {
	reauth.Refresher
	credential
	name string
}

func invalid(name string, calls *[]string) *part {
	return &part{name: name, credential: credential{
		headers:     []string{"X-Token"},
		headerValue: func(reauth.Token) (string, error) { return "", nil },
		validate:    func() error { *calls = append(*calls, name); return errors.New(name + " is wrong") },
	}}
}

func TestNewAsksValidate(t *testing.T) {
	var calls []string
	both, other := invalid("both", &calls), invalid("other", &calls)
	for name, tc := range map[string]struct {
		config reauth.Config
		want   []string
	}{
		"of a Refresher":                         {reauth.Config{Refresher: other, Credential: reauth.HeaderCredential{}}, []string{"other"}},
		"of a Credential":                        {reauth.Config{Refresher: testworld.NewAuthority(), Credential: other}, []string{"other"}},
		"of two":                                 {reauth.Config{Refresher: both, Credential: other}, []string{"both", "other"}},
		"once if both are one":                   {reauth.Config{Refresher: both, Credential: both}, []string{"both"}},
		"once if the Refresher is a Credential":  {reauth.Config{Refresher: both}, []string{"both"}},
		"twice if two of a type are not one":     {reauth.Config{Refresher: invalid("a", &calls), Credential: invalid("b", &calls)}, []string{"a", "b"}},
		"of types that cannot be compared":       {reauth.Config{Refresher: uncomparable{both, nil}, Credential: uncomparable{other, nil}}, []string{"both", "other"}},
		"of two types, one of them uncomparable": {reauth.Config{Refresher: both, Credential: uncomparable{other, nil}}, []string{"both", "other"}},
	} {
		t.Run(name, func(t *testing.T) {
			calls = nil
			tc.config.Origins = []string{reauth.AnyOrigin}
			_, err := reauth.New(tc.config)
			assert.EqualError(t, err, strings.Join(tc.want, " is wrong\n")+" is wrong")
			assert.Equal(t, tc.want, calls)
		})
	}
}

type uncomparable struct {
	*part
	_ func()
}

func TestRefresherThatIsACredentialIsUsedAsOne(t *testing.T) {
	var calls []string
	p := invalid("", &calls)
	p.validate = func() error { return nil }
	p.headerValue = func(tok reauth.Token) (string, error) { return "own " + tok.AccessToken, nil }
	testworld.Run(t, func(t *testing.T, w *testworld.World) {
		w.SignIn(t)
		w.API.Decide = func(req *http.Request) int {
			assert.Equal(t, "own secret-access-1", req.Header.Get("X-Token"))
			return http.StatusOK
		}
		w.MustGet(t, http.StatusOK)
	}, func(c *reauth.Config, w *testworld.World) {
		p.Refresher = w.Authority
		c.Refresher = p
		p.credential.validateToken = func(reauth.Token) error { return nil }
	})
}

func TestNewCopiesItsConfig(t *testing.T) {
	origins := []string{"https://api.example.com"}
	testworld.Run(t, func(t *testing.T, w *testworld.World) {
		origins[0] = "https://elsewhere.example.com"
		w.SignIn(t)
		w.MustGet(t, http.StatusOK)
	}, func(c *reauth.Config, _ *testworld.World) { c.Origins = origins })
}

func TestNilBaseIsTheDefaultTransportAtTheTimeOfNew(t *testing.T) {
	before := http.DefaultTransport
	defer func() { http.DefaultTransport = before }()
	a := testworld.NewAuthority()
	api := &testworld.API{Authority: a}
	http.DefaultTransport = api
	tr, err := reauth.New(reauth.Config{Refresher: a, Origins: []string{"https://api.example.com"}})
	require.NoError(t, err)
	http.DefaultTransport = tr
	assert.Same(t, api, tr.WrappedRoundTripper())
	require.NoError(t, tr.SignIn(t.Context(), a.Issue()))
	resp, err := http.DefaultTransport.RoundTrip(testworld.Request(t, http.MethodGet, testworld.APIURL, nil))
	require.NoError(t, err)
	assert.Equal(t, http.StatusOK, resp.StatusCode)
	require.NoError(t, resp.Body.Close())
}

func TestConfigDefaults(t *testing.T) {
	testworld.Run(t, func(t *testing.T, w *testworld.World) {
		w.Latency = time.Hour
		w.SignIn(t)
		w.Revoke()
		began := time.Now()
		_, err := w.Get(t.Context())
		require.Error(t, err)
		assert.Equal(t, 30*time.Second, time.Since(began), "RefreshTimeout")
	}, func(c *reauth.Config, _ *testworld.World) { c.Store = nil })
}

type refresherAndCredential struct {
	reauth.Refresher
	reauth.HeaderCredential
}

func (refresherAndCredential) Validate() error { return nil }

func TestNewTakesAValueThatCannotBeCompared(t *testing.T) {
	both := refresherAndCredential{Refresher: reauth.RefresherFunc(nil)}
	_, err := reauth.New(reauth.Config{Origins: []string{reauth.AnyOrigin}, Refresher: both, Credential: both})
	assert.NoError(t, err)
}

package cookieauth_test

import (
	"encoding/base64"
	"errors"
	"fmt"
	"net/http"
	"net/http/cookiejar"
	"net/url"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/reauth-go/reauth"
	"github.com/reauth-go/reauth/cookieauth"
	"github.com/reauth-go/reauth/internal/testworld"
)

const refreshURL = "https://id.example.com/refresh"

// signedIn returns a session's token.
func signedIn() reauth.Token {
	return reauth.Token{
		AccessToken: "access-1", RefreshToken: "refresh-1",
		Extra: map[string]string{"csrf_access_token": "csrf-access-1", "csrf_refresh_token": "csrf-refresh-1", "own": "x"},
	}
}

// setting answers with one Set-Cookie for each of cookies.
func setting(status int, cookies ...string) *testworld.TokenServer {
	var header []string
	for _, c := range cookies {
		header = append(header, "Set-Cookie", c)
	}
	return testworld.Answering(status, `{"refresh":true}`, header...)
}

func TestApplyReplacesItsOwnCookiesAndHeaderOnly(t *testing.T) {
	for name, tc := range map[string]struct {
		cookies   cookieauth.Cookies
		tok       reauth.Token
		had, want http.Header
	}{
		"nothing there": {
			had:  http.Header{},
			want: http.Header{"Cookie": {"access_token_cookie=access-1; csrf_access_token=csrf-access-1"}, "X-Csrf-Token": {"csrf-access-1"}},
		},
		"the caller's own stay": {
			had: http.Header{
				"Cookie":       {"theme=dark; access_token_cookie=stale;csrf_access_token=stale; a=b=c", `csrf_refresh_token=stale; refresh_token_cookie=stale; q="x y"; access_token_cookie=twice`},
				"X-Csrf-Token": {"stale", "staler"}, "X-Other": {"1"},
			},
			want: http.Header{
				"Cookie":       {`theme=dark; a=b=c; q="x y"; access_token_cookie=access-1; csrf_access_token=csrf-access-1`},
				"X-Csrf-Token": {"csrf-access-1"}, "X-Other": {"1"},
			},
		},
		"any spelling of the header names": {
			had:  http.Header{"X-CSRF-TOKEN": {"stale"}, "cookie": {"access_token_cookie=stale"}},
			want: http.Header{"Cookie": {"access_token_cookie=access-1; csrf_access_token=csrf-access-1"}, "X-Csrf-Token": {"csrf-access-1"}},
		},
		"names that begin alike": {
			had:  http.Header{"Cookie": {"access_token_cookie2=x; xaccess_token_cookie=y"}},
			want: http.Header{"Cookie": {"access_token_cookie2=x; xaccess_token_cookie=y; access_token_cookie=access-1; csrf_access_token=csrf-access-1"}, "X-Csrf-Token": {"csrf-access-1"}},
		},
		"no CSRF value": {
			tok:  reauth.Token{AccessToken: "access-1"},
			had:  http.Header{"X-Csrf-Token": {"the caller's"}},
			want: http.Header{"Cookie": {"access_token_cookie=access-1"}, "X-Csrf-Token": {"the caller's"}},
		},
		"other names": {
			cookies: cookieauth.Cookies{AccessCookie: "sid", RefreshCookie: "-", AccessCSRFCookie: "XSRF-TOKEN", CSRFHeader: "X-XSRF-TOKEN"},
			tok:     reauth.Token{AccessToken: `"a b"`, Extra: map[string]string{"XSRF-TOKEN": "x"}},
			had:     http.Header{"Cookie": {"refresh_token_cookie=not ours"}},
			want:    http.Header{"Cookie": {`refresh_token_cookie=not ours; sid="a b"; XSRF-TOKEN=x`}, "X-Xsrf-Token": {"x"}},
		},
		"no CSRF at all": {
			cookies: cookieauth.Cookies{AccessCSRFCookie: "-", RefreshCSRFCookie: "-", CSRFHeader: "-"},
			had:     http.Header{},
			want:    http.Header{"Cookie": {"access_token_cookie=access-1"}},
		},
	} {
		t.Run(name, func(t *testing.T) {
			if tc.tok.AccessToken == "" {
				tc.tok = signedIn()
			}
			req := &http.Request{Header: tc.had}
			for range 2 { // a second time changes nothing
				require.NoError(t, tc.cookies.Apply(req, tc.tok))
				assert.Equal(t, tc.want, req.Header)
			}
		})
	}
	req := &http.Request{}
	assert.EqualError(t, new(cookieauth.Cookies).Apply(req, reauth.Token{}), "reauth: Token.AccessToken is empty")
	require.NoError(t, new(cookieauth.Cookies).Apply(req, signedIn()))
}

func TestStripRemovesItsOwnCookiesOnly(t *testing.T) {
	for had, want := range map[string][]string{
		"theme=dark; access_token_cookie=a; refresh_token_cookie=b; csrf_access_token=c; csrf_refresh_token=d": {"theme=dark"},
		"access_token_cookie=a": nil,
	} {
		h := http.Header{"Cookie": {had}, "X-Csrf-Token": {"the caller's"}}
		new(cookieauth.Cookies).Strip(h)
		assert.Equal(t, want, h["Cookie"])
		assert.Equal(t, "the caller's", h.Get("X-CSRF-TOKEN"))
	}
}

func TestValuesThatNoCookieOrHeaderCanCarry(t *testing.T) {
	for _, tc := range []struct {
		tok          reauth.Token
		applies      bool // the values are not those of requests to the API
		refreshesNot bool
	}{
		{reauth.Token{AccessToken: "SECRET; other=x", RefreshToken: "r"}, false, true},
		{reauth.Token{AccessToken: "SECRET\r\n", RefreshToken: "r"}, false, true},
		{reauth.Token{AccessToken: "a", RefreshToken: "r", Extra: map[string]string{"csrf_access_token": "SECRET;"}}, false, true},
		{reauth.Token{AccessToken: "a", RefreshToken: "r", Extra: map[string]string{"csrf_access_token": "SECRET\n"}}, false, true},
		{reauth.Token{AccessToken: "a", RefreshToken: "SECRET;"}, true, true},
		{reauth.Token{AccessToken: "a", RefreshToken: "r", Extra: map[string]string{"csrf_refresh_token": "SECRET\n"}}, true, true},
		{signedIn(), true, false},
		{reauth.Token{RefreshToken: "r"}, false, false},
	} {
		server := setting(200, "access_token_cookie=access-2")
		c := &cookieauth.Cookies{RefreshURL: refreshURL, Client: server.Client()}
		applied := c.Apply(&http.Request{Header: http.Header{}}, tc.tok)
		_, refreshed := c.Refresh(t.Context(), tc.tok)
		assert.Equal(t, tc.applies, applied == nil, "%v", applied)
		assert.Equal(t, tc.refreshesNot, refreshed != nil, "%v", refreshed)
		assert.Equal(t, tc.refreshesNot, c.ValidateToken(tc.tok) != nil)
		for _, err := range []error{applied, refreshed, c.ValidateToken(tc.tok)} {
			if err != nil && tc.refreshesNot {
				assert.ErrorContains(t, err, "cannot carry")
				assert.NotContains(t, err.Error(), "SECRET")
				assert.NotErrorIs(t, err, reauth.ErrSignInRequired)
			}
		}
	}
}

func TestRefreshCarriesItsOwnCSRFValue(t *testing.T) {
	for name, tc := range map[string]struct {
		cookies cookieauth.Cookies
		sent    string
		csrf    []string
	}{
		"defaults": {
			cookieauth.Cookies{},
			"access_token_cookie=access-1; csrf_access_token=csrf-access-1; refresh_token_cookie=refresh-1; csrf_refresh_token=csrf-refresh-1",
			[]string{"csrf-refresh-1"},
		},
		"no refresh cookie": {
			cookieauth.Cookies{RefreshCookie: "-"},
			"access_token_cookie=access-1; csrf_access_token=csrf-access-1", []string{"csrf-access-1"},
		},
		"one CSRF cookie": {
			cookieauth.Cookies{RefreshCSRFCookie: "csrf_access_token"},
			"access_token_cookie=access-1; csrf_access_token=csrf-access-1; refresh_token_cookie=refresh-1", []string{"csrf-access-1"},
		},
		"no CSRF": {
			cookieauth.Cookies{AccessCSRFCookie: "-", RefreshCSRFCookie: "-"},
			"access_token_cookie=access-1; refresh_token_cookie=refresh-1", nil,
		},
	} {
		t.Run(name, func(t *testing.T) {
			jar, err := cookiejar.New(nil)
			require.NoError(t, err)
			at, err := url.Parse(refreshURL)
			require.NoError(t, err)
			jar.SetCookies(at, []*http.Cookie{{Name: "access_token_cookie", Value: "of another session"}, {Name: "x", Value: "y"}})

			server := setting(200, "access_token_cookie=access-2")
			c := tc.cookies
			c.RefreshURL, c.Header, c.Client = refreshURL, http.Header{"Origin": {"https://app.example.com"}}, server.Client()
			c.Client.Jar = jar
			tok, err := c.Refresh(t.Context(), signedIn())
			require.NoError(t, err)
			assert.Equal(t, "access-2", tok.AccessToken)
			got := server.Last()
			assert.Equal(t, "POST "+refreshURL+" ", got.Method+" "+got.URL+" "+got.Body)
			assert.Equal(t, tc.sent, strings.Join(got.Header["Cookie"], "|"))
			assert.Equal(t, tc.csrf, got.Header.Values("X-CSRF-TOKEN"))
			assert.Equal(t, "https://app.example.com", got.Header.Get("Origin"))
			assert.Len(t, jar.Cookies(at), 2, "the jar is not used")
			assert.Equal(t, "of another session", jar.Cookies(at)[0].Value)
		})
	}
}

func TestCookiesThatAnAnswerSets(t *testing.T) {
	now := time.Now().UTC().Format(http.TimeFormat)
	const access = "access_token_cookie=access-2"
	token := func(access, refresh, csrfAccess, csrfRefresh string) reauth.Token {
		return reauth.Token{AccessToken: access, RefreshToken: refresh, Extra: map[string]string{"csrf_access_token": csrfAccess, "csrf_refresh_token": csrfRefresh, "own": "x"}}
	}
	kept := token("access-2", "refresh-1", "csrf-access-1", "csrf-refresh-1")
	for name, tc := range map[string]struct {
		set  []string
		want reauth.Token // zero: none
	}{
		"access alone": {
			[]string{access + "; HttpOnly; Path=/", "csrf_access_token=csrf-access-2; Path=/"},
			token("access-2", "refresh-1", "csrf-access-2", "csrf-refresh-1"),
		},
		"all, and others": {
			[]string{"theme=dark", access, "refresh_token_cookie=refresh-2; Path=/token/refresh", "csrf_access_token=csrf-access-2", "csrf_refresh_token=csrf-refresh-2"},
			token("access-2", "refresh-2", "csrf-access-2", "csrf-refresh-2"),
		},
		"deleted under other paths": {
			[]string{
				access, "access_token_cookie=; Path=/old; Max-Age=0", "access_token_cookie=x; Path=/older; Expires=Thu, 01 Jan 1970 00:00:00 GMT",
				"refresh_token_cookie=; Max-Age=0",
			}, kept,
		},
		"in quotes":                       {[]string{`access_token_cookie="access/2=="`}, token(`"access/2=="`, "refresh-1", "csrf-access-1", "csrf-refresh-1")},
		"a quote, dropped by net/http":    {[]string{access, `refresh_token_cookie=a"b; Path=/`, `csrf_access_token=a"b`}, token("access-2", `a"b`, `a"b`, "csrf-refresh-1")},
		"JSON, dropped by net/http":       {[]string{access, `refresh_token_cookie={"t":"x"}`}, token("access-2", `{"t":"x"}`, "csrf-access-1", "csrf-refresh-1")},
		"escapes, dropped by net/http":    {[]string{access, `refresh_token_cookie="a\054b"`}, token("access-2", `"a\054b"`, "csrf-access-1", "csrf-refresh-1")},
		"UTF-8, dropped by net/http":      {[]string{access, "refresh_token_cookie=caf\xc3\xa9"}, token("access-2", "caf\xc3\xa9", "csrf-access-1", "csrf-refresh-1")},
		"none":                            {nil, reauth.Token{}},
		"refresh alone":                   {[]string{"refresh_token_cookie=r"}, reauth.Token{}},
		"no name":                         {[]string{"access_token_cookie"}, reauth.Token{}},
		"a control character":             {[]string{"access_token_cookie=a\x01b"}, reauth.Token{}},
		"deleted by Max-Age":              {[]string{"access_token_cookie=; Max-Age=0"}, reauth.Token{}},
		"deleted by a negative Max-Age":   {[]string{"access_token_cookie=x; Max-Age=-1"}, reauth.Token{}},
		"deleted by the present time":     {[]string{"access_token_cookie=loggedout; Path=/; Expires=" + now}, reauth.Token{}},
		"deleted, in a two-digit year":    {[]string{"access_token_cookie=deleted; expires=Thu, 01-Jan-70 00:00:00 GMT"}, reauth.Token{}},
		"deleted, in UTC":                 {[]string{"access_token_cookie=deleted; expires=Thu, 01 Jan 1970 00:00:00 UTC"}, reauth.Token{}},
		"deleted, as JavaScript prints a": {[]string{"access_token_cookie=deleted; expires=Thu Jan 01 1970 00:00:00 GMT"}, reauth.Token{}},
	} {
		t.Run(name, func(t *testing.T) {
			for _, status := range []int{200, 204, 302} {
				c := &cookieauth.Cookies{RefreshURL: refreshURL, Client: testworld.AnsweringWith(func(req *http.Request) (*http.Response, error) {
					resp := testworld.Respond(req, status, "")
					resp.Header["Set-Cookie"], resp.Header["Date"] = tc.set, []string{now}
					return resp, nil
				}).Client()}
				old := signedIn()
				tok, err := c.Refresh(t.Context(), old)
				want := tc.want
				if name == "refresh alone" && status < 300 {
					want = reauth.Token{RefreshToken: "r"}
				}
				assert.Equal(t, want, tok)
				assert.Equal(t, signedIn(), old, "the old token is not written to")
				if tc.want.AccessToken != "" {
					require.NoError(t, err)
					continue
				}
				require.Error(t, err)
				assert.NotErrorIs(t, err, reauth.ErrSignInRequired)
				if status == 200 {
					assert.EqualError(t, err, `reauth: token server answered 200: the answer sets no cookie "access_token_cookie"`)
				}
			}
		})
	}
	c := &cookieauth.Cookies{RefreshURL: refreshURL, Client: setting(200, access, "csrf_access_token=c").Client()}
	tok, err := c.Refresh(t.Context(), reauth.Token{RefreshToken: "r"})
	require.NoError(t, err)
	assert.Equal(t, map[string]string{"csrf_access_token": "c"}, tok.Extra)
}

func TestNewRefreshCookieIsReturnedBesideTheError(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		for _, tc := range []struct {
			status int
			set    []string
			want   reauth.Token
		}{
			{200, []string{"refresh_token_cookie=r; Path=/token/refresh; HttpOnly"}, reauth.Token{RefreshToken: "r"}},
			{204, []string{"refresh_token_cookie=r; Max-Age=60", "access_token_cookie=; Max-Age=0"}, reauth.Token{RefreshToken: "r", RefreshExpiry: time.Now().Add(time.Minute)}},
			{200, []string{"refresh_token_cookie=r", "csrf_refresh_token=cr", "csrf_access_token=csrf-access-1"}, reauth.Token{RefreshToken: "r", Extra: map[string]string{"csrf_refresh_token": "cr"}}},
			{200, []string{"refresh_token_cookie=refresh-1", "csrf_refresh_token=cr"}, reauth.Token{}},
			{200, []string{"refresh_token_cookie=r\x01"}, reauth.Token{}},
			{200, []string{"refresh_token_cookie=; Max-Age=0"}, reauth.Token{}},
			{302, []string{"refresh_token_cookie=r"}, reauth.Token{}},
			{401, []string{"refresh_token_cookie=r"}, reauth.Token{}},
			{500, []string{"refresh_token_cookie=r"}, reauth.Token{}},
		} {
			c := &cookieauth.Cookies{RefreshURL: refreshURL, Client: setting(tc.status, tc.set...).Client()}
			tok, err := c.Refresh(t.Context(), signedIn())
			require.Error(t, err)
			assert.Equal(t, tc.status == 401, errors.Is(err, reauth.ErrSignInRequired))
			assert.Equal(t, tc.want, tok, tc.set)
		}
	})
}

func TestRefreshCookieStatesWhenTheSessionExpires(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		old := signedIn()
		old.RefreshExpiry = time.Now().Add(time.Hour)
		for set, want := range map[string]time.Time{
			"refresh_token_cookie=r; Max-Age=60":             time.Now().Add(time.Minute),
			"refresh_token_cookie=r":                         {},
			"refresh_token_cookie=r; Max-Age=99999999999999": time.Now().Add(10 * 365 * 24 * time.Hour),
			"theme=dark": old.RefreshExpiry,
			"refresh_token_cookie=refresh-1; Max-Age=60; Path=/t": time.Now().Add(time.Minute),
		} {
			c := &cookieauth.Cookies{RefreshURL: refreshURL, Client: setting(200, set, "access_token_cookie=a").Client()}
			tok, err := c.Refresh(t.Context(), old)
			require.NoError(t, err)
			assert.Equal(t, want, tok.RefreshExpiry, set)
		}
	})
}

func TestCSRFValueIsDecodedIfSo(t *testing.T) {
	for _, tc := range []struct {
		value, want string
		decode      bool
	}{
		{"eyJpdiI6IkE9PSJ9%3D", "eyJpdiI6IkE9PSJ9=", true},
		{"eyJpdiI6IkE9PSJ9%3D", "eyJpdiI6IkE9PSJ9%3D", false},
		{"a+b", "a+b", true},
		{"100%", "100%", true},
		{"a%0Ab", "", true},
	} {
		c := &cookieauth.Cookies{AccessCSRFCookie: "XSRF-TOKEN", CSRFHeader: "X-XSRF-TOKEN", DecodeCSRF: tc.decode}
		req := &http.Request{Header: http.Header{}}
		err := c.Apply(req, reauth.Token{AccessToken: "a", Extra: map[string]string{"XSRF-TOKEN": tc.value}})
		if tc.want == "" {
			assert.EqualError(t, err, `reauth: the value of the cookie "XSRF-TOKEN" has a character that a header cannot carry`)
			continue
		}
		require.NoError(t, err)
		assert.Equal(t, tc.want, req.Header.Get("X-XSRF-TOKEN"))
		assert.Contains(t, req.Header.Get("Cookie"), "XSRF-TOKEN="+tc.value)
	}
}

func TestMethodOfARefresh(t *testing.T) {
	for method, want := range map[string]string{"": "POST", "GET": "GET", "PUT": "PUT"} {
		server := setting(200, "access_token_cookie=a", "refresh_token_cookie=r")
		c := &cookieauth.Cookies{RefreshURL: refreshURL, SignInURL: refreshURL, Method: method, Client: server.Client()}
		_, err := c.Refresh(t.Context(), signedIn())
		require.NoError(t, err)
		assert.Equal(t, want, server.Last().Method)
		_, err = c.Exchange(t.Context(), nil)
		require.NoError(t, err)
		assert.Equal(t, "POST", server.Last().Method)
	}
	assert.EqualError(t, (&cookieauth.Cookies{RefreshURL: refreshURL, Method: "G T"}).Validate(), `cookieauth: Cookies.Method "G T": is not an HTTP method`)
}

func TestPageIsNotFinal(t *testing.T) {
	for kind, final := range map[string]bool{"text/html": false, "Text/HTML; charset=utf-8": false, "application/json": true, "text/plain": true, "": true} {
		for _, status := range []int{401, 422} {
			c := &cookieauth.Cookies{RefreshURL: refreshURL, Client: testworld.Answering(status, "x", "Content-Type", kind).Client()}
			testworld.AssertRefused(t, c, signedIn(), status, "", final)
		}
	}
}

func TestWithoutItsCookieThereIsNoRequest(t *testing.T) {
	for _, tc := range []struct {
		refreshCookie string
		old           reauth.Token
	}{
		{"", reauth.Token{}},
		{"", reauth.Token{AccessToken: "a"}},
		{"-", reauth.Token{RefreshToken: "r"}},
	} {
		server := setting(200, "access_token_cookie=a")
		c := &cookieauth.Cookies{RefreshURL: refreshURL, RefreshCookie: tc.refreshCookie, Client: server.Client()}
		assert.True(t, c.NeedsToken())
		_, err := c.Refresh(t.Context(), tc.old)
		assert.ErrorIs(t, err, reauth.ErrSignInRequired)
		assert.Empty(t, server.Requests())
	}
}

func TestExchangeSignsIn(t *testing.T) {
	all := []string{"access_token_cookie=a", "refresh_token_cookie=r", "csrf_access_token=ca", "csrf_refresh_token=cr"}
	want := reauth.Token{AccessToken: "a", RefreshToken: "r", Extra: map[string]string{"csrf_access_token": "ca", "csrf_refresh_token": "cr"}}
	for _, tc := range []struct {
		status              int // 303 leads to a page somewhere else, as of a web site
		body                any
		wantBody, wantsType string
	}{
		{200, map[string]string{"username": "ann"}, `{"username":"ann"}`, "application/json"},
		{303, url.Values{"username": {"ann"}}, "username=ann", "application/x-www-form-urlencoded"},
	} {
		server := setting(tc.status, all...)
		c := &cookieauth.Cookies{RefreshURL: refreshURL, SignInURL: "https://id.example.com/login", Client: server.Client()}
		tok, err := c.Exchange(t.Context(), tc.body)
		require.NoError(t, err)
		assert.Equal(t, want, tok)
		got := server.Last()
		assert.Equal(t, "POST "+c.SignInURL+" "+tc.wantBody, got.Method+" "+got.URL+" "+got.Body)
		assert.Equal(t, tc.wantsType, got.Header.Get("Content-Type"))
		assert.Empty(t, got.Header["Cookie"])
	}
	for _, tc := range []struct {
		server *testworld.TokenServer
		want   string
		final  bool
	}{
		{setting(400, all...), "reauth: token server answered 400: the sign-in failed", false},
		{setting(401, all...), "reauth: token server answered 401: the sign-in was refused: sign-in required", true},
		{setting(422, all...), "reauth: token server answered 422: the sign-in was refused: sign-in required", true},
		{setting(500, all...), "reauth: token server answered 500: the sign-in failed", false},
		{setting(302), "reauth: token server answered 302: the sign-in failed: a redirect that is not followed", false},
		{setting(200, all[0]), `reauth: token server answered 200: the answer sets no cookie "refresh_token_cookie"`, false},
	} {
		c := &cookieauth.Cookies{RefreshURL: refreshURL, SignInURL: refreshURL, Client: tc.server.Client()}
		_, err := c.Exchange(t.Context(), nil)
		assert.EqualError(t, err, tc.want)
		assert.Equal(t, tc.final, errors.Is(err, reauth.ErrSignInRequired))
	}
	_, err := (&cookieauth.Cookies{RefreshURL: refreshURL}).Exchange(t.Context(), nil)
	assert.EqualError(t, err, `cookieauth: Cookies.SignInURL "": must be set for Exchange`)
	_, err = (&cookieauth.Cookies{RefreshURL: refreshURL, SignInURL: refreshURL}).Exchange(t.Context(), make(chan int))
	assert.EqualError(t, err, "reauth: the body, a chan int, cannot be encoded as JSON")
}

func TestRefusalsThatSignOutAndThatDoNot(t *testing.T) {
	for _, tc := range []struct {
		status      int
		body        string
		finalStatus []int
		final       bool
	}{
		// flask-jwt-extended, as measured.
		{401, `{"msg":"Missing cookie \"refresh_token_cookie\""}`, nil, true},
		{401, `{"msg":"Token has expired"}`, nil, true},
		{401, `{"msg":"Token has been revoked"}`, nil, true},
		{401, `{"msg":"CSRF double submit tokens do not match"}`, nil, true},
		{422, `{"msg":"Not enough segments"}`, nil, true},

		{400, `{"error":"invalid_grant"}`, nil, false},
		{401, `{"error":"x","code":"token_not_valid"}`, nil, true},
		{401, ``, []int{403}, false},
		{403, ``, []int{403}, true},
		{401, ``, []int{}, false},
		{403, `<html>`, nil, false},
		{404, ``, nil, false},
		{408, ``, nil, false},
		{425, ``, nil, false},
		{429, ``, nil, false},
		{500, ``, nil, false},
		{502, `<html>`, nil, false},
		{503, ``, nil, false},
		{302, ``, nil, false},
		{200, ``, nil, false},
		{204, ``, nil, false},
	} {
		t.Run(fmt.Sprintf("%d/%.40s", tc.status, tc.body), func(t *testing.T) {
			c := &cookieauth.Cookies{RefreshURL: refreshURL, FinalStatus: tc.finalStatus, Client: testworld.Answering(tc.status, tc.body, "Retry-After", "7").Client()}
			failure := testworld.AssertRefused(t, c, signedIn(), tc.status, "", tc.final)
			assert.Equal(t, 7*time.Second, failure.RetryAfter)
		})
	}
	// The body has no meaning.
	server := testworld.Answering(200, strings.Repeat("x", 2<<20), "Set-Cookie", "access_token_cookie=a")
	tok, err := (&cookieauth.Cookies{RefreshURL: refreshURL, Client: server.Client()}).Refresh(t.Context(), signedIn())
	require.NoError(t, err)
	assert.Equal(t, "a", tok.AccessToken)
}

func TestExpiry(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		now := time.Now()
		serverNow := now.Add(time.Hour) // its clock is fast
		enc := base64.RawURLEncoding.EncodeToString
		jwt := enc([]byte(`{"alg":"HS256"}`)) + "." + enc(fmt.Appendf(nil, `{"iat":%d,"exp":%d}`, serverNow.Unix(), serverNow.Add(2*time.Second).Unix())) + ".c2ln"
		date := serverNow.UTC().Format(http.TimeFormat)
		inAMinute := func(clock time.Time) string {
			return "opaque; Expires=" + clock.Add(time.Minute).UTC().Format(http.TimeFormat)
		}
		for _, tc := range []struct {
			cookie, date string
			want         time.Duration
		}{
			{jwt + "; Max-Age=31540000", date, 2 * time.Second},
			{`"` + jwt + `"; Max-Age=31540000`, date, 2 * time.Second},
			{"opaque; Max-Age=60", date, time.Minute},
			{inAMinute(serverNow), date, time.Minute},
			{inAMinute(now), "", time.Minute},
			{"opaque", date, 0},
			{"opaque; Max-Age=9000000000000000000", date, 10 * 365 * 24 * time.Hour},
		} {
			server := testworld.Answering(200, ``, "Set-Cookie", "access_token_cookie="+tc.cookie, "Date", tc.date)
			tok, err := (&cookieauth.Cookies{RefreshURL: refreshURL, Client: server.Client()}).Refresh(t.Context(), signedIn())
			require.NoError(t, err, tc.cookie)
			if tc.want == 0 {
				assert.Zero(t, tok.Expiry)
			} else {
				assert.Equal(t, tc.want, tok.Expiry.Sub(now), tc.cookie)
			}
		}
	})
}

func TestEveryBadFieldIsNamed(t *testing.T) {
	for _, tc := range []struct {
		cookies *cookieauth.Cookies
		want    []string // nil: nothing is wrong
	}{
		{&cookieauth.Cookies{RefreshURL: refreshURL, AccessCSRFCookie: "XSRF-TOKEN", RefreshCSRFCookie: "XSRF-TOKEN", CSRFHeader: "X-XSRF-TOKEN"}, nil},
		{&cookieauth.Cookies{RefreshURL: refreshURL, AccessCookie: "session", RefreshCookie: "-", AccessCSRFCookie: "-", CSRFHeader: "-"}, nil},
		{nil, []string{"cookieauth: the Cookies is a nil pointer"}},
		{&cookieauth.Cookies{}, []string{`cookieauth: Cookies.RefreshURL "": must be set`}},
		{
			&cookieauth.Cookies{
				RefreshURL: "ftp://x", SignInURL: "x", AccessCookie: "-", RefreshCookie: "a b", AccessCSRFCookie: "same", RefreshCSRFCookie: "a b",
				CSRFHeader: "cookie", FinalStatus: []int{408}, Header: http.Header{"X": {" hidden"}},
			},
			[]string{
				`cookieauth: Cookies.RefreshURL "ftp://x": must begin with https:// or http://`,
				`cookieauth: Cookies.SignInURL "x": must begin with https:// or http://`,
				`cookieauth: Cookies.AccessCookie "-": must not be left out`,
				`cookieauth: Cookies.RefreshCookie "a b": is not a cookie name`,
				`cookieauth: Cookies.RefreshCSRFCookie "a b": is not a cookie name`,
				`cookieauth: Cookies.CSRFHeader "cookie": would replace the cookies`,
				`cookieauth: Cookies.Header "X": has a value that no header can carry`,
				`cookieauth: Cookies.FinalStatus 408: means a temporary failure`,
			},
		},
		{
			&cookieauth.Cookies{RefreshURL: refreshURL, AccessCookie: "x", RefreshCookie: "x", AccessCSRFCookie: "x", RefreshCSRFCookie: "x", CSRFHeader: "a:"},
			[]string{
				`cookieauth: Cookies.RefreshCookie "x": is the name of another cookie of the session`,
				`cookieauth: Cookies.AccessCSRFCookie "x": is the name of another cookie of the session`,
				`cookieauth: Cookies.CSRFHeader "a:": is not a header name`,
			},
		},
	} {
		testworld.AssertFaults(t, tc.want, tc.cookies.Validate())
		if tc.want != nil {
			_, err1 := tc.cookies.Refresh(t.Context(), signedIn())
			_, err2 := tc.cookies.Exchange(t.Context(), nil)
			testworld.AssertFaults(t, tc.want, err1, err2)
		}
	}
}

func TestNothingShowsASecret(t *testing.T) {
	const word = testworld.Secret
	const at = "https://user-" + word + ":pass-" + word + "@id.example.com/token?key=" + word
	tok := reauth.Token{AccessToken: "access-" + word + "+/==", RefreshToken: "refresh-" + word + "%22+/==", Extra: map[string]string{
		"csrf_access_token": "csrf-" + word + "-1", "csrf_refresh_token": "csrf-" + word + "-2",
	}}
	basic := base64.StdEncoding.EncodeToString([]byte("x:" + word))
	testworld.AssertNoLeak(t, func(client *http.Client) reauth.Refresher {
		return &cookieauth.Cookies{RefreshURL: at, SignInURL: at, Client: client, Header: http.Header{
			"X-Api-Key": {"key-" + word}, "Proxy-Authorization": {"Basic " + basic},
		}}
	}, tok, []any{
		map[string]any{"username": "ann", "password": "pass " + word + ` "&+é`, "otp": []string{"otp-" + word}},
		url.Values{"username": {"ann"}, "password": {"pass " + word + ` "&+é`}},
	}, basic, url.QueryEscape("pass "+word))
	assert.Equal(t, `[cookieauth.Cookies "https://id.example.com/refresh"]`, fmt.Sprintf("%#v", cookieauth.Cookies{RefreshURL: refreshURL}))
}

// embedding has a field of its own beside those of a Cookies.
type embedding struct {
	cookieauth.Cookies
	Tenant string
}

func TestEmbeddedCookiesKeepTheirMethods(t *testing.T) {
	type all interface {
		reauth.Refresher
		reauth.Credential
		Validate() error
		NeedsToken() bool
		ValidateToken(reauth.Token) error
		Strip(http.Header)
	}
	var c all = &embedding{Cookies: cookieauth.Cookies{RefreshURL: refreshURL, Client: setting(200, "access_token_cookie=access-2").Client()}}
	tok, err := c.Refresh(t.Context(), signedIn())
	require.NoError(t, err)
	assert.Equal(t, "access-2", tok.AccessToken)
	req := &http.Request{Header: http.Header{}}
	require.NoError(t, c.Apply(req, tok))
	assert.Contains(t, req.Header.Get("Cookie"), "access-2")
	c.Strip(req.Header)
	assert.Empty(t, req.Header["Cookie"])
	assert.NoError(t, c.Validate())
	assert.ErrorContains(t, new(embedding).Validate(), "cookieauth: Cookies.RefreshURL")
	assert.True(t, c.NeedsToken())
	assert.Error(t, c.ValidateToken(reauth.Token{AccessToken: "a;"}))
}

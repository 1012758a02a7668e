package reauth_test

import (
	"encoding/base64"
	"fmt"
	"io"
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
)

func unsignedJWT(iat, exp time.Time) string {
	enc := base64.RawURLEncoding.EncodeToString
	return enc([]byte(`{"alg":"HS256"}`)) + "." + enc(fmt.Appendf(nil, `{"iat":%d,"exp":%d}`, iat.Unix(), exp.Unix())) + ".c2ln"
}

var cookieToken = reauth.Token{
	AccessToken: "access-1", RefreshToken: "refresh-1",
	Extra: map[string]string{"csrf_access_token": "csrf-access-1", "csrf_refresh_token": "csrf-refresh-1", "own": "x"},
}

// setsCookies answers with one Set-Cookie for each.
func setsCookies(status int, cookies ...string) *http.Client {
	return &http.Client{Transport: roundTripper(func(req *http.Request) (*http.Response, error) {
		resp := respond(req, status, `{"refresh":true}`)
		resp.Header["Set-Cookie"] = cookies
		return resp, nil
	})}
}

func TestCookieSessionReplacesItsOwnCookiesAndHeaderOnly(t *testing.T) {
	for name, tc := range map[string]struct {
		session reauth.CookieSession
		tok     reauth.Token
		had     http.Header
		want    http.Header
	}{
		"nothing there": {
			had:  http.Header{},
			want: http.Header{"Cookie": {"access_token_cookie=access-1; csrf_access_token=csrf-access-1"}, "X-Csrf-Token": {"csrf-access-1"}},
		},
		"what others set stays": {
			had: http.Header{
				"Cookie":       {"theme=dark; access_token_cookie=stale;csrf_access_token=stale; a=b=c", `csrf_refresh_token=stale; refresh_token_cookie=stale; q="x y"; access_token_cookie=twice`},
				"X-Csrf-Token": {"stale", "staler"}, "X-Other": {"1"},
			},
			want: http.Header{
				"Cookie":       {`theme=dark; a=b=c; q="x y"; access_token_cookie=access-1; csrf_access_token=csrf-access-1`},
				"X-Csrf-Token": {"csrf-access-1"}, "X-Other": {"1"},
			},
		},
		"names that only begin alike": {
			had:  http.Header{"Cookie": {"access_token_cookie2=x; xaccess_token_cookie=y"}},
			want: http.Header{"Cookie": {"access_token_cookie2=x; xaccess_token_cookie=y; access_token_cookie=access-1; csrf_access_token=csrf-access-1"}, "X-Csrf-Token": {"csrf-access-1"}},
		},
		"no CSRF value": {
			tok:  reauth.Token{AccessToken: "access-1"},
			had:  http.Header{"X-Csrf-Token": {"the caller's"}},
			want: http.Header{"Cookie": {"access_token_cookie=access-1"}, "X-Csrf-Token": {"the caller's"}},
		},
		"other names": {
			session: reauth.CookieSession{AccessCookie: "sid", RefreshCookie: "-", AccessCSRFCookie: "XSRF-TOKEN", CSRFHeader: "X-XSRF-TOKEN"},
			tok:     reauth.Token{AccessToken: `"a b"`, Extra: map[string]string{"XSRF-TOKEN": "x"}},
			had:     http.Header{"Cookie": {"refresh_token_cookie=not ours"}},
			want:    http.Header{"Cookie": {`refresh_token_cookie=not ours; sid="a b"; XSRF-TOKEN=x`}, "X-Xsrf-Token": {"x"}},
		},
		"no CSRF at all": {
			session: reauth.CookieSession{AccessCSRFCookie: "-", RefreshCSRFCookie: "-", CSRFHeader: "-"},
			had:     http.Header{},
			want:    http.Header{"Cookie": {"access_token_cookie=access-1"}},
		},
	} {
		t.Run(name, func(t *testing.T) {
			if tc.tok.AccessToken == "" {
				tc.tok = cookieToken
			}
			req := &http.Request{Header: tc.had}
			for range 2 { // a second time changes nothing
				require.NoError(t, tc.session.Apply(req, tc.tok))
				assert.Equal(t, tc.want, req.Header)
			}
		})
	}
	req := &http.Request{}
	assert.EqualError(t, new(reauth.CookieSession).Apply(req, reauth.Token{}), "reauth: Token.AccessToken is empty")
	require.NoError(t, new(reauth.CookieSession).Apply(req, cookieToken))
	for _, bad := range []reauth.Token{
		{AccessToken: "SECRET; other=x"},
		{AccessToken: "SECRET\r\n"},
		{AccessToken: "a", Extra: map[string]string{"csrf_access_token": "SECRET;"}},
		{AccessToken: "a", Extra: map[string]string{"csrf_access_token": "SECRET\n"}},
	} {
		err := new(reauth.CookieSession).Apply(&http.Request{Header: http.Header{}}, bad)
		require.ErrorContains(t, err, "may carry")
		assert.NotContains(t, err.Error(), "SECRET")
	}
}

func TestCookieSessionRefreshCarriesItsOwnCSRFValue(t *testing.T) {
	for name, tc := range map[string]struct {
		session reauth.CookieSession
		cookies string
		csrf    []string
	}{
		"defaults": {
			reauth.CookieSession{},
			"access_token_cookie=access-1; csrf_access_token=csrf-access-1; refresh_token_cookie=refresh-1; csrf_refresh_token=csrf-refresh-1",
			[]string{"csrf-refresh-1"},
		},
		"no refresh cookie": {
			reauth.CookieSession{RefreshCookie: "-"},
			"access_token_cookie=access-1; csrf_access_token=csrf-access-1", []string{"csrf-access-1"},
		},
		"one CSRF cookie": {
			reauth.CookieSession{RefreshCSRFCookie: "csrf_access_token"},
			"access_token_cookie=access-1; csrf_access_token=csrf-access-1; refresh_token_cookie=refresh-1", []string{"csrf-access-1"},
		},
		"no CSRF": {
			reauth.CookieSession{AccessCSRFCookie: "-", RefreshCSRFCookie: "-"},
			"access_token_cookie=access-1; refresh_token_cookie=refresh-1", nil,
		},
	} {
		t.Run(name, func(t *testing.T) {
			var req http.Request
			var body string
			jar, err := cookiejar.New(nil)
			require.NoError(t, err)
			u, err := url.Parse(jsonURL)
			require.NoError(t, err)
			jar.SetCookies(u, []*http.Cookie{{Name: "access_token_cookie", Value: "of another session"}, {Name: "x", Value: "y"}})

			c := tc.session
			c.RefreshURL, c.Header = jsonURL, http.Header{"Origin": {"https://app.example.com"}}
			c.Client = capturing(setsCookies(200, "access_token_cookie=access-2"), &req, &body)
			c.Client.Jar = jar
			tok, err := c.Refresh(t.Context(), cookieToken)
			require.NoError(t, err)
			assert.Equal(t, "access-2", tok.AccessToken)
			assert.Equal(t, "POST "+jsonURL, req.Method+" "+req.URL.String())
			assert.Equal(t, tc.cookies, strings.Join(req.Header["Cookie"], "|"))
			assert.Equal(t, tc.csrf, req.Header.Values("X-CSRF-TOKEN"))
			assert.Equal(t, "https://app.example.com", req.Header.Get("Origin"))
			assert.Empty(t, body)
			require.Len(t, jar.Cookies(u), 2, "the jar is left alone")
			assert.Equal(t, "of another session", jar.Cookies(u)[0].Value)
		})
	}
}

func TestCookieSessionTakesTheCookiesThatAnAnswerSets(t *testing.T) {
	c := reauth.CookieSession{RefreshURL: jsonURL, SignInURL: jsonURL}
	for name, tc := range map[string]struct {
		set  []string
		want reauth.Token // of a refresh
	}{
		"access alone": {
			[]string{"access_token_cookie=access-2; HttpOnly; Path=/", "csrf_access_token=csrf-access-2; Path=/"},
			reauth.Token{AccessToken: "access-2", RefreshToken: "refresh-1", Extra: map[string]string{"csrf_access_token": "csrf-access-2", "csrf_refresh_token": "csrf-refresh-1", "own": "x"}},
		},
		"all, and others": {
			[]string{
				"theme=dark", "access_token_cookie=access-2", "refresh_token_cookie=refresh-2; Path=/token/refresh",
				"csrf_access_token=csrf-access-2", "csrf_refresh_token=csrf-refresh-2",
			},
			reauth.Token{AccessToken: "access-2", RefreshToken: "refresh-2", Extra: map[string]string{"csrf_access_token": "csrf-access-2", "csrf_refresh_token": "csrf-refresh-2", "own": "x"}},
		},
		"taken back elsewhere": {
			[]string{
				"access_token_cookie=access-2", "access_token_cookie=; Path=/old; Max-Age=0", "access_token_cookie=x; Path=/older; Expires=Thu, 01 Jan 1970 00:00:00 GMT",
				"refresh_token_cookie=; Max-Age=0",
			},
			reauth.Token{AccessToken: "access-2", RefreshToken: "refresh-1", Extra: cookieToken.Extra},
		},
		"in quotes": {
			[]string{`access_token_cookie="access/2=="`},
			reauth.Token{AccessToken: `"access/2=="`, RefreshToken: "refresh-1", Extra: cookieToken.Extra},
		},
	} {
		t.Run(name, func(t *testing.T) {
			for _, status := range []int{200, 204, 302} {
				c.Client = setsCookies(status, tc.set...)
				tok, err := c.Refresh(t.Context(), cookieToken)
				require.NoError(t, err)
				assert.Equal(t, tc.want, tok)
			}
		})
	}
	assert.Equal(t, "csrf-access-1", cookieToken.Extra["csrf_access_token"], "the old token is not written to")

	for _, set := range [][]string{nil, {"refresh_token_cookie=r"}, {"access_token_cookie=; Max-Age=0"}, {"access_token_cookie=a\x01b"}} {
		c.Client = setsCookies(200, set...)
		_, err := c.Refresh(t.Context(), cookieToken)
		assert.EqualError(t, err, `reauth: token server answered 200: the answer sets no cookie "access_token_cookie"`)
		assert.NotErrorIs(t, err, reauth.ErrSignInRequired)
	}

	for _, old := range []reauth.Token{{}, {AccessToken: "a"}} {
		_, err := c.Refresh(t.Context(), old)
		assert.ErrorIs(t, err, reauth.ErrSignInRequired)
	}
	c.RefreshCookie = "-"
	_, err := c.Refresh(t.Context(), reauth.Token{RefreshToken: "r"})
	assert.ErrorIs(t, err, reauth.ErrSignInRequired)
}

func TestCookieSessionSignsIn(t *testing.T) {
	var req http.Request
	var body string
	all := []string{"access_token_cookie=a", "refresh_token_cookie=r", "csrf_access_token=ca", "csrf_refresh_token=cr"}
	want := reauth.Token{AccessToken: "a", RefreshToken: "r", Extra: map[string]string{"csrf_access_token": "ca", "csrf_refresh_token": "cr"}}
	c := &reauth.CookieSession{RefreshURL: jsonURL, SignInURL: "https://id.example.com/login"}

	c.Client = capturing(setsCookies(200, all...), &req, &body)
	tok, err := c.Exchange(t.Context(), map[string]string{"username": "ann"})
	require.NoError(t, err)
	assert.Equal(t, want, tok)
	assert.Equal(t, `{"username":"ann"}`, body)
	assert.Equal(t, "application/json", req.Header.Get("Content-Type"))
	assert.Empty(t, req.Header["Cookie"])

	// A form, and an answer that leads to a page somewhere else, as of a web site.
	c.Client = capturing(setsCookies(303, all...), &req, &body)
	tok, err = c.Exchange(t.Context(), url.Values{"username": {"ann"}})
	require.NoError(t, err)
	assert.Equal(t, want, tok)
	assert.Equal(t, "username=ann", body)

	for status, final := range map[int]bool{400: false, 401: true, 422: true, 500: false} {
		c.Client = setsCookies(status, all...)
		_, err = c.Exchange(t.Context(), nil)
		assert.ErrorContains(t, err, "the sign-in")
		assert.Equal(t, final, isFinal(err), status)
	}
	c.Client = setsCookies(302)
	_, err = c.Exchange(t.Context(), nil)
	assert.EqualError(t, err, "reauth: token server answered 302: the sign-in failed: a redirect that is not followed")
	c.Client = setsCookies(200, all[0])
	_, err = c.Exchange(t.Context(), nil)
	assert.EqualError(t, err, `reauth: token server answered 200: the answer sets no cookie "refresh_token_cookie"`)
}

func TestCookieSessionKnowsWhenItsCookieEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		now := time.Now()
		serverNow := now.Add(time.Hour) // its clock is fast
		jwt := unsignedJWT(serverNow, serverNow.Add(2*time.Second))
		date := serverNow.UTC().Format(http.TimeFormat)
		for _, tc := range []struct {
			cookie string
			want   time.Duration
		}{
			{jwt + "; Max-Age=31540000", 2 * time.Second},
			{`"` + jwt + `"; Max-Age=31540000`, 2 * time.Second},
			{"opaque; Max-Age=60", time.Minute},
			{"opaque; Expires=" + serverNow.Add(time.Minute).UTC().Format(http.TimeFormat), time.Minute},
			{"opaque", 0},
			{"opaque; Max-Age=9000000000000000000", 10 * 365 * 24 * time.Hour},
		} {
			c := &reauth.CookieSession{RefreshURL: jsonURL, Client: says(200, ``, "Set-Cookie", "access_token_cookie="+tc.cookie, "Date", date)}
			tok, err := c.Refresh(t.Context(), cookieToken)
			require.NoError(t, err, tc.cookie)
			if tc.want == 0 {
				assert.Zero(t, tok.Expiry)
			} else {
				assert.Equal(t, tc.want, tok.Expiry.Sub(now), tc.cookie)
			}
		}
	})
}

// The user's own http.Client has a jar, which knows nothing of the session, or
// something that is outdated.
func TestCookieSessionWorksBesideAJarOfTheClient(t *testing.T) {
	s := cookieServer(t)
	jar, err := cookiejar.New(nil)
	require.NoError(t, err)
	c := &reauth.CookieSession{RefreshURL: s.URL + "/token/refresh", SignInURL: s.URL + "/token/auth"}
	tr, err := reauth.New(reauth.Config{Refresher: c, Credential: c, Origins: []string{s.URL}})
	require.NoError(t, err)
	client := &http.Client{Transport: tr, Jar: jar}
	s.HandlePublic("/visit", http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		http.SetCookie(w, &http.Cookie{Name: "theme", Value: "dark", Path: "/"})
		http.SetCookie(w, &http.Cookie{Name: "access_token_cookie", Value: "stale", Path: "/"})
		http.SetCookie(w, &http.Cookie{Name: "csrf_access_token", Value: "stale", Path: "/"})
	}))
	s.Handle("/theme", http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		for _, cookie := range req.Cookies() {
			_, _ = io.WriteString(w, cookie.Name+" ")
		}
	}))
	tok, err := c.Exchange(t.Context(), credentials)
	require.NoError(t, err)
	require.NoError(t, tr.SignIn(t.Context(), tok))
	for _, path := range []string{"/visit", "/visit", "/theme"} {
		s.ExpireAccess()
		req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, s.URL+path, strings.NewReader("x"))
		require.NoError(t, err)
		req.Header.Set("X-CSRF-TOKEN", "what the caller read from the jar") // is no reason to leave it alone
		resp, err := client.Do(req)
		require.NoError(t, err)
		defer resp.Body.Close()
		assert.Equal(t, http.StatusOK, resp.StatusCode)
		text, err := io.ReadAll(resp.Body)
		require.NoError(t, err)
		if path == "/theme" {
			assert.Equal(t, "theme access_token_cookie csrf_access_token ", string(text))
		}
		assert.Equal(t, "what the caller read from the jar", req.Header.Get("X-CSRF-TOKEN"))
	}
	assert.Equal(t, 1, s.Counts().Refreshes)
}

func TestCookieSessionsOfTwoUsersDoNotMix(t *testing.T) {
	s := cookieServer(t)
	c := &reauth.CookieSession{RefreshURL: s.URL + "/token/refresh", SignInURL: s.URL + "/token/auth"}
	tr, err := reauth.New(reauth.Config{Refresher: c, Origins: []string{s.URL}}) // and so its Credential
	require.NoError(t, err)
	client := &http.Client{Transport: tr}
	for _, user := range []string{"ann", "bob"} {
		tok, err := c.Exchange(t.Context(), map[string]string{"username": user, "password": "x"})
		require.NoError(t, err)
		require.NoError(t, tr.SignIn(reauth.WithSession(t.Context(), user), tok))
	}
	s.ExpireAccess()
	for range 2 {
		for _, user := range []string{"ann", "bob"} {
			req, err := http.NewRequestWithContext(reauth.WithSession(t.Context(), user), http.MethodPost, s.URL+"/me", nil)
			require.NoError(t, err)
			resp, err := client.Do(req)
			require.NoError(t, err)
			text, err := io.ReadAll(resp.Body)
			require.NoError(t, err)
			require.NoError(t, resp.Body.Close())
			assert.Contains(t, string(text), user)
		}
	}
	assert.Equal(t, 2, s.Counts().Refreshes)
}

// A request whose caller has authenticated it by himself is left alone.
func TestCookieSessionLeavesARequestWithItsOwnAuthorizationAlone(t *testing.T) {
	var got http.Request
	var body string
	c := &reauth.CookieSession{RefreshURL: jsonURL}
	tr, err := reauth.New(reauth.Config{Refresher: c, Origins: []string{reauth.AnyOrigin}, Base: capturing(says(200, ""), &got, &body).Transport})
	require.NoError(t, err)
	require.NoError(t, tr.SignIn(t.Context(), cookieToken))
	for _, own := range []bool{false, true} {
		req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, apiURL, nil)
		require.NoError(t, err)
		if own {
			req.Header.Set("Authorization", "Bearer of the caller's")
		}
		resp, err := tr.RoundTrip(req)
		require.NoError(t, err)
		require.NoError(t, resp.Body.Close())
		assert.Equal(t, own, got.Header.Get("Cookie") == "")
	}
}

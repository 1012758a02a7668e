package reauth_test

import (
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/cookiejar"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/reauth-go/reauth"
)

func TestARedirectThatDropsTheRefreshTokenSignsNobodyOut(t *testing.T) {
	for _, code := range []int{301, 302, 303, 307, 308} {
		var hits []string
		s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			b, _ := io.ReadAll(r.Body)
			hits = append(hits, r.Method+r.URL.Path+string(b))
			if r.URL.Path == "/refresh" {
				http.Redirect(w, r, "/login", code)
				return
			}
			w.WriteHeader(401)
		}))
		e := &reauth.JSONEndpoint{URL: s.URL + "/refresh"}
		_, err := e.Refresh(t.Context(), reauth.Token{AccessToken: "access-1", RefreshToken: "refresh-1"})
		t.Log(code, hits, err)
		if code < 307 && errors.Is(err, reauth.ErrSignInRequired) {
			t.Errorf("%d: 401 to a GET without the refresh token is final", code)
		}
		s.Close()
	}
}

type badSigner struct {
	crypto.Signer
	err error
}

func (b badSigner) Sign(io.Reader, []byte, crypto.SignerOpts) ([]byte, error) { return nil, b.err }

func TestASignInThatTheSignerNeedsSignsNobodyOut(t *testing.T) {
	k, _ := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	r := &reauth.OAuth2Refresher{TokenURL: "https://id.example.com/t", ClientID: "c", ClientKey: reauth.ClientKey{Signer: badSigner{k, fmt.Errorf("kms: %w", reauth.ErrSignInRequired)}}}
	_, err := r.Refresh(t.Context(), reauth.Token{AccessToken: "access-1", RefreshToken: "refresh-1"})
	if errors.Is(err, reauth.ErrSignInRequired) {
		t.Errorf("final: %v", err)
	}
	c := &reauth.ClientCredentials{TokenURL: "https://id.example.com/t", ClientID: "c", ClientKey: r.ClientKey}
	_, err = c.Refresh(t.Context(), reauth.Token{})
	if errors.Is(err, reauth.ErrSignInRequired) {
		t.Errorf("final: %v", err)
	}
}

func TestNewNamesAKeyThatIsEmpty(t *testing.T) {
	for _, k := range []crypto.Signer{&rsa.PrivateKey{}, &ecdsa.PrivateKey{}} {
		func() {
			defer func() {
				if p := recover(); p != nil {
					t.Errorf("%T: New panics: %v", k, p)
				}
			}()
			_, err := reauth.New(reauth.Config{Origins: []string{"*"}, Refresher: &reauth.ClientCredentials{TokenURL: "https://id.example.com/t", ClientID: "c", ClientKey: reauth.ClientKey{Signer: k}}})
			t.Log(err)
			if err == nil {
				t.Error("accepted")
			}
		}()
	}
}

func TestNewNamesACurveThatHasNoAlgorithm(t *testing.T) {
	k, _ := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	p := *k.Params()
	p.Name = "secp256k1"
	k2 := *k
	k2.Curve = &p
	_, err := reauth.New(reauth.Config{Origins: []string{"*"}, Refresher: &reauth.ClientCredentials{TokenURL: "https://id.example.com/t", ClientID: "c", ClientKey: reauth.ClientKey{Signer: &k2}}})
	if err == nil {
		t.Error("secp256k1 taken for ES256")
	}
}

func TestTheReplayRenewsCookiesAndCSRFHeaderHoweverTheyAreSpelt(t *testing.T) {
	var seen []http.Header
	base := roundTripper(func(req *http.Request) (*http.Response, error) {
		seen = append(seen, req.Header.Clone())
		if len(seen) == 1 {
			return respond(req, 401, ""), nil
		}
		return respond(req, 200, ""), nil
	})
	c := &reauth.CookieSession{RefreshURL: jsonURL, Client: setsCookies(200, "access_token_cookie=access-2", "csrf_access_token=csrf-access-2")}
	tr, err := reauth.New(reauth.Config{Refresher: c, Base: base, Origins: []string{"https://api.example.com"}})
	if err != nil {
		t.Fatal(err)
	}
	if err := tr.SignIn(t.Context(), cookieToken); err != nil {
		t.Fatal(err)
	}
	req, _ := http.NewRequest("POST", "https://api.example.com/x", strings.NewReader("b"))
	req.Header = http.Header{"X-CSRF-TOKEN": {"stale-csrf"}, "cookie": {"access_token_cookie=stale"}}
	if _, err := (&http.Client{Transport: tr}).Do(req); err != nil {
		t.Fatal(err)
	}
	for _, h := range seen {
		if s := fmt.Sprint(h); strings.Contains(s, "stale") {
			t.Error(s)
		}
	}
}

func TestACookieThatIsDeletedIsNoToken(t *testing.T) {
	now := time.Now().UTC().Format(http.TimeFormat)
	for _, set := range []string{"=loggedout; Path=/; Expires=" + now, "=deleted; expires=Thu, 01-Jan-70 00:00:00 GMT", "=deleted; expires=Thu, 01 Jan 1970 00:00:00 UTC", "=deleted; expires=Thu Jan 01 1970 00:00:00 GMT"} {
		cl := &http.Client{Transport: roundTripper(func(req *http.Request) (*http.Response, error) {
			resp := respond(req, 200, "")
			resp.Header["Date"] = []string{now}
			resp.Header["Set-Cookie"] = []string{"access_token_cookie" + set, "refresh_token_cookie" + set}
			return resp, nil
		})}
		c := &reauth.CookieSession{RefreshURL: jsonURL, Client: cl}
		tok, err := c.Refresh(t.Context(), cookieToken)
		if err == nil {
			t.Errorf("%s: a deletion is taken for a token: %q %q", set, tok.AccessToken, tok.RefreshToken)
		}
	}
}

func TestCookieValuesThatNetHTTPDropsAreKept(t *testing.T) {
	for _, v := range []string{`a"b`, `{"t":"x"}`, `"a\054b"`, "caf\xc3\xa9", `a\b`} {
		c := &reauth.CookieSession{RefreshURL: jsonURL, Client: setsCookies(200, "access_token_cookie=access-2", "refresh_token_cookie="+v+"; Path=/", "csrf_access_token="+v)}
		tok, err := c.Refresh(t.Context(), cookieToken)
		if err != nil || tok.RefreshToken != v || tok.Extra["csrf_access_token"] != v {
			t.Errorf("%q: rotated cookie is lost silently: %q %q %v", v, tok.RefreshToken, tok.Extra, err)
		}
	}
}

func TestABodyThatHangsLosesNoCookies(t *testing.T) {
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Add("Set-Cookie", "access_token_cookie=access-2")
		w.Header().Add("Set-Cookie", "refresh_token_cookie=refresh-2")
		w.WriteHeader(200)
		w.(http.Flusher).Flush()
		<-r.Context().Done()
	}))
	defer s.Close()
	ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
	defer cancel()
	c := &reauth.CookieSession{RefreshURL: s.URL}
	tok, err := c.Refresh(ctx, cookieToken)
	if err != nil || tok.RefreshToken != "refresh-2" {
		t.Errorf("rotated cookies were received and lost: %v", err)
	}
}

func TestScopesThatWereNotGrantedLeaveTheGrantAsItIs(t *testing.T) {
	for _, tc := range []struct {
		granted, want string
		scopes        []string
	}{
		{"openid profile User.Read", "", []string{"openid", "offline_access", "User.Read"}},        // Entra leaves offline_access out of the answer
		{"openid https://www.googleapis.com/auth/userinfo.email", "", []string{"openid", "email"}}, // Google renames
		{"read", "", []string{"admin"}},
		{"repo,user", "", []string{"repo", "user"}},
	} {
		var req http.Request
		var body string
		r := &reauth.OAuth2Refresher{TokenURL: jsonURL, ClientID: "c", Scopes: tc.scopes}
		r.Client = capturing(says(200, `{"access_token":"a"}`), &req, &body)
		if _, err := r.Refresh(t.Context(), reauth.Token{RefreshToken: "r", Extra: map[string]string{"scope": tc.granted}}); err != nil {
			t.Fatal(err)
		}
		f, _ := url.ParseQuery(body)
		t.Logf("granted %q scopes %q sent %q", tc.granted, tc.scopes, f["scope"])
		if f.Get("scope") != tc.want {
			t.Errorf("granted %q scopes %q sent %q", tc.granted, tc.scopes, f["scope"])
		}
	}
}

func TestAnAnonymousRequestCarriesNoCookieOfAnotherSession(t *testing.T) {
	jar, _ := cookiejar.New(nil)
	var got []string
	base := roundTripper(func(req *http.Request) (*http.Response, error) {
		got = append(got, req.Header.Get("Cookie"))
		resp := respond(req, 200, "")
		if len(got) == 1 {
			resp.Header["Set-Cookie"] = []string{"access_token_cookie=of-A; Path=/"} // flask's documented implicit refresh
		}
		return resp, nil
	})
	c := &reauth.CookieSession{RefreshURL: jsonURL, Client: setsCookies(200)}
	tr, _ := reauth.New(reauth.Config{Refresher: c, Base: base, Anonymous: true, Origins: []string{"https://api.example.com"}})
	cl := &http.Client{Transport: tr, Jar: jar}
	a, b := reauth.WithSession(t.Context(), "A"), reauth.WithSession(t.Context(), "B")
	_ = tr.SignIn(a, cookieToken)
	for _, ctx := range []context.Context{a, b, a} {
		req, _ := http.NewRequestWithContext(ctx, "GET", "https://api.example.com/me", nil)
		if _, err := cl.Do(req); err != nil {
			t.Fatal(err)
		}
	}
	_ = tr.SignOut(a)
	req, _ := http.NewRequestWithContext(a, "GET", "https://api.example.com/me", nil)
	_, _ = cl.Do(req)
	t.Log(got)
	if strings.Contains(got[1], "of-A") {
		t.Error("session B, signed out, is sent as A:", got[1])
	}
	if strings.Contains(got[3], "of-A") {
		t.Error("session A, signed out, is still signed in:", got[3])
	}
}

func TestSignInRefusesACookieThatCannotBeSent(t *testing.T) {
	c := &reauth.CookieSession{RefreshURL: jsonURL}
	tr, _ := reauth.New(reauth.Config{Refresher: c, Origins: []string{"https://api.example.com"}})
	for _, tok := range []reauth.Token{{AccessToken: "a; theme=x", RefreshToken: "r"}, {AccessToken: "a", RefreshToken: "r", Extra: map[string]string{"csrf_access_token": "a\nb"}}} {
		if tr.SignIn(t.Context(), tok) == nil {
			t.Error("SignIn accepts what no request can carry")
		}
	}
}

func TestABrokenAnswerSignsNobodyOutWhateverItsError(t *testing.T) {
	cl := &http.Client{Transport: roundTripper(func(req *http.Request) (*http.Response, error) {
		resp := respond(req, 200, "")
		resp.Body = io.NopCloser(errReader{fmt.Errorf("x: %w", reauth.ErrSignInRequired)})
		return resp, nil
	})}
	_, err := (&reauth.JSONEndpoint{URL: jsonURL, Client: cl}).Refresh(t.Context(), cookieToken)
	if errors.Is(err, reauth.ErrSignInRequired) {
		t.Errorf("json: %v", err)
	}
	_, err = (&reauth.OAuth2Refresher{TokenURL: jsonURL, Client: cl}).Refresh(t.Context(), cookieToken)
	if errors.Is(err, reauth.ErrSignInRequired) {
		t.Errorf("oauth: %v", err)
	}
}

func TestNoErrorShowsParams(t *testing.T) {
	cl := &http.Client{Transport: roundTripper(func(req *http.Request) (*http.Response, error) {
		b, _ := io.ReadAll(req.Body)
		return nil, errors.New(string(b))
	})}
	_, err := (&reauth.ClientCredentials{TokenURL: jsonURL, ClientID: "c", Params: url.Values{"subject_token": {"SUBJECT-SECRET"}}, Client: cl}).Refresh(t.Context(), reauth.Token{})
	if strings.Contains(err.Error(), "SUBJECT-SECRET") {
		t.Error(err)
	}
}
func TestExchangeRefusesAReader(t *testing.T) {
	var req http.Request
	var body string
	e := &reauth.JSONEndpoint{URL: jsonURL}
	e.Client = capturing(says(200, `{"access_token":"a"}`), &req, &body)
	_, err := e.Exchange(t.Context(), strings.NewReader(`{"user":"x"}`))
	if err == nil {
		t.Errorf("an io.Reader is sent as %s", body)
	}
}

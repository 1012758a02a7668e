package xoauth2

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"time"

	"golang.org/x/oauth2"
	"golang.org/x/oauth2/clientcredentials"

	"github.com/reauth-go/reauth"
	"github.com/reauth-go/reauth/oauth"
)

// Refresher returns a Refresher for users that cfg has signed in. It is one of package oauth,
// which sends a refresh token once. Package oauth2 sends it a second time, with the client's
// secret in another place, when the first request fails for whatever reason, unless cfg
// says where the secret belongs. A server that detects reuse then ends the session.
//
// So it is an error if cfg has a secret and Endpoint.AuthStyle is
// oauth2.AuthStyleAutoDetect. oauth2.AuthStyleInHeader is what RFC 6749 wants all servers to
// support.
//
// The other fields of the result, such as RevocationURL, may be set before use. The root
// module's docs/providers.md has those that a provider needs, such as FinalCodes for GitHub.
// As in package oauth2, Scopes are not sent again, and Microsoft Entra may then issue a token
// that can do less (coder/coder#24851). Set Scopes of the result to those of cfg there.
func Refresher(cfg *oauth2.Config) (*oauth.Refresher, error) {
	r := &oauth.Refresher{TokenURL: cfg.Endpoint.TokenURL, ClientID: cfg.ClientID, ClientSecret: cfg.ClientSecret}
	switch style := cfg.Endpoint.AuthStyle; {
	case cfg.ClientSecret == "":
		r.AuthStyle = oauth.AuthStyleNone
	case style == oauth2.AuthStyleInHeader:
		r.AuthStyle = oauth.AuthStyleBasic
	case style == oauth2.AuthStyleInParams:
		r.AuthStyle = oauth.AuthStyleForm
	case style == oauth2.AuthStyleAutoDetect:
		return nil, errors.New("xoauth2: Config.Endpoint.AuthStyle is AuthStyleAutoDetect, which can spend a refresh token twice: set AuthStyleInHeader, or AuthStyleInParams if the token server wants that")
	default:
		return nil, fmt.Errorf("xoauth2: Config.Endpoint.AuthStyle %d is unknown", style)
	}
	return r, r.Validate()
}

// ClientCredentials returns a Refresher for the program itself, with the client credentials
// grant of RFC 6749 section 4.4. It is [Source] of cfg's own sources. No SignIn is needed.
func ClientCredentials(cfg *clientcredentials.Config) reauth.Refresher {
	return &sourceRefresher{
		source:  func(ctx context.Context) (oauth2.TokenSource, error) { return cfg.TokenSource(ctx), nil },
		secrets: func() []string { return []string{cfg.ClientSecret} },
	}
}

// Source returns a Refresher that calls fn for each refresh and takes one token from the
// source that fn returns. So that source must be a new one: most sources, also those of
// credentials of package google, return a token again and again until it expires, even if
// the API has refused it. No SignIn is needed.
//
//	google := xoauth2.Source(func(ctx context.Context) (oauth2.TokenSource, error) {
//		return google.DefaultTokenSource(ctx, "https://www.googleapis.com/auth/cloud-platform")
//	})
//
// The source should use ctx, which ends after reauth.Config.RefreshTimeout. It holds an
// http.Client for package oauth2, which ends its requests then too, and follows no redirect
// to another origin. It is a copy of the one that the context of the request has, or of
// http.DefaultClient.
//
// A refresh token that comes with a token is dropped, because it is the source's own. No
// error is final: what ails the credentials of a program ends when somebody replaces them,
// and not with a sign-in. Errors have the status and the error code of the token server, and
// nothing else of its answer. Those of a request without an answer are a net.Error, but not
// of package oauth2/jwt, which drops it.
func Source(fn func(context.Context) (oauth2.TokenSource, error)) reauth.Refresher {
	return &sourceRefresher{source: fn, secrets: func() []string { return nil }}
}

type sourceRefresher struct {
	source  func(context.Context) (oauth2.TokenSource, error)
	secrets func() []string // that an error code may repeat
}

func (r *sourceRefresher) Refresh(ctx context.Context, _ reauth.Token) (reauth.Token, error) {
	ctx = withClient(ctx)
	src, err := r.source(ctx)
	if err == nil && src == nil {
		err = errors.New("the function of Source returned neither a source nor an error")
	}
	var tok *oauth2.Token
	if err == nil {
		tok, err = src.Token()
	}
	if err != nil {
		failure := failureOf(err, r.secrets()...)
		if end, ok := ctx.Deadline(); ok && failure.StatusCode == 0 && !time.Now().Before(end) {
			failure.Err = silence{failure.Err.Error(), true} // package oauth2/jwt doesn't wrap what tells
		}
		return reauth.Token{}, failure
	}
	out := FromToken(tok)
	out.RefreshToken = ""
	return out, nil
}

// Validate is called by reauth.New.
func (r *sourceRefresher) Validate() error {
	if r.source == nil {
		return errors.New("xoauth2: the function of Source is required")
	}
	return nil
}

// withClient returns ctx with an http.Client whose requests end with ctx and have its
// values. Package oauth2/jwt, for one, sends requests without a context.
func withClient(ctx context.Context) context.Context {
	client := clientOf(ctx)
	base := client.Transport
	if base == nil {
		base = http.DefaultTransport
	}
	client.Transport = valued{base, ctx}
	if deadline, ok := ctx.Deadline(); ok {
		left := max(time.Until(deadline), 1)
		if client.Timeout == 0 || left < client.Timeout {
			client.Timeout = left
		}
	}
	return context.WithValue(ctx, oauth2.HTTPClient, &client)
}

// clientOf returns a copy of the http.Client of ctx, or of the default one, that follows no
// redirect to another origin, unless it has a CheckRedirect of its own.
func clientOf(ctx context.Context) http.Client {
	client := *http.DefaultClient
	if c, ok := ctx.Value(oauth2.HTTPClient).(*http.Client); ok && c != nil {
		client = *c
	}
	if client.CheckRedirect == nil {
		client.CheckRedirect = withinOrigin
	}
	return client
}

// valued gives requests the values of a context. By these a reauth.Transport below knows
// the requests of a refresh, which it must not authenticate.
type valued struct {
	base http.RoundTripper
	ctx  context.Context
}

func (v valued) RoundTrip(req *http.Request) (*http.Response, error) {
	return v.base.RoundTrip(req.WithContext(withValues{req.Context(), v.ctx}))
}

type withValues struct {
	context.Context
	more context.Context
}

func (w withValues) Value(key any) any {
	if v := w.Context.Value(key); v != nil {
		return v
	}
	return w.more.Value(key)
}

// withinOrigin stops at a redirect to another origin, which would take a secret along.
func withinOrigin(req *http.Request, via []*http.Request) error {
	if len(via) >= 10 || req.URL.Scheme != via[0].URL.Scheme || req.URL.Host != via[0].URL.Host {
		return http.ErrUseLastResponse
	}
	return nil
}

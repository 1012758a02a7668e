package oauth

import (
	"context"
	"errors"
	"maps"
	"net/url"
	"strconv"
	"sync/atomic"
	"time"

	"github.com/reauth-go/reauth"
	"github.com/reauth-go/reauth/internal/redact"
	"github.com/reauth-go/reauth/internal/settings"
)

// A Resource is the Refresher of sessions for another API that the same sign-in may use,
// where the token server issues access tokens for one API at a time (RFC 8707 section 2.2).
// It gets them with the refresh tokens of the sessions of Transport, which have the same
// names:
//
//	orders := &oauth.Resource{Transport: tr, Refresher: refresher, Resource: "https://orders.example.com/"}
//	atOrders, err := reauth.New(reauth.Config{
//		Refresher: orders,
//		SignIn:    orders.SignIn,
//		Origins:   []string{"https://orders.example.com"},
//	})
//
// Each request for a token is an Update of the session of Transport, whose access token
// stays, and whose next refresh token is stored. So of all APIs and processes one at a time
// asks, and no refresh token is used twice.
//
// The Transport with the Resource needs no Config.Store, because its access tokens can be
// had again. If it has one, that must not be the one of Transport, where the names are
// taken. The program signs in and out at Transport. After a sign-out, or before somebody else
// signs in under the same name, call SignOut of the other too: it ends the use of the access
// token that is left, and no request that it was refused for is sent again.
//
// Its methods may be called concurrently; its fields must not be changed after the first
// call.
type Resource struct {
	// Transport has the sessions with the refresh tokens. Required.
	Transport *reauth.Transport

	// Refresher says where the token server is and how the client authenticates. It is that
	// of Transport, or one for the same client. Its Grant and Scopes are not used; its
	// Params are sent. Required.
	Refresher *Refresher

	// Resource is the URI of the API (RFC 8707 section 2): absolute, and without a fragment.
	// It must be one that the server grants: some servers spend the refresh token before
	// they refuse with invalid_target, and then the session is lost.
	Resource string

	// Audience names the API in the parameter audience, for servers that have that instead.
	// Resource or Audience is required.
	Audience string

	// Scopes limits what the access token may do there. If empty, the server decides.
	Scopes []string
}

var _ reauth.Refresher = (*Resource)(nil)

// Validate reports every field that is wrong. [reauth.New] calls it.
func (r *Resource) Validate() error {
	if r == nil {
		return errors.New("oauth: the Resource is a nil pointer")
	}
	f := settings.Of("oauth: Resource")
	if r.Transport == nil {
		f.Add("Transport", "nil", "must be set")
	}
	var inner error
	if r.Refresher == nil {
		f.Add("Refresher", "nil", "must be set")
	} else {
		inner = r.Refresher.Validate()
		for _, name := range []string{"resource", "audience"} {
			if r.Refresher.Params.Has(name) {
				f.Add("Refresher.Params", strconv.Quote(name), "would ask for one more API")
			}
		}
	}
	if r.Resource == "" && r.Audience == "" {
		f.Add("Resource", `""`, "or Audience must be set")
	}
	if r.Resource != "" {
		if why := resourceFault(r.Resource); why != "" {
			f.Add("Resource", redact.URL(r.Resource), why)
		}
	}
	return errors.Join(f.Err(), inner)
}

// Refresh implements [reauth.Refresher]. The error wraps [reauth.ErrSignInRequired] if the
// session of Transport is signed out, or the server refuses its refresh token. Others are
// temporary, like those of [Refresher.Refresh].
func (r *Resource) Refresh(ctx context.Context, _ reauth.Token) (reauth.Token, error) {
	if err := r.Validate(); err != nil {
		return reauth.Token{}, err
	}
	asking := r.asking()
	var brought atomic.Pointer[reauth.Token] // fn may outlive an Update that has given up
	_, err := r.session(ctx).Update(ctx, func(ctx context.Context, main reauth.Token) (reauth.Token, error) {
		tok, err := asking.Refresh(ctx, main)
		if err != nil {
			return tok, err // a refresh token that came with it is kept
		}
		brought.Store(&tok)
		main.RefreshToken, main.RefreshExpiry = tok.RefreshToken, tok.RefreshExpiry
		if key := tok.Extra[extraKey]; key != "" { // the refresh token may be bound to it
			main = withKey(main, key)
		}
		return main, nil
	})
	if err != nil {
		return reauth.Token{}, err
	}
	tok := *brought.Load()
	tok.RefreshToken, tok.RefreshExpiry, tok.SignInID = "", time.Time{}, ""
	return tok, nil
}

// SignIn is for [reauth.Config.SignIn] of the Transport with the Resource. It returns a
// token once somebody has signed in at Transport, and has Transport's own Config.SignIn do
// that, if there is one. Without it a session that was signed out would stay so.
func (r *Resource) SignIn(ctx context.Context) (reauth.Token, error) {
	tok, err := r.Refresh(ctx, reauth.Token{})
	if !errors.Is(err, reauth.ErrSignInRequired) {
		return tok, err
	}
	if _, err := r.session(ctx).Token(ctx); err != nil {
		return reauth.Token{}, err
	}
	return r.Refresh(ctx, reauth.Token{})
}

// session returns the session of Transport that ctx is about.
func (r *Resource) session(ctx context.Context) *reauth.Session {
	return r.Transport.Session(reauth.SessionFromContext(ctx))
}

// asking returns the Refresher that asks for this API. What it discovers, and that an
// endpoint does not answer, it shares with the one it is a copy of.
func (r *Resource) asking() *Refresher {
	asking := *r.Refresher
	asking.Grant, asking.Scopes = nil, r.Scopes
	asking.shareDiscovery(r.Refresher)
	asking.Params = maps.Clone(r.Refresher.Params)
	if asking.Params == nil {
		asking.Params = make(url.Values)
	}
	if r.Resource != "" {
		asking.Params.Set("resource", r.Resource)
	}
	if r.Audience != "" {
		asking.Params.Set("audience", r.Audience)
	}
	return &asking
}

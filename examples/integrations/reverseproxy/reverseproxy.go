// Package reverseproxy is an httputil.ReverseProxy in front of an API, for many users. It
// passes on server-sent events as they come, and WebSockets.
//
// It must know its users already, by a cookie for example. What else a proxy for browsers
// needs is in examples/bff.
package reverseproxy

import (
	"errors"
	"net/http"
	"net/http/httputil"
	"net/url"
	"strconv"

	"github.com/reauth-go/reauth"
)

// New returns a handler that passes requests on to api, with the token of the session that
// sessionOf names. It names "" if it does not know the user, who then gets a 401.
//
// The user's own Authorization is removed, because a request that has one is sent with
// that. If the Transport's Credential writes another header, remove that one too. The proxy
// drops what Connection names before the token is added, so a user can't have it dropped.
//
// A page of another site gets a 403 if it tries to write, or to open a WebSocket: the
// browser would send this server's cookies along.
func New(api *url.URL, transport *reauth.Transport, sessionOf func(*http.Request) string) http.Handler {
	proxy := &httputil.ReverseProxy{
		Transport:    transport,
		ErrorHandler: fail,
		Rewrite: func(r *httputil.ProxyRequest) {
			r.SetURL(api)
			for _, name := range []string{"Authorization", "Cookie", "Origin"} {
				r.Out.Header.Del(name)
			}
			if n := r.Out.ContentLength; n < 0 || n > 256<<10 { // the default ReplayBuffer
				r.Out.Header.Set("Expect", "100-continue") // to be refused before it is sent
			}
		},
	}
	guard := http.NewCrossOriginProtection()
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		r = r.WithContext(reauth.WithSession(r.Context(), sessionOf(r)))
		asked := *r
		if r.Header.Get("Upgrade") != "" {
			asked.Method = http.MethodPost // a GET, but no safe one
		}
		switch {
		case guard.Check(&asked) != nil:
			w.WriteHeader(http.StatusForbidden)
		case r.Method == http.MethodTrace: // the answer repeats the request, with the token
			w.WriteHeader(http.StatusMethodNotAllowed)
		case reauth.SessionFromContext(r.Context()) == "":
			w.WriteHeader(http.StatusUnauthorized)
		default:
			proxy.ServeHTTP(w, r)
		}
	})
}

// fail answers a request that the API has not answered.
func fail(w http.ResponseWriter, _ *http.Request, err error) {
	failed, noToken := errors.AsType[*reauth.RefreshError](err)
	switch {
	case errors.Is(err, reauth.ErrSignInRequired):
		w.WriteHeader(http.StatusUnauthorized)
	case noToken:
		w.Header().Set("Retry-After", strconv.Itoa(1+int(failed.RetryAfter.Seconds())))
		w.WriteHeader(http.StatusServiceUnavailable)
	default:
		w.WriteHeader(http.StatusBadGateway)
	}
}

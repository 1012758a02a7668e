package main

import (
	"context"
	"errors"
	"log/slog"
	"math"
	"net/http"
	"net/http/httputil"
	"net/url"
	"slices"
	"strconv"
	"strings"

	"github.com/reauth-go/reauth"
)

// newProxy returns a handler that passes requests on to the API, with the token
// of the session in their context.
func newProxy(api *url.URL, transport http.RoundTripper, log *slog.Logger) http.Handler {
	proxy := &httputil.ReverseProxy{
		Transport: transport,
		Rewrite: func(r *httputil.ProxyRequest) {
			r.SetURL(api)
			// The cookie is for this server only. A request with a credential of its own
			// would be sent with that instead of the token.
			r.Out.Header.Del("Cookie")
			r.Out.Header.Del("Authorization")
			if n := r.Out.ContentLength; n < 0 || n > replayBuffer {
				// An upload that has not begun can be sent again, however long it is. The
				// API says whether it accepts the token before it gets the body. If it
				// does not answer, it gets the body after a second.
				r.Out.Header.Set("Expect", "100-continue")
			}
		},
		ModifyResponse: func(resp *http.Response) error {
			forBrowser(resp.Header)
			return nil
		},
		ErrorHandler: func(w http.ResponseWriter, r *http.Request, err error) {
			writeFailure(w, r, err, log)
		},
		ErrorLog: slog.NewLogLogger(log.Handler(), slog.LevelDebug),
	}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		// Some servers would resolve it, and leave the API's part of their paths.
		if hasParent(r.URL.Path, 2) {
			writeError(w, http.StatusBadRequest, "bad_path")
			return
		}
		// A WebSocket begins with a GET, which any page may send, and is not bound to the
		// origin that opened it. Check Origin before you allow one.
		if r.Header.Get("Upgrade") != "" {
			writeError(w, http.StatusBadRequest, "no_upgrade")
			return
		}
		// The answer to a TRACE repeats the request, including the token.
		if r.Method == http.MethodTrace || r.Method == http.MethodConnect {
			writeError(w, http.StatusMethodNotAllowed, "bad_method")
			return
		}
		proxy.ServeHTTP(finalOnly{w}, r)
	})
}

// hasParent reports whether some server could read a part of path as "..". Some servers
// remove the text after a semicolon, and some decode again, so it also checks further
// decodings.
func hasParent(path string, decodings int) bool {
	parts := strings.FieldsFunc(path, func(c rune) bool { return c == '/' || c == '\\' })
	return slices.ContainsFunc(parts, func(part string) bool {
		if name, _, _ := strings.Cut(part, ";"); name == ".." {
			return true
		}
		again, err := url.PathUnescape(part)
		return err == nil && again != part && decodings > 0 && hasParent(again, decodings-1)
	})
}

// A finalOnly passes on only the final answer. Informational answers (1xx) bypass
// ModifyResponse, and may set a cookie, too.
type finalOnly struct{ http.ResponseWriter }

func (w finalOnly) WriteHeader(status int) {
	if status >= http.StatusOK {
		w.ResponseWriter.WriteHeader(status)
	}
}

func (w finalOnly) Unwrap() http.ResponseWriter { return w.ResponseWriter }

// forBrowser removes headers from an answer of the API that would apply to this server's
// origin in the browser.
func forBrowser(h http.Header) {
	for name := range h {
		if strings.HasPrefix(name, "Access-Control-") {
			h.Del(name)
		}
	}
	for _, name := range []string{
		"Set-Cookie", "Clear-Site-Data", "Www-Authenticate", "Strict-Transport-Security", "Alt-Svc",
		"Nel", "Report-To", "Reporting-Endpoints", "Refresh", "Service-Worker-Allowed", "Timing-Allow-Origin",
	} {
		h.Del(name)
	}
	h.Set("Content-Security-Policy", "default-src 'none'; sandbox") // an answer is data, not a page
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("Cross-Origin-Resource-Policy", "same-origin")
	// The API's caching headers were for a request with an Authorization, which shared
	// caches do not keep by default (RFC 9111 section 3.5). The browser's request has
	// none, and the next user of this browser may request the same address.
	h.Set("Cache-Control", "no-store")
}

// writeFailure answers a request that the API has not answered.
func writeFailure(w http.ResponseWriter, r *http.Request, err error, log *slog.Logger) {
	if errors.Is(err, reauth.ErrSignInRequired) {
		writeError(w, http.StatusUnauthorized, "sign_in_required")
		return
	}
	if failed, ok := errors.AsType[*reauth.RefreshError](err); ok {
		seconds := max(1, int(math.Ceil(failed.RetryAfter.Seconds())))
		w.Header().Set("Retry-After", strconv.Itoa(seconds))
		writeError(w, http.StatusServiceUnavailable, "try_again")
		return
	}
	if !errors.Is(err, context.Canceled) { // the browser has gone
		log.WarnContext(r.Context(), "the API gave no answer", "error", err)
	}
	writeError(w, http.StatusBadGateway, "no_answer")
}

// writeError writes an answer that the page understands.
func writeError(w http.ResponseWriter, status int, code string) {
	forBrowser(w.Header())
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_, _ = w.Write([]byte(`{"error":"` + code + "\"}\n")) // fails only if the browser has gone
}

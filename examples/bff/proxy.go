package main

import (
	"context"
	"errors"
	"log/slog"
	"math"
	"net/http"
	"net/http/httputil"
	"net/url"
	"strconv"

	"github.com/reauth-go/reauth"
)

// newProxy returns a handler that passes requests on to the API, with the token
// of the session in their context.
func newProxy(api *url.URL, transport http.RoundTripper, log *slog.Logger) http.Handler {
	proxy := &httputil.ReverseProxy{
		Transport: withoutTrailers{transport},
		Rewrite: func(r *httputil.ProxyRequest) {
			r.SetURL(api)
			onlyForAPI(r.Out)
			if n := r.Out.ContentLength; n < 0 || n > replayBuffer {
				// An upload that has not begun can be sent again, however long it is. The
				// API says whether it accepts the token before it gets the body. If it
				// does not answer, it gets the body after a second.
				r.Out.Header.Set("Expect", "100-continue")
			}
		},
		ModifyResponse: func(resp *http.Response) error { return forBrowser(resp, api) },
		ErrorHandler: func(w http.ResponseWriter, r *http.Request, err error) {
			writeFailure(w, r, err, log)
		},
		ErrorLog: slog.NewLogLogger(log.Handler(), slog.LevelDebug),
	}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		// Some servers would resolve it, and leave the API's part of their paths.
		if mayLeave(r.URL.Path, 2) {
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

// A finalOnly passes on only the final answer. Informational answers (1xx) bypass
// ModifyResponse, and may set a cookie, too.
type finalOnly struct{ http.ResponseWriter }

func (w finalOnly) WriteHeader(status int) {
	if status >= http.StatusOK {
		secure(w.Header(), dataPolicy) // whatever the API has said
		w.ResponseWriter.WriteHeader(status)
	}
}

func (w finalOnly) Unwrap() http.ResponseWriter { return w.ResponseWriter }

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
	if errors.Is(err, errBadRedirect) {
		log.WarnContext(r.Context(), "an answer was not passed on", "error", err) // without the address, which may hold a secret
		writeError(w, http.StatusBadGateway, "bad_redirect")
		return
	}
	if !errors.Is(err, context.Canceled) && !errors.Is(err, errSlowBody) { // else it is about the browser
		log.WarnContext(r.Context(), "the API gave no answer", "error", err)
	}
	writeError(w, http.StatusBadGateway, "no_answer")
}

// writeError writes an answer that the page understands.
func writeError(w http.ResponseWriter, status int, code string) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_, _ = w.Write([]byte(`{"error":"` + code + "\"}\n")) // fails only if the browser has gone
}

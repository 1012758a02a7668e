package main

import (
	"bytes"
	"context"
	"io"
	"log"
	"math/rand/v2"
	"net"
	"net/http"
	"net/http/httputil"
	"net/url"
	"sync"
	"time"
)

// A proxy stands before the server, and lets faults happen.
type proxy struct {
	url    string
	stop   func()
	ledger *ledger

	mu     sync.Mutex
	faults bool
	counts map[string]int // of faults, by kind
}

// A fault is what happens to a request in place of, or in addition to, being passed
// on. None of them keeps back an answer to a refresh that was passed on.
type fault struct {
	kind    string
	percent float64
	serve   func(w http.ResponseWriter, r *http.Request, pass http.Handler)
}

// faultHeader is on answers of the API that are the proxy's own.
const faultHeader = "X-Soak-Fault"

var refreshFaults = []fault{
	{"token server answers 503", 6, func(w http.ResponseWriter, _ *http.Request, _ http.Handler) {
		w.WriteHeader(http.StatusServiceUnavailable)
	}},
	{"token server answers 429", 2, func(w http.ResponseWriter, _ *http.Request, _ http.Handler) {
		w.Header().Set("Retry-After", "1")
		w.WriteHeader(http.StatusTooManyRequests)
	}},
	{"token server's connection breaks", 6, func(http.ResponseWriter, *http.Request, http.Handler) { panic(http.ErrAbortHandler) }},
	{"token server's answer is broken JSON", 2, func(w http.ResponseWriter, _ *http.Request, _ http.Handler) {
		_, _ = w.Write([]byte(`{"access_token":`))
	}},
	{"token server hangs", 2, func(_ http.ResponseWriter, r *http.Request, _ http.Handler) { <-r.Context().Done() }},
	{"token server is slow", 10, func(w http.ResponseWriter, r *http.Request, pass http.Handler) {
		wait(r.Context(), time.Duration(rand.Int64N(int64(time.Second))))
		pass.ServeHTTP(w, r)
	}},
}

var apiFaults = []fault{
	{"API answers 502", 0.5, func(w http.ResponseWriter, _ *http.Request, _ http.Handler) {
		w.Header().Set(faultHeader, "yes")
		w.WriteHeader(http.StatusBadGateway)
	}},
	{"API's connection breaks", 0.5, func(http.ResponseWriter, *http.Request, http.Handler) { panic(http.ErrAbortHandler) }},
	{"API refuses a good token", 0.1, func(w http.ResponseWriter, _ *http.Request, _ http.Handler) {
		w.Header().Set(faultHeader, "yes") // if the token is a new one, this is the answer
		w.WriteHeader(http.StatusUnauthorized)
	}},
	// Not so slow that a request that was sent with a good token, and its replay with
	// the next, both arrive after their token's end.
	{"API is slow", 2, func(w http.ResponseWriter, r *http.Request, pass http.Handler) {
		wait(r.Context(), time.Duration(rand.Int64N(int64(lifetime/6))))
		pass.ServeHTTP(w, r)
	}},
}

func wait(ctx context.Context, d time.Duration) {
	select {
	case <-time.After(d):
	case <-ctx.Done():
	}
}

func startProxy(target string) (*proxy, error) {
	u, err := url.Parse(target)
	if err != nil {
		return nil, err
	}
	p := &proxy{ledger: newLedger(), counts: make(map[string]int)}
	pass := &httputil.ReverseProxy{
		Rewrite:   func(r *httputil.ProxyRequest) { r.SetURL(u) },
		Transport: &http.Transport{MaxIdleConnsPerHost: 100},
		ErrorHandler: func(w http.ResponseWriter, r *http.Request, err error) {
			if r.Context().Err() == nil { // else its process was killed
				log.Print("proxy: ", err)
			}
			w.WriteHeader(http.StatusBadGateway)
		},
	}
	handler := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		faults, next := apiFaults, http.Handler(pass)
		if r.URL.Path == "/token" {
			// It is read here, and passed on without its client's context, so that
			// the server finishes what it has begun.
			body, err := io.ReadAll(r.Body)
			if err != nil {
				return
			}
			faults = refreshFaults
			next = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				if r.Context().Err() != nil {
					return // nobody is there to get the answer
				}
				form, err := url.ParseQuery(string(body))
				if err != nil {
					w.WriteHeader(http.StatusBadRequest)
					return
				}
				u := p.ledger.arrive(r.Header, form.Get("refresh_token"))
				r = r.Clone(context.WithoutCancel(r.Context()))
				r.Body = io.NopCloser(bytes.NewReader(body))
				pass.ServeHTTP(w, r)
				p.ledger.answer(u)
			})
		}
		if f := p.draw(faults); f != nil {
			f.serve(w, r, next)
			return
		}
		next.ServeHTTP(w, r)
	})
	listening := make(chan string)
	server := serveHTTP(handler, listening)
	p.url = <-listening
	p.stop = func() { _ = server.Close() }
	return p, nil
}

// draw returns the fault that happens to a request, or nil.
func (p *proxy) draw(faults []fault) *fault {
	p.mu.Lock()
	defer p.mu.Unlock()
	if !p.faults {
		return nil
	}
	x := rand.Float64() * 100
	for i := range faults {
		if x -= faults[i].percent; x < 0 {
			p.counts[faults[i].kind]++
			return &faults[i]
		}
	}
	return nil
}

func (p *proxy) turn(on bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.faults = on
}

// serveHTTP serves h on a free port, and tells where.
func serveHTTP(h http.Handler, listening chan<- string) *http.Server {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		panic(err)
	}
	server := &http.Server{Handler: h}
	go func() { // ends with the server
		listening <- "http://" + l.Addr().String()
		_ = server.Serve(l)
	}()
	return server
}

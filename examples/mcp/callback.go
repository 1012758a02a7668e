package main

import (
	"context"
	"crypto/subtle"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"time"
)

// A callback is the address that the browser comes back to. It is open while a sign-in
// lasts (RFC 8252 section 7.3).
type callback struct {
	uri      string
	listener net.Listener
	server   *http.Server
	state    string
	answers  chan url.Values
}

const callbackPath = "/callback"

// listen opens the address of an earlier sign-in, because not all servers let a program
// that has registered one port come back to another. If somebody else has it, or there was
// none, it opens a new one. An answer without the state is not for this sign-in.
func listen(before, state string) (*callback, error) {
	var listener net.Listener
	if at, err := url.Parse(before); err == nil && at.Port() != "" {
		listener, _ = net.Listen("tcp", "127.0.0.1:"+at.Port())
	}
	if listener == nil {
		var err error
		if listener, err = net.Listen("tcp", "127.0.0.1:0"); err != nil {
			return nil, fmt.Errorf("nowhere for the browser to come back to: %w", err)
		}
	}
	c := &callback{
		uri:      "http://" + listener.Addr().String() + callbackPath,
		listener: listener,
		state:    state,
		answers:  make(chan url.Values, 1),
	}
	mux := http.NewServeMux()
	mux.HandleFunc("GET "+callbackPath, c.serve)
	c.server = &http.Server{Handler: mux, ReadTimeout: 10 * time.Second}
	go func() { _ = c.server.Serve(listener) }() // until close
	return c, nil
}

func (c *callback) wait(ctx context.Context) (url.Values, error) {
	select {
	case answer := <-c.answers:
		return answer, nil
	case <-ctx.Done():
		return nil, fmt.Errorf("nobody has signed in: %w", context.Cause(ctx))
	}
}

func (c *callback) serve(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	w.Header().Set("Cache-Control", "no-store")
	w.Header().Set("Referrer-Policy", "no-referrer")
	query := r.URL.Query()
	if subtle.ConstantTimeCompare([]byte(query.Get("state")), []byte(c.state)) != 1 {
		w.WriteHeader(http.StatusBadRequest)
		fmt.Fprintln(w, "This is not the answer to the sign-in that the program waits for.")
		return
	}
	fmt.Fprintln(w, "You can close this window and go back to the program.")
	select {
	case c.answers <- query:
	default: // the page was loaded again
	}
}

// close ends the server after the browser has received its page.
func (c *callback) close() {
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	if c.server.Shutdown(ctx) != nil {
		_ = c.server.Close()
	}
	_ = c.listener.Close() // if the server has not begun to serve
}

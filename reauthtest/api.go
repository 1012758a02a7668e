package reauthtest

import (
	"bufio"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"io"
	"net"
	"net/http"
	"strconv"
	"strings"
	"time"
)

// UserFromRequest returns the user whose access token the request carries, or "" in a
// handler that is not protected. Use it in handlers for [Server.Handle].
func UserFromRequest(r *http.Request) string {
	who, _ := r.Context().Value(bearerKey{}).(bearer)
	return who.user
}

type bearerKey struct{}

type bearer struct {
	user       string
	generation int
}

// protect makes h part of the API. Requests are counted, and delayed, blocked and failed
// on command. h is called only with a valid access token.
func (s *Server) protect(h http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		out := &recorder{
			ResponseWriter: w,
			counter:        s.counter,
			request:        Request{Time: time.Now(), Method: r.Method, Host: r.Host, Path: r.URL.Path},
		}
		s.counter.update(func(c *Counts) { c.APIRequests++ })
		defer out.record(0) // the handler has panicked, which gives no answer
		failure, failing := s.admit(s.api, r)
		switch {
		case !failing:
			s.authenticate(h, out, r)
		case failure.mode == loseAnswer:
			out.ResponseWriter = newLost()
			s.authenticate(h, out, r)
			out.record(http.StatusOK)
			drop(w)
		default:
			out.outcome = failed
			failure.writeAPI(out)
		}
		out.record(http.StatusOK) // net/http answers this if a handler wrote nothing
	})
}

func (s *Server) authenticate(h http.Handler, out *recorder, r *http.Request) {
	token := s.accessToken(r)
	user, generation, good := s.issuer.identify(token)
	out.request.User, out.request.Generation = user, generation
	if good {
		ctx := context.WithValue(r.Context(), bearerKey{}, bearer{user, generation})
		h.ServeHTTP(out, r.WithContext(ctx))
		return
	}
	out.outcome = refused
	if s.issuer.opts.RefuseEarly && r.ProtoMajor == 1 {
		control := http.NewResponseController(out)
		_ = control.EnableFullDuplex()
		defer func() {
			// If the handler returned now, with the body unread, net/http would sooner or
			// later panic with "invalid concurrent Body.Read call".
			_ = control.Flush()
			_, _ = io.Copy(io.Discard, r.Body)
		}()
	}
	refusal := s.issuer.opts.Refusal
	if token == "" && refusal.Status == http.StatusUnauthorized && refusal.Code == "" {
		out.Header().Set("WWW-Authenticate", "Bearer") // no error code (RFC 6750 section 3.1)
		refusal.write(out)
		return
	}
	refusal.writeAPI(out)
}

func (s *Server) accessToken(r *http.Request) string {
	if from := s.issuer.opts.AccessToken; from != nil {
		return from(r)
	}
	scheme, token, _ := strings.Cut(r.Header.Get("Authorization"), " ")
	if !strings.EqualFold(scheme, s.issuer.opts.TokenType) {
		return ""
	}
	return strings.TrimSpace(token)
}

// serveDefault answers paths of the API without a handler of their own.
func serveDefault(w http.ResponseWriter, r *http.Request) {
	if r.ContentLength != 0 {
		sum := sha256.New()
		n, err := io.Copy(sum, r.Body)
		if err != nil {
			panic(http.ErrAbortHandler) // the client has not sent the body it announced
		}
		w.Header().Set("X-Body-Length", strconv.FormatInt(n, 10))
		w.Header().Set("X-Body-SHA256", hex.EncodeToString(sum.Sum(nil)))
	}
	who, _ := r.Context().Value(bearerKey{}).(bearer)
	writeJSON(w, http.StatusOK, map[string]any{"user": who.user, "path": r.URL.Path, "token": who.generation})
}

type outcome int

const (
	handled outcome = iota
	refused
	failed
)

// A recorder adds a request to the counts and the log, before the first byte of its
// answer is sent.
type recorder struct {
	http.ResponseWriter
	counter  *counter
	request  Request
	outcome  outcome
	finished bool
}

func (w *recorder) WriteHeader(status int) {
	if status >= 200 || status == http.StatusSwitchingProtocols {
		w.record(status)
	}
	w.ResponseWriter.WriteHeader(status)
}

func (w *recorder) Write(p []byte) (int, error) {
	w.record(http.StatusOK)
	return w.ResponseWriter.Write(p)
}

func (w *recorder) Flush() {
	w.record(http.StatusOK)
	_ = http.NewResponseController(w.ResponseWriter).Flush()
}

func (w *recorder) Hijack() (net.Conn, *bufio.ReadWriter, error) {
	conn, buffered, err := http.NewResponseController(w.ResponseWriter).Hijack()
	if err == nil { // a handler that takes over the connection upgrades or cuts it
		status := http.StatusSwitchingProtocols
		if w.outcome == failed {
			status = 0
		}
		w.record(status)
	}
	return conn, buffered, err
}

// Unwrap is for http.ResponseController.
func (w *recorder) Unwrap() http.ResponseWriter { return w.ResponseWriter }

// record does nothing after its first call.
func (w *recorder) record(status int) {
	if w.finished {
		return
	}
	w.finished = true
	w.request.Status = status
	w.counter.record(w.request)
	w.counter.update(func(c *Counts) {
		switch {
		case w.outcome == refused:
			c.APIRefused++
		case w.outcome == failed:
			c.APIFailed++
		case status >= 200 && status < 300:
			c.APISucceeded++
		}
	})
}

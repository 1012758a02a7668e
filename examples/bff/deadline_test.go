package main

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// serveOne serves requests of one connection, in virtual time, and returns its client's end.
func serveOne(t *testing.T, handle http.HandlerFunc) net.Conn {
	t.Helper()
	client, server := net.Pipe()
	listener := &oneConn{conn: make(chan net.Conn, 1), closed: make(chan struct{})}
	listener.conn <- server
	s := &http.Server{Handler: withBodyDeadline(clientTime, handle)}
	go func() { _ = s.Serve(listener) }() // ends with Close
	t.Cleanup(func() {
		_ = client.Close()
		_ = s.Close()
	})
	return client
}

type oneConn struct {
	conn   chan net.Conn
	closed chan struct{}
}

func (l *oneConn) Accept() (net.Conn, error) {
	select {
	case c := <-l.conn:
		return c, nil
	case <-l.closed:
		return nil, net.ErrClosed
	}
}
func (l *oneConn) Close() error   { close(l.closed); return nil }
func (l *oneConn) Addr() net.Addr { return &net.TCPAddr{} }

// write is for what the server may not read any more.
func write(conn net.Conn, text string) { go func() { _, _ = io.WriteString(conn, text) }() }

func answerOf(t *testing.T, conn net.Conn) (*http.Response, string) {
	t.Helper()
	resp, err := http.ReadResponse(bufio.NewReader(conn), nil)
	require.NoError(t, err)
	text, err := io.ReadAll(resp.Body)
	require.NoError(t, err)
	return resp, string(text)
}

func readAll(w http.ResponseWriter, r *http.Request) {
	n, err := io.Copy(io.Discard, r.Body)
	fmt.Fprintf(w, "%d %v", n, err)
}

const post = "POST / HTTP/1.1\r\nHost: x\r\n"

// caddyserver/caddy#7913, stacklok/toolhive#5499 and php/frankenphp#2465 are about these.
func TestABodyThatStallsIsGivenUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		conn := serveOne(t, readAll)
		start := time.Now()
		write(conn, post+"Content-Length: 10\r\n\r\nabc")
		_, text := answerOf(t, conn)
		assert.Equal(t, "3 "+errSlowBody.Error(), text)
		assert.Equal(t, clientTime, time.Since(start).Truncate(time.Second))
	})
}

func TestABodyThatTricklesIsGivenUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		conn := serveOne(t, readAll)
		start := time.Now()
		ended := make(chan struct{})
		go func() { // ends with the connection
			defer close(ended)
			_, err := io.WriteString(conn, post+"Content-Length: 1000\r\n\r\n")
			for err == nil {
				time.Sleep(clientTime * 9 / 10)
				_, err = io.WriteString(conn, "x")
			}
		}()
		_, text := answerOf(t, conn)
		assert.Equal(t, "1 "+errSlowBody.Error(), text)
		assert.Equal(t, clientTime, time.Since(start).Truncate(time.Second))
		require.NoError(t, conn.Close())
		<-ended
	})
}

func TestAnUploadTakesItsTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		conn := serveOne(t, readAll)
		start := time.Now()
		go func() { // ends with the upload
			_, err := fmt.Fprintf(conn, post+"Content-Length: %d\r\n\r\n", 600*2048)
			for range 600 {
				if err == nil {
					time.Sleep(time.Second)
					_, err = io.WriteString(conn, strings.Repeat("x", 2048))
				}
			}
		}()
		_, text := answerOf(t, conn)
		assert.Equal(t, "1228800 <nil>", text)
		assert.Equal(t, 600*time.Second, time.Since(start))
	})
}

// As while a token is refreshed, or while the API is slow.
func TestTheTimeOfOthersIsNotTheClients(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		conn := serveOne(t, func(w http.ResponseWriter, r *http.Request) {
			for range 3 {
				time.Sleep(time.Hour)
				if _, err := r.Body.Read(make([]byte, 1)); !assert.NoError(t, err) {
					return
				}
			}
			readAll(w, r)
		})
		write(conn, post+"Content-Length: 10\r\n\r\n0123456789")
		_, text := answerOf(t, conn)
		assert.Equal(t, "7 <nil>", text)
	})
}

func TestAnAnswerTakesItsTime(t *testing.T) {
	for name, read := range map[string]func(io.Reader){
		"body read":             func(r io.Reader) { _, _ = io.ReadAll(r) },
		"body read in part":     func(r io.Reader) { _, _ = r.Read(make([]byte, 3)) },
		"body not read":         func(io.Reader) {},
		"body read after start": nil,
	} {
		for _, flushes := range []bool{true, false} {
			synctest.Test(t, func(t *testing.T) {
				conn := serveOne(t, func(w http.ResponseWriter, r *http.Request) {
					if read != nil {
						read(r.Body)
					}
					if flushes {
						assert.NoError(t, http.NewResponseController(w).Flush())
					} else {
						_, _ = io.WriteString(w, "begun ")
					}
					time.Sleep(time.Hour)
					if read == nil {
						_, err := r.Body.Read(make([]byte, 3))
						assert.Error(t, err)
						time.Sleep(time.Hour)
					}
					fmt.Fprint(w, r.Context().Err())
				})
				write(conn, post+"Content-Length: 10\r\n\r\n0123456789"+"GET /next HTTP/1.1\r\nHost: x\r\n\r\n")
				_, text := answerOf(t, conn)
				assert.Equal(t, "<nil>", strings.TrimPrefix(text, "begun "), name)
			})
		}
	}
}

// The server reads on before it answers, and after the handler has returned.
func TestABodyThatNobodyReadsIsGivenUp(t *testing.T) {
	for name, handle := range map[string]http.HandlerFunc{
		"header":  func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusUnauthorized) },
		"body":    func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "no") },
		"flush":   func(w http.ResponseWriter, _ *http.Request) { _ = http.NewResponseController(w).Flush() },
		"nothing": func(http.ResponseWriter, *http.Request) {},
	} {
		synctest.Test(t, func(t *testing.T) {
			conn := serveOne(t, handle)
			start := time.Now()
			write(conn, post+"Content-Length: 10\r\n\r\nabc")
			answerOf(t, conn)
			_, err := conn.Read(make([]byte, 1))
			assert.ErrorIs(t, err, io.EOF, name)
			assert.LessOrEqual(t, time.Since(start), 2*clientTime+time.Second, name)
		})
	}
}

// shortTime is for tests that wait for it. Their sign-in has to be quicker, on any machine.
const shortTime = 3 * time.Second

func TestEveryRouteHasAReadDeadline(t *testing.T) {
	a := startApp(t, func(o *options) { o.clientTime = shortTime })
	a.demo.Handle("/v1/early", http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusTeapot) }))
	b := signedIn(t, a, "ann")
	var clients sync.WaitGroup
	defer clients.Wait()
	// stall sends what is not the whole of a request, and waits until that is given up.
	stall := func(name, text string) {
		conn := b.dial(t)
		require.NoError(t, conn.SetDeadline(time.Now().Add(patience)))
		clients.Go(func() { // ends with the connection
			_, err := io.WriteString(conn, text)
			assert.NoError(t, err, name)
			_, err = io.Copy(io.Discard, conn)
			assert.NotErrorIs(t, err, os.ErrDeadlineExceeded, name)
		})
	}
	for _, line := range []string{
		"GET /", "POST /", "GET /sign-in", "POST /sign-in", "POST /sign-out", "GET /static/style.css", "POST /static/style.css",
		"GET /nothing", "POST /api/orders/1", "PUT /api/uploads", "POST /api/early", "GET /api/%2e%2e/token", "POST /api//x",
	} {
		for _, cookie := range []string{"", b.cookie()} {
			if cookie != "" && line == "POST /sign-out" {
				continue
			}
			for _, length := range []string{"Content-Length: 100", "Content-Length: 10000000", "Transfer-Encoding: chunked"} {
				stall(line+" with "+length, fmt.Sprintf("%s HTTP/1.1\r\nHost: x\r\nCookie: bff=%s\r\n"+
					"Content-Type: application/x-www-form-urlencoded\r\n%s\r\n\r\n5", line, cookie, length))
			}
		}
	}
	for _, begin := range []string{"", "GET", "GET / HTTP/1.1\r\nHost: x\r\nX-Slow: "} {
		stall(begin, begin)
	}
}

func TestAnUploadThatStallsIsGivenUp(t *testing.T) {
	for _, tls := range []bool{false, true} {
		a := startApp(t, func(o *options) { o.tls, o.clientTime = tls, shortTime })
		b := signedIn(t, a, "ann")
		source, sink := io.Pipe()
		go func() { _, _ = io.WriteString(sink, "the beginning") }() // ends with Close
		req, err := http.NewRequestWithContext(t.Context(), http.MethodPut, a.url+"/api/uploads", source)
		require.NoError(t, err)
		resp, err := b.client.Do(req)
		require.NoError(t, err)
		require.NoError(t, sink.Close())
		assert.Equal(t, http.StatusBadGateway, resp.StatusCode)
		require.NoError(t, resp.Body.Close())
		assert.Equal(t, http.StatusOK, b.get("/api/orders/1").status, "the session goes on")
	}
}

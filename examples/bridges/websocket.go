package main

import (
	"context"
	"net/http"

	"github.com/coder/websocket"

	"github.com/reauth-go/reauth"
)

// The handshake of a WebSocket is an HTTP request. Only there the token is shown:
// how long the connection may last after that is for the server to say, and when
// it closes it, one of these dials again.

// dial is for a WebSocket library that takes an http.Client: there is nothing to
// do. The Transport deals with a 401, and leaves alone the connection that becomes
// of a 101.
func dial(ctx context.Context, transport *reauth.Transport, url string) (*websocket.Conn, error) {
	conn, _, err := websocket.Dial(ctx, url, &websocket.DialOptions{
		HTTPClient: &http.Client{Transport: transport},
	})
	return conn, err
}

// dialWithHeader is for one that takes a header and nothing else.
func dialWithHeader(ctx context.Context, transport *reauth.Transport, url string) (*websocket.Conn, error) {
	tok, err := transport.Token(ctx)
	if err != nil {
		return nil, err
	}
	conn, answer, err := handshake(ctx, tok, url)
	if err == nil || answer == nil || !reauth.DefaultRefused(answer) {
		return conn, err
	}
	tok, again, fault := renew(ctx, transport, tok)
	switch {
	case fault != nil:
		return nil, fault
	case !again:
		return nil, err
	}
	conn, _, err = handshake(ctx, tok, url)
	return conn, err
}

func handshake(ctx context.Context, tok reauth.Token, url string) (*websocket.Conn, *http.Response, error) {
	return websocket.Dial(ctx, url, &websocket.DialOptions{
		HTTPHeader: http.Header{"Authorization": {tok.Type() + " " + tok.AccessToken}},
		// No Config.Origins look after this token: it goes no further than url.
		HTTPClient: &http.Client{CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }},
	})
}

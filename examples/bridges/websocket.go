package main

import (
	"context"
	"net/http"

	"github.com/coder/websocket"

	"github.com/reauth-go/reauth"
)

// The handshake of a WebSocket is an HTTP request, and the only one with the token. The
// server decides how long the connection may last after that. When it closes the
// connection, dial again.

// dial is for a WebSocket library that accepts an http.Client, and has nothing to do. The
// Transport handles a 401, and hands over the connection after a 101.
func dial(ctx context.Context, transport *reauth.Transport, url string) (*websocket.Conn, error) {
	conn, _, err := websocket.Dial(ctx, url, &websocket.DialOptions{
		HTTPClient: &http.Client{Transport: transport},
	})
	return conn, err
}

// dialWithHeader is for a library that accepts only a header.
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
		// Config.Origins does not apply to this token, so it must not go further than url.
		HTTPClient: &http.Client{CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }},
	})
}

// Package websocket opens WebSockets with the token of a session of reauth. Those that pass
// through a proxy are in package reverseproxy.
//
// The handshake is an HTTP request, and the only one with the token. The server decides how
// long the connection may last after that. When it closes the connection, dial again.
package websocket

import (
	"context"
	"errors"
	"net/http"

	coder "github.com/coder/websocket"
	gorilla "github.com/gorilla/websocket"

	"github.com/reauth-go/reauth"
)

// Dial is for a library that accepts an http.Client, such as github.com/coder/websocket. It
// has nothing to do: the Transport deals with a 401, and hands over the connection after a
// 101. session is a *reauth.Transport or a *reauth.Session.
func Dial(ctx context.Context, session http.RoundTripper, url string) (*coder.Conn, error) {
	conn, _, err := coder.Dial(ctx, url, &coder.DialOptions{HTTPClient: &http.Client{Transport: session}})
	return conn, err
}

// DialWithHeader is for a library that accepts only a header, such as
// github.com/gorilla/websocket. tokens is a *reauth.Transport or a *reauth.Session.
//
// Config.Origins does not apply to the token that it sends, so url must be that of the API.
// The library must follow no redirect, as this one does not.
func DialWithHeader(ctx context.Context, tokens interface {
	Token(context.Context) (reauth.Token, error)
	Refresh(context.Context, reauth.Token) (reauth.Token, error)
}, url string) (*gorilla.Conn, error) {
	tok, err := tokens.Token(ctx)
	if err != nil {
		return nil, err
	}
	conn, resp, err := handshake(ctx, tok, url)
	if err == nil || resp == nil || !reauth.DefaultRefused(resp) {
		return conn, err
	}
	tok, fault := tokens.Refresh(ctx, tok)
	switch {
	case errors.Is(fault, reauth.ErrRefusalKept): // another token is not expected to help
		return nil, err
	case fault != nil:
		return nil, fault
	}
	conn, _, err = handshake(ctx, tok, url)
	return conn, err
}

func handshake(ctx context.Context, tok reauth.Token, url string) (*gorilla.Conn, *http.Response, error) {
	header := http.Header{"Authorization": {tok.Type() + " " + tok.AccessToken}}
	return gorilla.DefaultDialer.DialContext(ctx, url, header)
}

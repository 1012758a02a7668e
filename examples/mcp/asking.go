package main

import (
	"context"
	"encoding/json"
	"io"
	"net/http"

	"github.com/reauth-go/reauth"
)

// asking is the http.RoundTripper of a client. A request goes out without a token until the
// server asks for one, since many servers need none, and only its answer says where tokens
// come from. From then on the session signs in, refreshes and replays. What is left is a
// token that may not do what it is used for.
type asking struct{ *client }

func (a asking) RoundTrip(req *http.Request) (*http.Response, error) {
	if req.URL.Scheme+"://"+req.URL.Host != a.origin() {
		// A redirect has led to somebody else, who must not say where the user signs in.
		return a.session.RoundTrip(req) // without a token
	}
	ctx := req.Context()
	signedIn, err := a.session.SignedIn(ctx)
	if err != nil {
		closeBody(req)
		return nil, err
	}
	if !signedIn {
		resp, err := a.session.RoundTrip(req.WithContext(reauth.WithoutAuth(ctx)))
		if err != nil || resp.StatusCode != http.StatusUnauthorized || !repeatable(req) {
			return resp, err
		}
		drain(resp)
		ctx = withChallenge(ctx, resp.Header)
		if req, err = repeat(req, ctx); err != nil {
			return nil, err
		}
	}
	before, err := a.session.Token(ctx) // signs in, if need be
	if err != nil {
		closeBody(req)
		return nil, err
	}
	resp, err := a.send(req)
	if err != nil || resp.StatusCode < 400 || !repeatable(req) || !a.worthAnother(ctx, resp, before) {
		return resp, err
	}
	drain(resp)
	if req, err = repeat(req, ctx); err != nil {
		return nil, err
	}
	return a.send(req)
}

// send sends a request with a token, and notes whether the server has accepted that.
func (a asking) send(req *http.Request) (*http.Response, error) {
	resp, err := a.session.RoundTrip(req)
	if err == nil && !reauth.DefaultRefused(resp) && resp.StatusCode < 500 {
		a.unproven.Store(nil)
	}
	return resp, err
}

// worthAnother reports whether another attempt at a request may have another answer than
// resp. before is the session's token from before the request.
func (a asking) worthAnother(ctx context.Context, resp *http.Response, before reauth.Token) bool {
	if needed, short := missingScopes(resp); short {
		return a.stepUp(ctx, resp.Header, needed)
	}
	if resp.StatusCode != http.StatusUnauthorized {
		return false
	}
	// reauth replays the requests that waited for a sign-in. A refusal that comes after it is
	// one under another sign-in, by which it may be another user's. Here there is one user.
	now, err := a.session.Token(ctx)
	return err == nil && now.SignInID != before.SignInID
}

// repeatable reports whether req is a call that can be sent twice. Nobody signs in for the
// stream of notifications, nor to close a connection, nor to notify the server, for example
// that a call is given up: because its user did not want to sign in.
func repeatable(req *http.Request) bool {
	return req.Method == http.MethodPost && (req.Body == nil || req.GetBody != nil) && !isNotification(req)
}

// isNotification reports whether the body of req is a notification of JSON-RPC 2.0.
func isNotification(req *http.Request) bool {
	if req.GetBody == nil {
		return false
	}
	body, err := req.GetBody()
	if err != nil {
		return false
	}
	defer body.Close()
	var message struct {
		ID     json.RawMessage `json:"id"`
		Method string          `json:"method"`
	}
	return json.NewDecoder(body).Decode(&message) == nil && message.Method != "" && message.ID == nil
}

func repeat(req *http.Request, ctx context.Context) (*http.Request, error) {
	again := req.WithContext(ctx)
	if req.GetBody == nil {
		return again, nil
	}
	var err error
	again.Body, err = req.GetBody()
	return again, err
}

func drain(resp *http.Response) {
	_, _ = io.CopyN(io.Discard, resp.Body, 64<<10)
	_ = resp.Body.Close()
}

func closeBody(req *http.Request) {
	if req.Body != nil {
		_ = req.Body.Close()
	}
}

type challengeKey struct{}

// withChallenge says in ctx what the server has asked for. reauth hands it on to SignIn,
// with the values of the context of the request that needs the sign-in.
func withChallenge(ctx context.Context, header http.Header) context.Context {
	return context.WithValue(ctx, challengeKey{}, header)
}

// challengeOf returns what the server has asked for: with a token that it refused, or
// without any.
func challengeOf(ctx context.Context) http.Header {
	if header, ok := ctx.Value(challengeKey{}).(http.Header); ok {
		return header
	}
	refusal, _ := reauth.RefusalFromContext(ctx)
	return refusal.Header
}

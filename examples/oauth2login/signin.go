package main

import (
	"context"
	"crypto/rand"
	"crypto/subtle"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"slices"
	"strings"
	"time"

	"golang.org/x/oauth2"
)

// callbackPath is the path to which the provider redirects the browser.
const callbackPath = "/callback"

// signIn gets the first token as a native application does (RFC 8252). The user signs in
// at the provider in a browser, which is then redirected to a port that is open here for
// that time. show is called with the address to open.
//
// The code from the browser is useless without the verifier, which this function sends
// only to the token endpoint (PKCE, RFC 7636). A code without the state is ignored,
// because it does not belong to this sign-in. If the issuer is known, an answer or an ID
// token of another one is refused, so that no provider can pass off another's as its own.
func signIn(ctx context.Context, conf *oauth2.Config, issuer, listen string, show func(url string)) (*oauth2.Token, error) {
	listener, err := net.Listen("tcp", listen)
	if err != nil {
		return nil, fmt.Errorf("nowhere for the browser to come back to: %w", err)
	}
	here := *conf
	here.RedirectURL = "http://" + listener.Addr().String() + callbackPath
	state, verifier := rand.Text(), oauth2.GenerateVerifier()
	params := []oauth2.AuthCodeOption{oauth2.S256ChallengeOption(verifier)}
	var nonce string
	if slices.Contains(conf.Scopes, "openid") {
		nonce = rand.Text()
		params = append(params, oauth2.SetAuthURLParam("nonce", nonce))
	}
	if slices.Contains(conf.Scopes, "offline_access") {
		params = append(params, oauth2.SetAuthURLParam("prompt", "consent")) // OpenID Connect Core section 11
	}

	answers := make(chan answer, 1)
	mux := http.NewServeMux()
	mux.Handle("GET "+callbackPath, callback(state, issuer, answers))
	server := &http.Server{Handler: mux, ReadHeaderTimeout: 10 * time.Second}
	go func() { _ = server.Serve(listener) }() // until shutDown
	defer shutDown(ctx, server)

	show(here.AuthCodeURL(state, params...))
	select {
	case a := <-answers:
		if a.err != nil {
			return nil, a.err
		}
		ctx = context.WithValue(ctx, oauth2.HTTPClient, &http.Client{
			Timeout: 30 * time.Second,
			// A redirect would carry code, verifier and secret along.
			CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
		})
		tok, err := here.Exchange(ctx, a.code, oauth2.VerifierOption(verifier))
		if failed, ok := errors.AsType[*oauth2.RetrieveError](err); ok {
			// The text comes from the provider, which may repeat the request.
			return nil, fmt.Errorf("the code could not be exchanged for a token: the provider answered %d, error code %q", failed.Response.StatusCode, failed.ErrorCode)
		}
		if err != nil {
			return nil, fmt.Errorf("the code could not be exchanged for a token: %w", err)
		}
		if nonce != "" {
			if err := checkIDToken(tok, nonce, conf.ClientID, issuer); err != nil {
				return nil, err
			}
		}
		return tok, nil
	case <-ctx.Done():
		return nil, fmt.Errorf("nobody has signed in: %w", context.Cause(ctx))
	}
}

// checkIDToken refuses an ID token of another sign-in, for another client or of another
// issuer (OpenID Connect Core section 3.1.3.7). Its signature does not matter, because it
// came directly from the token endpoint. The errors do not repeat it.
func checkIDToken(tok *oauth2.Token, nonce, clientID, issuer string) error {
	text, _ := tok.Extra("id_token").(string)
	if text == "" {
		return errors.New("the provider gave no ID token; if it is no OpenID provider, leave openid out of -scopes")
	}
	parts := strings.Split(text, ".")
	if len(parts) != 3 {
		return errors.New("the ID token cannot be read")
	}
	var claims struct {
		Nonce    string          `json:"nonce"`
		Issuer   string          `json:"iss"`
		Audience json.RawMessage `json:"aud"` // a text or an array
	}
	payload, err := base64.RawURLEncoding.DecodeString(parts[1])
	if err != nil || json.Unmarshal(payload, &claims) != nil {
		return errors.New("the ID token cannot be read")
	}
	if subtle.ConstantTimeCompare([]byte(claims.Nonce), []byte(nonce)) != 1 {
		return errors.New("the ID token does not belong to this sign-in: its nonce is another")
	}
	if issuer != "" && claims.Issuer != issuer {
		return errors.New("the ID token is of another issuer")
	}
	var one string
	var many []string
	if json.Unmarshal(claims.Audience, &one) == nil {
		many = []string{one}
	} else if json.Unmarshal(claims.Audience, &many) != nil {
		return errors.New("the ID token cannot be read")
	}
	if !slices.Contains(many, clientID) {
		return errors.New("the ID token is for another client")
	}
	return nil
}

// An answer holds the parameters of the provider's redirect.
type answer struct {
	code string
	err  error
}

// callback returns the handler for the redirect. A request without the state comes from
// somebody else, and the wait goes on.
func callback(state, issuer string, answers chan<- answer) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "text/plain; charset=utf-8")
		w.Header().Set("Cache-Control", "no-store")
		w.Header().Set("Referrer-Policy", "no-referrer")
		query := r.URL.Query()
		if subtle.ConstantTimeCompare([]byte(query.Get("state")), []byte(state)) != 1 {
			w.WriteHeader(http.StatusBadRequest)
			fmt.Fprintln(w, "This is not the answer to the sign-in that the program waits for.")
			return
		}
		var a answer
		switch code, text := query.Get("code"), query.Get("error"); {
		case issuer != "" && query.Has("iss") && query.Get("iss") != issuer: // RFC 9207 section 2.4
			a.err = errors.New("the answer is that of another issuer")
			fmt.Fprintln(w, "You are not signed in. You can close this window.")
		case text != "":
			a.err = &deniedError{text, query.Get("error_description")}
			fmt.Fprintln(w, "You are not signed in. You can close this window.")
		case code == "":
			a.err = errors.New("the provider's answer has neither a code nor an error")
			fmt.Fprintln(w, "You are not signed in. You can close this window.")
		default:
			a.code = code
			fmt.Fprintln(w, "Thank you. You can close this window and go back to the program.")
		}
		select {
		case answers <- a:
		default: // the page was loaded again
		}
	})
}

// A deniedError is the provider's refusal (RFC 6749 section 4.1.2.1).
type deniedError struct{ code, description string }

func (e *deniedError) Error() string {
	if e.description == "" {
		return fmt.Sprintf("the sign-in was refused: %q", e.code)
	}
	return fmt.Sprintf("the sign-in was refused: %q, %q", e.code, e.description)
}

// shutDown ends server after the browser has received its page.
func shutDown(ctx context.Context, server *http.Server) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 5*time.Second)
	defer cancel()
	if server.Shutdown(ctx) != nil {
		_ = server.Close()
	}
}

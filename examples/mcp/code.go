package main

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"net/url"
	"slices"
	"strings"

	"github.com/reauth-go/reauth"
	"github.com/reauth-go/reauth/oauth"
)

// A codeFlow is an authorization request, and what its answer is checked with.
type codeFlow struct {
	url      string
	verifier string
	uri      string
	issuer   string
	named    bool         // the server says which one it is in its answer (RFC 9207)
	start    reauth.Token // has the key that the tokens will be bound to, if any
}

func newCodeFlow(from source, a account, state string) (*codeFlow, error) {
	f := &codeFlow{
		verifier: rand.Text() + rand.Text(), // 52 characters; RFC 7636 section 4.1 wants 43
		uri:      a.RedirectURI,
		issuer:   a.Issuer,
		named:    says(from.server, "authorization_response_iss_parameter_supported"),
	}
	challenge := sha256.Sum256([]byte(f.verifier))
	query := url.Values{
		"response_type":         {"code"},
		"client_id":             {a.ID},
		"redirect_uri":          {f.uri},
		"state":                 {state},
		"code_challenge":        {base64.RawURLEncoding.EncodeToString(challenge[:])},
		"code_challenge_method": {"S256"},
		"resource":              {a.Resource},
	}
	if len(a.Scopes) > 0 {
		query.Set("scope", strings.Join(a.Scopes, " "))
	}
	if slices.Contains(a.Scopes, "offline_access") {
		query.Set("prompt", "consent") // OpenID Connect Core section 11
	}
	if a.Proofs {
		key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
		if err != nil {
			return nil, err
		}
		if f.start, err = oauth.BindKey(reauth.Token{}, key); err != nil {
			return nil, err
		}
		thumbprint, err := oauth.Thumbprint(key.Public())
		if err != nil {
			return nil, err
		}
		query.Set("dpop_jkt", thumbprint) // RFC 9449 section 10: nobody else can use the code
	}
	at, err := url.Parse(from.server.AuthorizationEndpoint)
	if err != nil || at.Host == "" {
		return nil, errors.New("the authorization server has no authorization endpoint")
	}
	own := at.Query() // RFC 6749 section 3.1: it is kept
	for name, values := range query {
		own[name] = values
	}
	at.RawQuery = own.Encode()
	f.url = at.String()
	return f, nil
}

// codeOf checks the answer to the request. The issuer is compared to the letter, so that an
// attacker's server can't pass another one's code off as its own (RFC 9207 section 2.4).
func (f *codeFlow) codeOf(answer url.Values) (code, error) {
	issuer, named := answer.Get("iss"), answer.Has("iss")
	switch {
	case named && issuer != f.issuer:
		return code{}, errors.New("the answer is that of another authorization server")
	case !named && f.named:
		return code{}, errors.New("the answer does not say which authorization server it is from")
	case answer.Get("error") != "":
		return code{}, fmt.Errorf("the sign-in was refused: %.40q", answer.Get("error"))
	case answer.Get("code") == "":
		return code{}, errors.New("the answer has neither a code nor an error")
	}
	return code{answer.Get("code"), f.uri, f.verifier}, nil
}

// A code is the grant of an authorization code (RFC 6749 section 4.1.3).
type code struct{ code, redirectURI, verifier string }

var _ oauth.Grant = code{}

func (c code) Request(context.Context, reauth.Token) (url.Values, error) {
	return url.Values{
		"grant_type":    {"authorization_code"},
		"code":          {c.code},
		"redirect_uri":  {c.redirectURI},
		"code_verifier": {c.verifier},
	}, nil
}

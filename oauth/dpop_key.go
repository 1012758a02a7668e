package oauth

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"errors"
	"fmt"
	"maps"
	"sync"

	"github.com/reauth-go/reauth"
)

// extraKey is the name in Token.Extra of a session's own key: PKCS #8, as base64url.
const extraKey = "reauth.dpop_key"

// BindKey returns tok with a key that its session has for itself, for a [DPoP] without a
// Key: an *ecdsa.PrivateKey on the curve P-256 or an ed25519.PrivateKey. Pass the token to
// SignIn if a sign-in has bound it to this key, or to [Refresher.Refresh] to obtain the first
// token with it:
//
//	start, err := oauth.BindKey(reauth.Token{}, key)
//	tok, err := signIn.Refresh(ctx, start) // whose Grant sends the authorization code
//
// The private key is then in the Token's Extra, and in the store with it. Whoever can read
// the store can use both, so seal it with package sealedstore.
func BindKey(tok reauth.Token, key crypto.Signer) (reauth.Token, error) {
	switch key.(type) {
	case *ecdsa.PrivateKey, ed25519.PrivateKey:
	default:
		return reauth.Token{}, fmt.Errorf("oauth: BindKey: a %T can't be stored", key)
	}
	if _, err := newProver(key); err != nil {
		return reauth.Token{}, fmt.Errorf("oauth: BindKey: the key %w", err)
	}
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return reauth.Token{}, errors.New("oauth: BindKey: the key can't be encoded")
	}
	return withKey(tok, encoding.EncodeToString(der)), nil
}

// withKey returns tok with an encoded key.
func withKey(tok reauth.Token, encoded string) reauth.Token {
	tok.Extra = maps.Clone(tok.Extra)
	if tok.Extra == nil {
		tok.Extra = make(map[string]string)
	}
	tok.Extra[extraKey] = encoded
	return tok
}

// sessionKey returns the encoded key of the session that tok is of: a new one if it has none
// yet. It returns "" if all sessions have the program's.
func (d *DPoP) sessionKey(tok reauth.Token) (string, error) {
	switch {
	case d.Key != nil:
		return "", nil
	case tok.Extra[extraKey] != "":
		return tok.Extra[extraKey], nil
	}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return "", errors.New("oauth: DPoP: a key for the session can't be made")
	}
	bound, err := BindKey(reauth.Token{}, key)
	return bound.Extra[extraKey], err
}

// A keyCache keeps the parsed keys of sessions, since parsing one takes longer than a proof.
type keyCache struct {
	mu    sync.RWMutex
	known map[string]*prover
}

// mostKeys bounds the cache. A key takes about 1 KiB.
const mostKeys = 4096

func (c *keyCache) get(encoded string) (*prover, error) {
	c.mu.RLock()
	p := c.known[encoded]
	c.mu.RUnlock()
	if p != nil {
		return p, nil
	}
	p, err := parseKey(encoded)
	if err != nil {
		return nil, err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.known) >= mostKeys {
		for other := range c.known {
			delete(c.known, other)
			break
		}
	}
	if c.known == nil {
		c.known = make(map[string]*prover)
	}
	c.known[encoded] = p
	return p, nil
}

// parseKey reads what BindKey has written. What it can't read may be part of a key, and is
// not shown.
func parseKey(encoded string) (*prover, error) {
	unreadable := fmt.Errorf("oauth: DPoP: Token.Extra[%q] is no private key in PKCS #8, as base64url", extraKey)
	der, err := encoding.DecodeString(encoded)
	if err != nil {
		return nil, unreadable
	}
	key, err := x509.ParsePKCS8PrivateKey(der)
	signer, ok := key.(crypto.Signer)
	if err != nil || !ok {
		return nil, unreadable
	}
	p, err := newProver(signer)
	if err != nil {
		return nil, fmt.Errorf("oauth: DPoP: the session's key %w", err)
	}
	return p, nil
}

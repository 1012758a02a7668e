// Package sealedstore encrypts the tokens in any [reauth.Store].
//
//	key, err := hex.DecodeString(os.Getenv("SESSION_KEY")) // from openssl rand -hex 32
//	store, err := sealedstore.New(disk, key)
//	tr, err := reauth.New(reauth.Config{Store: store, …})
//
// Read access to the underlying store reveals no token. Write access to it cannot forge
// one, nor give one session the token of another. It can still delete a token, or put
// back an older one of the same session. The names of sessions are not hidden, nor is
// the length of a token.
//
// # Changing the key
//
// The first key encrypts; all of them decrypt. Give every process the new key as its
// second, then make it the first everywhere. Remove the old key once each session has
// been saved again, as every refresh and sign-in does. A session that nobody uses stays
// encrypted with the old key until then. To encrypt all of them at once, lock each session,
// Load it, and Save what was loaded, as the second example of [New] does.
//
// # What else the underlying store can do
//
// Keep the underlying store to call its other methods, such as Watch and Purge: they need no
// key. What is saved through the encrypted store is saved by that very store, so a Watch does
// not tell it.
//
//	go disk.Watch(ctx, tr.Forget, tr.ForgetAll)
//
// # A wrong key
//
// Load of a token that no key decrypts is an error, which does not delete it. To a
// [reauth.Transport] that is a temporary failure: nothing is refreshed, nobody is signed
// out, and with the right key everything works again. Save and Delete need not decrypt
// the stored token, so a sign-in replaces it and a sign-out deletes it, without revoking
// it if it was never decrypted. If the key is lost, so are the sessions: Delete them,
// and sign in again.
//
// # Tokens that are not encrypted
//
// They are such an error too, because anyone with write access could have stored them.
// To encrypt the tokens that a store already has, stop the programs that use it, and for
// each session Load from the underlying store and Save to the encrypted one. To Save a
// token that is already encrypted is an error, so an interrupted run can be repeated.
//
// # Format
//
// The token's JSON, with its expiry, is encrypted by AES-256-GCM with a random nonce and
// bound to the session's name. One key is good for 2^32 saves (NIST SP 800-38D section
// 8.3). The result is a third longer than the JSON, plus 59 bytes. It is stored as the
// AccessToken of a Token that has nothing else, behind a line break, so that no header
// can carry it if a program forgets to decrypt.
package sealedstore

import (
	"bytes"
	"context"
	"crypto/aes"
	"crypto/cipher"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"reflect"
	"strings"

	"github.com/reauth-go/reauth"
)

const (
	keySize = 32 // AES-256

	// prefix stands before the encrypted text. Its 1 is the version of the format, and
	// its line break keeps the text out of headers. It is authenticated together with
	// the session's name, so that the same key can have other uses.
	prefix = "reauth.sealedstore 1\n"
)

var encoding = base64.RawURLEncoding.Strict()

// New returns a [reauth.Store] that keeps its tokens in store, encrypted. It is a
// [reauth.Locker] if and only if store is one. Contexts and errors of store pass through
// it unchanged.
//
// A key is 32 random bytes, not a password. New copies it. The error names everything
// that is wrong, and shows no key.
func New(store reauth.Store, keys ...[]byte) (reauth.Store, error) {
	var faults []error
	fault := func(format string, args ...any) {
		faults = append(faults, fmt.Errorf("sealedstore: New: "+format, args...))
	}

	switch store.(type) {
	case nil:
		fault("store is nil")
	case *sealed, *sealedLocker:
		fault("store is already encrypted; to change its key give it several")
	default:
		if v := reflect.ValueOf(store); v.Kind() == reflect.Pointer && v.IsNil() {
			fault("store is a nil %T", store)
		}
	}
	if len(keys) == 0 {
		fault("there is no key")
	}
	s := sealed{store: store}
	for i, key := range keys {
		switch {
		case len(key) != keySize:
			fault("keys[%d] has %d bytes, not %d", i, len(key), keySize)
		case bytes.Equal(key, make([]byte, keySize)):
			fault("keys[%d] is all zeros, like one that was never set", i)
		default:
			block, _ := aes.NewCipher(key) // only the length can be wrong
			aead, err := cipher.NewGCMWithRandomNonce(block)
			if err != nil {
				fault("keys[%d]: %w", i, err)
			}
			s.aeads = append(s.aeads, aead)
		}
	}
	if err := errors.Join(faults...); err != nil {
		return nil, err
	}
	if locker, ok := store.(reauth.Locker); ok {
		return &sealedLocker{sealed: s, locker: locker}, nil
	}
	return &s, nil
}

// sealed is a Store over one that does not lock. New returns a pointer to it, because
// package fmt calls no Format of a value in an unexported field, and would print the
// keys.
type sealed struct {
	store reauth.Store
	aeads []cipher.AEAD // of the keys; the first encrypts
}

// sealedLocker is a Store over a Locker. It is a type of its own because reauth.New
// tells by the type whether a store locks.
type sealedLocker struct {
	sealed
	locker reauth.Locker
}

// Load implements [reauth.Store].
func (s *sealed) Load(ctx context.Context, session string) (reauth.Token, bool, error) {
	stored, ok, err := s.store.Load(ctx, session)
	if err != nil || !ok {
		return reauth.Token{}, false, err
	}
	tok, err := s.open(session, stored.AccessToken)
	if err != nil {
		return reauth.Token{}, false, fmt.Errorf("sealedstore: stored token of session %q: %w", session, err)
	}
	return tok, true, nil
}

// Save implements [reauth.Store].
func (s *sealed) Save(ctx context.Context, session string, tok reauth.Token) error {
	text, err := s.seal(session, tok)
	if err != nil {
		return fmt.Errorf("sealedstore: encrypting the token of session %q: %w", session, err)
	}
	return s.store.Save(ctx, session, reauth.Token{AccessToken: text})
}

// Delete implements [reauth.Store].
func (s *sealed) Delete(ctx context.Context, session string) error {
	return s.store.Delete(ctx, session)
}

// Lock implements [reauth.Locker].
func (s *sealedLocker) Lock(ctx context.Context, session string) (context.Context, func(), error) {
	return s.locker.Lock(ctx, session)
}

// Format describes the Store, whatever the verb, and shows no key.
func (s *sealed) Format(f fmt.State, _ rune) {
	_, _ = fmt.Fprintf(f, "[sealedstore over %T, %d keys]", s.store, len(s.aeads))
}

var (
	errSealed     = errors.New("it is already encrypted")
	errNotSealed  = errors.New("it is not encrypted")
	errNoKeyOpens = errors.New("no key decrypts it: it was encrypted with another key or for another session, or was altered")
	errNotAToken  = errors.New("the decrypted text is not the JSON of a token")
)

// seal returns the text that is stored for tok.
func (s *sealed) seal(session string, tok reauth.Token) (string, error) {
	if strings.HasPrefix(tok.AccessToken, prefix) {
		return "", errSealed
	}
	plain, err := tok.MarshalJSON()
	if err != nil {
		return "", err
	}
	box := s.aeads[0].Seal(nil, nil, plain, additionalData(session))
	return prefix + encoding.EncodeToString(box), nil
}

// open is the reverse of seal. Its errors do not quote text; those of package json can.
func (s *sealed) open(session, text string) (reauth.Token, error) {
	encoded, ok := strings.CutPrefix(text, prefix)
	if !ok {
		return reauth.Token{}, errNotSealed
	}
	box, err := encoding.DecodeString(encoded)
	if err != nil {
		return reauth.Token{}, errNoKeyOpens
	}
	for _, aead := range s.aeads {
		plain, err := aead.Open(nil, nil, box, additionalData(session))
		if err != nil {
			continue // GCM tells whether the key was another
		}
		var tok reauth.Token
		if json.Unmarshal(plain, &tok) != nil {
			return reauth.Token{}, errNotAToken
		}
		return tok, nil
	}
	return reauth.Token{}, errNoKeyOpens
}

// additionalData binds an encrypted token to its session. The prefix has a fixed
// length, so no two sessions have the same.
func additionalData(session string) []byte { return []byte(prefix + session) }

package reauth

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
)

// Sealed returns a [Store] that keeps its tokens in store, encrypted. Who can read
// what store keeps learns no token; who can write to it can neither make one up
// nor give one session the token of another. It is a [Locker] if store is one.
// Contexts and errors of store pass through it as they are.
//
// A key is 32 random bytes, such as openssl rand -hex 32 prints in hexadecimal,
// and not a password. Sealed copies it. The error names everything that is wrong,
// and shows no key.
//
// # Changing the key
//
// The first key seals; all of them open. Give every process the new key as its
// second, then make it the first everywhere, and leave the old one out once each
// session has been saved again, as every refresh and sign-in does: until then a
// session that nobody uses stays sealed with the old key.
//
// # A wrong key
//
// Load of a token that no key opens is an error, which does not delete it. To a
// [Transport] that is a passing fault: nothing is refreshed and nobody is signed
// out, and with the right key all goes on. Save and Delete need not open what is
// there, so [Transport.SignIn] replaces it and [Transport.SignOut] deletes it,
// without revoking it if it was never opened. If the key is lost, so are the
// sessions: Delete them, and sign in again.
//
// # Tokens that are not sealed
//
// They are such an error too. To take them would be to take what anybody has
// written to the store. To seal those that a store already holds, stop the
// programs that use it, and for each session Load from store and Save to the
// sealed one. A token that is sealed already is an error of that Save, so this can
// be done again if it was interrupted.
//
// # What is stored
//
// The token's JSON, its expiry included, sealed with AES-256-GCM and a random
// nonce, for which one key is good for 2^32 saves (NIST SP 800-38D section 8.3),
// and bound to the session's name. It takes a third more room than the JSON does,
// and 54 bytes. It stands in the AccessToken of a Token that has nothing else,
// behind a line break, so that no header can carry it should a program forget
// Sealed.
//
// Names of sessions are not hidden, nor how long a token is. Nor does sealing keep
// those who can write to the store from deleting a token, or from putting back an
// older one of the same session.
func Sealed(store Store, keys ...[]byte) (Store, error) {
	var faults []error
	fault := func(format string, args ...any) {
		faults = append(faults, fmt.Errorf("reauth: Sealed: "+format, args...))
	}

	switch store.(type) {
	case nil:
		fault("store is nil")
	case *sealed, *sealedLocker:
		fault("store is itself one of Sealed; to change its key give it several")
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
			fault("keys[%d] is all zeros, as one that was never set", i)
		default:
			aead, err := newAEAD(key)
			if err != nil {
				fault("keys[%d]: %w", i, err)
			}
			s.aeads = append(s.aeads, aead)
		}
	}
	if err := errors.Join(faults...); err != nil {
		return nil, err
	}
	if locker, ok := store.(Locker); ok {
		return &sealedLocker{sealed: s, locker: locker}, nil
	}
	return &s, nil
}

const (
	keySize = 32 // AES-256

	// sealedPrefix stands before what is sealed, and its 1 for the form of that. Its
	// line break keeps it out of headers. It is authenticated along with the
	// session's name: no other use of the same key has this as its beginning.
	sealedPrefix = "reauth.Sealed 1\n"
)

var sealedEncoding = base64.RawURLEncoding.Strict()

// sealed is a Store of Sealed over one that does not lock. What is handed out is a
// pointer: package fmt calls no Format of a value in an unexported field, and would
// print what is in it.
type sealed struct {
	store Store
	aeads []cipher.AEAD // of the keys; the first seals
}

// sealedLocker is one over a Locker. It is a type of its own because New finds out
// by the type whether a store locks.
type sealedLocker struct {
	sealed
	locker Locker
}

func newAEAD(key []byte) (cipher.AEAD, error) {
	block, err := aes.NewCipher(key)
	if err != nil {
		return nil, err
	}
	return cipher.NewGCMWithRandomNonce(block)
}

// Load implements [Store].
func (s *sealed) Load(ctx context.Context, session string) (Token, bool, error) {
	stored, ok, err := s.store.Load(ctx, session)
	if err != nil || !ok {
		return Token{}, false, err
	}
	tok, err := s.open(session, stored.AccessToken)
	if err != nil {
		return Token{}, false, fmt.Errorf("reauth: stored token of session %q: %w", session, err)
	}
	return tok, true, nil
}

// Save implements [Store].
func (s *sealed) Save(ctx context.Context, session string, tok Token) error {
	text, err := s.seal(session, tok)
	if err != nil {
		return fmt.Errorf("reauth: sealing the token of session %q: %w", session, err)
	}
	return s.store.Save(ctx, session, Token{AccessToken: text})
}

// Delete implements [Store].
func (s *sealed) Delete(ctx context.Context, session string) error {
	return s.store.Delete(ctx, session)
}

// Lock implements [Locker].
func (s *sealedLocker) Lock(ctx context.Context, session string) (context.Context, func(), error) {
	return s.locker.Lock(ctx, session)
}

// Format writes what the store is over, whatever the verb, and no key.
func (s *sealed) Format(f fmt.State, _ rune) {
	_, _ = fmt.Fprintf(f, "reauth.Sealed[%T, %d keys]", s.store, len(s.aeads))
}

var (
	errSealedAlready = errors.New("it is sealed already")
	errNotSealed     = errors.New("it is not sealed")
	errNoKeyOpens    = errors.New("no key opens it: it was sealed with another, or for another session, or was altered")
	errSealedNoToken = errors.New("what was sealed is not the JSON of a token")
)

// seal returns the text that is stored for tok.
func (s *sealed) seal(session string, tok Token) (string, error) {
	if strings.HasPrefix(tok.AccessToken, sealedPrefix) {
		return "", errSealedAlready
	}
	plain, err := tok.MarshalJSON()
	if err != nil {
		return "", err
	}
	box := s.aeads[0].Seal(nil, nil, plain, additionalData(session))
	return sealedPrefix + sealedEncoding.EncodeToString(box), nil
}

// open is the reverse of seal. Its errors say nothing of what is in text: those of
// package json can quote it.
func (s *sealed) open(session, text string) (Token, error) {
	encoded, ok := strings.CutPrefix(text, sealedPrefix)
	if !ok {
		return Token{}, errNotSealed
	}
	box, err := sealedEncoding.DecodeString(encoded)
	if err != nil {
		return Token{}, errNoKeyOpens
	}
	for _, aead := range s.aeads {
		plain, err := aead.Open(nil, nil, box, additionalData(session))
		if err != nil {
			continue // which key it was is written nowhere: GCM tells
		}
		var tok Token
		if json.Unmarshal(plain, &tok) != nil {
			return Token{}, errSealedNoToken
		}
		return tok, nil
	}
	return Token{}, errNoKeyOpens
}

// additionalData is what binds a sealed token to its session. The prefix has a
// fixed length, so that no two sessions have the same.
func additionalData(session string) []byte { return []byte(sealedPrefix + session) }

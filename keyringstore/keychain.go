package keyringstore

import (
	"fmt"

	"github.com/zalando/go-keyring"
)

// A keychain is that of the operating system, as go-keyring presents it. Where
// there is no such entry, Get and Delete return keyring.ErrNotFound.
type keychain interface {
	Set(service, user, secret string) error
	Get(service, user string) (string, error)
	Delete(service, user string) error
}

// system is the keychain of this system. It adds to go-keyring that an entry which
// is removed while it is being read counts as absent, and says what some of its
// errors mean.
type system struct{}

func (system) Set(service, user, secret string) error {
	return explained(keyring.Set(service, user, secret))
}

func (system) Get(service, user string) (string, error) {
	var secret string
	err := again(func() (err error) {
		secret, err = keyring.Get(service, user)
		return err
	})
	return secret, err
}

func (system) Delete(service, user string) error {
	return again(func() error { return keyring.Delete(service, user) })
}

// again calls fn until the entry that it finds is still there when it gets to it.
func again(fn func() error) error {
	var err error
	for range 5 {
		if err = fn(); !vanished(err) {
			break
		}
	}
	return explained(err)
}

func explained(err error) error {
	if hint := explain(err); hint != "" {
		return fmt.Errorf("%s: %w", hint, err)
	}
	return err
}

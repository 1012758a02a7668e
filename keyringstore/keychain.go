package keyringstore

import (
	"fmt"

	"github.com/zalando/go-keyring"
)

// A keychain is the operating system's, as go-keyring presents it. If an entry does
// not exist, Get and Delete return keyring.ErrNotFound.
type keychain interface {
	Set(service, user, secret string) error
	Get(service, user string) (string, error)
	Delete(service, user string) error
}

// system is the keychain of this system. In addition to go-keyring, it treats an entry
// that is removed while it is being read as absent, and explains some errors.
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

// again calls fn again if the entry vanished between being found and being read.
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

package keyringstore_test

import (
	"encoding/base64"
	"errors"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strings"
	"sync"
	"unicode/utf8"

	"github.com/zalando/go-keyring"
)

// A memoryKeychain has the limits of the keychains of all systems.
type memoryKeychain struct {
	// before and after, if set, are called with each call, and can make it fail.
	before, after func(op, user string) error

	mu      sync.Mutex
	entries map[string]string
	writes  []string // the values of all entries ever written
}

func (k *memoryKeychain) call(op, service, user string, do func(name string) error) error {
	if k.before != nil {
		if err := k.before(op, user); err != nil {
			return err
		}
	}
	k.mu.Lock()
	err := do(strings.ToLower(service + ":" + user)) // on Windows, case does not matter
	k.mu.Unlock()
	if err == nil && k.after != nil {
		err = k.after(op, user)
	}
	return err
}

func (k *memoryKeychain) Set(service, user, secret string) error {
	return k.call("Set", service, user, func(name string) error {
		if err := fits(service, user, secret); err != nil {
			return err
		}
		if k.entries == nil {
			k.entries = make(map[string]string)
		}
		k.entries[name] = secret
		k.writes = append(k.writes, secret)
		return nil
	})
}

func (k *memoryKeychain) Get(service, user string) (secret string, err error) {
	err = k.call("Get", service, user, func(name string) error {
		var ok bool
		if secret, ok = k.entries[name]; !ok {
			return keyring.ErrNotFound
		}
		return nil
	})
	return secret, err
}

func (k *memoryKeychain) Delete(service, user string) error {
	return k.call("Delete", service, user, func(name string) error {
		if _, ok := k.entries[name]; !ok {
			return keyring.ErrNotFound
		}
		delete(k.entries, name)
		return nil
	})
}

// names returns the entries, sorted.
func (k *memoryKeychain) names() []string {
	k.mu.Lock()
	defer k.mu.Unlock()
	return slices.Sorted(maps.Keys(k.entries))
}

var unsafe = regexp.MustCompile(`[^\w@%+=:,./-]`)

// fits returns an error if one of the systems does not accept an entry.
func fits(service, user, secret string) error {
	quote := func(s string) string {
		if !unsafe.MatchString(s) {
			return s
		}
		return "'" + strings.ReplaceAll(s, "'", `'"'"'`) + "'"
	}
	macOS := fmt.Sprintf("add-generic-password -U -s %s -a %s -w %s\n",
		quote(service), quote(user), quote("go-keyring-base64:"+base64.StdEncoding.EncodeToString([]byte(secret))))
	switch {
	case len(macOS) > 4096:
		return fmt.Errorf("macOS: a command of %d bytes", len(macOS))
	case len(secret) > 2560:
		return fmt.Errorf("Windows: a secret of %d bytes", len(secret))
	case len(user) > 512 || len(service) >= 512:
		return errors.New("Windows: a name that is too long")
	case service == "" || user == "":
		return errors.New("macOS: an empty name, which matches any")
	case strings.ContainsAny(user, ":\n\x00"):
		return errors.New("a name that means something else on some system")
	case !utf8.ValidString(user) || !utf8.ValidString(secret):
		return errors.New("Linux: text that is not UTF-8")
	}
	return nil
}

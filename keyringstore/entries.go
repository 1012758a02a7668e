package keyringstore

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/zalando/go-keyring"

	"github.com/reauth-go/reauth"
)

const (
	// entryLimit is the size of an entry in bytes. It is the same on every system, so
	// that a test on one of them is valid for all. Windows accepts 2,560. On macOS
	// go-keyring writes a command of at most 4,096, with up to 3,200 for the secret in
	// base64, 642 for the service with its quotes, and 131 for the rest.
	entryLimit = 2400
	mostParts  = 64
)

var (
	errTorn    = errors.New("the token's parts do not belong together, because an entry was removed or changed by hand; sign in again")
	errDamaged = errors.New("it contains neither a token nor the location of its parts; sign in again")
	errUnkept  = errors.New("the keychain reports success, but has not written the entry")
)

// entries are the entries of one session. The head is the entry that decides which
// token the session has. It holds the token, or names the entries, called parts, that
// hold it together. There are two slots for parts. A token is written to the slot that
// is not in use before the head names it, so that at any moment the head and the parts
// that it names are whole.
//
// The parts of a slot are written from the first and removed from the last, so that
// those which a crash leaves behind are found by counting.
type entries struct {
	keychain keychain
	service  string
	account  string
	lease    *lease // they are written under it; nil if there is none
	changed  func() // called once the session has another token
}

var slots = [2]string{"a", "b"}

// A head is the JSON of a head whose token is in parts. Any other head is the
// JSON of a token, which has no such member.
type head struct {
	Split *split `json:"split"`
}

// A split locates a token that does not fit into one entry.
type split struct {
	Slot   string `json:"slot"`
	Parts  int    `json:"parts"`
	SHA256 string `json:"sha256"` // of the parts put together, in hex
}

// account returns the name of a session's head. Keychains disagree about which names
// are valid and which are equal (on Windows case does not matter), so only names on
// which all of them agree are used as they are.
func account(session string) string {
	const plain, longest = "abcdefghijklmnopqrstuvwxyz0123456789._@+-", 64
	if len(session) <= longest && strings.Trim(session, plain) == "" {
		return "session/" + session
	}
	return "sha256/" + hash(session)
}

func hash(text string) string {
	sum := sha256.Sum256([]byte(text))
	return hex.EncodeToString(sum[:])
}

// part returns the name of the nth part of a slot, from 1. No session's account
// has a second slash.
func (e entries) part(slot string, n int) string {
	return e.account + "/" + slot + "/" + strconv.Itoa(n)
}

// load returns the token, or errTorn if the parts that the head named were replaced
// before they could be read.
func (e entries) load(ctx context.Context) (tok reauth.Token, ok bool, err error) {
	text, err := e.get(ctx, e.account)
	if errors.Is(err, keyring.ErrNotFound) {
		return tok, false, nil
	}
	if err != nil {
		return tok, false, err
	}
	where, err := decodeHead(text)
	if err == nil && where != nil {
		if text, err = e.join(ctx, *where); err != nil {
			return tok, false, err
		}
	}
	if err == nil && json.Unmarshal([]byte(text), &tok) != nil { // its error may quote the token
		err = errDamaged
	}
	if err != nil {
		return reauth.Token{}, false, e.failed("read", e.account, err)
	}
	return tok, true, nil
}

// decodeHead returns where the parts are, or nil if the head is the token.
func decodeHead(text string) (*split, error) {
	var h *head
	if json.Unmarshal([]byte(text), &h) != nil || h == nil {
		return nil, errDamaged
	}
	if s := h.Split; s != nil && (s.Slot != slots[0] && s.Slot != slots[1] || s.Parts < 1 || s.Parts > mostParts) {
		return nil, errDamaged
	}
	return h.Split, nil
}

func (e entries) join(ctx context.Context, where split) (string, error) {
	var b strings.Builder
	for n := range where.Parts {
		text, err := e.get(ctx, e.part(where.Slot, n+1))
		if errors.Is(err, keyring.ErrNotFound) {
			return "", errTorn
		}
		if err != nil {
			return "", err
		}
		b.WriteString(text)
	}
	if hash(b.String()) != where.SHA256 {
		return "", errTorn
	}
	return b.String(), nil
}

// encode returns the values of the entries for tok, which are one head, or two or more
// parts.
func encode(tok reauth.Token) ([]string, error) {
	text, err := json.Marshal(tok)
	if err != nil {
		return nil, err
	}
	size := len(text)
	var values []string
	for len(text) > entryLimit {
		end := entryLimit
		for !utf8.RuneStart(text[end]) { // some keychains treat their entries as text
			end--
		}
		values = append(values, string(text[:end]))
		text = text[end:]
	}
	if values = append(values, string(text)); len(values) > mostParts {
		return nil, fmt.Errorf("the token is %d bytes of JSON, more than fit into %d entries of %d bytes", size, mostParts, entryLimit)
	}
	return values, nil
}

// save writes the values that encode returned. Until the head is written, all readers
// load the old token, and ctx may end the save. From then on they load the new one.
func (e entries) save(ctx context.Context, values []string) error {
	old, err := e.head(ctx)
	if err != nil && !errors.Is(err, errDamaged) && !errors.Is(err, keyring.ErrNotFound) {
		return err
	}
	text, next := values[0], split{}
	if len(values) > 1 {
		next = split{Slot: slots[0], Parts: len(values), SHA256: hash(strings.Join(values, ""))}
		if old.Slot == next.Slot {
			next.Slot = slots[1]
		}
		for n, value := range values {
			if err := e.put(ctx, e.part(next.Slot, n+1), value); err != nil {
				return err
			}
		}
		h, err := json.Marshal(head{Split: &next})
		if err != nil {
			return err
		}
		text = string(h)
	}
	if err := e.put(ctx, e.account, text); err != nil {
		return err
	}
	e.changed()
	// Parts that cannot be removed now are harmless, and the next Save or Delete tries
	// again. The token is stored, so this is not an error.
	_ = e.clear(context.WithoutCancel(ctx), old, next)
	return nil
}

// remove removes the head and then the parts.
func (e entries) remove(ctx context.Context) error {
	old, err := e.head(ctx)
	if err != nil && !errors.Is(err, errDamaged) && !errors.Is(err, keyring.ErrNotFound) {
		return err
	}
	if !errors.Is(err, keyring.ErrNotFound) {
		if err := e.drop(ctx, e.account); err != nil {
			return err
		}
		e.changed()
	}
	if err := e.clear(context.WithoutCancel(ctx), old, split{}); err != nil {
		return fmt.Errorf("the token is deleted, but some of its parts are not: %w", err)
	}
	return nil
}

// head returns the location of the parts that the head names, if any.
func (e entries) head(ctx context.Context) (split, error) {
	text, err := e.get(ctx, e.account)
	if err != nil {
		return split{}, err
	}
	where, err := decodeHead(text)
	if err != nil || where == nil {
		return split{}, err
	}
	return *where, nil
}

// clear removes all parts except those in use, which are the previous ones and those
// that a crash may have left.
func (e entries) clear(ctx context.Context, before, inUse split) error {
	var errs []error
	for _, slot := range slots {
		keep, last := 0, 0
		if slot == inUse.Slot {
			keep = inUse.Parts
		}
		if slot == before.Slot {
			last = before.Parts
		}
		errs = append(errs, e.cut(ctx, slot, keep, max(keep, last)))
	}
	return errors.Join(errs...)
}

// cut removes the parts of a slot after the first keep. There are at least last.
func (e entries) cut(ctx context.Context, slot string, keep, last int) error {
	for ; last < mostParts; last++ {
		_, err := e.get(ctx, e.part(slot, last+1))
		if errors.Is(err, keyring.ErrNotFound) {
			break
		}
		if err != nil {
			return err
		}
	}
	for ; last > keep; last-- {
		if err := e.drop(ctx, e.part(slot, last)); err != nil {
			return err
		}
	}
	return nil
}

// get, put and drop read, write and remove one entry, unless ctx is done or the lease
// is lost. put and drop check the result, because go-keyring reports success even if
// the user has refused.

func (e entries) get(ctx context.Context, name string) (string, error) {
	if ctx.Err() != nil {
		return "", context.Cause(ctx)
	}
	text, err := e.keychain.Get(e.service, name)
	if err != nil {
		return "", e.failed("read", name, err)
	}
	return text, nil
}

func (e entries) put(ctx context.Context, name, value string) error {
	if err := e.permitted(ctx); err != nil {
		return err
	}
	err := e.keychain.Set(e.service, name, value)
	if err == nil {
		var is string
		if is, err = e.keychain.Get(e.service, name); err == nil && is != value {
			err = errUnkept
		}
	}
	if err != nil {
		return e.failed("write", name, err)
	}
	return nil
}

func (e entries) drop(ctx context.Context, name string) error {
	if err := e.permitted(ctx); err != nil {
		return err
	}
	err := e.keychain.Delete(e.service, name)
	if err == nil {
		if _, err = e.keychain.Get(e.service, name); err == nil {
			err = errUnkept
		}
	}
	if errors.Is(err, keyring.ErrNotFound) {
		return nil
	}
	return e.failed("remove", name, err)
}

func (e entries) permitted(ctx context.Context) error {
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	return e.lease.check()
}

func (e entries) failed(what, name string, err error) error {
	return fmt.Errorf("%s entry %q of %q: %w", what, name, e.service, err)
}

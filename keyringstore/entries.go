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
	// entryLimit is how many bytes an entry holds, on every system, so that a test
	// on one of them speaks for all. Windows takes 2,560. On macOS go-keyring
	// writes a command of at most 4,096: the secret in base64, which makes 3,200
	// of these, the service, up to 642 with its quotes, and 131 for the rest.
	entryLimit = 2400
	mostParts  = 64
)

var (
	errTorn    = errors.New("the token's parts do not fit together: an entry was removed or changed by hand; sign in again")
	errDamaged = errors.New("it holds neither a token nor where its parts are; sign in again")
	errUnkept  = errors.New("the keychain reports success, but has not done it")
)

// entries are those of one session. Its head is the entry that settles which
// token the session has: it holds the token, or names the entries, the parts,
// that hold it together. There are two slots for parts. A token is written to
// the one that is not in use before the head names it, so that at any moment the
// head and what it names are whole.
//
// The parts of a slot are written from the first and removed from the last, so
// that what a crash leaves behind is found by counting.
type entries struct {
	keychain keychain
	service  string
	account  string
	lease    *lease // under which they are written; nil if there is none
}

var slots = [2]string{"a", "b"}

// A head is the JSON of a head whose token is in parts. Any other head is the
// JSON of a token, which has no such member.
type head struct {
	Split *split `json:"split"`
}

// A split tells where a token is that one entry does not hold.
type split struct {
	Slot   string `json:"slot"`
	Parts  int    `json:"parts"`
	SHA256 string `json:"sha256"` // of the parts put together, in hex
}

// account returns the name of a session's head. Keychains disagree about which
// names are good and which are equal (on Windows case does not count), so only
// what no two of them disagree about stands there as it is.
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

// load returns the token, or errTorn if what the head named was replaced before
// it could be read.
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
	if err == nil && json.Unmarshal([]byte(text), &tok) != nil { // whose error may quote the token
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

// encode returns the values of the entries that tok takes up: one that is its
// head, or two and more parts.
func encode(tok reauth.Token) ([]string, error) {
	text, err := json.Marshal(tok)
	if err != nil {
		return nil, err
	}
	size := len(text)
	var values []string
	for len(text) > entryLimit {
		end := entryLimit
		for !utf8.RuneStart(text[end]) { // some keychains take their entries for text
			end--
		}
		values = append(values, string(text[:end]))
		text = text[end:]
	}
	if values = append(values, string(text)); len(values) > mostParts {
		return nil, fmt.Errorf("the token is %d bytes of JSON, more than %d entries of %d bytes hold", size, mostParts, entryLimit)
	}
	return values, nil
}

// save writes what encode returned. Until the head is written, the old token is
// what everybody loads, and ctx may end it. From then on it is the new one.
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
	// What cannot be removed now is harmless, and the next Save or Delete tries
	// again. That the token is stored must not be denied for it.
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
	}
	if err := e.clear(context.WithoutCancel(ctx), old, split{}); err != nil {
		return fmt.Errorf("the token is deleted, but parts of it are still there: %w", err)
	}
	return nil
}

// head returns where the parts are that the head names, if any.
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

// clear removes all parts but those in use: those that were before, and what a
// crash may have left.
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

// get, put and drop are what is done to one entry, unless ctx has ended or the
// lease is lost. put and drop see for themselves that it has been done: go-keyring
// says so too where the user has turned it down.

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

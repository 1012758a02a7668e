package keyringstore_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/reauth-go/reauth"
	"github.com/reauth-go/reauth/keyringstore"
	"github.com/reauth-go/reauth/reauthtest/storetest"
)

func TestStoreWithinTheLimitsOfAllSystems(t *testing.T) {
	k, dir := new(memoryKeychain), lockDir(t)
	storetest.Run(t, storetest.Storage{
		Open:         func(tb testing.TB) reauth.Store { return openOn(tb, k, dir) },
		Lose:         func(tb testing.TB, session string) { removeFile(tb, openOn(tb, k, dir).LockFile(session)) },
		TellsChanges: true,
	})
	assert.Empty(t, k.names(), "what is left once all is deleted")
	for _, value := range k.writes {
		require.LessOrEqual(t, len(value), keyringstore.EntryLimit)
	}
}

func TestTheLongestNamesLeaveRoomForAnEntry(t *testing.T) {
	k := new(memoryKeychain)
	store, err := keyringstore.NewOn(k, strings.Repeat("'", keyringstore.LongestService), &keyringstore.Options{LockDir: lockDir(t)})
	require.NoError(t, err)
	for _, session := range []string{strings.Repeat("a", 64), strings.Repeat("a", 65)} {
		require.NoError(t, store.Save(t.Context(), session, ofSize(keyringstore.MostParts*keyringstore.EntryLimit)))
	}
}

// ofSize returns a token whose JSON has the given size. Its text differs from that of
// tokens of other sizes.
func ofSize(size int) reauth.Token {
	tok := reauth.Token{RefreshToken: fmt.Sprint("refresh-", size)}
	text, _ := json.Marshal(tok)
	tok.AccessToken = strings.Repeat(fmt.Sprintf("secret-%d,", size), size/8+1)[:size-len(text)]
	return tok
}

func same(t *testing.T, want, got reauth.Token) {
	t.Helper()
	require.True(t, want.AccessToken == got.AccessToken && want.RefreshToken == got.RefreshToken, "it is another token")
}

func TestATokenIsSplitWhereItDoesNotFit(t *testing.T) {
	const limit = keyringstore.EntryLimit
	k := new(memoryKeychain)
	store := openOn(t, k, lockDir(t))
	for _, c := range []struct{ size, entries int }{
		{100, 1}, {limit - 1, 1}, {limit, 1}, {limit + 1, 3}, {2*limit - 1, 3}, {2 * limit, 3}, {2*limit + 1, 4}, {limit, 1}, {10 * limit, 11},
		{keyringstore.MostParts * limit, keyringstore.MostParts + 1}, {limit + 1, 3}, {200, 1},
	} {
		tok := ofSize(c.size)
		text, err := json.Marshal(tok)
		require.NoError(t, err)
		require.Len(t, text, c.size)
		require.NoError(t, store.Save(t.Context(), "", tok))
		require.Len(t, k.names(), c.entries, "entries of a token of %d bytes", c.size)
		got, ok, err := store.Load(t.Context(), "")
		require.NoError(t, err)
		require.True(t, ok)
		same(t, tok, got)
	}
}

func TestCallsToTheKeychain(t *testing.T) {
	k := new(memoryKeychain)
	store := openOn(t, k, lockDir(t))
	calls := 0
	k.before = func(string, string) error {
		calls++
		return nil
	}
	for _, parts := range []int{0, 3, 14} {
		size := max(100, parts*keyringstore.EntryLimit)
		require.NoError(t, store.Save(t.Context(), "", ofSize(size)))
		calls = 0
		_, _, err := store.Load(t.Context(), "")
		require.NoError(t, err)
		assert.Equal(t, 1+parts, calls, "calls of a Load of %d parts", parts)
		calls = 0
		require.NoError(t, store.Save(t.Context(), "", ofSize(size)))
		assert.Equal(t, 5+4*parts, calls, "calls of a Save of %d parts in place of as many", parts)
	}
}

func TestATokenIsNotSplitInTheMiddleOfACharacter(t *testing.T) {
	store := openOn(t, new(memoryKeychain), lockDir(t))
	for shift := range 4 {
		tok := reauth.Token{AccessToken: strings.Repeat("a", shift) + strings.Repeat("🔑é€", 2000)}
		require.NoError(t, store.Save(t.Context(), "", tok))
		got, _, err := store.Load(t.Context(), "")
		require.NoError(t, err)
		same(t, tok, got)
	}
}

func TestATokenThatIsTooLargeChangesNothing(t *testing.T) {
	k := new(memoryKeychain)
	store := openOn(t, k, lockDir(t))
	require.NoError(t, store.Save(t.Context(), "", ofSize(100)))
	err := store.Save(t.Context(), "", ofSize(keyringstore.MostParts*keyringstore.EntryLimit+1))
	require.EqualError(t, err, "keyringstore: save: the token is 153601 bytes of JSON, more than fit into 64 entries of 2400 bytes")
	got, _, err := store.Load(t.Context(), "")
	require.NoError(t, err)
	same(t, ofSize(100), got)
	assert.Len(t, k.writes, 1)
}

var errCrash = errors.New("the program has crashed")

// crashAt lets a keychain fail from its nth call on, counted from 0, either before the
// call takes effect or after it. It returns a function that reports whether there were
// that many calls.
func (k *memoryKeychain) crashAt(n int, done bool) (crashed func() bool) {
	calls, dead := 0, false
	k.before = func(string, string) error {
		if calls++; dead || calls > n && !done {
			dead = true
			return errCrash
		}
		return nil
	}
	k.after = func(string, string) error {
		if calls > n {
			dead = true
			return errCrash
		}
		return nil
	}
	return func() bool {
		k.before, k.after = nil, nil
		return dead
	}
}

// sizes are the sizes of tokens in one entry and in several; 0 means that there is none.
var sizes = []int{0, 100, 2 * keyringstore.EntryLimit, 4 * keyringstore.EntryLimit}

func entriesOf(size int) int {
	switch parts := (size + keyringstore.EntryLimit - 1) / keyringstore.EntryLimit; parts {
	case 0, 1:
		return parts
	default:
		return 1 + parts
	}
}

// eachCrash calls test with a store that holds a token of each size, for each call that
// crash makes to the keychain and each way in which that can fail.
func eachCrash(t *testing.T, old int, crash func(store *keyringstore.Store) error, test func(t *testing.T, k *memoryKeychain, store *keyringstore.Store, err error)) {
	dir := lockDir(t)
	n := 0
	for crashed := true; crashed; n++ {
		crashed = false
		for _, done := range []bool{false, true} {
			k := new(memoryKeychain)
			store := openOn(t, k, dir)
			// The token is in the second slot, and the first has content.
			require.NoError(t, store.Save(t.Context(), "", ofSize(3*keyringstore.EntryLimit)))
			if old == 0 {
				require.NoError(t, store.Delete(t.Context(), ""))
			} else {
				require.NoError(t, store.Save(t.Context(), "", ofSize(old)))
			}
			ended := k.crashAt(n, done)
			err := crash(store)
			crashed = ended() || crashed
			if err != nil {
				require.ErrorIs(t, err, errCrash)
				require.NotContains(t, err.Error(), "secret")
			}
			test(t, k, openOn(t, k, dir), err)
		}
	}
	require.Greater(t, n, 3)
}

func TestACrashWhileSavingLeavesTheOldTokenOrTheNew(t *testing.T) {
	for _, old := range sizes {
		for _, next := range sizes[1:] {
			next++ // different from the old one
			t.Run(fmt.Sprintf("%d to %d", old, next), func(t *testing.T) {
				olds, news := 0, 0
				eachCrash(t, old, func(store *keyringstore.Store) error {
					return store.Save(t.Context(), "", ofSize(next))
				}, func(t *testing.T, k *memoryKeychain, store *keyringstore.Store, err error) {
					tok, ok, loadErr := store.Load(t.Context(), "")
					require.NoError(t, loadErr)
					switch {
					case ok && tok.RefreshToken == ofSize(next).RefreshToken:
						same(t, ofSize(next), tok)
						news++
					case err == nil:
						t.Fatal("Save returned nil, and the token is not there")
					case old == 0:
						require.False(t, ok)
						olds++
					default:
						require.True(t, ok)
						same(t, ofSize(old), tok)
						olds++
					}
					for _, size := range sizes[1:3] {
						require.NoError(t, store.Save(t.Context(), "", ofSize(size)))
						require.Len(t, k.names(), entriesOf(size), "after the next Save")
					}
					require.NoError(t, store.Delete(t.Context(), ""))
					require.Empty(t, k.names(), "after a Delete")
				})
				assert.NotZero(t, olds)
				assert.NotZero(t, news)
			})
		}
	}
}

func TestACrashWhileDeletingLeavesTheTokenOrNone(t *testing.T) {
	for _, old := range sizes {
		t.Run(fmt.Sprint(old), func(t *testing.T) {
			eachCrash(t, old, func(store *keyringstore.Store) error {
				return store.Delete(t.Context(), "")
			}, func(t *testing.T, k *memoryKeychain, store *keyringstore.Store, err error) {
				tok, ok, loadErr := store.Load(t.Context(), "")
				require.NoError(t, loadErr)
				if ok {
					require.Error(t, err)
					same(t, ofSize(old), tok)
				}
				if err == nil {
					require.Empty(t, k.names(), "Delete returned nil")
				}
				require.NoError(t, store.Delete(t.Context(), ""))
				require.Empty(t, k.names())
			})
		})
	}
}

func TestPartsLeftByACrashAreDeleted(t *testing.T) {
	for _, old := range sizes {
		eachCrash(t, old, func(store *keyringstore.Store) error {
			return store.Save(t.Context(), "", ofSize(4*keyringstore.EntryLimit))
		}, func(t *testing.T, k *memoryKeychain, store *keyringstore.Store, _ error) {
			require.NoError(t, store.Delete(t.Context(), ""))
			require.Empty(t, k.names())
		})
	}
}

// At every moment of a Save, a reader without a lock gets a whole token.
func TestLoadBesideASave(t *testing.T) {
	dir := lockDir(t)
	k := new(memoryKeychain)
	saver := openOn(t, k, dir)
	for _, old := range sizes[1:] {
		for _, next := range sizes[1:] {
			require.NoError(t, saver.Save(t.Context(), "", ofSize(old)))
			found := map[string]int{}
			observed := false
			k.before = func(string, string) error {
				if observed {
					return nil // this is the observer's own call
				}
				observed = true
				defer func() { observed = false }()
				ctx, cancel := context.WithTimeout(t.Context(), patience)
				defer cancel()
				tok, ok, err := openOn(t, k, dir).Load(ctx, "")
				if assert.NoError(t, err) && assert.True(t, ok) {
					found[tok.RefreshToken]++
				}
				return nil
			}
			require.NoError(t, saver.Save(t.Context(), "", ofSize(next+1)))
			k.before = nil
			assert.Len(t, found, 2, "the old token and the new")
		}
	}
}

// overtaken is a keychain in which writers overtake a Load as often as possible, each
// time after it has read the head.
func overtaken(t *testing.T, times int, by func(store *keyringstore.Store, n int) error) (reauth.Token, bool, error) {
	t.Helper()
	dir := lockDir(t)
	k := new(memoryKeychain)
	writer := openOn(t, k, dir)
	require.NoError(t, writer.Save(t.Context(), "", ofSize(3*keyringstore.EntryLimit)))
	slow := &delegating{Keychain: k}
	slow.afterHead = func() {
		if times--; times >= 0 {
			assert.NoError(t, by(writer, times))
		}
	}
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	tok, ok, err := openOn(t, slow, dir).Load(ctx, "")
	assert.Negative(t, times, "not overtaken as often as that")
	return tok, ok, err
}

type delegating struct {
	keyringstore.Keychain
	afterHead func()
}

func (d *delegating) Get(service, user string) (string, error) {
	text, err := d.Keychain.Get(service, user)
	if user == "session/" {
		d.afterHead()
	}
	return text, err
}

func TestALoadThatIsOvertakenLooksAgain(t *testing.T) {
	for times := 1; times <= 3; times++ {
		tok, ok, err := overtaken(t, times, func(store *keyringstore.Store, n int) error {
			for i := range 2 { // so that both slots are written
				if err := store.Save(t.Context(), "", ofSize((4+n)*keyringstore.EntryLimit+i)); err != nil {
					return err
				}
			}
			return nil
		})
		require.NoError(t, err)
		require.True(t, ok)
		same(t, ofSize(4*keyringstore.EntryLimit+1), tok)
	}
}

func TestALoadThatADeleteOvertakesFindsNothing(t *testing.T) {
	_, ok, err := overtaken(t, 1, func(store *keyringstore.Store, _ int) error { return store.Delete(t.Context(), "") })
	require.NoError(t, err)
	assert.False(t, ok)
}

func TestATokenWithAPartMissingIsAnErrorUntilItIsReplaced(t *testing.T) {
	for _, damage := range []func(k *memoryKeychain){
		func(k *memoryKeychain) { _ = k.Delete(service, "session//a/2") },
		func(k *memoryKeychain) { _ = k.Set(service, "session//a/2", "another's") },
		func(k *memoryKeychain) { _ = k.Set(service, "session/", "the secret of somebody else") },
		func(k *memoryKeychain) { _ = k.Set(service, "session/", `null`) },
		func(k *memoryKeychain) { _ = k.Set(service, "session/", `{"access_token":"secret","expiry":"secret"}`) },
		func(k *memoryKeychain) { _ = k.Set(service, "session/", `{"split":{"slot":"c","parts":1}}`) },
		func(k *memoryKeychain) { _ = k.Set(service, "session/", `{"split":{"slot":"a","parts":1000000}}`) },
		func(k *memoryKeychain) { _ = k.Set(service, "session/", `{"split":{"slot":"a","parts":-1}}`) },
	} {
		k := new(memoryKeychain)
		store := openOn(t, k, lockDir(t))
		prepare := func() {
			require.NoError(t, store.Save(t.Context(), "", ofSize(3*keyringstore.EntryLimit)))
			require.True(t, slices.Contains(k.names(), service+":session//a/2"))
			damage(k)
			_, ok, err := store.Load(t.Context(), "")
			require.ErrorContains(t, err, "sign in again")
			require.NotContains(t, err.Error(), "secret")
			require.False(t, ok)
		}
		prepare()
		calls := 0
		k.before = func(string, string) error {
			calls++
			return nil
		}
		require.NoError(t, store.Save(t.Context(), "", ofSize(100)))
		require.Less(t, calls, 5*keyringstore.MostParts, "however many parts the head speaks of")
		k.before = nil
		require.Len(t, k.names(), 1)
		got, _, err := store.Load(t.Context(), "")
		require.NoError(t, err)
		same(t, ofSize(100), got)

		require.NoError(t, store.Delete(t.Context(), ""))
		prepare()
		require.NoError(t, store.Delete(t.Context(), ""))
		require.Empty(t, k.names())
	}
}

// ignoring is a keychain whose user refuses to let an entry be written or removed, which
// go-keyring does not report.
type ignoring struct {
	keyringstore.Keychain
	entry string
}

func (i *ignoring) Set(service, user, secret string) error {
	if user == i.entry {
		return nil
	}
	return i.Keychain.Set(service, user, secret)
}

func (i *ignoring) Delete(service, user string) error {
	if user == i.entry {
		return nil
	}
	return i.Keychain.Delete(service, user)
}

func TestARefusalThatTheKeychainDoesNotTellIsAnError(t *testing.T) {
	for _, entry := range []string{"session/", "session//b/2"} {
		k, dir := new(memoryKeychain), lockDir(t)
		old, next := ofSize(3*keyringstore.EntryLimit), ofSize(4*keyringstore.EntryLimit)
		require.NoError(t, openOn(t, k, dir).Save(t.Context(), "", old))
		refused := openOn(t, &ignoring{k, entry}, dir)
		require.ErrorContains(t, refused.Save(t.Context(), "", next), fmt.Sprintf("write entry %q", entry))
		got, ok, err := refused.Load(t.Context(), "")
		require.NoError(t, err)
		require.True(t, ok)
		same(t, old, got)

		require.NoError(t, openOn(t, k, dir).Save(t.Context(), "", next))
		require.ErrorContains(t, refused.Delete(t.Context(), ""), fmt.Sprintf("remove entry %q", entry))
	}
}

func TestAnErrorOfTheKeychainIsNotAnAbsence(t *testing.T) {
	k := new(memoryKeychain)
	store := openOn(t, k, lockDir(t))
	require.NoError(t, store.Save(t.Context(), "ann", ofSize(100)))
	broken := errors.New("the keychain is locked")
	k.before = func(string, string) error { return broken }
	_, ok, err := store.Load(t.Context(), "ann")
	require.ErrorIs(t, err, broken)
	assert.EqualError(t, err, `keyringstore: load: read entry "session/ann" of "reauth-test": the keychain is locked`)
	assert.False(t, ok)
	assert.ErrorIs(t, store.Save(t.Context(), "ann", ofSize(100)), broken)
	assert.ErrorIs(t, store.Delete(t.Context(), "ann"), broken)
	k.before = nil
	_, ok, err = store.Load(t.Context(), "ann")
	require.NoError(t, err)
	assert.True(t, ok)
}

// The current state of the session must be known before anything is written, because it
// could be overwritten.
func TestASaveThatCannotReadWritesNothing(t *testing.T) {
	k := new(memoryKeychain)
	store := openOn(t, k, lockDir(t))
	require.NoError(t, store.Save(t.Context(), "", ofSize(100)))
	broken := errors.New("the keychain is locked for a moment")
	k.before = func(string, string) error {
		k.before = nil
		return broken
	}
	require.ErrorIs(t, store.Save(t.Context(), "", ofSize(3*keyringstore.EntryLimit)), broken)
	assert.Len(t, k.writes, 1)
}

func TestPartsAreNotTakenForASession(t *testing.T) {
	k := new(memoryKeychain)
	store := openOn(t, k, lockDir(t))
	sessions := []string{"", "/a/1", "a/1", "ann", "ann/a/1", "ann//a/1"}
	for i, name := range sessions {
		require.NoError(t, store.Save(t.Context(), name, ofSize(3*keyringstore.EntryLimit+i)))
	}
	for i, name := range sessions {
		tok, ok, err := store.Load(t.Context(), name)
		require.NoError(t, err)
		require.True(t, ok)
		same(t, ofSize(3*keyringstore.EntryLimit+i), tok)
	}
}

func TestATokenIsReadableInTheKeychain(t *testing.T) {
	k := new(memoryKeychain)
	store := openOn(t, k, lockDir(t))
	tok := reauth.Token{AccessToken: "a", RefreshToken: "r", Expiry: time.Date(2030, 1, 1, 0, 0, 0, 0, time.UTC)}
	require.NoError(t, store.Save(t.Context(), "ann@example.com", tok))
	require.Equal(t, []string{"reauth-test:session/ann@example.com"}, k.names())
	require.JSONEq(t, `{"access_token":"a","refresh_token":"r","expiry":"2030-01-01T00:00:00Z"}`, k.writes[0])
}

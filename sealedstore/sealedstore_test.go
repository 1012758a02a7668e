package sealedstore_test

import (
	"bytes"
	"context"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"reflect"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/reauth-go/reauth"
	"github.com/reauth-go/reauth/cookieauth"
	"github.com/reauth-go/reauth/internal/testworld"
	"github.com/reauth-go/reauth/reauthtest/storetest"
	"github.com/reauth-go/reauth/sealedstore"
)

// countingKey returns a key whose bytes count up from first.
func countingKey(first byte) []byte {
	key := make([]byte, 32)
	for i := range key {
		key[i] = first + byte(i)
	}
	return key
}

var (
	oldKey = countingKey(0x01)
	newKey = countingKey(0x81)
)

var secretToken = reauth.Token{
	AccessToken: "secret-access", TokenType: "DPoP", RefreshToken: "secret-refresh",
	Expiry: time.Date(2030, 1, 2, 3, 4, 5, 0, time.UTC), Extra: map[string]string{"id_token": "secret-id"},
}

// unlocked hides the lock of a store.
type unlocked struct{ reauth.Store }

func mustSeal(tb testing.TB, store reauth.Store, keys ...[]byte) reauth.Store {
	tb.Helper()
	sealed, err := sealedstore.New(store, keys...)
	require.NoError(tb, err)
	return sealed
}

// requireOpens checks that a session has the token want. A difference shows no more than
// that.
func requireOpens(t *testing.T, store reauth.Store, session string, want reauth.Token) {
	t.Helper()
	tok, ok, err := store.Load(t.Context(), session)
	require.NoError(t, err)
	require.True(t, ok)
	wantText, err := json.Marshal(want)
	require.NoError(t, err)
	text, err := json.Marshal(tok)
	require.NoError(t, err)
	require.True(t, string(wantText) == string(text), "another token than the one that was saved")
}

// requireClosed checks that Load returns an error that says why, and nothing else.
func requireClosed(t *testing.T, store reauth.Store, session, why string) {
	t.Helper()
	tok, ok, err := store.Load(t.Context(), session)
	require.ErrorContains(t, err, fmt.Sprintf("sealedstore: stored token of session %q: %s", session, why))
	require.NotContains(t, err.Error(), "secret-")
	require.False(t, ok)
	require.Zero(t, tok)
}

const (
	noKeyOpens = "no key decrypts it"
	notSealed  = "it is not encrypted"
)

// atRest returns what the underlying store holds.
func atRest(t *testing.T, store reauth.Store, session string) reauth.Token {
	t.Helper()
	tok, ok, err := store.Load(t.Context(), session)
	require.NoError(t, err)
	require.True(t, ok)
	return tok
}

func TestConformance(t *testing.T) {
	store := new(reauth.MemoryStore)
	t.Run("over a Locker", func(t *testing.T) {
		storetest.Run(t, storetest.Storage{Open: func(tb testing.TB) reauth.Store { return mustSeal(tb, store, oldKey) }, TellsChanges: true})
	})
	t.Run("over another store", func(t *testing.T) {
		storetest.Run(t, storetest.Storage{Open: func(tb testing.TB) reauth.Store { return mustSeal(tb, unlocked{store}, newKey, oldKey) }})
	})
}

func TestStoreLocksExactlyIfTheUnderlyingOneDoes(t *testing.T) {
	_, ok := mustSeal(t, new(reauth.MemoryStore), oldKey).(reauth.Locker)
	assert.True(t, ok)
	_, ok = mustSeal(t, unlocked{new(reauth.MemoryStore)}, oldKey).(reauth.Locker)
	assert.False(t, ok, "reauth.New would lock it")
}

func TestNewNamesEverythingThatIsWrong(t *testing.T) {
	short := []byte("secret-that-is-too-short")
	for name, tc := range map[string]struct {
		store reauth.Store
		keys  [][]byte
		want  []string
	}{
		"nothing given":    {nil, nil, []string{"store is nil", "there is no key"}},
		"a nil pointer":    {(*reauth.MemoryStore)(nil), [][]byte{oldKey}, []string{"store is a nil *reauth.MemoryStore"}},
		"a nil key":        {new(reauth.MemoryStore), [][]byte{nil}, []string{"keys[0] has 0 bytes, not 32"}},
		"several bad keys": {new(reauth.MemoryStore), [][]byte{oldKey, short, make([]byte, 33)}, []string{"keys[1] has 24 bytes, not 32", "keys[2] has 33 bytes, not 32"}},
		"AES-128":          {new(reauth.MemoryStore), [][]byte{oldKey[:16]}, []string{"keys[0] has 16 bytes, not 32"}},
		"a key never set":  {new(reauth.MemoryStore), [][]byte{oldKey, make([]byte, 32)}, []string{"keys[1] is all zeros, like one that was never set"}},
		"encrypted twice":  {mustSeal(t, unlocked{}, oldKey), [][]byte{newKey}, []string{"store is already encrypted; to change its key give it several"}},
		"a locker, twice":  {mustSeal(t, new(reauth.MemoryStore), oldKey), [][]byte{newKey}, []string{"store is already encrypted; to change its key give it several"}},
		"store and key":    {nil, [][]byte{short}, []string{"store is nil", "keys[0] has 24 bytes, not 32"}},
	} {
		t.Run(name, func(t *testing.T) {
			store, err := sealedstore.New(tc.store, tc.keys...)
			require.EqualError(t, err, "sealedstore: New: "+strings.Join(tc.want, "\nsealedstore: New: "))
			assert.Nil(t, store)
		})
	}
}

func TestKeysAreCopied(t *testing.T) {
	key := countingKey(0x01)
	inner := new(reauth.MemoryStore)
	store := mustSeal(t, inner, key)
	clear(key)
	require.NoError(t, store.Save(t.Context(), "ann", secretToken))
	requireOpens(t, mustSeal(t, inner, oldKey), "ann", secretToken)
}

func TestUnderlyingStoreLearnsNothing(t *testing.T) {
	inner := new(reauth.MemoryStore)
	store := mustSeal(t, inner, oldKey)
	require.NoError(t, store.Save(t.Context(), "ann", secretToken))
	first := atRest(t, inner, "ann")
	assert.Equal(t, reauth.Token{AccessToken: first.AccessToken}, first, "only the encrypted text is stored")
	text := fmt.Sprintf("%q %[1]x", first.AccessToken)
	for _, part := range []string{"secret", "access_token", "2030-01-02", "id_token"} {
		assert.NotContains(t, text, part)
		assert.NotContains(t, text, hex.EncodeToString([]byte(part)))
	}
	require.NoError(t, store.Save(t.Context(), "ann", secretToken))
	assert.False(t, first.AccessToken == atRest(t, inner, "ann").AccessToken, "a nonce was used twice")
	requireOpens(t, store, "ann", secretToken)
}

func TestEveryFieldIsKept(t *testing.T) {
	at := time.Date(2030, 1, 2, 3, 4, 5, 6, time.UTC)
	tok := reauth.Token{
		AccessToken: "a", TokenType: "DPoP", RefreshToken: "r", Expiry: at, RefreshExpiry: at.Add(time.Hour), RefreshAfter: at.Add(-time.Hour),
		SignInID: "s", Extra: map[string]string{"id_token": "i"},
	}
	for i, fields := 0, reflect.ValueOf(tok); i < fields.NumField(); i++ {
		require.False(t, fields.Field(i).IsZero(), "a field that this test doesn't know")
	}
	store := mustSeal(t, new(reauth.MemoryStore), oldKey)
	require.NoError(t, store.Save(t.Context(), "ann", tok))
	requireOpens(t, store, "ann", tok)
}

// These were encrypted with the key 01 02 … 20 and the nonce "twelve bytes" by another
// program's AES-256-GCM.
const (
	goldenSession = "ann"
	goldenPrefix  = "reauth.sealedstore 1\n"
	golden        = goldenPrefix + "dHdlbHZlIGJ5dGVzBzlwN6chtU3BQP1Gwr6QPa50LOtaTtnRXYypKI5-HyWlMZQOrnZn9-DNk4S5iZHA5VflwHWZ" +
		"CYqyihrGYLZjqAr7ldVoi1BkKR-ovtPUSM7qNnLIf_q81FyQr_EVST3ljrJv-BGWjcySaddqzLafaBqdi9Ara03zcCcT4g"
	goldenNoToken = goldenPrefix + "dHdlbHZlIGJ5dGVzJyo9ZplD5yqRzkHOsagU74lTCbIg" // [1,2]
)

var goldenToken = reauth.Token{
	AccessToken: "access", RefreshToken: "refresh",
	Expiry: time.Date(2031, 12, 31, 23, 59, 59, 0, time.UTC), Extra: map[string]string{"scope": "read"},
}

// The format must not change as long as there are sessions.
func TestTokenStoredLongAgoOpens(t *testing.T) {
	inner := new(reauth.MemoryStore)
	store := mustSeal(t, inner, newKey, oldKey)
	require.NoError(t, inner.Save(t.Context(), goldenSession, reauth.Token{AccessToken: golden, TokenType: "Evil", RefreshToken: "evil"}))
	requireOpens(t, store, goldenSession, goldenToken) // and nothing from beside it

	require.NoError(t, inner.Save(t.Context(), goldenSession, reauth.Token{AccessToken: goldenNoToken}))
	requireClosed(t, store, goldenSession, "the decrypted text is not the JSON of a token")
}

func TestTokenOpensForItsSessionOnly(t *testing.T) {
	inner := new(reauth.MemoryStore)
	store := mustSeal(t, inner, oldKey)
	for _, names := range [][2]string{{"ann", "bob"}, {"", "ann"}, {"ann", ""}, {"ann", "Ann"}, {"ann", "ann\x00"}, {"ann", "an"}, {"\xff", "\xfe"}} {
		from, to := names[0], names[1]
		require.NoError(t, store.Save(t.Context(), from, secretToken))
		copied := atRest(t, inner, from)
		require.NoError(t, inner.Save(t.Context(), to, copied))
		requireClosed(t, store, to, noKeyOpens)
		assert.Equal(t, copied, atRest(t, inner, to), "it stays where it is")
		requireOpens(t, store, from, secretToken)
	}
}

func TestAlteredTokenDoesNotOpen(t *testing.T) {
	inner := new(reauth.MemoryStore)
	store := mustSeal(t, inner, oldKey, newKey)
	stored := func(text string) { require.NoError(t, inner.Save(t.Context(), "ann", reauth.Token{AccessToken: text})) }
	const others = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_+/= .\n\x00\xff"
	for _, access := range []string{"a", "ab", "abc"} { // each leaves another number of unused bits at the end
		tok := reauth.Token{AccessToken: access, RefreshToken: "secret-r"}
		require.NoError(t, store.Save(t.Context(), "ann", tok))
		text := atRest(t, inner, "ann").AccessToken
		for i := range text {
			why := noKeyOpens
			if i < len(goldenPrefix) {
				why = notSealed
			}
			for _, other := range []byte(others) {
				if other == text[i] {
					continue
				}
				stored(text[:i] + string([]byte{other}) + text[i+1:])
				requireClosed(t, store, "ann", why)
			}
			stored(text[:i])
			requireClosed(t, store, "ann", why)
			stored(text[:min(i, len(goldenPrefix))] + text[i+1:]) // without a piece
			requireClosed(t, store, "ann", "")
		}
		for _, garbage := range []string{"A", "AAAA", "=", "%", text, "🔑", strings.Repeat("A", 1<<16)} {
			stored(text + garbage)
			requireClosed(t, store, "ann", noKeyOpens)
			stored(goldenPrefix + garbage)
			requireClosed(t, store, "ann", noKeyOpens)
		}
		stored(text)
		requireOpens(t, store, "ann", tok)
	}
}

func TestTokensOutliveAChangeOfKeys(t *testing.T) {
	inner := new(reauth.MemoryStore)
	stores := map[string]reauth.Store{
		"before":  mustSeal(t, inner, oldKey),
		"both":    mustSeal(t, inner, oldKey, newKey), // the first step, beside processes that have the old key only
		"changed": mustSeal(t, inner, newKey, oldKey),
		"after":   mustSeal(t, inner, newKey),
	}
	for _, tc := range []struct{ savedBy, closedTo string }{{"both", "after"}, {"changed", "before"}} {
		require.NoError(t, stores[tc.savedBy].Save(t.Context(), "ann", secretToken))
		for name, store := range stores {
			if name == tc.closedTo {
				requireClosed(t, store, "ann", noKeyOpens)
			} else {
				requireOpens(t, store, "ann", secretToken)
			}
		}
	}
}

// process returns a World as another process has it: with the token server and the API of
// w, and keys of its own to what inner holds.
func process(t *testing.T, w *testworld.World, inner reauth.Store, keys ...[]byte) *testworld.World {
	t.Helper()
	return testworld.New(t, func(c *reauth.Config, _ *testworld.World) {
		c.Store = mustSeal(t, inner, keys...)
		if w != nil {
			c.Refresher, c.Base = w.Authority, w.API
		}
	})
}

func TestWrongKeySignsNobodyOut(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		inner := new(testworld.FaultyStore)
		right := process(t, nil, inner, oldKey)
		right.SignIn(t)
		stored, _ := inner.Stored(t, "")

		wrong := process(t, right, inner, newKey)
		temporary := func(err error) {
			t.Helper()
			failure, ok := errors.AsType[*reauth.RefreshError](err)
			require.True(t, ok, "%v", err)
			assert.ErrorContains(t, failure, noKeyOpens)
			assert.NotErrorIs(t, err, reauth.ErrSignInRequired)
		}
		untouched := func() {
			t.Helper()
			now, ok := inner.Stored(t, "")
			require.True(t, ok, "the token was deleted")
			assert.Equal(t, stored, now)
			assert.Zero(t, inner.Count("Delete"))
			assert.Zero(t, right.Refreshes())
		}
		for range 3 { // further requests, the later ones after a pause
			_, err := wrong.Get(t.Context())
			temporary(err)
			_, err = wrong.Transport.Token(t.Context())
			temporary(err)
			untouched()
			time.Sleep(time.Minute)
		}
		_, err := wrong.Transport.SignedIn(t.Context())
		require.ErrorContains(t, err, noKeyOpens)
		assert.NotErrorIs(t, err, reauth.ErrSignInRequired)
		assert.Zero(t, wrong.Events.Count(reauth.EventSignInRequired))

		// Nor does a refresh of a process that has the token already.
		right.MustGet(t, http.StatusOK)
		right.Revoke()
		require.NoError(t, mustSeal(t, inner, newKey).Save(t.Context(), "", reauth.Token{AccessToken: "a", RefreshToken: "r"}))
		stored, _ = inner.Stored(t, "")
		_, err = right.Get(t.Context())
		temporary(err)
		untouched()

		// With the right key everything works again, starting from the stored token.
		process(t, right, inner, oldKey, newKey).MustGet(t, http.StatusOK)
		assert.Equal(t, 1, right.Refreshes())
		time.Sleep(time.Minute)
		right.MustGet(t, http.StatusOK)
		assert.Equal(t, 1, right.Refreshes(), "the other process's token is adopted")
		assert.Zero(t, inner.Count("Delete"))
	})
}

func TestSignInAndSignOutNeedNotDecryptTheStoredToken(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		inner := new(reauth.MemoryStore)
		first := process(t, nil, inner, oldKey)
		first.SignIn(t)

		second := process(t, first, inner, newKey)
		require.NoError(t, second.Transport.SignIn(t.Context(), first.Issue()))
		second.MustGet(t, http.StatusOK)
		process(t, first, inner, newKey).MustGet(t, http.StatusOK)

		third := process(t, first, inner, oldKey)
		require.NoError(t, third.Transport.SignOut(t.Context()))
		_, ok, err := inner.Load(t.Context(), "")
		require.NoError(t, err)
		assert.False(t, ok)
		_, err = third.Get(t.Context())
		assert.ErrorIs(t, err, reauth.ErrSignInRequired)
	})
}

func TestTokenThatIsNotEncryptedIsAnError(t *testing.T) {
	inner := new(reauth.MemoryStore)
	store := mustSeal(t, inner, oldKey)
	for _, tok := range []reauth.Token{{}, secretToken, {AccessToken: golden[len(goldenPrefix):]}, {RefreshToken: golden}, {Extra: map[string]string{"sealed": golden}}} {
		require.NoError(t, inner.Save(t.Context(), goldenSession, tok))
		requireClosed(t, store, goldenSession, notSealed)
		assert.Equal(t, tok, atRest(t, inner, goldenSession), "it stays where it is")
	}
}

func TestTokensOfAnExistingStoreCanBeEncryptedAgainAndAgain(t *testing.T) {
	inner := new(reauth.MemoryStore)
	store := mustSeal(t, inner, oldKey)
	require.NoError(t, inner.Save(t.Context(), "ann", secretToken))
	require.NoError(t, store.Save(t.Context(), "ann", atRest(t, inner, "ann")))
	requireOpens(t, store, "ann", secretToken)
	err := store.Save(t.Context(), "ann", atRest(t, inner, "ann"))
	require.EqualError(t, err, `sealedstore: encrypting the token of session "ann": it is already encrypted`)
	requireOpens(t, store, "ann", secretToken)
}

func TestProgramThatForgetsToDecryptSendsNothing(t *testing.T) {
	for name, credential := range map[string]reauth.Credential{
		"default": nil, "bare": reauth.HeaderCredential{Name: "X-Api-Key", Bare: true},
		"cookies": &cookieauth.Cookies{RefreshURL: "https://api.example.com/refresh"},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				inner := new(testworld.FaultyStore)
				require.NoError(t, mustSeal(t, inner, oldKey).Save(t.Context(), "", secretToken))
				stored, _ := inner.Stored(t, "")
				w := testworld.New(t, func(c *reauth.Config, _ *testworld.World) { c.Store, c.Credential = inner, credential })
				for range 2 {
					_, err := w.Get(t.Context())
					require.ErrorContains(t, err, " carry")
					assert.NotErrorIs(t, err, reauth.ErrSignInRequired)
					time.Sleep(time.Minute)
				}
				assert.Zero(t, w.API.Requests())
				assert.Zero(t, w.Refreshes())
				now, ok := inner.Stored(t, "")
				require.True(t, ok, "the token was deleted")
				assert.Equal(t, stored, now)
			})
		})
	}
}

func TestErrorsAndContextsPassThrough(t *testing.T) {
	inner := new(testworld.FaultyStore)
	store := mustSeal(t, inner, oldKey)
	type key struct{}
	ctx := context.WithValue(t.Context(), key{}, "x")
	var got context.Context
	var fault error
	inner.On(func(ctx context.Context, _ string) error { got = ctx; return fault })
	calls := map[string]func() error{
		"Lock": func() error {
			_, unlock, err := store.(reauth.Locker).Lock(ctx, "ann")
			if err == nil {
				unlock()
			}
			return err
		},
		"Save":   func() error { return store.Save(ctx, "ann", secretToken) },
		"Load":   func() error { _, _, err := store.Load(ctx, "ann"); return err },
		"Delete": func() error { return store.Delete(ctx, "ann") },
	}
	for _, fault = range []error{nil, testworld.ErrFault} {
		for name, call := range calls {
			got = nil
			if name == "Load" && fault == nil {
				require.NoError(t, store.Save(ctx, "ann", secretToken))
			}
			assert.Equal(t, fault, call(), name)
			assert.Same(t, ctx, got, "the store finds its lease in it")
		}
	}
	tok, ok, err := store.Load(ctx, "ann")
	assert.Equal(t, testworld.ErrFault, err)
	assert.False(t, ok)
	assert.Zero(t, tok)
}

func TestSaveRefusesATokenThatItCouldNotReturn(t *testing.T) {
	inner := new(testworld.FaultyStore)
	store := mustSeal(t, inner, oldKey)
	for want, tok := range map[string]reauth.Token{
		"Token.RefreshToken is not UTF-8":      {AccessToken: "secret-a", RefreshToken: "secret-\xff"},
		`Token.Extra["id_token"] is not UTF-8`: {AccessToken: "secret-a", Extra: map[string]string{"id_token": "secret-\xff"}},
		"year outside of range":                {AccessToken: "secret-a", Expiry: time.Date(10000, 1, 1, 0, 0, 0, 0, time.UTC)},
	} {
		err := store.Save(t.Context(), "ann", tok)
		require.ErrorContains(t, err, want)
		assert.ErrorContains(t, err, `sealedstore: encrypting the token of session "ann": `)
		assert.NotContains(t, err.Error(), "secret-")
	}
	assert.Zero(t, inner.Count("Save"))
}

func TestNoVerbShowsAKey(t *testing.T) {
	inner := new(reauth.MemoryStore)
	locker, plain := mustSeal(t, inner, oldKey, newKey), mustSeal(t, unlocked{inner}, oldKey)
	assert.Equal(t, "[sealedstore over *reauth.MemoryStore, 2 keys]", fmt.Sprint(locker))
	assert.Equal(t, "[sealedstore over sealedstore_test.unlocked, 1 keys]", fmt.Sprint(plain))

	type holder struct {
		Store  reauth.Store
		hidden reauth.Store
	}
	var shown strings.Builder
	for _, store := range []reauth.Store{locker, plain} {
		h := holder{store, store}
		for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%X", "%d", "% x", "%10.3v"} {
			for _, v := range []any{store, &store, []reauth.Store{store}, h, &h} {
				fmt.Fprintf(&shown, verb+"\n", v)
			}
		}
		for _, handler := range []slog.Handler{slog.NewTextHandler(&shown, nil), slog.NewJSONHandler(&shown, nil)} {
			slog.New(handler).Info("opened", "store", store, "holder", h)
		}
		text, err := json.Marshal(store)
		require.NoError(t, err)
		assert.Equal(t, "{}", string(text))
	}
	// AES begins its key schedule with the key itself, in words of either byte order.
	for _, key := range [][]byte{oldKey, newKey} {
		for at := 0; at < len(key); at += 4 {
			b := key[at : at+4]
			big, little := uint32(b[0])<<24|uint32(b[1])<<16|uint32(b[2])<<8|uint32(b[3]), uint32(b[3])<<24|uint32(b[2])<<16|uint32(b[1])<<8|uint32(b[0])
			for _, part := range []string{
				fmt.Sprintf("%x", b), fmt.Sprintf("%X", b), strings.Trim(fmt.Sprint(b), "[]"),
				fmt.Sprint(big), fmt.Sprint(little), fmt.Sprintf("%x", big), fmt.Sprintf("%x", little),
			} {
				assert.NotContains(t, shown.String(), part)
			}
		}
	}
}

// Stores with a limit, such as a keyring, must have room for the length that the
// documentation states.
func TestStoredLengthIsAsDocumented(t *testing.T) {
	inner := new(reauth.MemoryStore)
	store := mustSeal(t, inner, oldKey)
	for _, size := range []int{1, 2, 3, 1000, 32 << 10} {
		tok := reauth.Token{AccessToken: strings.Repeat("a", size)}
		plain, err := json.Marshal(tok)
		require.NoError(t, err)
		require.NoError(t, store.Save(t.Context(), "ann", tok))
		assert.InDelta(t, len(plain)*4/3+59, len(atRest(t, inner, "ann").AccessToken), 1)
	}
}

// Whatever the store returns, and for any session, Load returns a token that was saved or
// an error.
func FuzzLoad(f *testing.F) {
	f.Add(goldenSession, golden)
	f.Add("bob", golden)
	f.Add(goldenSession, goldenNoToken)
	f.Add(goldenSession, golden+"\n")
	f.Add(goldenSession, golden[:len(golden)-1])
	f.Add(goldenSession, goldenPrefix)
	f.Add(goldenSession, goldenPrefix+"AAAA")
	f.Add(goldenSession, `{"access_token":"a"}`)
	f.Add("", "")
	f.Fuzz(func(t *testing.T, session, text string) {
		inner := new(reauth.MemoryStore)
		store := mustSeal(t, inner, newKey, oldKey)
		require.NoError(t, inner.Save(t.Context(), session, reauth.Token{AccessToken: text}))
		tok, ok, err := store.Load(t.Context(), session)
		require.Equal(t, err == nil, ok)
		if err != nil {
			require.Zero(t, tok)
			require.ErrorContains(t, err, fmt.Sprintf("sealedstore: stored token of session %q: ", session))
			return
		}
		require.Equal(t, goldenSession, session)
		require.Equal(t, goldenToken, tok)
	})
}

// A store whose medium others can read keeps its tokens encrypted. The key comes from
// where the program has its secrets; openssl rand -hex 32 prints a new one.
func ExampleNew() {
	// In a real program: hex.DecodeString(os.Getenv("SESSION_KEY")).
	key, err := hex.DecodeString("6b1f0c9d2e8a47537d90b3c4e5f60718293a4b5c6d7e8f90a1b2c3d4e5f60718")
	if err != nil {
		fmt.Println(err)
		return
	}
	disk := new(reauth.MemoryStore) // in a real program one that outlives it
	store, err := sealedstore.New(disk, key)
	if err != nil {
		fmt.Println(err)
		return
	}

	// The store goes into Config.Store. This is what a Transport does with it:
	ctx := context.Background()
	if err := store.Save(ctx, "ann", reauth.Token{AccessToken: "a1b2c3", RefreshToken: "d4e5f6"}); err != nil {
		fmt.Println(err)
		return
	}
	onDisk, _, _ := disk.Load(ctx, "ann")
	fmt.Println("on disk:", strings.Contains(onDisk.AccessToken+onDisk.RefreshToken, "d4e5f6"))
	tok, _, err := store.Load(ctx, "ann")
	fmt.Println("decrypted:", tok.RefreshToken, err)

	// A copy of it is of no use to another session.
	_ = disk.Save(ctx, "eve", onDisk)
	_, _, err = store.Load(ctx, "eve")
	fmt.Println(err)
	// Output:
	// on disk: false
	// decrypted: d4e5f6 <nil>
	// sealedstore: stored token of session "eve": no key decrypts it: it was encrypted with another key or for another session, or was altered
}

// After the key was changed, each session is saved again under its lock, so that the old key
// can be removed. Programs may go on meanwhile. To Purge, the sessions look as if they had been
// used.
func ExampleNew_changeOfKeys() {
	oldKey, newKey := bytes.Repeat([]byte{1}, 32), bytes.Repeat([]byte{2}, 32)
	ctx := context.Background()
	disk := new(reauth.MemoryStore) // in a real program one that outlives it
	before, _ := sealedstore.New(disk, oldKey)
	_ = before.Save(ctx, "ann", reauth.Token{AccessToken: "a1b2c3", RefreshToken: "d4e5f6"})

	both, err := sealedstore.New(disk, newKey, oldKey)
	if err != nil {
		fmt.Println(err)
		return
	}
	for _, session := range []string{"ann", "bob"} { // all that there may be
		if err := saveAgain(ctx, both, session); err != nil {
			fmt.Println(err) // and go on: it can be repeated
		}
	}

	after, _ := sealedstore.New(disk, newKey)
	tok, _, err := after.Load(ctx, "ann")
	fmt.Println("decrypted:", tok.RefreshToken, err)
	// Output:
	// decrypted: d4e5f6 <nil>
}

// saveAgain saves the token that a session has. Without the lock it might take the place of a
// newer one.
func saveAgain(ctx context.Context, store reauth.Store, session string) error {
	if locker, ok := store.(reauth.Locker); ok {
		held, unlock, err := locker.Lock(ctx, session)
		for errors.Is(err, reauth.ErrChanged) {
			held, unlock, err = locker.Lock(ctx, session)
		}
		if err != nil {
			return err
		}
		defer unlock()
		ctx = held
	}
	tok, ok, err := store.Load(ctx, session)
	if err != nil || !ok {
		return err
	}
	return store.Save(ctx, session, tok)
}

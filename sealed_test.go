package reauth_test

import (
	"context"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/reauth-go/reauth"
	"github.com/reauth-go/reauth/reauthtest/storetest"
)

// sealingKey returns a key whose bytes count up from first.
func sealingKey(first byte) []byte {
	key := make([]byte, 32)
	for i := range key {
		key[i] = first + byte(i)
	}
	return key
}

var (
	oldKey = sealingKey(0x01)
	newKey = sealingKey(0x81)
)

func mustSeal(tb testing.TB, store reauth.Store, keys ...[]byte) reauth.Store {
	tb.Helper()
	sealed, err := reauth.Sealed(store, keys...)
	require.NoError(tb, err)
	return sealed
}

// requireOpens checks that a session has the token want. A difference shows no
// more than that.
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

// requireClosed checks that Load gives an error that says why, and nothing else.
func requireClosed(t *testing.T, store reauth.Store, session, why string) {
	t.Helper()
	tok, ok, err := store.Load(t.Context(), session)
	require.ErrorContains(t, err, why)
	require.ErrorContains(t, err, fmt.Sprintf("reauth: stored token of session %q: ", session))
	require.NotContains(t, err.Error(), "secret-")
	require.False(t, ok)
	require.Zero(t, tok)
}

func atRest(t *testing.T, store reauth.Store, session string) reauth.Token {
	t.Helper()
	tok, ok, err := store.Load(t.Context(), session)
	require.NoError(t, err)
	require.True(t, ok)
	return tok
}

func TestSealedOverAStoreThatLocks(t *testing.T) {
	store := new(reauth.MemoryStore)
	storetest.Run(t, storetest.Storage{Open: func(tb testing.TB) reauth.Store {
		return mustSeal(tb, store, oldKey)
	}})
}

func TestSealedOverAStoreThatDoesNotLock(t *testing.T) {
	store := new(reauth.MemoryStore)
	storetest.Run(t, storetest.Storage{Open: func(tb testing.TB) reauth.Store {
		return mustSeal(tb, unlocked{store}, newKey, oldKey)
	}})
}

func TestSealedIsALockerIfItsStoreIsOne(t *testing.T) {
	_, ok := mustSeal(t, new(reauth.MemoryStore), oldKey).(reauth.Locker)
	assert.True(t, ok)
	_, ok = mustSeal(t, unlocked{new(reauth.MemoryStore)}, oldKey).(reauth.Locker)
	assert.False(t, ok, "New would take it for one")
}

func TestSealedNamesAllThatIsWrong(t *testing.T) {
	secret := []byte("secret-that-is-too-short")
	for name, c := range map[string]struct {
		store reauth.Store
		keys  [][]byte
		want  []string
	}{
		"nothing given":     {nil, nil, []string{"store is nil", "there is no key"}},
		"a nil pointer":     {(*reauth.MemoryStore)(nil), [][]byte{oldKey}, []string{"store is a nil *reauth.MemoryStore"}},
		"a nil key":         {new(reauth.MemoryStore), [][]byte{nil}, []string{"keys[0] has 0 bytes, not 32"}},
		"several bad keys":  {new(reauth.MemoryStore), [][]byte{oldKey, secret, make([]byte, 33)}, []string{"keys[1] has 24 bytes, not 32", "keys[2] has 33 bytes, not 32"}},
		"AES-128":           {new(reauth.MemoryStore), [][]byte{oldKey[:16]}, []string{"keys[0] has 16 bytes, not 32"}},
		"a key never set":   {new(reauth.MemoryStore), [][]byte{oldKey, make([]byte, 32)}, []string{"keys[1] is all zeros, as one that was never set"}},
		"sealed twice":      {mustSeal(t, unlocked{}, oldKey), [][]byte{newKey}, []string{"store is itself one of Sealed; to change its key give it several"}},
		"a locker, twice":   {mustSeal(t, new(reauth.MemoryStore), oldKey), [][]byte{newKey}, []string{"store is itself one of Sealed; to change its key give it several"}},
		"all that there is": {nil, [][]byte{secret}, []string{"store is nil", "keys[0] has 24 bytes, not 32"}},
	} {
		t.Run(name, func(t *testing.T) {
			store, err := reauth.Sealed(c.store, c.keys...)
			require.EqualError(t, err, "reauth: Sealed: "+strings.Join(c.want, "\nreauth: Sealed: "))
			assert.Nil(t, store)
		})
	}
}

func TestSealedCopiesItsKeys(t *testing.T) {
	key := sealingKey(0x01)
	inner := new(reauth.MemoryStore)
	store := mustSeal(t, inner, key)
	clear(key)
	require.NoError(t, store.Save(t.Context(), "ann", secretToken))
	requireOpens(t, mustSeal(t, inner, oldKey), "ann", secretToken)
}

func TestSealedShowsNothingOfTheTokenToTheStore(t *testing.T) {
	inner := new(reauth.MemoryStore)
	store := mustSeal(t, inner, oldKey)
	require.NoError(t, store.Save(t.Context(), "ann", secretToken))
	first := atRest(t, inner, "ann")
	assert.Equal(t, reauth.Token{AccessToken: first.AccessToken}, first, "nothing but the sealed text is stored")
	text := fmt.Sprintf("%q %[1]x", first.AccessToken)
	for _, part := range []string{"secret", "access_token", "2030-01-02", "id_token"} {
		assert.NotContains(t, text, part)
		assert.NotContains(t, text, hex.EncodeToString([]byte(part)))
	}
	require.NoError(t, store.Save(t.Context(), "ann", secretToken))
	assert.False(t, first.AccessToken == atRest(t, inner, "ann").AccessToken, "the same token sealed twice looks the same: the nonce was used twice")
	requireOpens(t, store, "ann", secretToken)
}

// What was sealed by the key 01 02 … 20 and the nonce "twelve bytes", with
// another program's AES-256-GCM.
const (
	goldenSession = "ann"
	goldenPrefix  = "reauth.Sealed 1\n"
	golden        = goldenPrefix + "dHdlbHZlIGJ5dGVzBzlwN6chtU3BQP1Gwr6QPa50LOtaTtnRXYypKI5-HyWlMZQOrnZn9-DNk4S5iZHA5VflwHWZ" +
		"CYqyihrGYLZjqAr7ldVoi1BkKR-ovtPUSM7qNnLIf_q81FyQr_EVST3ljrJv-BGWjcySaddqtWC8gIdSrkfbL3pLjD3XTg"
	goldenNoToken = goldenPrefix + "dHdlbHZlIGJ5dGVzJyo9ZpkHU2DpKxaHVJIEMuBx4Wxh" // [1,2]
)

var goldenToken = reauth.Token{
	AccessToken: "access", RefreshToken: "refresh",
	Expiry: time.Date(2031, 12, 31, 23, 59, 59, 0, time.UTC),
	Extra:  map[string]string{"scope": "read"},
}

// What is stored today must open for as long as there are sessions.
func TestSealedOpensWhatWasSealedLongAgo(t *testing.T) {
	inner := new(reauth.MemoryStore)
	store := mustSeal(t, inner, newKey, oldKey)
	require.NoError(t, inner.Save(t.Context(), goldenSession, reauth.Token{AccessToken: golden}))
	requireOpens(t, store, goldenSession, goldenToken)

	require.NoError(t, inner.Save(t.Context(), goldenSession, reauth.Token{AccessToken: goldenNoToken}))
	requireClosed(t, store, goldenSession, "what was sealed is not the JSON of a token")
}

func TestSealedTokenOpensForItsSessionOnly(t *testing.T) {
	inner := new(reauth.MemoryStore)
	store := mustSeal(t, inner, oldKey)
	for _, names := range [][2]string{{"ann", "bob"}, {"", "ann"}, {"ann", ""}, {"ann", "Ann"}, {"ann", "ann\x00"}, {"ann", "an"}, {"\xff", "\xfe"}} {
		from, to := names[0], names[1]
		require.NoError(t, store.Save(t.Context(), from, secretToken))
		copied := atRest(t, inner, from)
		require.NoError(t, inner.Save(t.Context(), to, copied))
		requireClosed(t, store, to, "no key opens it")
		assert.Equal(t, copied, atRest(t, inner, to), "it stays where it is")
		requireOpens(t, store, from, secretToken)
	}
}

func TestSealedTokenThatWasAlteredDoesNotOpen(t *testing.T) {
	inner := new(reauth.MemoryStore)
	store := mustSeal(t, inner, oldKey, newKey)
	stored := func(text string) { require.NoError(t, inner.Save(t.Context(), "ann", reauth.Token{AccessToken: text})) }
	const others = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_+/= .\n\x00\xff"
	for _, access := range []string{"a", "ab", "abc"} { // each leaves another number of unused bits at the end
		tok := reauth.Token{AccessToken: access, RefreshToken: "secret-r"}
		require.NoError(t, store.Save(t.Context(), "ann", tok))
		text := atRest(t, inner, "ann").AccessToken
		for i := range text {
			why := "no key opens it"
			if i < len(goldenPrefix) {
				why = "it is not sealed"
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
		for _, garbage := range []string{"", "A", "AAAA", "=", "%", text, "🔑", strings.Repeat("A", 1<<16)} {
			stored(text + garbage)
			if garbage == "" {
				requireOpens(t, store, "ann", tok)
				continue
			}
			requireClosed(t, store, "ann", "no key opens it")
			stored(goldenPrefix + garbage)
			requireClosed(t, store, "ann", "no key opens it")
		}
		stored(text)
		requireOpens(t, store, "ann", tok)
	}
}

func TestSealedTokensKeepWithAChangeOfKeys(t *testing.T) {
	inner := new(reauth.MemoryStore)
	before := mustSeal(t, inner, oldKey)
	both := mustSeal(t, inner, oldKey, newKey) // the first step, beside processes that know the old key only
	changed := mustSeal(t, inner, newKey, oldKey)
	after := mustSeal(t, inner, newKey)

	require.NoError(t, both.Save(t.Context(), "ann", secretToken))
	requireOpens(t, before, "ann", secretToken)
	requireOpens(t, both, "ann", secretToken)
	requireOpens(t, changed, "ann", secretToken)
	requireClosed(t, after, "ann", "no key opens it")

	require.NoError(t, changed.Save(t.Context(), "ann", secretToken))
	requireClosed(t, before, "ann", "no key opens it")
	requireOpens(t, both, "ann", secretToken)
	requireOpens(t, changed, "ann", secretToken)
	requireOpens(t, after, "ann", secretToken)
}

// withKeys returns a world as another process has it: with the token server and
// the API of w, and with keys of its own to what inner holds.
func (w *world) withKeys(t *testing.T, inner reauth.Store, keys ...[]byte) *world {
	t.Helper()
	return newWorld(t, keptIn(mustSeal(t, inner, keys...)), func(c *reauth.Config, _ *world) {
		c.Refresher, c.Base = w.authority, w.api
	})
}

func TestAWrongKeySignsNobodyOut(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		inner := new(faultyStore)
		right := newWorld(t, keptIn(mustSeal(t, inner, oldKey)))
		right.signIn(t)
		sealed, _ := inner.stored(t, "")

		wrong := right.withKeys(t, inner, newKey)
		passing := func(err error) {
			t.Helper()
			failure, ok := errors.AsType[*reauth.RefreshError](err)
			require.True(t, ok, "%v", err)
			assert.ErrorContains(t, failure, "no key opens it")
			assert.NotErrorIs(t, err, reauth.ErrSignInRequired)
		}
		untouched := func() {
			t.Helper()
			now, ok := inner.stored(t, "")
			require.True(t, ok, "the token was deleted")
			assert.Equal(t, sealed, now)
			assert.Zero(t, inner.count("Delete"))
			assert.Zero(t, right.refreshes())
		}
		for range 3 { // further requests, the later ones after a pause
			_, err := wrong.get(t.Context())
			passing(err)
			_, err = wrong.tr.Token(t.Context())
			passing(err)
			untouched()
			time.Sleep(time.Minute)
		}
		_, err := wrong.tr.SignedIn(t.Context())
		require.ErrorContains(t, err, "no key opens it")
		assert.NotErrorIs(t, err, reauth.ErrSignInRequired)
		assert.Zero(t, wrong.events.count(reauth.EventSignInRequired))

		// Nor does a flight of a process that has the token already.
		right.mustGet(t, http.StatusOK)
		right.revoke()
		stranger := mustSeal(t, inner, newKey)
		require.NoError(t, stranger.Save(t.Context(), "", reauth.Token{AccessToken: "a", RefreshToken: "r"}))
		sealed, _ = inner.stored(t, "")
		_, err = right.get(t.Context())
		passing(err)
		untouched()

		// With the right key all goes on: from what was stored, by a refresh.
		both := right.withKeys(t, inner, oldKey, newKey)
		both.mustGet(t, http.StatusOK)
		assert.Equal(t, 1, right.refreshes())
		time.Sleep(time.Minute)
		right.mustGet(t, http.StatusOK)
		assert.Equal(t, 1, right.refreshes(), "the other process's token is adopted")
		assert.Zero(t, inner.count("Delete"))
	})
}

func TestSignInAndSignOutNeedNotOpenWhatIsStored(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		inner := new(reauth.MemoryStore)
		first := newWorld(t, keptIn(mustSeal(t, inner, oldKey)))
		first.signIn(t)

		second := first.withKeys(t, inner, newKey)
		require.NoError(t, second.tr.SignIn(t.Context(), first.issue()))
		second.mustGet(t, http.StatusOK)
		first.withKeys(t, inner, newKey).mustGet(t, http.StatusOK)

		third := first.withKeys(t, inner, oldKey)
		require.NoError(t, third.tr.SignOut(t.Context()))
		_, ok, err := inner.Load(t.Context(), "")
		require.NoError(t, err)
		assert.False(t, ok)
		_, err = third.get(t.Context())
		assert.ErrorIs(t, err, reauth.ErrSignInRequired)
	})
}

// Nobody who can write to the store can put in a token of his own.
func TestATokenThatIsNotSealedIsAnError(t *testing.T) {
	inner := new(reauth.MemoryStore)
	store := mustSeal(t, inner, oldKey)
	for _, tok := range []reauth.Token{{}, secretToken, {AccessToken: golden[len(goldenPrefix):]}, {RefreshToken: golden}, {Extra: map[string]string{"sealed": golden}}} {
		require.NoError(t, inner.Save(t.Context(), goldenSession, tok))
		requireClosed(t, store, goldenSession, "it is not sealed")
		assert.Equal(t, tok, atRest(t, inner, goldenSession), "it stays where it is")
	}
	require.NoError(t, inner.Save(t.Context(), goldenSession, reauth.Token{AccessToken: golden, TokenType: "Evil", RefreshToken: "evil"}))
	requireOpens(t, store, goldenSession, goldenToken) // and nothing from beside it
}

func TestSealingWhatAStoreHoldsAlready(t *testing.T) {
	inner := new(reauth.MemoryStore)
	store := mustSeal(t, inner, oldKey)
	require.NoError(t, inner.Save(t.Context(), "ann", secretToken))
	for _, want := range []string{"", `reauth: sealing the token of session "ann": it is sealed already`} {
		err := store.Save(t.Context(), "ann", atRest(t, inner, "ann"))
		if want == "" {
			require.NoError(t, err)
		} else {
			require.EqualError(t, err, want)
		}
		requireOpens(t, store, "ann", secretToken)
	}
}

func TestAProgramThatForgetsSealedSendsNothing(t *testing.T) {
	for name, credential := range map[string]reauth.Credential{
		"its own header": nil, "a bare key": reauth.HeaderCredential{Name: "X-Api-Key", Bare: true},
		"cookies": &reauth.CookieSession{RefreshURL: "https://api.example.com/refresh"},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				inner := new(faultyStore)
				require.NoError(t, mustSeal(t, inner, oldKey).Save(t.Context(), "", secretToken))
				sealed, _ := inner.stored(t, "")
				w := newWorld(t, keptIn(inner), func(c *reauth.Config, _ *world) { c.Credential = credential })
				for range 2 {
					_, err := w.get(t.Context())
					require.ErrorContains(t, err, "may carry")
					assert.NotErrorIs(t, err, reauth.ErrSignInRequired)
					time.Sleep(time.Minute)
				}
				assert.Zero(t, w.api.requests())
				assert.Zero(t, w.refreshes())
				now, ok := inner.stored(t, "")
				require.True(t, ok, "the token was deleted")
				assert.Equal(t, sealed, now)
			})
		})
	}
}

func TestSealedPassesErrorsAndContextsOn(t *testing.T) {
	inner := new(leasingStore)
	store := mustSeal(t, inner, oldKey)
	ctx, cancel := context.WithCancel(t.Context())
	var got context.Context
	inner.on(func(ctx context.Context, _ string) error { got = ctx; return nil })
	held, unlock, err := store.(reauth.Locker).Lock(ctx, "ann")
	require.NoError(t, err)
	assert.Same(t, ctx, got)
	cancel()
	for _, call := range []func() error{
		func() error { return store.Save(held, "ann", secretToken) },
		func() error { _, _, err := store.Load(held, "ann"); return err },
		func() error { return store.Delete(held, "ann") },
	} {
		got = nil
		require.NoError(t, call())
		assert.Same(t, held, got, "the store finds its lease in it")
	}
	inner.lose()
	assert.Error(t, held.Err())
	assert.Equal(t, errLeaseLost, store.Save(held, "ann", secretToken))
	assert.Equal(t, errLeaseLost, store.Delete(held, "ann"))
	unlock()

	inner.on(func(context.Context, string) error { return errFault })
	_, _, err = store.(reauth.Locker).Lock(t.Context(), "ann")
	assert.Equal(t, errFault, err)
	tok, ok, err := store.Load(t.Context(), "ann")
	assert.Equal(t, errFault, err)
	assert.False(t, ok)
	assert.Zero(t, tok)
	assert.Equal(t, errFault, store.Save(t.Context(), "ann", secretToken))
	assert.Equal(t, errFault, store.Delete(t.Context(), "ann"))
}

func TestSealedRefusesWhatItCouldNotGiveBack(t *testing.T) {
	inner := new(faultyStore)
	store := mustSeal(t, inner, oldKey)
	for want, tok := range map[string]reauth.Token{
		"Token.RefreshToken is not UTF-8":      {AccessToken: "secret-a", RefreshToken: "secret-\xff"},
		`Token.Extra["id_token"] is not UTF-8`: {AccessToken: "secret-a", Extra: map[string]string{"id_token": "secret-\xff"}},
		"year outside of range":                {AccessToken: "secret-a", Expiry: time.Date(10000, 1, 1, 0, 0, 0, 0, time.UTC)},
	} {
		err := store.Save(t.Context(), "ann", tok)
		require.ErrorContains(t, err, want)
		assert.ErrorContains(t, err, `reauth: sealing the token of session "ann": `)
		assert.NotContains(t, err.Error(), "secret-")
	}
	assert.Zero(t, inner.count("Save"))
}

func TestSealedShowsNoKeyWhateverTheVerb(t *testing.T) {
	inner := new(reauth.MemoryStore)
	locker, plain := mustSeal(t, inner, oldKey, newKey), mustSeal(t, unlocked{inner}, oldKey)
	assert.Equal(t, "reauth.Sealed[*reauth.MemoryStore, 2 keys]", fmt.Sprint(locker))
	assert.Equal(t, "reauth.Sealed[reauth_test.unlocked, 1 keys]", fmt.Sprint(plain))

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
	// AES begins its key schedule with the key itself, in words of one order or the other.
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

// A store with a limit, such as a keyring, must hold what its documentation says.
func TestSealedTakesAThirdMoreRoomThanTheJSON(t *testing.T) {
	inner := new(reauth.MemoryStore)
	store := mustSeal(t, inner, oldKey)
	for _, size := range []int{1, 2, 3, 1000, 32 << 10} {
		tok := reauth.Token{AccessToken: strings.Repeat("a", size)}
		plain, err := json.Marshal(tok)
		require.NoError(t, err)
		require.NoError(t, store.Save(t.Context(), "ann", tok))
		assert.InDelta(t, len(plain)*4/3+54, len(atRest(t, inner, "ann").AccessToken), 1)
	}
}

// Whatever the store brings, and for whichever session: what was sealed, or an
// error.
func FuzzSealed(f *testing.F) {
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
			require.ErrorContains(t, err, fmt.Sprintf("reauth: stored token of session %q: ", session))
			return
		}
		require.Equal(t, goldenSession, session)
		require.Equal(t, goldenToken, tok)
	})
}

// A store whose medium others can read keeps its tokens sealed. The key comes
// from where the program has its secrets; a new one is made by
// openssl rand -hex 32.
func ExampleSealed() {
	// In earnest: hex.DecodeString(os.Getenv("SESSION_KEY")).
	key, err := hex.DecodeString("6b1f0c9d2e8a47537d90b3c4e5f60718293a4b5c6d7e8f90a1b2c3d4e5f60718")
	if err != nil {
		fmt.Println(err)
		return
	}
	disk := new(reauth.MemoryStore) // in earnest, one that outlives the program
	store, err := reauth.Sealed(disk, key)
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
	fmt.Println("opened:", tok.RefreshToken, err)

	// Whoever copies it to another session gets nothing.
	_ = disk.Save(ctx, "eve", onDisk)
	_, _, err = store.Load(ctx, "eve")
	fmt.Println(err)
	// Output:
	// on disk: false
	// opened: d4e5f6 <nil>
	// reauth: stored token of session "eve": no key opens it: it was sealed with another, or for another session, or was altered
}

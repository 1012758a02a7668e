package storetest

import (
	"context"
	"fmt"
	"iter"
	"reflect"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/reauth-go/reauth"
)

// full returns a token with all fields set, to values that are hard to store.
func full(id string) reauth.Token {
	tok := reauth.Token{
		AccessToken:  "access-" + id,
		TokenType:    "Some-Type",
		RefreshToken: "refresh-" + id,
		Expiry:       time.Date(2031, 12, 31, 23, 59, 59, 987654321, time.FixedZone("", 5*3600+1800)),
		Extra: map[string]string{
			"id_token": "id-" + id, "scope": "read write", "empty": "", "": "no name",
			"odd": "quotes \" ' ` \\ and \n\t lines, $1 ? %s {} and ünïcödé 🔑",
		},
	}
	for field, name := range fields(&tok) {
		if field.IsZero() { // one that is newer than this function
			fill(field, name+" "+id)
		}
	}
	return tok
}

// fields returns the fields of a token and their names.
func fields(tok *reauth.Token) iter.Seq2[reflect.Value, string] {
	return func(yield func(reflect.Value, string) bool) {
		v := reflect.ValueOf(tok).Elem()
		for i := range v.NumField() {
			if !yield(v.Field(i), v.Type().Field(i).Name) {
				return
			}
		}
	}
}

func fill(field reflect.Value, text string) {
	switch field.Interface().(type) {
	case string:
		field.SetString(text)
	case time.Time:
		field.Set(reflect.ValueOf(time.Date(2032, 2, 29, 1, 2, 3, 456789, time.UTC)))
	default:
		panic(fmt.Sprintf("storetest: no value is known for a field of type %v", field.Type()))
	}
}

// same checks that two tokens are the same, and shows neither of them.
func same(t *testing.T, want, got reauth.Token, msg string, args ...any) {
	t.Helper()
	msg = fmt.Sprintf(msg, args...)
	wanted := reflect.ValueOf(want)
	for field, name := range fields(&got) {
		switch w := wanted.FieldByName(name).Interface().(type) {
		case time.Time:
			is := field.Interface().(time.Time)
			assert.True(t, w.Equal(is), "%s: %s is %v, not %v", msg, name, is, w)
			assert.Equal(t, w.IsZero(), is.IsZero(), "%s: whether %s is known", msg, name)
		case map[string]string:
			is := field.Interface().(map[string]string)
			assert.Len(t, is, len(w), "%s: %s", msg, name)
			for key, value := range w {
				found, ok := is[key]
				assert.True(t, ok && value == found, "%s: %s[%q] differs", msg, name, key)
			}
		default:
			assert.True(t, w == field.Interface(), "%s: %s differs", msg, name)
		}
	}
}

// openAs opens a store that has the methods of another that was opened before.
func openAs[S reauth.Store](t *testing.T, s Storage) S {
	t.Helper()
	opened := s.Open(t)
	store, ok := opened.(S)
	require.True(t, ok, "Open has returned a %T, which lacks methods of the store it returned first", opened)
	return store
}

func mustLoad(t *testing.T, store reauth.Store, session string) reauth.Token {
	t.Helper()
	tok, ok, err := store.Load(t.Context(), session)
	require.NoError(t, err)
	require.True(t, ok, "session %q has no token", short(session))
	return tok
}

func mustBeAbsent(t *testing.T, store reauth.Store, session string) {
	t.Helper()
	tok, ok, err := store.Load(t.Context(), session)
	require.NoError(t, err)
	assert.False(t, ok, "session %q has a token", short(session))
	same(t, reauth.Token{}, tok, "the token of an absent session")
}

func short(session string) string {
	if len(session) > 40 {
		return session[:40] + "…"
	}
	return session
}

func absentIsNotAnError(t *testing.T, s Storage) {
	store, session := s.Open(t), "storetest absent"
	mustBeAbsent(t, store, session)
	assert.NoError(t, store.Delete(t.Context(), session), "to delete nothing is no error")
	mustBeAbsent(t, store, session)
}

func whatIsSavedIsLoaded(t *testing.T, s Storage) {
	store := s.Open(t)
	tokens := map[string]reauth.Token{
		"storetest full":         full("1"),
		"storetest access only":  {AccessToken: "a"},
		"storetest refresh only": {RefreshToken: "r"},
		"storetest nil extra":    {AccessToken: "a", RefreshToken: "r", Expiry: time.Now().Add(time.Hour)},
	}
	all := full("1")
	for field, name := range fields(&all) {
		tok := reauth.Token{AccessToken: "a"}
		reflect.ValueOf(&tok).Elem().FieldByName(name).Set(field)
		tokens["storetest with "+name] = tok
	}
	for name, tok := range tokens {
		require.NoError(t, store.Save(t.Context(), name, tok))
		same(t, tok, mustLoad(t, store, name), "%s", name)
		same(t, tok, mustLoad(t, s.Open(t), name), "%s, by another process", name)
		require.NoError(t, store.Delete(t.Context(), name))
	}
}

func saveReplacesAll(t *testing.T, s Storage) {
	store, session := s.Open(t), "storetest replaced"
	require.NoError(t, store.Save(t.Context(), session, full("1")))
	next := reauth.Token{AccessToken: "next"}
	require.NoError(t, s.Open(t).Save(t.Context(), session, next))
	same(t, next, mustLoad(t, store, session), "nothing of the old token is left")
	require.NoError(t, store.Delete(t.Context(), session))
}

func deleteIsForEverybody(t *testing.T, s Storage) {
	one, other, session := s.Open(t), s.Open(t), "storetest deleted"
	require.NoError(t, one.Save(t.Context(), session, full("1")))
	mustLoad(t, other, session)
	require.NoError(t, one.Delete(t.Context(), session))
	mustBeAbsent(t, one, session)
	mustBeAbsent(t, other, session)
	require.NoError(t, other.Save(t.Context(), session, full("2")))
	same(t, full("2"), mustLoad(t, one, session), "saved again")
	require.NoError(t, one.Delete(t.Context(), session))
}

// names are session names that file systems, key syntaxes and databases may confuse.
var names = []string{
	"", " ", "storetest", "storetest ", " storetest", "Storetest", "STORETEST", "storetest/", "/storetest", "storetest\\",
	".", "..", "../storetest", "./storetest", "storetest/../storetest", "storetest.", "storetest.json", "storetest.lock", "storetest.tmp", "-storetest", "~storetest",
	"storetest:lock", "storetest:token", "storetest}", "{storetest}", "{}", "}{", "{", "}", "*", "?", "%", "%2e", "%2E", "storetest%00", "_", "storetes_",
	"con", "nul", "NUL.txt", "aux", "com1", "C:storetest", "storetest:stream",
	"storetest\x00", "storetest\x00b", "storetest\n", "storetest\r\n", "\t", "'; --", "\"", "`", "$1", "\xff\xfe", "storetest\xff", "storetest\xfe", "storetest\ufffd",
	"storetest é", "storetest e\u0301", "storetest ß", "storetest ss", "storetest ſ", "storetest İ", "storetest i", "storetest 🔑",
	"sha256:storetest", "sha256:", "null", "true", "0", "00", "1e3",
	strings.Repeat("storetest", 600), strings.Repeat("storetest", 600) + "x",
	"e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855", // SHA-256 of nothing
}

func sessionsAreKeptApart(t *testing.T, s Storage) {
	store := s.Open(t)
	for i, name := range names {
		require.NoError(t, store.Save(t.Context(), name, full(fmt.Sprint(i))), "session %q", short(name))
	}
	another := s.Open(t)
	for i, name := range names {
		same(t, full(fmt.Sprint(i)), mustLoad(t, another, name), "session %q", short(name))
	}
	for i, name := range names {
		require.NoError(t, store.Delete(t.Context(), name), "session %q", short(name))
		mustBeAbsent(t, another, name)
		if i+1 < len(names) {
			same(t, full(fmt.Sprint(i+1)), mustLoad(t, another, names[i+1]), "session %q after %q was deleted", short(names[i+1]), short(name))
		}
	}
}

func largeTokens(t *testing.T, s Storage) {
	store, session := s.Open(t), "storetest large"
	for _, size := range []int{1000, 2500, 4000, 32 << 10, 10} { // growing, then small again
		tok := reauth.Token{
			AccessToken:  strings.Repeat("a", size),
			RefreshToken: strings.Repeat("r", size/4),
			Extra:        map[string]string{"id_token": strings.Repeat("i", size/2)},
		}
		require.NoError(t, store.Save(t.Context(), session, tok), "an access token of %d bytes", size)
		same(t, tok, mustLoad(t, s.Open(t), session), "an access token of %d bytes", size)
	}
	require.NoError(t, store.Delete(t.Context(), session))
	mustBeAbsent(t, store, session)
}

// oddTokensAreKeptOrRefused tests that a store refuses a token that it cannot keep
// unchanged.
func oddTokensAreKeptOrRefused(t *testing.T, s Storage) {
	store, session := s.Open(t), "storetest odd"
	for i, tok := range []reauth.Token{
		{AccessToken: "not UTF-8 \xff"},
		{AccessToken: "a", RefreshToken: "NUL \x00"},
		{AccessToken: "a", TokenType: "\n"},
		{AccessToken: "a", Extra: map[string]string{"not UTF-8 \xff": "b"}},
		{AccessToken: "a", Expiry: time.Date(1900, 1, 1, 0, 0, 0, 0, time.FixedZone("", 1172))},
		{AccessToken: "a", Expiry: time.Date(9999, 12, 31, 23, 59, 59, 999999999, time.UTC)},
	} {
		require.NoError(t, store.Save(t.Context(), session, full("before")))
		want := tok
		if err := store.Save(t.Context(), session, tok); err != nil {
			want = full("before")
		}
		same(t, want, mustLoad(t, s.Open(t), session), "token %d", i)
	}
	require.NoError(t, store.Delete(t.Context(), session))
}

func nothingIsSharedWithTheCaller(t *testing.T, s Storage) {
	store, session := s.Open(t), "storetest shared"
	tok := full("1")
	require.NoError(t, store.Save(t.Context(), session, tok))
	tok.Extra["scope"] = "written after Save"
	loaded := mustLoad(t, store, session)
	same(t, full("1"), loaded, "after a write to what was saved")
	loaded.Extra["scope"] = "written after Load"
	same(t, full("1"), mustLoad(t, store, session), "after a write to what was loaded")
	require.NoError(t, store.Delete(t.Context(), session))
}

// tokensAreLoadedWhole tests that a Load during a Save returns one of the saved tokens,
// and not a mixture.
func tokensAreLoadedWhole(t *testing.T, s Storage) {
	session := "storetest whole"
	first := s.Open(t)
	whole := func(n int) reauth.Token {
		id := fmt.Sprint(n)
		return reauth.Token{AccessToken: id, RefreshToken: strings.Repeat(id+",", 500+100*n), Extra: map[string]string{"id": id}}
	}
	require.NoError(t, first.Save(t.Context(), session, whole(0)))
	read, stop := context.WithCancel(t.Context())
	var readers, writers sync.WaitGroup
	for range 2 {
		store := s.Open(t)
		readers.Go(func() {
			for range 50 {
				tok, ok, err := store.Load(t.Context(), session)
				if !assert.NoError(t, err) || !assert.True(t, ok, "a session that is being saved is absent") {
					return
				}
				id := tok.Extra["id"]
				if !assert.True(t, tok.AccessToken == id && tok.RefreshToken == strings.Repeat(id+",", len(tok.RefreshToken)/(len(id)+1)), "a mixture of two tokens was loaded") {
					return
				}
			}
		})
	}
	for w := range 2 {
		store := s.Open(t)
		writers.Go(func() {
			for i := 0; read.Err() == nil; i++ {
				if !assert.NoError(t, store.Save(t.Context(), session, whole(1+w+2*(i%20)))) {
					return
				}
			}
		})
	}
	readers.Wait()
	stop()
	writers.Wait()
	require.NoError(t, first.Delete(t.Context(), session))
}

func noSecretIsPrinted(t *testing.T, s Storage) {
	store, session := s.Open(t), "storetest printed"
	require.NoError(t, store.Save(t.Context(), session, full("secret")))
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	_, _, loadErr := store.Load(ended, session)
	saveErr := store.Save(ended, session, full("secret"))
	deleteErr := store.Delete(ended, session)
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q"} {
		for _, v := range []any{store, loadErr, saveErr, deleteErr} {
			text := fmt.Sprintf(verb, v)
			for _, secret := range []string{"access-secret", "refresh-secret", "id-secret"} {
				assert.False(t, strings.Contains(text, secret), "%s of a %T shows a secret", verb, v)
			}
		}
	}
	require.NoError(t, store.Delete(t.Context(), session))
}

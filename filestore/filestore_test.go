package filestore_test

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/reauth-go/reauth"
	"github.com/reauth-go/reauth/filestore"
	"github.com/reauth-go/reauth/internal/fleet"
	"github.com/reauth-go/reauth/reauthtest/storetest"
)

func TestStore(t *testing.T) {
	dir := t.TempDir()
	storetest.Run(t, storetest.Storage{
		Open:         func(tb testing.TB) reauth.Store { return open(tb, dir) },
		Lose:         func(tb testing.TB, session string) { require.NoError(tb, os.Remove(pathOf(dir, session, ".lock"))) },
		TellsChanges: true,
	})
}

func TestEightProcessesShareASession(t *testing.T) {
	fleet.Soak(t, filepath.Join(t.TempDir(), "sessions"))
}

func BenchmarkStore(b *testing.B) {
	dir := b.TempDir()
	storetest.Benchmark(b, storetest.Storage{Open: func(tb testing.TB) reauth.Store { return open(tb, dir) }})
}

func TestNewRefusesAFolderThatCannotBe(t *testing.T) {
	file := filepath.Join(t.TempDir(), "file")
	require.NoError(t, os.WriteFile(file, nil, 0o600))
	for _, dir := range []string{"", "\x00", file, filepath.Join(file, "below")} {
		store, err := filestore.New(dir, nil)
		assert.Nil(t, store)
		assert.ErrorContains(t, err, fmt.Sprintf("filestore: New: dir %q", dir))
	}
}

func TestARelativeFolderDoesNotMove(t *testing.T) {
	before, after := t.TempDir(), t.TempDir()
	t.Chdir(before)
	store := open(t, filepath.Join("a", "b"))
	t.Chdir(after)
	save(t, store, "ann", "1")
	requireStored(t, open(t, filepath.Join(before, "a", "b")), "ann", "1")
	assert.Empty(t, files(t, after))
}

func TestFileNamesAreHashes(t *testing.T) {
	parent := t.TempDir()
	dir := filepath.Join(parent, "sessions")
	store := open(t, dir)
	sessions := []string{
		"", ".", "..", "../escaped", "/escaped", `..\escaped`, "C:escaped", "escaped:stream", "CON", "nul.json",
		"ann", "Ann", "ann ", "ann.", "ann\x00", "\xff", strings.Repeat("long", 2000),
	}
	for i, session := range sessions {
		save(t, store, session, fmt.Sprint(i))
		_, unlock, err := store.Lock(t.Context(), session)
		require.NoError(t, err)
		unlock()
	}
	for i, session := range sessions {
		requireStored(t, store, session, fmt.Sprint(i))
	}
	names := files(t, dir)
	assert.Len(t, names, 3*len(sessions))
	for _, name := range names {
		assert.Regexp(t, regexp.MustCompile(`^[0-9a-f]{64}\.(json|lock|room)$`), name)
	}
	assert.Equal(t, []string{"sessions"}, files(t, parent))
}

func TestAFileIsTheJSONOfXOAuth2(t *testing.T) {
	dir := t.TempDir()
	expiry := time.Date(2031, 12, 31, 23, 59, 59, 0, time.FixedZone("", 3600))
	require.NoError(t, open(t, dir).Save(t.Context(), "ann", reauth.Token{
		AccessToken: "a", TokenType: "Bearer", RefreshToken: "r", Expiry: expiry, Extra: map[string]string{"scope": "read"},
	}))
	text, err := os.ReadFile(pathOf(dir, "ann", ".json"))
	require.NoError(t, err)
	assert.Equal(t, `{"access_token":"a","token_type":"Bearer","refresh_token":"r","expiry":"2031-12-31T22:59:59Z","extra":{"scope":"read"}}`+"\n", string(text))
}

func TestAFileThatHoldsNoTokenIsAnErrorThatNamesItOnly(t *testing.T) {
	dir := t.TempDir()
	store := open(t, dir)
	path := pathOf(dir, "ann", ".json")
	for name, content := range map[string]string{
		"empty":           "",
		"no object":       `"secret"`,
		"null":            "null",
		"other JSON":      `{"secret":"secret"}`,
		"cut off":         `{"access_token":"secret","refresh_tok`,
		"another type":    `{"access_token":["secret"]}`,
		"no time":         `{"access_token":"secret","expiry":"secret"}`,
		"something after": `{"access_token":"secret"}{"access_token":"secret"}`,
		"zeros":           strings.Repeat("\x00", 4096),
		"not UTF-8":       "{\"access_token\":\"secret\xff\"}",
	} {
		t.Run(name, func(t *testing.T) {
			require.NoError(t, os.WriteFile(path, []byte(content), 0o600))
			tok, ok, err := store.Load(t.Context(), "ann")
			require.ErrorContains(t, err, "filestore: load "+path+": the file does not contain the JSON of a token")
			assert.NotContains(t, err.Error(), "secret")
			assert.False(t, ok)
			assert.Zero(t, tok)
			after, err := os.ReadFile(path)
			require.NoError(t, err)
			assert.Equal(t, content, string(after), "it is left as it is")
		})
	}
	save(t, store, "ann", "signed in again")
	requireStored(t, store, "ann", "signed in again")
}

func TestATokenThatJSONCannotHoldIsNotSaved(t *testing.T) {
	store := open(t, t.TempDir())
	save(t, store, "ann", "before")
	for what, tok := range map[string]reauth.Token{
		"Token.AccessToken": {AccessToken: "secret\xff"},
		"year":              {AccessToken: "secret", Expiry: time.Date(10000, 1, 2, 0, 0, 0, 0, time.UTC)},
	} {
		err := store.Save(t.Context(), "ann", tok)
		require.ErrorContains(t, err, what)
		assert.NotContains(t, err.Error(), "secret")
	}
	requireStored(t, store, "ann", "before")
}

func TestOldTemporaryFilesOfKilledProcessesAreRemoved(t *testing.T) {
	dir := t.TempDir()
	store := open(t, dir)
	save(t, store, "ann", "whole")
	name := strings.TrimSuffix(filepath.Base(pathOf(dir, "ann", ".json")), ".json")
	leftover, live := name+".ABCDEFGHIJKLMNOPQRSTUVWXYZ.tmp", name+".ZYXWVUTSRQPONMLKJIHGFEDCBA.tmp"
	foreign := []string{"notes.tmp", name + ".tmp", name + ".json.bak", "x" + leftover}
	for _, file := range append(foreign, leftover, live) {
		require.NoError(t, os.WriteFile(filepath.Join(dir, file), []byte(`{"access_token":"ha`), 0o600))
		if file != live {
			old := time.Now().Add(-11 * time.Minute)
			require.NoError(t, os.Chtimes(filepath.Join(dir, file), old, old))
		}
	}
	requireStored(t, store, "ann", "whole")

	requireStored(t, open(t, dir), "ann", "whole")

	assert.ElementsMatch(t, append(foreign, live, name+".json"), files(t, dir))
}

func TestASaveThatFailsLeavesNothingBehind(t *testing.T) {
	dir := t.TempDir()
	store := open(t, dir)
	path := pathOf(dir, "ann", ".json")
	require.NoError(t, os.Mkdir(path, 0o700)) // nothing can be renamed to a folder
	err := store.Save(t.Context(), "ann", reauth.Token{AccessToken: "a"})
	require.ErrorContains(t, err, "filestore: save "+path)
	assert.Equal(t, 1, strings.Count(err.Error(), filepath.Base(path)), "the error names the file once: %v", err)
	assert.Equal(t, []string{filepath.Base(path)}, files(t, dir))

	_, _, err = store.Load(t.Context(), "ann")
	require.ErrorContains(t, err, "not a regular file")
}

// If the folder is missing, for example on an unmounted disk, nobody is signed out,
// because that would be final.
func TestAMissingFolderIsAFault(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "sessions")
	store := open(t, dir)
	save(t, store, "ann", "1")
	moved := dir + " elsewhere"
	require.NoError(t, os.Rename(dir, moved))
	_, _, err := store.Load(t.Context(), "ann")
	assert.ErrorIs(t, err, os.ErrNotExist)
	assert.ErrorContains(t, err, dir)
	assert.ErrorIs(t, store.Save(t.Context(), "ann", reauth.Token{AccessToken: "2"}), os.ErrNotExist)
	assert.ErrorIs(t, store.Delete(t.Context(), "ann"), os.ErrNotExist)
	_, _, err = store.Lock(t.Context(), "ann")
	assert.ErrorIs(t, err, os.ErrNotExist)

	require.NoError(t, os.Rename(moved, dir))
	requireStored(t, store, "ann", "1")
}

func TestNothingIsStartedWithADoneContext(t *testing.T) {
	store := open(t, t.TempDir())
	save(t, store, "ann", "before")
	cause := fmt.Errorf("cause")
	ctx, cancel := context.WithCancelCause(t.Context())
	cancel(cause)
	_, _, err := store.Load(ctx, "ann")
	assert.ErrorIs(t, err, cause)
	assert.ErrorIs(t, store.Save(ctx, "ann", reauth.Token{AccessToken: "after"}), cause)
	assert.ErrorIs(t, store.Delete(ctx, "ann"), cause)
	_, _, err = store.Lock(ctx, "ann")
	assert.ErrorIs(t, err, cause)
	requireStored(t, store, "ann", "before")
}

func TestAStorePrintsItsFolderAndNoMore(t *testing.T) {
	dir := t.TempDir()
	store := open(t, dir)
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%d"} {
		assert.Equal(t, "*filestore.Store["+dir+"]", fmt.Sprintf(verb, store))
	}
}

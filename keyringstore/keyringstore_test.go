package keyringstore_test

import (
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/reauth-go/reauth/keyringstore"
)

func TestNewReportsEveryBadField(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "file")
	require.NoError(t, os.WriteFile(file, nil, 0o600))
	for _, c := range []struct {
		service, lockDir, want string
	}{
		{"", dir, "keyringstore: the service is empty"},
		{strings.Repeat("s", 129), dir, `keyringstore: the service "ssssssssssssssss"… is 129 bytes long, more than 128`},
		{"a\nb", dir, `keyringstore: the service "a\nb" holds a character that is not printable ASCII`},
		{"é", dir, `keyringstore: the service "é" holds a character that is not printable ASCII`},
		{service, "locks", `keyringstore: Options.LockDir "locks" is not an absolute path`},
		{"", "locks", "keyringstore: the service is empty\n" + `keyringstore: Options.LockDir "locks" is not an absolute path`},
	} {
		store, err := keyringstore.New(c.service, &keyringstore.Options{LockDir: c.lockDir})
		assert.EqualError(t, err, c.want)
		assert.Nil(t, store)
	}
	_, err := keyringstore.New(service, &keyringstore.Options{LockDir: file})
	assert.ErrorContains(t, err, "keyringstore: Options.LockDir: ")
	assert.ErrorContains(t, err, file)
	_, err = keyringstore.New(strings.Repeat("~", 128), &keyringstore.Options{LockDir: lockDir(t)})
	assert.NoError(t, err)
}

func TestLockFilesAreInTheCacheFolder(t *testing.T) {
	if runtime.GOOS != "linux" {
		t.Skip("the folder is named by other variables")
	}
	cache := t.TempDir()
	t.Setenv("XDG_CACHE_HOME", cache)
	for _, opts := range []*keyringstore.Options{nil, {}} {
		store, err := keyringstore.New(service, opts)
		require.NoError(t, err)
		assert.Equal(t, filepath.Join(cache, "reauth-keyringstore"), filepath.Dir(store.LockFile("")))
	}
	assert.DirExists(t, filepath.Join(cache, "reauth-keyringstore"))

	t.Setenv("XDG_CACHE_HOME", "")
	t.Setenv("HOME", "")
	_, err := keyringstore.New(service, nil)
	assert.ErrorContains(t, err, "keyringstore: Options.LockDir is empty, and there is no cache folder to use instead: ")
}

func TestFormatShowsTheServiceAndNoMore(t *testing.T) {
	store := openOn(t, new(memoryKeychain), lockDir(t))
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%d"} {
		assert.Equal(t, "*keyringstore.Store[reauth-test]", fmt.Sprintf(verb, store))
	}
}

package testworld

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// A Projection is a file that is replaced as Kubernetes does it: token is a link to
// ..data/token, and ..data one to a folder.
type Projection struct {
	t       *testing.T
	dir     string
	Content string // of the file
	folders int
}

// NewProjection returns a Projection whose file holds content.
func NewProjection(t *testing.T, content string) *Projection {
	t.Helper()
	if runtime.GOOS == "windows" {
		t.Skip("links need a right there")
	}
	p := &Projection{t: t, dir: t.TempDir()}
	p.Replace(content)
	require.NoError(t, os.Symlink(filepath.Join("..data", "token"), p.Path()))
	return p
}

// Path returns where the file is.
func (p *Projection) Path() string { return filepath.Join(p.dir, "token") }

// Replace writes a folder, swaps the link to it, and removes the one before.
func (p *Projection) Replace(content string) {
	p.t.Helper()
	before, _ := os.Readlink(filepath.Join(p.dir, "..data"))
	p.folders++
	name := "..v" + string(rune('a'+p.folders%26))
	require.NoError(p.t, os.Mkdir(filepath.Join(p.dir, name), 0o700))
	require.NoError(p.t, os.WriteFile(filepath.Join(p.dir, name, "token"), []byte(content), 0o600))
	require.NoError(p.t, os.Symlink(name, filepath.Join(p.dir, "..data_tmp")))
	require.NoError(p.t, os.Rename(filepath.Join(p.dir, "..data_tmp"), filepath.Join(p.dir, "..data")))
	if before != "" {
		require.NoError(p.t, os.RemoveAll(filepath.Join(p.dir, before)))
	}
	p.Content = content
}

// AssertReadWhileSwapped checks that what open returns for a file finds one content or the
// next while the file is replaced. A program that reads at the moment of the swap sees no
// file, for as long as the old folder is gone and the new link not yet followed.
func AssertReadWhileSwapped(t *testing.T, open func(path string) func(context.Context) (string, error)) {
	t.Helper()
	p := NewProjection(t, "v1")
	read := open(p.Path())
	stop := make(chan struct{})
	done := make(chan error, 1)
	go func() { // ends when stop is closed
		for {
			if got, err := read(t.Context()); err != nil || !strings.HasPrefix(got, "v") {
				done <- fmt.Errorf("%q %w", got, err)
				return
			}
			select {
			case <-stop:
				done <- nil
				return
			default:
			}
		}
	}()
	for n := 2; n < 300; n++ {
		p.Replace(fmt.Sprint("v", n))
	}
	close(stop)
	assert.NoError(t, <-done)
}

// A NoToken is a file that holds no token, and a part of the error about it. No error may
// show SECRET.
type NoToken struct{ Text, Want string }

// NoTokens are files that hold no token, by what they are.
var NoTokens = map[string]NoToken{
	"empty":         {"", "the file is empty"},
	"blank":         {" \r\n\t", "the file is empty"},
	"two lines":     {"SECRET\nSECRET", "holds no token"},
	"a private key": {"-----BEGIN PRIVATE KEY-----\nSECRET\n-----END PRIVATE KEY-----\n", "holds no token"},
	"JSON":          {`{"access_token":"SECRET"}`, "holds no token"},
	"UTF-16":        {"\xff\xfeS\x00E\x00", "holds no token"},
	"large":         {strings.Repeat("SECRET", 200_000), "larger than 1048576 bytes"},
}

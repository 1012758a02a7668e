package testworld

import (
	"os"
	"path/filepath"
	"runtime"
	"testing"

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

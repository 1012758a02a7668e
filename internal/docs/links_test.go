package docs

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestLinksThatLeadNowhereAreFound(t *testing.T) {
	dir := t.TempDir()
	write := func(name, text string) string {
		file := filepath.Join(dir, name)
		require.NoError(t, os.MkdirAll(filepath.Dir(file), 0o755))
		require.NoError(t, os.WriteFile(file, []byte(text), 0o644))
		return file
	}
	write("sub/README.md", "# Sub\n## What it *costs*, in `ns`\n## Twice\n## Twice\n## With [a link](x.go), and more\n```\n# no heading\n```\n")
	write("main.go", "")
	for link, broken := range map[string]bool{
		"sub":                                false,
		"sub/README.md":                      false,
		"main.go":                            false,
		"sub/README.md#sub":                  false,
		"sub#what-it-costs-in-ns":            false,
		"sub/README.md#twice":                false,
		"sub/README.md#twice-1":              false,
		"sub/README.md#with-a-link-and-more": false,
		"#here-i-am":                         false,
		"https://example.com/nothing#at":     false,
		"mailto:somebody@example.com":        false,
		"sub/nothing.md":                     true,
		"nothing#sub":                        true,
		"#nowhere":                           true,
		"#Here-I-am":                         true,
		"sub/README.md#twice-2":              true,
		"sub/README.md#no-heading":           true,
		"sub/README.md#here-i-am":            true,
	} {
		file := write("page.md", "# Here I am\nsee [`there`]("+link+").\n")
		got, err := brokenLinks(file)
		require.NoError(t, err)
		if broken {
			if assert.Len(t, got, 1, link) {
				assert.Contains(t, got[0], link)
			}
		} else {
			assert.Empty(t, got, link)
		}
	}
	got, err := brokenLinks(write("code.md", "```go\nf := all[i](nowhere)\n```\n"))
	require.NoError(t, err)
	assert.Empty(t, got, "code is no link")
}

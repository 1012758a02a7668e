// Package docs checks the Markdown of a module: that Go snippets compile, that the
// tests which are named exist, and that links lead to a file, and to a heading in it.
package docs

import (
	"encoding/json"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

var (
	snippetRE = regexp.MustCompile("(?s)(?:<!-- snippet: ([^\n]*) -->\n)?```go\n(.*?)```")
	testRE    = regexp.MustCompile("\\[`((?:Test|Benchmark|Example|Fuzz)\\w+)[^`]*`\\]\\(([^)]+)\\)")
	importRE  = regexp.MustCompile(`(?s)\Aimport \(\n.*?\n\)\n`)
	assignRE  = regexp.MustCompile(`(?m)^(\w+)(?:, (\w+))? :=`)
)

// imports are the packages that a snippet may use without importing them.
var imports = map[string]string{
	"context": "context", "errors": "errors", "fmt": "fmt", "http": "net/http", "time": "time", "testing": "testing",
	"slog": "log/slog", "strings": "strings", "url": "net/url", "os": "os", "sql": "database/sql", "filepath": "path/filepath", "hex": "encoding/hex",
	"redis":        "github.com/redis/go-redis/v9",
	"reauth":       "github.com/reauth-go/reauth",
	"oauth":        "github.com/reauth-go/reauth/oauth",
	"jsonauth":     "github.com/reauth-go/reauth/jsonauth",
	"cookieauth":   "github.com/reauth-go/reauth/cookieauth",
	"sealedstore":  "github.com/reauth-go/reauth/sealedstore",
	"reauthtest":   "github.com/reauth-go/reauth/reauthtest",
	"storetest":    "github.com/reauth-go/reauth/reauthtest/storetest",
	"filestore":    "github.com/reauth-go/reauth/filestore",
	"keyringstore": "github.com/reauth-go/reauth/keyringstore",
	"otelreauth":   "github.com/reauth-go/reauth/otelreauth",
	"attribute":    "go.opentelemetry.io/otel/attribute",
	"redisstore":   "github.com/reauth-go/reauth/redisstore",
	"sqlstore":     "github.com/reauth-go/reauth/sqlstore",
	"xoauth2":      "github.com/reauth-go/reauth/xoauth2",
	"oauth2":       "golang.org/x/oauth2",

	"clientcredentials": "golang.org/x/oauth2/clientcredentials",
}

// Check checks the Markdown of the module in the working directory. Modules nested in
// it check their own.
func Check(t *testing.T) {
	files := markdown(t)
	t.Run("TestsThatAreNamedExist", func(t *testing.T) {
		found := 0
		for _, file := range files {
			for _, m := range testRE.FindAllStringSubmatch(read(t, file), -1) {
				source := read(t, filepath.Join(filepath.Dir(file), m[2]))
				assert.True(t, strings.Contains(source, "func "+m[1]+"("), "%s: %s has no %s", file, m[2], m[1])
				found++
			}
		}
		assert.NotZero(t, found, "no claim is linked to a test")
	})
	t.Run("LinksLeadSomewhere", func(t *testing.T) {
		for _, file := range files {
			broken, err := brokenLinks(file)
			require.NoError(t, err)
			assert.Empty(t, broken)
		}
	})
	t.Run("SnippetsCompile", func(t *testing.T) { snippetsCompile(t, files) })
}

func read(t *testing.T, file string) string {
	t.Helper()
	text, err := os.ReadFile(file)
	require.NoError(t, err)
	return string(text)
}

func markdown(t *testing.T) []string {
	t.Helper()
	var files []string
	require.NoError(t, filepath.WalkDir(".", func(path string, d fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case d.IsDir() && path != ".":
			if _, err := os.Stat(filepath.Join(path, "go.mod")); err == nil || d.Name() == "node_modules" || d.Name() == ".git" {
				return filepath.SkipDir
			}
		case strings.HasSuffix(path, ".md"):
			files = append(files, path)
		}
		return nil
	}))
	require.NotEmpty(t, files)
	return files
}

// snippetsCompile makes a function of each Go snippet, with the parameters that the
// comment above it names, and compiles all of them in a package that exists only as an
// overlay of the module.
func snippetsCompile(t *testing.T, files []string) {
	dir := t.TempDir()
	overlay := struct{ Replace map[string]string }{map[string]string{}}
	here, err := filepath.Abs(".")
	require.NoError(t, err)
	n := 0
	for _, file := range files {
		for _, m := range snippetRE.FindAllStringSubmatch(read(t, file), -1) {
			n++
			var b strings.Builder
			fmt.Fprintf(&b, "package snippets // from %s\n", file)
			block := importRE.FindString(m[2]) // must be complete, and name nothing that is not used
			code := strings.TrimLeft(strings.TrimPrefix(m[2], block), "\n")
			b.WriteString(block)
			needed := m[1]
			if block == "" {
				needed += code
			}
			for name, path := range imports {
				if regexp.MustCompile(`\b`+name+`\.`).MatchString(needed) && !strings.Contains(block, strconv.Quote(path)) {
					fmt.Fprintf(&b, "import %q\n", path)
				}
			}
			// Variables that a snippet leaves to its reader count as used.
			for _, v := range assignRE.FindAllStringSubmatch(code, -1) {
				for _, name := range v[1:] {
					if name != "" && name != "_" {
						code += "_ = " + name + "\n"
					}
				}
			}
			if strings.HasPrefix(code, "func ") || strings.HasPrefix(code, "type ") {
				fmt.Fprintf(&b, "%s\n", code)
			} else {
				fmt.Fprintf(&b, "func snippet%d(%s) error {\n%s\nreturn nil\n}\n", n, m[1], code)
			}
			name := fmt.Sprintf("snippet%d.go", n)
			require.NoError(t, os.WriteFile(filepath.Join(dir, name), []byte(b.String()), 0o600))
			overlay.Replace[filepath.Join(here, "snippets", name)] = filepath.Join(dir, name)
		}
	}
	require.NotZero(t, n)
	text, err := json.Marshal(overlay)
	require.NoError(t, err)
	require.NoError(t, os.WriteFile(filepath.Join(dir, "overlay.json"), text, 0o600))
	out, err := exec.CommandContext(t.Context(), "go", "build", "-overlay", filepath.Join(dir, "overlay.json"), "./snippets").CombinedOutput()
	require.NoError(t, err, "%s", out)
}

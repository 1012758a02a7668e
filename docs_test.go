package reauth_test

import (
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// markdown returns the project's Markdown files.
func markdown(t *testing.T) []string {
	t.Helper()
	var files []string
	require.NoError(t, filepath.WalkDir(".", func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if d.IsDir() && (d.Name() == "node_modules" || d.Name() == ".git") {
			return filepath.SkipDir
		}
		if strings.HasSuffix(path, ".md") {
			files = append(files, path)
		}
		return nil
	}))
	require.NotEmpty(t, files)
	return files
}

var (
	snippetRE = regexp.MustCompile("(?s)(?:<!-- snippet: ([^\n]*) -->\n)?```go\n(.*?)```")
	testRE    = regexp.MustCompile("\\[`((?:Test|Benchmark|Example|Fuzz)\\w+)`\\]\\(([^)]+)\\)")
	linkRE    = regexp.MustCompile(`\]\(([^)#:]+)\)`)
)

func TestEveryTestThatTheDocsNameExists(t *testing.T) {
	found := 0
	for _, file := range markdown(t) {
		text, err := os.ReadFile(file)
		require.NoError(t, err)
		for _, m := range testRE.FindAllStringSubmatch(string(text), -1) {
			source, err := os.ReadFile(filepath.Join(filepath.Dir(file), m[2]))
			if assert.NoError(t, err, file) {
				assert.Contains(t, string(source), "func "+m[1]+"(", file)
			}
			found++
		}
	}
	assert.NotZero(t, found)
}

func TestEveryLinkInTheDocsLeadsSomewhere(t *testing.T) {
	for _, file := range markdown(t) {
		text, err := os.ReadFile(file)
		require.NoError(t, err)
		for _, m := range linkRE.FindAllStringSubmatch(string(text), -1) {
			_, err := os.Stat(filepath.Join(filepath.Dir(file), m[1]))
			assert.NoError(t, err, file)
		}
	}
}

// TestEverySnippetInTheDocsCompiles makes a function of each Go snippet whose
// parameters are those named in the comment above it, and compiles them all.
func TestEverySnippetInTheDocsCompiles(t *testing.T) {
	imports := map[string]string{
		"context": "context", "errors": "errors", "fmt": "fmt", "http": "net/http", "time": "time", "testing": "testing",
		"slog": "log/slog", "url": "net/url", "os": "os", "reauth": "github.com/reauth-go/reauth",
		"reauthtest": "github.com/reauth-go/reauth/reauthtest",
	}
	dir := t.TempDir()
	n := 0
	for _, file := range markdown(t) {
		if strings.Contains(filepath.ToSlash(file), "/") {
			if _, err := os.Stat(filepath.Join(filepath.Dir(file), "go.mod")); err == nil {
				continue // a nested module checks its own
			}
		}
		text, err := os.ReadFile(file)
		require.NoError(t, err)
		for _, m := range snippetRE.FindAllStringSubmatch(string(text), -1) {
			n++
			var b strings.Builder
			fmt.Fprintf(&b, "package snippets // from %s\n", file)
			for name, path := range imports {
				if regexp.MustCompile(`\b` + name + `\.`).MatchString(m[1] + m[2]) {
					fmt.Fprintf(&b, "import %q\n", path)
				}
			}
			code := m[2]
			// What a reader is to go on with is not used in the snippet itself.
			for _, v := range regexp.MustCompile(`(?m)^(\w+)(?:, (\w+))? :=`).FindAllStringSubmatch(code, -1) {
				for _, name := range v[1:] {
					if name != "" {
						code += "_ = " + name + "\n"
					}
				}
			}
			fmt.Fprintf(&b, "func snippet%d(%s) error {\n%s\nreturn nil\n}\n", n, m[1], code)
			require.NoError(t, os.WriteFile(filepath.Join(dir, fmt.Sprintf("snippet%d.go", n)), []byte(b.String()), 0o600))
		}
	}
	require.NotZero(t, n)
	root, err := filepath.Abs(".")
	require.NoError(t, err)
	mod, err := os.ReadFile("go.mod")
	require.NoError(t, err)
	sum, err := os.ReadFile("go.sum")
	require.NoError(t, err)
	text := strings.Replace(string(mod), "module github.com/reauth-go/reauth\n", "module snippets\n", 1) +
		"\nrequire github.com/reauth-go/reauth v0.0.0\nreplace github.com/reauth-go/reauth => " + root + "\n"
	require.NoError(t, os.WriteFile(filepath.Join(dir, "go.mod"), []byte(text), 0o600))
	require.NoError(t, os.WriteFile(filepath.Join(dir, "go.sum"), sum, 0o600))
	cmd := exec.CommandContext(t.Context(), "go", "build", "-mod=mod", "./...")
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), "GOWORK=off", "GOFLAGS=-mod=mod")
	out, err := cmd.CombinedOutput()
	require.NoError(t, err, "%s", out)
}

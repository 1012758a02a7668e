// Package postgres is for tests that need a PostgreSQL server. They start their own.
package postgres

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/reauth-go/reauth/internal/needs"
)

// Programs returns the folder with the programs of the newest installed PostgreSQL. Where
// there is none the test is skipped and says what to install.
func Programs(tb testing.TB) string {
	tb.Helper()
	candidates, _ := filepath.Glob("/usr/lib/postgresql/*/bin") // Debian keeps them off the PATH
	if path, err := exec.LookPath("initdb"); err == nil {
		candidates = append(candidates, filepath.Dir(path))
	}
	if out, err := exec.Command("pg_config", "--bindir").Output(); err == nil {
		candidates = append(candidates, strings.TrimSpace(string(out)))
	}
	for i := len(candidates) - 1; i >= 0; i-- {
		complete := true
		for _, program := range []string{"initdb", "pg_ctl", "postgres"} {
			_, err := os.Stat(filepath.Join(candidates[i], program))
			complete = complete && err == nil
		}
		if complete {
			return candidates[i]
		}
	}
	needs.Skip(tb, "PostgreSQL is not installed; apt-get install postgresql")
	return ""
}

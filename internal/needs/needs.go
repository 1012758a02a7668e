// Package needs is for tests that need a program which may not be installed.
package needs

import (
	"os"
	"os/exec"
	"testing"
)

// Program returns the path of a program. Where it is missing the test is skipped
// and says what to do about it.
func Program(tb testing.TB, name, remedy string) string {
	tb.Helper()
	path, err := exec.LookPath(name)
	if err != nil {
		Skip(tb, name+" is not installed; "+remedy)
	}
	return path
}

// Skip skips the test, and says why and what to do about it. With
// REAUTH_REQUIRE_ALL=1 in the environment, as in CI, the test fails instead.
func Skip(tb testing.TB, why string) {
	tb.Helper()
	if os.Getenv("REAUTH_REQUIRE_ALL") == "1" {
		tb.Fatal(why)
	}
	tb.Skip(why)
}

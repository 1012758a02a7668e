package main

import (
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// To run them takes minutes. That each still is a change to a line that is there,
// and names tests that are there, is seen at once.
func TestEveryMutantApplies(t *testing.T) {
	names := make(map[string]bool)
	for _, m := range mutants {
		assert.False(t, names[m.name], "two are called %q", m.name)
		names[m.name] = true
		assert.False(t, strings.HasPrefix(m.file, "internal/mutants/") || strings.HasSuffix(m.file, "_test.go"), "%s: %s is not what is tested", m.name, m.file)
		text, err := os.ReadFile(filepath.Join("..", "..", m.file))
		require.NoError(t, err)
		broken, err := m.apply(string(text))
		assert.NoError(t, err, m.name)
		assert.NotEqual(t, string(text), broken, m.name)
		var tests []string
		for _, dir := range m.packages() {
			tests = append(tests, testsOf(t, dir)...)
		}
		for pattern := range strings.SplitSeq(m.tests, "|") {
			re, err := regexp.Compile(pattern)
			require.NoError(t, err, m.name)
			assert.True(t, slices.ContainsFunc(tests, re.MatchString), "%s: no test is called %s", m.name, pattern)
		}
	}
}

var testRE = regexp.MustCompile(`(?m)^func (Test\w+)\(`)

// testsOf returns the names of the tests of a package of the module.
func testsOf(t *testing.T, dir string) (names []string) {
	files, err := filepath.Glob(filepath.Join("..", "..", dir, "*_test.go"))
	require.NoError(t, err)
	for _, file := range files {
		text, err := os.ReadFile(file)
		require.NoError(t, err)
		for _, found := range testRE.FindAllStringSubmatch(string(text), -1) {
			names = append(names, found[1])
		}
	}
	return names
}

func TestAMutantIsTestedInItsOwnPackageAndInTheRoot(t *testing.T) {
	assert.Equal(t, []string{"."}, mutant{file: "refresh.go"}.packages())
	assert.Equal(t, []string{"./internal/body", "."}, mutant{file: "internal/body/replay.go"}.packages())
}

func TestOnlyTestsThatRanCount(t *testing.T) {
	for out, want := range map[string]string{
		"--- FAIL: TestA (0.00s)\n    --- FAIL: TestA/b (0.00s)\nFAIL": "TestA",
		"    --- FAIL: TestA/b (0.00s)\n--- FAIL: TestA (0.00s)\nFAIL": "TestA/b",
		"panic: test timed out after 1m0s\nFAIL":                       "(a test hangs)",
		"panic: oh\n\ngoroutine 1 [running]:\nFAIL":                    "(the tests crash)",
		"fatal error: all goroutines are asleep - deadlock!":           "(the tests crash)",
		"FAIL\tgithub.com/reauth-go/reauth [build failed]\nFAIL":       "",
		"go: no such tool \"compile\"":                                 "",
	} {
		test, err := firstFailure(out)
		assert.Equal(t, want, test, out)
		assert.Equal(t, want == "", err != nil, out)
	}
}

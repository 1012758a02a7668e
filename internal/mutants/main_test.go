package main

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// To run them takes minutes. That each still is a change to a line that is there
// is seen at once.
func TestEveryMutantApplies(t *testing.T) {
	names := make(map[string]bool)
	for _, m := range mutants {
		assert.False(t, names[m.name], "two are called %q", m.name)
		names[m.name] = true
		text, err := os.ReadFile(filepath.Join("..", "..", m.file))
		require.NoError(t, err)
		broken, err := m.apply(string(text))
		assert.NoError(t, err, m.name)
		assert.NotEqual(t, string(text), broken, m.name)
	}
}

package oapi_test

import (
	"os"
	"regexp"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// .ci/run generates the client anew and looks for differences.
func TestTheClientIsOfThePinnedGenerator(t *testing.T) {
	t.Parallel()
	version := func(file, pattern string) string {
		text, err := os.ReadFile(file)
		require.NoError(t, err)
		m := regexp.MustCompile(pattern).FindSubmatch(text)
		require.NotNil(t, m, file)
		return string(m[1])
	}
	assert.Equal(t,
		version("../../../internal/tools/go.mod", `github.com/oapi-codegen/oapi-codegen/v2 (v\S+)`),
		version("client.gen.go", `github.com/oapi-codegen/oapi-codegen/v2 version (v\S+) DO NOT EDIT`))
}

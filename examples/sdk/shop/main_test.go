package main

import (
	"bytes"
	"go/parser"
	"go/token"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestShop(t *testing.T) {
	var out bytes.Buffer
	require.NoError(t, run(t.Context(), &out))
	assert.Contains(t, out.String(), "2, renewals of her session: 1\n")
	assert.True(t, strings.HasSuffix(out.String(), "Ann is signed out\n"))
}

func TestTheProgramSeesTheSDKOnly(t *testing.T) {
	file, err := parser.ParseFile(token.NewFileSet(), "main.go", nil, parser.ImportsOnly)
	require.NoError(t, err)
	var ours []string
	for _, spec := range file.Imports {
		if strings.Contains(spec.Path.Value, "reauth") {
			ours = append(ours, spec.Path.Value)
		}
	}
	assert.Equal(t, []string{`"github.com/reauth-go/reauth/examples/sdk/orders"`}, ours)
}

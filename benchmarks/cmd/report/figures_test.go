package main

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestFiguresThatMissTheirLimitsAreAnError(t *testing.T) {
	f := &figures{samples: map[benchmark]map[string][]float64{}}
	for library, ns := range map[string]float64{"floor": 100, "reauth": 150, "oauth2": 249} {
		f.samples[benchmark{"HotPath", library, hotScenes[0]}] = map[string][]float64{nanoseconds: {ns}, allocations: {3}}
	}
	var out strings.Builder
	require.Error(t, f.check(&out))
	assert.Contains(t, out.String(), "ok      hot path, alone/headers=3: time over the floor's: 1.50, at most 1.50")
	assert.Contains(t, out.String(), "MISSED  hot path, alone/headers=3: time over x/oauth2's: 0.60, at most 0.60", "it is more, by little")
	assert.Contains(t, out.String(), "MISSED  hot path, cores/headers=3: time over the floor's: NaN", "there is none")
}

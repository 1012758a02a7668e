package origin_test

import (
	"net/http"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/reauth-go/reauth/internal/origin"
)

func BenchmarkAllow(b *testing.B) {
	for _, bm := range []struct{ name, to, entry string }{
		{"named", "https://api.example.com/v1/me", "https://api.example.com"},
		{"wildcard", "https://api.example.com/v1/me", "https://*.example.com"},
		{"any", "https://api.example.com/v1/me", origin.Any},
	} {
		b.Run("entry="+bm.name, func(b *testing.B) {
			set, err := origin.Parse([]string{bm.entry})
			require.NoError(b, err)
			req, err := http.NewRequest(http.MethodGet, bm.to, nil)
			require.NoError(b, err)
			for b.Loop() {
				if !set.Allow(req, nobody) {
					b.Fatal("not allowed")
				}
			}
		})
	}
}

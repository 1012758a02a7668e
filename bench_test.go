package reauth_test

import (
	"fmt"
	"net/http"
	"testing"
)

// BenchmarkRoundTrip sends a request with a fresh token and no body. The bare base
// transport and the floor show how much of it a RoundTripper adds.
func BenchmarkRoundTrip(b *testing.B) {
	tr := signedInOver(b, b.Context(), nil)
	for _, headers := range []int{3, 12} {
		for _, lib := range []struct {
			name string
			rt   http.RoundTripper
		}{{"base", still}, {"floor", floor{still, []string{"Bearer a"}}}, {"reauth", tr}} {
			b.Run(fmt.Sprintf("lib=%s/headers=%d", lib.name, headers), func(b *testing.B) {
				req := withHeaders(b, b.Context(), headers)
				b.ReportAllocs()
				for b.Loop() {
					if _, err := lib.rt.RoundTrip(req); err != nil {
						b.Fatal(err)
					}
				}
			})
		}
	}
}

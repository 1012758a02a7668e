package reauth_test

import (
	"fmt"
	"net/http"
	"testing"
	"time"

	"github.com/reauth-go/reauth"
)

// BenchmarkRoundTrip is a request with a fresh token and no body, beside the
// bare base and the floor: what is measured is what a RoundTripper adds.
func BenchmarkRoundTrip(b *testing.B) {
	answer := &http.Response{StatusCode: http.StatusOK, Body: http.NoBody}
	base := roundTripper(func(*http.Request) (*http.Response, error) { return answer, nil })
	tr, err := reauth.New(reauth.Config{Refresher: newAuthority(), Origins: []string{"https://api.example.com"}, Base: base})
	if err != nil {
		b.Fatal(err)
	}
	err = tr.SignIn(b.Context(), reauth.Token{AccessToken: "a", RefreshToken: "r", Expiry: time.Now().Add(time.Hour)})
	if err != nil {
		b.Fatal(err)
	}
	for _, headers := range []int{3, 12} {
		for _, lib := range []struct {
			name string
			rt   http.RoundTripper
		}{{"base", base}, {"floor", floor{base, []string{"Bearer a"}}}, {"reauth", tr}} {
			b.Run(fmt.Sprintf("lib=%s/headers=%d", lib.name, headers), func(b *testing.B) {
				req, err := http.NewRequestWithContext(b.Context(), http.MethodGet, apiURL, nil)
				if err != nil {
					b.Fatal(err)
				}
				for i := range headers {
					req.Header.Set(fmt.Sprintf("X-Header-%d", i), "value")
				}
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

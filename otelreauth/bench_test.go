package otelreauth_test

import (
	"context"
	"net/http"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/reauth-go/reauth"
	"github.com/reauth-go/reauth/otelreauth"
)

// answer is a base transport that costs next to nothing.
type answer struct{ status int }

func (a *answer) RoundTrip(req *http.Request) (*http.Response, error) {
	return &http.Response{StatusCode: a.status, Header: http.Header{}, Body: http.NoBody, Request: req}, nil
}

func variants(b *testing.B) map[string]func(reauth.Config) reauth.Config {
	return map[string]func(reauth.Config) reauth.Config{
		"none": func(cfg reauth.Config) reauth.Config { return cfg },
		"api alone": func(cfg reauth.Config) reauth.Config {
			cfg, err := otelreauth.Instrument(cfg)
			require.NoError(b, err)
			return cfg
		},
		"sdk": func(cfg reauth.Config) reauth.Config { return newTelemetry(b).instrument(cfg) },
	}
}

// BenchmarkRequest is a request with a fresh token.
func BenchmarkRequest(b *testing.B) {
	for name, instrument := range variants(b) {
		b.Run("otel="+name, func(b *testing.B) {
			tr, err := reauth.New(instrument(reauth.Config{
				Refresher: &whole{}, Base: &answer{http.StatusOK}, Origins: []string{"https://api.test"},
			}))
			require.NoError(b, err)
			require.NoError(b, tr.SignIn(context.Background(), reauth.Token{AccessToken: "a", RefreshToken: "r"}))
			req, err := http.NewRequest(http.MethodGet, "https://api.test/orders", nil)
			require.NoError(b, err)
			b.ReportAllocs()
			for b.Loop() {
				if _, err := tr.RoundTrip(req); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

// BenchmarkRefresh is a refresh whose Refresher answers at once.
func BenchmarkRefresh(b *testing.B) {
	for name, instrument := range variants(b) {
		b.Run("otel="+name, func(b *testing.B) {
			n := byte(0)
			tr, err := reauth.New(instrument(reauth.Config{
				Refresher: reauth.RefresherFunc(func(context.Context, reauth.Token) (reauth.Token, error) {
					n++
					return reauth.Token{AccessToken: string(rune('a' + n%26)), RefreshToken: "r"}, nil
				}),
				Origins: []string{"https://api.test"}, RefreshPause: -1,
			}))
			require.NoError(b, err)
			require.NoError(b, tr.SignIn(context.Background(), reauth.Token{AccessToken: "0", RefreshToken: "r"}))
			tok, err := tr.Token(context.Background())
			require.NoError(b, err)
			b.ReportAllocs()
			for b.Loop() {
				if tok, err = tr.Refresh(context.Background(), tok); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

// BenchmarkEvent is the report of one event.
func BenchmarkEvent(b *testing.B) {
	for name, instrument := range variants(b) {
		if name == "none" {
			continue
		}
		b.Run("otel="+name, func(b *testing.B) {
			onEvent := instrument(reauth.Config{}).OnEvent
			b.ReportAllocs()
			for b.Loop() {
				onEvent(context.Background(), reauth.Event{Kind: reauth.EventWaited, Session: "ann", Took: time.Millisecond})
			}
		})
	}
}

// A request with a fresh token causes no event.
func TestARequestWithAFreshTokenCostsNothingMore(t *testing.T) {
	allocations := func(instrument func(reauth.Config) reauth.Config) float64 {
		tr, err := reauth.New(instrument(reauth.Config{
			Refresher: &whole{}, Base: &answer{http.StatusOK}, Origins: []string{"https://api.test"},
		}))
		require.NoError(t, err)
		require.NoError(t, tr.SignIn(context.Background(), reauth.Token{AccessToken: "a", RefreshToken: "r"}))
		req, err := http.NewRequest(http.MethodGet, "https://api.test/orders", nil)
		require.NoError(t, err)
		return testing.AllocsPerRun(1000, func() { _, _ = tr.RoundTrip(req) })
	}
	plain := allocations(func(cfg reauth.Config) reauth.Config { return cfg })
	require.InDelta(t, plain, allocations(func(cfg reauth.Config) reauth.Config { return newTelemetry(t).instrument(cfg) }), 0.5)
}

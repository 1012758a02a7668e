package otelreauth_test

import (
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	exporter "go.opentelemetry.io/otel/exporters/prometheus"
	"go.opentelemetry.io/otel/sdk/metric"

	"github.com/reauth-go/reauth"
	"github.com/reauth-go/reauth/otelreauth"
	"github.com/reauth-go/reauth/reauthtest"
)

// scrape returns the lines about reauth of a scrape, without the labels of the scope.
func scrape(t *testing.T, url string) (samples, types []string) {
	t.Helper()
	resp, err := http.Get(url)
	require.NoError(t, err)
	defer resp.Body.Close()
	require.Equal(t, http.StatusOK, resp.StatusCode)
	text, err := io.ReadAll(resp.Body)
	require.NoError(t, err)
	for line := range strings.Lines(string(text)) {
		line = strings.TrimSpace(line)
		switch {
		case strings.HasPrefix(line, "# TYPE reauth_"):
			types = append(types, strings.TrimPrefix(line, "# TYPE "))
		case strings.HasPrefix(line, "reauth_"):
			samples = append(samples, line)
		}
	}
	return samples, types
}

func TestAPrometheusScrapeHasTheMetrics(t *testing.T) {
	registry := prometheus.NewRegistry()
	reader, err := exporter.New(exporter.WithRegisterer(registry), exporter.WithoutScopeInfo())
	require.NoError(t, err)
	meters := metric.NewMeterProvider(metric.WithReader(reader))
	page := httptest.NewServer(promhttp.HandlerFor(registry, promhttp.HandlerOpts{}))
	defer page.Close()

	tel, server := newTelemetry(t), reauthtest.NewServer(t, reauthtest.Options{})
	tr := tel.transport(server, reauth.Config{}, otelreauth.WithMeterProvider(meters))
	samples, _ := scrape(t, page.URL)
	assert.Contains(t, samples, "reauth_sign_ins_required_total 0", "a series begins with 0")

	signIn(t, tr, server)
	client := &http.Client{Transport: tr.Session("ann")}
	answered := revokeInMidFlight(t, server, 5, func() int {
		status, _, _ := get(t.Context(), client, server.APIURL("/orders"), "")
		return status
	})
	require.Equal(t, 5, answered)
	server.Revoke()
	_, _, err = get(t.Context(), client, server.APIURL("/orders"), "")
	require.ErrorIs(t, err, reauth.ErrSignInRequired)

	samples, types := scrape(t, page.URL)
	for _, want := range []string{
		`reauth_refreshes_total{reauth_refresh_trigger="refusal"} 1`,
		`reauth_refreshes_total{reauth_refresh_trigger="other"} 0`,
		`reauth_refreshes_total{error_type="invalid_grant",reauth_refresh_trigger="refusal"} 1`,
		`reauth_refresh_duration_seconds_count{reauth_refresh_trigger="refusal"} 1`,
		`reauth_refresh_duration_seconds_bucket{reauth_refresh_trigger="refusal",le="30"} 1`,
		`reauth_replay_duration_seconds_count 5`,
		`reauth_sign_ins_total 1`,
		`reauth_sign_ins_required_total 1`,
		`reauth_pending_saves 0`,
	} {
		assert.Contains(t, samples, want)
	}
	slices.Sort(types)
	assert.Equal(t, []string{
		"reauth_adoptions_total counter",
		"reauth_kept_refusals_total counter",
		"reauth_lock_wait_duration_seconds histogram",
		"reauth_pending_saves gauge",
		"reauth_refresh_duration_seconds histogram",
		"reauth_refresh_wait_duration_seconds histogram",
		"reauth_refreshes_total counter",
		"reauth_replay_duration_seconds histogram",
		"reauth_sign_ins_required_total counter",
		"reauth_sign_ins_total counter",
		"reauth_sign_outs_total counter",
	}, types)
}

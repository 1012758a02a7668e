package main

import (
	"bytes"
	"net/http/httptest"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	exporter "go.opentelemetry.io/otel/exporters/prometheus"
	"go.opentelemetry.io/otel/sdk/metric"

	"github.com/reauth-go/reauth/internal/needs"
)

func panels(t *testing.T) []panel {
	t.Helper()
	d, err := loadDashboard()
	require.NoError(t, err)
	require.NotEmpty(t, d.Panels)
	return d.Panels
}

func TestOncePrintsTheMetricsOfTheWholeStory(t *testing.T) {
	var out bytes.Buffer
	require.NoError(t, run(t.Context(), &out, []string{"-once"}))
	for _, series := range []string{
		`reauth_refreshes_total{reauth_refresh_trigger="refusal"}`, `reauth_refreshes_total{reauth_refresh_trigger="other"}`,
		`reauth_refreshes_total{error_type="503",`, `reauth_refreshes_total{error_type="invalid_grant",`,
		"reauth_adoptions_total", "reauth_kept_refusals_total", "reauth_replay_duration_seconds_count", "reauth_refresh_wait_duration_seconds_count",
		"reauth_pending_save_duration_seconds_count", "reauth_sign_ins_total", "reauth_sign_ins_required_total",
	} {
		assert.Regexp(t, `(?m)^`+regexp.QuoteMeta(series)+`.* [1-9]`, out.String())
	}
	assert.Contains(t, out.String(), "reauth_pending_saves 0\n")
	assert.NotContains(t, out.String(), "user-", "no name of a session")
}

// Grafana shows an empty panel where a query names a metric that does not exist.
func TestEveryQueryNamesAMetricOfTheScrape(t *testing.T) {
	var out bytes.Buffer
	require.NoError(t, run(t.Context(), &out, []string{"-once"}))
	scraped := map[string]bool{}
	for line := range strings.Lines(out.String()) {
		name, _, _ := strings.Cut(line, " ")
		name, _, _ = strings.Cut(name, "{")
		scraped[name] = true
		if histogram, ok := strings.CutSuffix(name, "_count"); ok {
			scraped[histogram+"_bucket"] = true // which -once leaves out
		}
	}
	metrics := regexp.MustCompile(`\breauth_\w+\{`)
	for _, p := range panels(t) {
		for _, target := range p.Targets {
			named := metrics.FindAllString(target.Expr, -1)
			assert.NotEmpty(t, named, target.Expr)
			for _, name := range named {
				assert.True(t, scraped[strings.TrimSuffix(name, "{")], "%s: no %s in the scrape", p.Title, name)
			}
		}
	}
	text := string(dashboardJSON)
	assert.Contains(t, text, "label_values(reauth_refreshes_total, job)")
}

func TestPrometheusAnswersEveryQueryOfTheDashboard(t *testing.T) {
	program := needs.Program(t, "prometheus", "apt-get install prometheus")
	registry := prometheus.NewRegistry()
	reader, err := exporter.New(exporter.WithRegisterer(registry), exporter.WithoutScopeInfo())
	require.NoError(t, err)
	page := httptest.NewServer(promhttp.HandlerFor(registry, promhttp.HandlerOpts{}))
	defer page.Close()
	p, err := startPrometheus(t.Context(), program, strings.TrimPrefix(page.URL, "http://"), 200*time.Millisecond)
	require.NoError(t, err)
	defer func() { assert.NoError(t, p.stop()) }()

	began := time.Now()
	require.NoError(t, play(t.Context(), metric.NewMeterProvider(metric.WithReader(reader)), 16*time.Second))
	end := time.Now()
	for _, panel := range panels(t) {
		for _, target := range panel.Targets {
			curves, err := p.query(t.Context(), target.query("2s"), began, end)
			require.NoError(t, err)
			require.NotEmpty(t, curves, target.Expr)
			for _, c := range curves {
				assert.NotEmpty(t, c.Values, target.Expr)
				assert.NotContains(t, target.legend(c.Labels), "{{", target.Expr)
			}
		}
	}
	pending, err := p.query(t.Context(), "max_over_time(sum(reauth_pending_saves)[16s:200ms])", end, end)
	require.NoError(t, err)
	require.Len(t, pending, 1)
	assert.Positive(t, pending[0].Values[0].value, "the save that was pending is on the dashboard")

	svg, err := picture(t.Context(), dashboard{Title: "test", Panels: panels(t)}, p, began, end, "2s")
	require.NoError(t, err)
	for _, panel := range panels(t) {
		assert.Contains(t, svg, ">"+panel.Title+"<")
	}
	assert.NotContains(t, svg, "NaN")
}

func TestTheDashboardIsWhatGrafanaImports(t *testing.T) {
	ids, units := map[int]bool{}, map[string]bool{"s": true, "ops": true, "short": true}
	for _, p := range panels(t) {
		assert.Equal(t, "timeseries", p.Type, p.Title)
		assert.NotEmpty(t, p.Description, p.Title)
		assert.False(t, ids[p.ID], "%s: two panels have its id", p.Title)
		ids[p.ID] = true
		assert.Equal(t, "prometheus", p.Datasource.Type, p.Title)
		assert.Equal(t, "${datasource}", p.Datasource.UID, p.Title)
		assert.True(t, units[p.FieldConfig.Defaults.Unit], p.Title)
		for _, target := range p.Targets {
			assert.Contains(t, target.Expr, `job=~"$job"`, p.Title)
			assert.NotContains(t, target.query("1m"), "$", p.Title)
		}
	}
}

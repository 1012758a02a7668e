package otelreauth_test

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/sdk/metric"
	"go.opentelemetry.io/otel/sdk/metric/metricdata"
	"go.opentelemetry.io/otel/sdk/trace"

	"github.com/reauth-go/reauth"
	"github.com/reauth-go/reauth/oauth"
	"github.com/reauth-go/reauth/otelreauth"
	"github.com/reauth-go/reauth/reauthtest"
)

// telemetry keeps what is reported in a test.
type telemetry struct {
	t       testing.TB
	reader  *metric.ManualReader
	meters  *metric.MeterProvider
	tracers *trace.TracerProvider

	mu    sync.Mutex
	open  map[string]string // the names of the spans that have not ended, by their id
	ended []trace.ReadOnlySpan
}

func newTelemetry(t testing.TB) *telemetry {
	tel := &telemetry{t: t, reader: metric.NewManualReader(), open: make(map[string]string)}
	tel.meters = metric.NewMeterProvider(metric.WithReader(tel.reader))
	tel.tracers = trace.NewTracerProvider(trace.WithSpanProcessor(tel))
	return tel
}

// instrument returns an instrumented Config.
func (tel *telemetry) instrument(cfg reauth.Config, opts ...otelreauth.Option) reauth.Config {
	tel.t.Helper()
	opts = append([]otelreauth.Option{otelreauth.WithMeterProvider(tel.meters), otelreauth.WithTracerProvider(tel.tracers)}, opts...)
	cfg, err := otelreauth.Instrument(cfg, opts...)
	require.NoError(tel.t, err)
	return cfg
}

// transport returns an instrumented Transport for the server.
func (tel *telemetry) transport(server *reauthtest.Server, cfg reauth.Config, opts ...otelreauth.Option) *reauth.Transport {
	tel.t.Helper()
	if cfg.Refresher == nil {
		cfg.Refresher = &oauth.Refresher{TokenURL: server.TokenURL(), ClientID: "test", Client: server.Client()}
	}
	if cfg.Base == nil {
		cfg.Base = server.Transport()
	}
	cfg.Origins = []string{server.URL}
	tr, err := reauth.New(tel.instrument(cfg, opts...))
	require.NoError(tel.t, err)
	return tr
}

// OnStart, OnEnd, Shutdown and ForceFlush make a SpanProcessor.
func (tel *telemetry) OnStart(_ context.Context, s trace.ReadWriteSpan) {
	tel.mu.Lock()
	defer tel.mu.Unlock()
	tel.open[s.SpanContext().SpanID().String()] = s.Name()
}

func (tel *telemetry) OnEnd(s trace.ReadOnlySpan) {
	tel.mu.Lock()
	defer tel.mu.Unlock()
	delete(tel.open, s.SpanContext().SpanID().String())
	tel.ended = append(tel.ended, s)
}

func (tel *telemetry) Shutdown(context.Context) error   { return nil }
func (tel *telemetry) ForceFlush(context.Context) error { return nil }

// spans returns the spans of that name, which have all ended.
func (tel *telemetry) spans(name string) (found []trace.ReadOnlySpan) {
	tel.t.Helper()
	tel.mu.Lock()
	defer tel.mu.Unlock()
	assert.Empty(tel.t, tel.open, "these spans never ended")
	for _, s := range tel.ended {
		if s.Name() == name {
			found = append(found, s)
		}
	}
	return found
}

// span returns the only span of that name.
func (tel *telemetry) span(name string) trace.ReadOnlySpan {
	tel.t.Helper()
	found := tel.spans(name)
	require.Len(tel.t, found, 1, name)
	return found[0]
}

// collect returns the metrics of this module.
func (tel *telemetry) collect() []metricdata.Metrics {
	tel.t.Helper()
	var all metricdata.ResourceMetrics
	require.NoError(tel.t, tel.reader.Collect(context.Background(), &all))
	for _, scope := range all.ScopeMetrics {
		if scope.Scope.Name == "github.com/reauth-go/reauth/otelreauth" {
			return scope.Metrics
		}
	}
	return nil
}

// counts returns the value of each series, or the number of its measurements if it is a
// histogram. Series that are 0 are left out. A series is written as name{key=value,...}.
func (tel *telemetry) counts() map[string]int64 {
	tel.t.Helper()
	counts := make(map[string]int64)
	add := func(name string, set attribute.Set, n int64) {
		if n == 0 {
			return
		}
		if set.Len() > 0 {
			name += "{" + set.Encoded(attribute.DefaultEncoder()) + "}"
		}
		counts[name] = n
	}
	for _, m := range tel.collect() {
		switch data := m.Data.(type) {
		case metricdata.Sum[int64]:
			for _, p := range data.DataPoints {
				add(m.Name, p.Attributes, p.Value)
			}
		case metricdata.Histogram[float64]:
			for _, p := range data.DataPoints {
				add(m.Name, p.Attributes, int64(p.Count))
			}
		default:
			tel.t.Errorf("%s is a %T", m.Name, data)
		}
	}
	return counts
}

// eventsOf returns the names of a span's events.
func eventsOf(s trace.ReadOnlySpan) []string {
	var names []string
	for _, e := range s.Events() {
		names = append(names, e.Name)
	}
	return names
}

// attributesOf writes attributes as key=value.
func attributesOf(attrs []attribute.KeyValue) []string {
	var all []string
	for _, a := range attrs {
		all = append(all, fmt.Sprintf("%s=%s", a.Key, a.Value.String()))
	}
	return all
}

// get sends a request, or with a body a POST, and reads the response to its end.
func get(ctx context.Context, client *http.Client, url, body string) (status int, header http.Header, err error) {
	method, sent := http.MethodGet, io.Reader(nil)
	if body != "" {
		method, sent = http.MethodPost, strings.NewReader(body)
	}
	req, err := http.NewRequestWithContext(ctx, method, url, sent)
	if err != nil {
		return 0, nil, err
	}
	resp, err := client.Do(req)
	if err != nil {
		return 0, nil, err
	}
	defer resp.Body.Close()
	_, err = io.Copy(io.Discard, resp.Body)
	return resp.StatusCode, resp.Header, err
}

// signIn signs ann in.
func signIn(t testing.TB, tr *reauth.Transport, server *reauthtest.Server) {
	t.Helper()
	require.NoError(t, tr.Session("ann").SignIn(context.Background(), reauth.Token(server.SignIn("ann"))))
}

// revokeInMidFlight sends n requests, and makes their token invalid while they are under
// way. It returns how many got 200.
func revokeInMidFlight(t testing.TB, server *reauthtest.Server, n int, send func() int) (answered int) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	before := server.Counts().APIRequests
	release := server.BlockAPI()
	var wg sync.WaitGroup
	var mu sync.Mutex
	for range n {
		wg.Go(func() {
			if send() == http.StatusOK {
				mu.Lock()
				defer mu.Unlock()
				answered++
			}
		})
	}
	err := server.Await(ctx, func(c reauthtest.Counts) bool { return c.APIRequests >= before+n })
	server.ExpireAccess()
	release()
	wg.Wait()
	require.NoError(t, err)
	return answered
}

package otelhttp_test

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"net/http"
	"sync"
	"testing"
	"time"

	"github.com/coder/websocket"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.opentelemetry.io/contrib/instrumentation/net/http/otelhttp"
	"go.opentelemetry.io/otel/propagation"
	sdkmetric "go.opentelemetry.io/otel/sdk/metric"
	"go.opentelemetry.io/otel/sdk/metric/metricdata"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/sdk/trace/tracetest"
	"go.opentelemetry.io/otel/trace"

	"github.com/reauth-go/reauth"
	"github.com/reauth-go/reauth/examples/integrations/internal/world"
	integration "github.com/reauth-go/reauth/examples/integrations/otelhttp"
	"github.com/reauth-go/reauth/oauth"
	"github.com/reauth-go/reauth/reauthtest"
)

// A traced is a World whose client is instrumented, and its spans.
type traced struct {
	*world.World
	client *http.Client
	spans  *tracetest.SpanRecorder
	tracer trace.Tracer
	reader sdkmetric.Reader
}

func newTraced(t *testing.T, opts reauthtest.Options) *traced {
	t.Helper()
	recorder := tracetest.NewSpanRecorder()
	provider := sdktrace.NewTracerProvider(sdktrace.WithSpanProcessor(recorder))
	reader := sdkmetric.NewManualReader()
	options := []otelhttp.Option{
		otelhttp.WithTracerProvider(provider), otelhttp.WithPropagators(propagation.TraceContext{}),
		otelhttp.WithMeterProvider(sdkmetric.NewMeterProvider(sdkmetric.WithReader(reader))),
	}
	s := reauthtest.NewServer(t, opts)
	base := world.Base(t, s)
	client, transport, err := integration.New(reauth.Config{
		Refresher:    &oauth.Refresher{TokenURL: s.TokenURL(), Client: &http.Client{Transport: otelhttp.NewTransport(base, options...)}},
		Origins:      []string{s.URL},
		Base:         base,
		RefreshPause: time.Hour,
	}, options...)
	require.NoError(t, err)
	t.Cleanup(func() { assert.NoError(t, transport.Wait(context.Background())) })
	require.NoError(t, transport.SignIn(t.Context(), reauth.Token(s.SignIn("ann"))))
	return &traced{&world.World{Server: s, Transport: transport}, client, recorder, provider.Tracer("test"), reader}
}

func (w *traced) get(ctx context.Context, path string) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, w.APIURL(path), nil)
	if err != nil {
		return err
	}
	resp, err := w.client.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return fmt.Errorf("status %d", resp.StatusCode)
	}
	_, err = io.Copy(io.Discard, resp.Body)
	return err
}

// under returns the spans that have ended below parent, described.
func (w *traced) under(parent trace.SpanID) (found []string, ids []trace.SpanID) {
	for _, s := range w.spans.Ended() {
		if s.Parent().SpanID() != parent {
			continue
		}
		line := s.Name()
		for _, a := range s.Attributes() {
			if a.Key == "http.response.status_code" {
				line += fmt.Sprintf(" %d", a.Value.AsInt64())
			}
		}
		found, ids = append(found, line), append(ids, s.SpanContext().SpanID())
	}
	return found, ids
}

func TestACallIsASpanAndEachAttemptIsOneBelow(t *testing.T) {
	t.Parallel()
	w := newTraced(t, reauthtest.Options{})
	w.ExpireAccess()
	ctx, caller := w.tracer.Start(t.Context(), "caller")
	require.NoError(t, w.get(ctx, "/orders/1"))
	caller.End()

	calls, ids := w.under(caller.SpanContext().SpanID())
	require.Equal(t, []string{"HTTP GET 200"}, calls)
	attempts, _ := w.under(ids[0])
	assert.Equal(t, []string{"HTTP GET 401", "HTTP POST 200", "HTTP GET 200"}, attempts, "and the refresh between them")
	assert.Len(t, w.spans.Started(), len(w.spans.Ended()), "each span has ended")
}

func TestNoCallIsLostWhenTheTokenIsRevoked(t *testing.T) {
	t.Parallel()
	w := newTraced(t, reauthtest.Options{})
	w.RevokeUnderWay(t, func(ctx context.Context) error { return w.get(ctx, "/orders/1") })
	counts := map[string]int{}
	for _, s := range w.spans.Ended() {
		counts[s.Name()]++
	}
	assert.Equal(t, map[string]int{"HTTP GET": 3 * world.Many, "HTTP POST": 1}, counts, "a call and its two attempts each, and one refresh")
	assert.Len(t, w.spans.Started(), len(w.spans.Ended()), "each span has ended")
}

func TestTheAPIGetsTheContextOfTheAttempt(t *testing.T) {
	t.Parallel()
	w := newTraced(t, reauthtest.Options{})
	var mu sync.Mutex
	var seen []string
	w.Handle("/orders", http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		mu.Lock()
		defer mu.Unlock()
		seen = append(seen, r.Header["Traceparent"]...)
	}))
	w.ExpireAccess()
	require.NoError(t, w.get(t.Context(), "/orders"))
	var last sdktrace.ReadOnlySpan // the call ends after its last attempt
	for _, s := range w.spans.Ended() {
		if s.Parent().IsValid() && s.Name() == "HTTP GET" {
			last = s
		}
	}
	require.NotNil(t, last)
	assert.Equal(t, []string{"00-" + last.SpanContext().TraceID().String() + "-" + last.SpanContext().SpanID().String() + "-01"}, seen)
}

func TestMetricsCountWhatIsSent(t *testing.T) {
	t.Parallel()
	w := newTraced(t, reauthtest.Options{})
	w.ExpireAccess()
	require.NoError(t, w.get(t.Context(), "/orders/1"))
	var all metricdata.ResourceMetrics
	require.NoError(t, w.reader.Collect(t.Context(), &all))
	counts := map[string]uint64{}
	for _, scope := range all.ScopeMetrics {
		for _, m := range scope.Metrics {
			if durations, ok := m.Data.(metricdata.Histogram[float64]); ok && m.Name == "http.client.request.duration" {
				for _, p := range durations.DataPoints {
					method, _ := p.Attributes.Value("http.request.method")
					status, _ := p.Attributes.Value("http.response.status_code")
					counts[fmt.Sprint(method.AsString(), " ", status.AsInt64())] += p.Count
				}
			}
		}
	}
	assert.Equal(t, map[string]uint64{"GET 401": 1, "POST 200": 1, "GET 200": 1}, counts)
}

func TestNoSpanHoldsAToken(t *testing.T) {
	t.Parallel()
	w := newTraced(t, reauthtest.Options{})
	secrets := []string{}
	for range 2 {
		tok, err := w.Transport.Token(t.Context())
		require.NoError(t, err)
		secrets = append(secrets, tok.AccessToken)
		w.ExpireAccess()
		require.NoError(t, w.get(t.Context(), "/orders/1"))
	}
	w.Revoke()
	require.ErrorIs(t, w.get(t.Context(), "/orders/1"), reauth.ErrSignInRequired)
	for _, s := range w.spans.Ended() {
		text := fmt.Sprint(s.Name(), s.Attributes(), s.Events(), s.Status())
		for _, secret := range secrets {
			assert.NotContains(t, text, secret)
		}
	}
}

// open-telemetry/opentelemetry-go-contrib#8258 is about bodies that are sent again.
func TestABodyArrivesWholeAfterARefusal(t *testing.T) {
	t.Parallel()
	data := bytes.Repeat([]byte("0123456789abcdef"), 12<<10)
	sum := sha256.Sum256(data)
	for name, body := range map[string]func() io.Reader{
		"with GetBody": func() io.Reader { return bytes.NewReader(data) },
		"a stream":     func() io.Reader { return io.MultiReader(bytes.NewReader(data)) },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newTraced(t, reauthtest.Options{RefuseEarly: true})
			w.ExpireAccess()
			resp, err := w.client.Post(w.APIURL("/orders"), "text/plain", body())
			require.NoError(t, err)
			defer resp.Body.Close()
			assert.Equal(t, hex.EncodeToString(sum[:]), resp.Header.Get("X-Body-SHA256"))
			assert.Equal(t, 1, w.Counts().APIRefused)
		})
	}
}

// open-telemetry/opentelemetry-go-contrib#1329 is about connections that could not be
// written to any more.
func TestAWebSocketOpensThroughBoth(t *testing.T) {
	t.Parallel()
	w := newTraced(t, reauthtest.Options{})
	w.Handle("/echo", http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		conn, err := websocket.Accept(rw, r, nil)
		if err != nil {
			return
		}
		defer conn.CloseNow()
		kind, text, err := conn.Read(r.Context())
		if err == nil {
			_ = conn.Write(r.Context(), kind, text)
		}
	}))
	w.ExpireAccess()
	conn, _, err := websocket.Dial(t.Context(), w.APIURL("/echo"), &websocket.DialOptions{HTTPClient: w.client})
	require.NoError(t, err)
	defer conn.CloseNow()
	require.NoError(t, conn.Write(t.Context(), websocket.MessageText, []byte("and back")))
	_, text, err := conn.Read(t.Context())
	require.NoError(t, err)
	assert.Equal(t, "and back", string(text))
	assert.Equal(t, 1, w.Counts().Refreshes)
}

package otelreauth_test

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"net/http"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.opentelemetry.io/contrib/instrumentation/net/http/otelhttp"
	"go.opentelemetry.io/otel/attribute"
	sdk "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/trace"
	"go.opentelemetry.io/otel/trace/noop"

	"github.com/reauth-go/reauth"
	"github.com/reauth-go/reauth/oauth"
	"github.com/reauth-go/reauth/otelreauth"
	"github.com/reauth-go/reauth/reauthtest"
)

// body is larger than what net/http sends at once.
var body = strings.Repeat("a line of the order\n", 5000)

// arrived checks that the server has read the whole body.
func arrived(t *testing.T, header http.Header) {
	t.Helper()
	sum := sha256.Sum256([]byte(body))
	assert.Equal(t, strconv.Itoa(len(body)), header.Get("X-Body-Length"))
	assert.Equal(t, hex.EncodeToString(sum[:]), header.Get("X-Body-SHA256"))
}

// traced returns an otelhttp.Transport, in whose spans the requests are named by what they
// are for.
func (tel *telemetry) traced(base http.RoundTripper) *otelhttp.Transport {
	return otelhttp.NewTransport(base, otelhttp.WithTracerProvider(tel.tracers), otelhttp.WithMeterProvider(tel.meters),
		otelhttp.WithSpanNameFormatter(func(_ string, r *http.Request) string { return r.Method + " " + r.URL.Path }))
}

// refusedPost sends a POST whose token has expired, on a span named "caller".
func refusedPost(t *testing.T, tel *telemetry, server *reauthtest.Server, client *http.Client) {
	t.Helper()
	server.ExpireAccess()
	ctx, span := tel.tracers.Tracer("test").Start(t.Context(), "caller")
	status, header, err := get(ctx, client, server.APIURL("/orders"), body)
	span.End()
	require.NoError(t, err)
	assert.Equal(t, http.StatusOK, status)
	arrived(t, header)
	assert.Equal(t, 1, server.Counts().Refreshes)
}

func statusOf(s sdk.ReadOnlySpan) string {
	for _, a := range s.Attributes() {
		if a.Key == "http.response.status_code" {
			return a.Value.String()
		}
	}
	return ""
}

func TestARefreshHasATraceOfItsOwn(t *testing.T) {
	tel, server := newTelemetry(t), reauthtest.NewServer(t, reauthtest.Options{})
	tr := tel.transport(server, reauth.Config{Refresher: &oauth.Refresher{
		TokenURL: server.TokenURL(), ClientID: "test", Client: &http.Client{Transport: tel.traced(server.Transport())},
	}})
	signIn(t, tr, server)
	refusedPost(t, tel, server, &http.Client{Transport: tr.Session("ann")})

	caller, refresh, request := tel.span("caller"), tel.span("reauth.refresh"), tel.span("POST /token")
	assert.False(t, refresh.Parent().IsValid())
	assert.NotEqual(t, caller.SpanContext().TraceID(), refresh.SpanContext().TraceID())
	require.Len(t, refresh.Links(), 1)
	assert.Equal(t, caller.SpanContext().SpanID(), refresh.Links()[0].SpanContext.SpanID())
	require.Len(t, caller.Links(), 1)
	assert.Equal(t, refresh.SpanContext().SpanID(), caller.Links()[0].SpanContext.SpanID())
	assert.Equal(t, refresh.SpanContext().SpanID(), request.Parent().SpanID(), "the request for the token is below it")

	assert.Equal(t, []string{"reauth.refresh.trigger=refusal"}, attributesOf(refresh.Attributes()))
	assert.Equal(t, "Unset", refresh.Status().Code.String())
	assert.Equal(t, trace.SpanKindInternal, refresh.SpanKind())
	assert.Equal(t, []string{"reauth.refresh_started", "reauth.locked", "reauth.refreshed", "reauth.waited", "reauth.replayed"}, eventsOf(caller))
	for _, e := range caller.Events()[1:] {
		require.Len(t, e.Attributes, 1, e.Name)
		assert.Equal(t, attribute.Key("reauth.took"), e.Attributes[0].Key)
		assert.Less(t, e.Attributes[0].Value.AsFloat64(), 10.0, "seconds")
	}
}

func TestUnderOtelhttpEachAttemptIsASpan(t *testing.T) {
	tel, server := newTelemetry(t), reauthtest.NewServer(t, reauthtest.Options{})
	tr := tel.transport(server, reauth.Config{Base: tel.traced(server.Transport())})
	signIn(t, tr, server)
	refusedPost(t, tel, server, &http.Client{Transport: tr.Session("ann")})

	caller, attempts := tel.span("caller"), tel.spans("POST /orders")
	require.Len(t, attempts, 2)
	assert.Equal(t, "401", statusOf(attempts[0]))
	assert.Equal(t, "200", statusOf(attempts[1]))
	for _, s := range attempts {
		assert.Equal(t, caller.SpanContext().SpanID(), s.Parent().SpanID())
		assert.Empty(t, eventsOf(s))
	}
	assert.Contains(t, eventsOf(caller), "reauth.replayed")
	assert.Empty(t, tel.spans("POST /token"))
}

func TestOverOtelhttpACallIsOneSpan(t *testing.T) {
	tel, server := newTelemetry(t), reauthtest.NewServer(t, reauthtest.Options{})
	tr := tel.transport(server, reauth.Config{})
	signIn(t, tr, server)
	refusedPost(t, tel, server, &http.Client{Transport: tel.traced(tr.Session("ann"))})

	call := tel.span("POST /orders")
	assert.Equal(t, "200", statusOf(call))
	assert.Equal(t, tel.span("caller").SpanContext().SpanID(), call.Parent().SpanID())
	assert.Contains(t, eventsOf(call), "reauth.replayed")
	assert.Empty(t, eventsOf(tel.span("caller")))
	assert.Equal(t, call.SpanContext().SpanID(), tel.span("reauth.refresh").Links()[0].SpanContext.SpanID())
}

// A body that only otelhttp's wrapper can read, a pipe, is kept and sent again too.
func TestABodyWithoutGetBodyIsReplayedUnderAndOverOtelhttp(t *testing.T) {
	for name, wrap := range map[string]struct{ under, over bool }{"under": {under: true}, "over": {over: true}, "both": {true, true}} {
		t.Run(name, func(t *testing.T) {
			tel, server := newTelemetry(t), reauthtest.NewServer(t, reauthtest.Options{})
			var cfg reauth.Config
			if wrap.under {
				cfg.Base = tel.traced(server.Transport())
			}
			tr := tel.transport(server, cfg)
			signIn(t, tr, server)
			var top http.RoundTripper = tr.Session("ann")
			if wrap.over {
				top = tel.traced(top)
			}
			server.ExpireAccess()
			req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, server.APIURL("/orders"), struct{ *strings.Reader }{strings.NewReader(body)})
			require.NoError(t, err)
			require.Nil(t, req.GetBody)
			resp, err := (&http.Client{Transport: top}).Do(req)
			require.NoError(t, err)
			require.NoError(t, resp.Body.Close())
			assert.Equal(t, http.StatusOK, resp.StatusCode)
			arrived(t, resp.Header)
			assert.Equal(t, 1, server.Counts().Refreshes)
			tel.span("reauth.refresh")
		})
	}
}

// Its error says why, and nothing has failed.
func TestAKeptRefusalIsNoError(t *testing.T) {
	tel, server := newTelemetry(t), reauthtest.NewServer(t, reauthtest.Options{})
	tr := tel.transport(server, reauth.Config{})
	signIn(t, tr, server)
	server.FailAPI(reauthtest.Failure{Status: http.StatusUnauthorized}, -1)
	ctx, span := tel.tracers.Tracer("test").Start(t.Context(), "caller")
	status, _, err := get(ctx, &http.Client{Transport: tr.Session("ann")}, server.APIURL("/orders"), "")
	span.End()
	require.NoError(t, err)
	assert.Equal(t, http.StatusUnauthorized, status)
	caller := tel.span("caller")
	require.Contains(t, eventsOf(caller), "reauth.refusal_kept")
	for _, e := range caller.Events() {
		assert.NotContains(t, strings.Join(attributesOf(e.Attributes), " "), "error.type", e.Name)
	}
	assert.Equal(t, "Unset", caller.Status().Code.String())
	assert.Equal(t, int64(1), tel.counts()["reauth.kept_refusals"])
}

func TestABackgroundRefreshOutlivesTheSpanOfItsRequest(t *testing.T) {
	tel, server := newTelemetry(t), reauthtest.NewServer(t, reauthtest.Options{AccessLifetime: time.Hour})
	tr := tel.transport(server, reauth.Config{EarlyRefresh: 45 * time.Minute})
	tok := reauth.Token(server.SignIn("ann"))
	tok.RefreshAfter = time.Now().Add(-time.Hour)
	require.NoError(t, tr.Session("ann").SignIn(t.Context(), tok))

	release := server.BlockRefresh()
	ctx, span := tel.tracers.Tracer("test").Start(t.Context(), "caller")
	status, _, err := get(ctx, &http.Client{Transport: tr.Session("ann")}, server.APIURL("/orders"), "")
	require.NoError(t, err)
	assert.Equal(t, http.StatusOK, status, "it does not wait")
	require.NoError(t, server.Await(t.Context(), func(c reauthtest.Counts) bool { return c.Refreshes >= 1 }))
	span.End()
	release()
	require.NoError(t, tr.Wait(t.Context()))

	refresh := tel.span("reauth.refresh")
	assert.True(t, refresh.EndTime().After(tel.span("caller").EndTime()))
	assert.False(t, refresh.Parent().IsValid(), "a child would be longer than its parent")
	assert.Equal(t, []string{"reauth.refresh.trigger=other"}, attributesOf(refresh.Attributes()))
	require.Len(t, refresh.Links(), 1)
}

func TestARefreshWithoutACallersSpanHasNoLink(t *testing.T) {
	tel, server := newTelemetry(t), reauthtest.NewServer(t, reauthtest.Options{})
	tr := tel.transport(server, reauth.Config{})
	signIn(t, tr, server)
	server.ExpireAccess()
	_, _, err := get(t.Context(), &http.Client{Transport: tr.Session("ann")}, server.APIURL("/orders"), "")
	require.NoError(t, err)
	assert.Empty(t, tel.span("reauth.refresh").Links())
}

func TestWithoutTracingTheCallersSpanGetsNoLink(t *testing.T) {
	tel, server := newTelemetry(t), reauthtest.NewServer(t, reauthtest.Options{})
	tr := tel.transport(server, reauth.Config{}, otelreauth.WithTracerProvider(noop.NewTracerProvider()))
	signIn(t, tr, server)
	refusedPost(t, tel, server, &http.Client{Transport: tr.Session("ann")})
	assert.Empty(t, tel.spans("reauth.refresh"))
	assert.Empty(t, tel.span("caller").Links(), "not even to itself")
	assert.Contains(t, eventsOf(tel.span("caller")), "reauth.replayed")
}

func TestSpanAttributesOfTheProgramsOwn(t *testing.T) {
	tel, server := newTelemetry(t), reauthtest.NewServer(t, reauthtest.Options{})
	name := func(session string) []attribute.KeyValue {
		return []attribute.KeyValue{attribute.String("user", session)}
	}
	tr := tel.transport(server, reauth.Config{}, otelreauth.WithSpanAttributes(name))
	signIn(t, tr, server)
	refusedPost(t, tel, server, &http.Client{Transport: tr.Session("ann")})
	assert.Equal(t, []string{"user=ann", "reauth.refresh.trigger=refusal"}, attributesOf(tel.span("reauth.refresh").Attributes()))
	for _, e := range tel.span("caller").Events() {
		assert.Contains(t, attributesOf(e.Attributes), "user=ann", e.Name)
	}
	for series := range tel.counts() {
		assert.NotContains(t, series, "ann")
	}
}

// A sign-out in the middle of a refresh makes that void, and its events are not told.
func TestTheSpanOfAVoidRefreshEnds(t *testing.T) {
	tel, server := newTelemetry(t), reauthtest.NewServer(t, reauthtest.Options{})
	tr := tel.transport(server, reauth.Config{})
	signIn(t, tr, server)
	server.ExpireAccess()
	release := server.BlockRefresh()
	done := make(chan error)
	go func() {
		_, _, err := get(context.WithoutCancel(t.Context()), &http.Client{Transport: tr.Session("ann")}, server.APIURL("/orders"), "")
		done <- err
	}()
	require.NoError(t, server.Await(t.Context(), func(c reauthtest.Counts) bool { return c.Refreshes >= 1 }))
	out := make(chan error)
	go func() { out <- tr.Session("ann").SignOut(context.WithoutCancel(t.Context())) }()
	require.ErrorIs(t, <-done, reauth.ErrSignInRequired)
	release()
	require.NoError(t, <-out)
	require.NoError(t, tr.Wait(t.Context()))
	tel.span("reauth.refresh")
	assert.Equal(t, map[string]int64{
		"reauth.sign_ins": 1, "reauth.sign_outs": 1, "reauth.refresh.wait.duration": 1,
	}, tel.counts())
}

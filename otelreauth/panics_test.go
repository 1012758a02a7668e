package otelreauth_test

import (
	"context"
	"net/http"
	"sync"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.opentelemetry.io/otel"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/sdk/trace"

	"github.com/reauth-go/reauth"
	"github.com/reauth-go/reauth/otelreauth"
	"github.com/reauth-go/reauth/reauthtest"
)

// badProcessor panics at the start or the end of a span.
type badProcessor struct {
	*telemetry
	atEnd bool
}

func (p badProcessor) OnStart(context.Context, trace.ReadWriteSpan) {
	if !p.atEnd {
		panic("SECRET")
	}
}

func (p badProcessor) OnEnd(trace.ReadOnlySpan) { panic("SECRET") }

// A refresh token that was spent is lost if the token after it is.
func TestAPanicOfWhatReportsCostsNoTokenAndNoRequest(t *testing.T) {
	var mu sync.Mutex
	var told []string
	defer otel.SetErrorHandler(otel.ErrorHandlerFunc(func(error) {}))
	otel.SetErrorHandler(otel.ErrorHandlerFunc(func(err error) {
		mu.Lock()
		defer mu.Unlock()
		told = append(told, err.Error())
	}))
	panics := func(string) []attribute.KeyValue { panic("SECRET") }
	for name, in := range map[string]struct {
		processor *badProcessor
		opts      []otelreauth.Option
	}{
		"at the start of a span":  {processor: &badProcessor{}},
		"at the end of a span":    {processor: &badProcessor{atEnd: true}},
		"in WithMetricAttributes": {opts: []otelreauth.Option{otelreauth.WithMetricAttributes(panics)}},
		"in WithSpanAttributes":   {opts: []otelreauth.Option{otelreauth.WithSpanAttributes(panics)}},
	} {
		t.Run(name, func(t *testing.T) {
			told = nil
			tel, server := newTelemetry(t), reauthtest.NewServer(t, reauthtest.Options{})
			ctx, caller := tel.tracers.Tracer("test").Start(t.Context(), "caller")
			defer caller.End()
			if in.processor != nil {
				in.processor.telemetry = tel
				tel.tracers = trace.NewTracerProvider(trace.WithSpanProcessor(in.processor))
			}
			heard := 0
			tr := tel.transport(server, reauth.Config{OnEvent: func(_ context.Context, e reauth.Event) {
				if e.Kind == reauth.EventRefreshed {
					heard++
				}
			}}, in.opts...)
			signIn(t, tr, server)
			for n := 1; n <= 2; n++ {
				server.ExpireAccess()
				status, _, err := get(ctx, &http.Client{Transport: tr.Session("ann")}, server.APIURL("/orders"), "")
				require.NoError(t, err)
				assert.Equal(t, http.StatusOK, status)
				assert.Equal(t, n, heard, "the program's own OnEvent")
			}
			require.NoError(t, tr.Wait(t.Context()))
			assert.NotEmpty(t, told)
			for _, text := range told {
				assert.Equal(t, "otelreauth: a meter, a tracer, a span processor or the function of an option panicked", text)
			}
		})
	}
}

// Such a measurement is missing, but none is taken back that was never made.
func TestAPendingSaveThatCouldNotBeCountedIsNotTakenBack(t *testing.T) {
	otel.SetErrorHandler(otel.ErrorHandlerFunc(func(error) {}))
	tel, bad := newTelemetry(t), true
	onEvent := tel.instrument(reauth.Config{}, otelreauth.WithMetricAttributes(func(string) []attribute.KeyValue {
		if bad {
			panic("SECRET")
		}
		return nil
	})).OnEvent
	onEvent(t.Context(), reauth.Event{Kind: reauth.EventSaveFailed, Session: "ann"})
	bad = false
	onEvent(t.Context(), reauth.Event{Kind: reauth.EventSavedLate, Session: "ann"})
	assert.Zero(t, tel.counts()["reauth.pending_saves"])
}

// Package otelreauth reports to OpenTelemetry what a [reauth.Transport] does: metrics of
// refreshes, waits, replays, locks, pending saves and sign-ins, an event on the caller's span
// for each of them, and a span for each refresh.
//
//	cfg, err := otelreauth.Instrument(reauth.Config{...})
//	tr, err := reauth.New(cfg)
//
// A request with a fresh token reports nothing, and costs nothing more.
//
// # Metrics
//
// Their names start with "reauth.", and their attributes have few values, whatever the number
// of users. reauth.refresh.trigger is "refusal" if an API refused the token, and otherwise
// "other". error.type is the first of these that applies:
//
//   - "not_asked", for a refresh that failed before the Refresher was called, because the
//     store failed or the session could not be locked
//   - the error code of the token server, if an RFC or OpenID Connect defines it, such as
//     "invalid_grant"
//   - the status of the token server's response, such as "503"
//   - "timeout", if there was no response in time
//   - "no_response", if the request failed without a response otherwise
//   - "sign_in_required", if the session has no token
//   - "panic", of the Refresher; in spans alone
//   - "_OTHER"
//
// No session's name is among them, unless [WithMetricAttributes] adds it. The README lists
// the metrics.
//
// # Spans
//
// A refresh is shared by all requests that wait for it, and may go on after the one that
// caused it. So it has a trace of its own, whose root is the span reauth.refresh. That span and
// the span of the request that caused the refresh link to each other. The requests of the
// Refresher are below it, if their client makes spans. The function of an Update gets no span.
//
// What happens to a request, or because of it, is an event on its span, such as
// reauth.waited and reauth.replayed. The SDK drops events of a span that has ended, so a
// background refresh is seen in its own span alone.
//
// Neither metrics nor spans show a token, the name of a session, a URL or the text of an
// error.
//
// # Together with otelhttp
//
// An otelhttp.Transport may be below the reauth.Transport, as Config.Base: then each attempt
// has a client span. Or it may be above: then a call has one client span, whatever the number
// of attempts, and the events are on that.
package otelreauth

import (
	"context"
	"errors"
	"reflect"

	"go.opentelemetry.io/otel"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/metric"
	"go.opentelemetry.io/otel/trace"

	"github.com/reauth-go/reauth"
)

// scope names this package to OpenTelemetry.
const scope = "github.com/reauth-go/reauth/otelreauth"

// Instrument returns cfg so that a Transport made with it reports to OpenTelemetry. It sets
// OnEvent, and calls that of cfg too. It puts a span around the Refresher, whose optional
// methods keep their effect: in particular, the Refresher of cfg stays the Credential where it
// is one and cfg names no other.
//
// Call it last, because an OnEvent or Refresher that is set afterwards replaces its own. Call
// it once for each Transport, and after the providers are set, if they are the global ones.
// The error is that of a MeterProvider that can't make an instrument, or says that cfg is
// instrumented already, so that everything would count twice.
//
// A panic of a meter, a tracer, a span processor or the function of an option reaches neither
// a request nor a refresh. [otel.Handle] is told of it, without its value.
func Instrument(cfg reauth.Config, opts ...Option) (reauth.Config, error) {
	switch cfg.Refresher.(type) {
	case *refresher, *revoker:
		return reauth.Config{}, errors.New("otelreauth: the Config is instrumented already")
	}
	set := settings{meters: otel.GetMeterProvider(), tracers: otel.GetTracerProvider()}
	for _, opt := range opts {
		opt(&set)
	}
	m, err := newMetrics(set)
	if err != nil {
		return reauth.Config{}, err
	}
	s := &spans{tracer: set.tracers.Tracer(scope), attributes: set.ofSpans}

	next := cfg.OnEvent
	cfg.OnEvent = func(ctx context.Context, e reauth.Event) {
		contained(func() { m.count(ctx, e) })
		contained(func() { s.mark(ctx, e) })
		if next != nil {
			next(ctx, e)
		}
	}
	if cfg.Refresher == nil || isNil(cfg.Refresher) {
		return cfg, nil // New says so
	}
	r := &refresher{Refresher: cfg.Refresher, spans: s}
	if c, ok := cfg.Refresher.(reauth.Credential); ok && cfg.Credential == nil {
		cfg.Credential = c
	}
	r.isCredential = same(cfg.Refresher, cfg.Credential)
	cfg.Refresher = r
	if v, ok := r.Refresher.(reauth.Revoker); ok {
		cfg.Refresher = &revoker{r, v}
	}
	return cfg, nil
}

// An Option is for [Instrument].
type Option func(*settings)

type settings struct {
	meters             metric.MeterProvider
	tracers            trace.TracerProvider
	ofMetrics, ofSpans func(session string) []attribute.KeyValue
}

// WithMeterProvider sets the provider of the metrics, in place of the global one, which
// stays if p is nil.
func WithMeterProvider(p metric.MeterProvider) Option {
	return func(s *settings) {
		if p != nil {
			s.meters = p
		}
	}
}

// WithTracerProvider sets the provider of the spans of refreshes, in place of the global one,
// which stays if p is nil. Events go to the span that the context of the request has,
// whatever its provider.
func WithTracerProvider(p trace.TracerProvider) Option {
	return func(s *settings) {
		if p != nil {
			s.tracers = p
		}
	}
}

// WithMetricAttributes adds to each measurement what f returns for the name of the session,
// for example its tenant. f must always return the same for a session. Each combination
// of values is a series of its own for every metric, and is never forgotten: a name of which
// there are as many as users does not belong here. Attributes that are invalid, or have an
// empty text as their value, are left out.
func WithMetricAttributes(f func(session string) []attribute.KeyValue) Option {
	return func(s *settings) { s.ofMetrics = f }
}

// WithSpanAttributes adds to the spans of refreshes, and to events on other spans, what f
// returns for the name of the session. Unlike those of metrics, these attributes may have any
// number of values, and so may be the name itself.
func WithSpanAttributes(f func(session string) []attribute.KeyValue) Option {
	return func(s *settings) { s.ofSpans = f }
}

// attributesOf returns the valid attributes that f returns, which may be nil, followed by
// more.
func attributesOf(f func(string) []attribute.KeyValue, session string, more ...attribute.KeyValue) []attribute.KeyValue {
	if f == nil {
		return more
	}
	var all []attribute.KeyValue
	for _, a := range f(session) {
		// To Prometheus an empty value is none, and two series would become one.
		if a.Valid() && (a.Value.Type() != attribute.STRING || a.Value.AsString() != "") {
			all = append(all, a)
		}
	}
	return append(all, more...)
}

// contained calls what reports. A panic of that must not cost a token that has just been
// brought. Its value may hold a secret.
func contained(report func()) {
	defer func() {
		if recover() != nil {
			otel.Handle(errors.New("otelreauth: a meter, a tracer, a span processor or the function of an option panicked"))
		}
	}()
	report()
}

func isNil(v any) bool {
	r := reflect.ValueOf(v)
	return (r.Kind() == reflect.Pointer || r.Kind() == reflect.Func) && r.IsNil()
}

// same reports whether a and b are one value.
func same(a, b any) bool {
	return b != nil && reflect.TypeOf(a) == reflect.TypeOf(b) && reflect.ValueOf(a).Comparable() && a == b
}

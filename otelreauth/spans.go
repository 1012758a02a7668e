package otelreauth

import (
	"context"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	semconv "go.opentelemetry.io/otel/semconv/v1.43.0"
	"go.opentelemetry.io/otel/trace"
	"go.opentelemetry.io/otel/trace/noop"

	"github.com/reauth-go/reauth"
)

// took is the duration, in seconds, of what an event ends.
const took = attribute.Key("reauth.took")

// spans makes spans of refreshes, and events on the spans of requests.
type spans struct {
	tracer     trace.Tracer
	attributes func(session string) []attribute.KeyValue
}

// mark adds an event to the span of ctx.
func (s *spans) mark(ctx context.Context, e reauth.Event) {
	span := trace.SpanFromContext(ctx)
	if !span.IsRecording() {
		return
	}
	var attrs []attribute.KeyValue
	if e.Took != 0 {
		attrs = append(attrs, took.Float64(e.Took.Seconds()))
	}
	if e.Err != nil && e.Kind != reauth.EventRefusalKept { // whose error is an explanation
		attrs = append(attrs, semconv.ErrorTypeKey.String(failureOf(e)))
	}
	span.AddEvent("reauth."+e.Kind.String(), trace.WithAttributes(attributesOf(s.attributes, e.Session, attrs...)...))
}

// start starts the span of a refresh that the request with ctx has caused.
func (s *spans) start(ctx context.Context) (below context.Context, span trace.Span) {
	below, span = ctx, noop.Span{}
	contained(func() {
		caller := trace.SpanFromContext(ctx)
		below, span = s.tracer.Start(ctx, "reauth.refresh",
			trace.WithNewRoot(),
			trace.WithLinks(trace.LinkFromContext(ctx)), // the SDK drops the link if there is no span
			trace.WithSpanKind(trace.SpanKindInternal),
			trace.WithAttributes(attributesOf(s.attributes, reauth.SessionFromContext(ctx), triggerOf(ctx))...))
		if own := span.SpanContext(); own.IsValid() && !own.Equal(caller.SpanContext()) {
			caller.AddLink(trace.Link{SpanContext: own})
		}
	})
	return below, span
}

// end ends the span of a refresh. kind is its error.type, or empty.
func end(span trace.Span, kind string) {
	contained(func() {
		if kind != "" {
			span.SetAttributes(semconv.ErrorTypeKey.String(kind))
			span.SetStatus(codes.Error, "")
		}
		span.End()
	})
}

// A refresher puts a span around each call of another. It has the optional methods of a
// Refresher.
type refresher struct {
	reauth.Refresher
	spans        *spans
	isCredential bool
}

func (r *refresher) Refresh(ctx context.Context, old reauth.Token) (tok reauth.Token, err error) {
	ctx, span := r.spans.start(ctx)
	kind := panicked
	// End is not deferred itself: it would record the value of a panic, which may hold a
	// secret.
	defer func() { end(span, kind) }()
	tok, err = r.Refresher.Refresh(ctx, old)
	if kind = ""; err != nil {
		kind = errorType(err)
	}
	return tok, err
}

// Validate leaves it to New to validate the credential, so that no fault is reported twice.
func (r *refresher) Validate() error {
	if v, ok := r.Refresher.(interface{ Validate() error }); ok && !r.isCredential {
		return v.Validate()
	}
	return nil
}

// NeedsToken reports false, as if there were no such method, if the other has none.
func (r *refresher) NeedsToken() bool {
	n, ok := r.Refresher.(interface{ NeedsToken() bool })
	return ok && n.NeedsToken()
}

// A revoker is a refresher whose other is a Revoker.
type revoker struct {
	*refresher
	reauth.Revoker
}

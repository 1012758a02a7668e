package otelreauth

import (
	"context"
	"errors"
	"fmt"
	"sync"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/metric"
	semconv "go.opentelemetry.io/otel/semconv/v1.43.0"

	"github.com/reauth-go/reauth"
)

// trigger says why there was a refresh.
const trigger = attribute.Key("reauth.refresh.trigger")

const (
	byRefusal = "refusal"
	byOther   = "other"
)

// triggerOf returns the trigger of the refresh whose context ctx is.
func triggerOf(ctx context.Context) attribute.KeyValue {
	if _, refused := reauth.RefusalFromContext(ctx); refused {
		return trigger.String(byRefusal)
	}
	return trigger.String(byOther)
}

// The buckets of durations are in seconds. The first are those of OpenTelemetry's HTTP
// metrics, and one at the default of Config.RefreshTimeout.
var (
	durations  = []float64{0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.25, 0.5, 0.75, 1, 2.5, 5, 7.5, 10, 30}
	saveDelays = []float64{1, 5, 15, 60, 300, 900, 3600, 4 * 3600, 24 * 3600}
)

// metrics counts events.
type metrics struct {
	attributes func(session string) []attribute.KeyValue

	refreshes       metric.Int64Counter
	refreshDuration metric.Float64Histogram
	waits           metric.Float64Histogram
	lockWaits       metric.Float64Histogram
	replays         metric.Float64Histogram
	adoptions       metric.Int64Counter
	keptRefusals    metric.Int64Counter
	pendingSaves    metric.Int64UpDownCounter
	lateSaves       metric.Float64Histogram
	signIns         metric.Int64Counter
	signOuts        metric.Int64Counter
	signInsRequired metric.Int64Counter

	mu      sync.Mutex
	pending map[string]struct{} // the sessions with a pending save
}

func newMetrics(set settings) (*metrics, error) {
	meter := set.meters.Meter(scope)
	var faults []error
	counter := func(name, unit, description string) metric.Int64Counter {
		c, err := meter.Int64Counter(name, metric.WithUnit(unit), metric.WithDescription(description))
		faults = append(faults, err)
		return c
	}
	histogram := func(name, description string, buckets []float64) metric.Float64Histogram {
		h, err := meter.Float64Histogram(name, metric.WithUnit("s"), metric.WithDescription(description), metric.WithExplicitBucketBoundaries(buckets...))
		faults = append(faults, err)
		return h
	}
	m := &metrics{
		attributes: set.ofMetrics,
		pending:    make(map[string]struct{}),

		refreshes:       counter("reauth.refreshes", "{refresh}", "Refreshes that ended, including those that failed before the token server was asked."),
		refreshDuration: histogram("reauth.refresh.duration", "Duration of refreshes from the call of the Refresher on.", durations),
		waits:           histogram("reauth.refresh.wait.duration", "Time that a request or call waited for a refresh.", durations),
		lockWaits:       histogram("reauth.lock.wait.duration", "Time that a refresh waited until its session was locked in the store.", durations),
		replays:         histogram("reauth.replay.duration", "Time from the refusal of a request to the response to its second attempt.", durations),
		adoptions:       counter("reauth.adoptions", "{adoption}", "Tokens adopted that another process had stored."),
		keptRefusals:    counter("reauth.kept_refusals", "{refusal}", "Refusals handed to the caller because another token was not expected to help, or did not."),
		lateSaves:       histogram("reauth.pending_save.duration", "Time from the first failure of a save until it was done.", saveDelays),
		signIns:         counter("reauth.sign_ins", "{sign_in}", "Sign-ins."),
		signOuts:        counter("reauth.sign_outs", "{sign_out}", "Sign-outs."),
		signInsRequired: counter("reauth.sign_ins_required", "{sign_in}", "Sessions that lost their token for good, so that their users must sign in again."),
	}
	var err error
	m.pendingSaves, err = meter.Int64UpDownCounter("reauth.pending_saves", metric.WithUnit("{save}"),
		metric.WithDescription("Tokens in use that the store has not accepted yet. Ending the process would lose them."))
	if err := errors.Join(append(faults, err)...); err != nil {
		return nil, fmt.Errorf("otelreauth: %w", err)
	}
	if m.attributes == nil {
		m.zero()
	}
	return m, nil
}

// zero makes the series of the counters exist before the first event. A series that begins
// with 1 shows no increase to Prometheus, so an alert would miss the first sign-in that is
// required. A failure whose error.type is another one begins its series itself.
func (m *metrics) zero() {
	ctx := context.Background()
	for _, by := range []string{byRefusal, byOther} {
		m.refreshes.Add(ctx, 0, metric.WithAttributes(trigger.String(by)))
		for _, kind := range []string{notAsked, "invalid_grant", timedOut, noResponse} {
			m.refreshes.Add(ctx, 0, metric.WithAttributes(trigger.String(by), semconv.ErrorTypeKey.String(kind)))
		}
	}
	for _, c := range []metric.Int64Counter{m.adoptions, m.keptRefusals, m.signIns, m.signOuts, m.signInsRequired} {
		c.Add(ctx, 0)
	}
	m.pendingSaves.Add(ctx, 0)
}

// count records an event. An event of which it knows nothing is none of its business.
func (m *metrics) count(ctx context.Context, e reauth.Event) {
	with := func(more ...attribute.KeyValue) metric.MeasurementOption {
		return metric.WithAttributes(attributesOf(m.attributes, e.Session, more...)...)
	}
	took := e.Took.Seconds()
	switch e.Kind {
	case reauth.EventRefreshed:
		m.refreshes.Add(ctx, 1, with(triggerOf(ctx)))
		m.refreshDuration.Record(ctx, took, with(triggerOf(ctx)))
	case reauth.EventRefreshFailed:
		kind := semconv.ErrorTypeKey.String(failureOf(e))
		m.refreshes.Add(ctx, 1, with(triggerOf(ctx), kind))
		if e.Took != 0 {
			m.refreshDuration.Record(ctx, took, with(triggerOf(ctx), kind))
		}
	case reauth.EventWaited:
		m.waits.Record(ctx, took, with())
	case reauth.EventLocked:
		m.lockWaits.Record(ctx, took, with())
	case reauth.EventReplayed:
		m.replays.Record(ctx, took, with())
	case reauth.EventAdopted:
		m.adoptions.Add(ctx, 1, with())
	case reauth.EventRefusalKept:
		m.keptRefusals.Add(ctx, 1, with())
	case reauth.EventSavedLate:
		m.lateSaves.Record(ctx, took, with())
	case reauth.EventSignedIn:
		m.signIns.Add(ctx, 1, with())
	case reauth.EventSignedOut:
		if e.Err == nil {
			m.signOuts.Add(ctx, 1, with())
		} else {
			m.signOuts.Add(ctx, 1, with(semconv.ErrorTypeKey.String(errorType(e.Err))))
		}
	case reauth.EventSignInRequired:
		m.signInsRequired.Add(ctx, 1, with())
	}
	m.trackPending(ctx, e, with)
}

// trackPending keeps the number of pending saves. A save that is pending is done late, or
// superseded by a later token or by a sign-out.
func (m *metrics) trackPending(ctx context.Context, e reauth.Event, with func(...attribute.KeyValue) metric.MeasurementOption) {
	m.mu.Lock()
	defer m.mu.Unlock()
	_, pending := m.pending[e.Session]
	switch e.Kind {
	case reauth.EventSaveFailed:
		if !pending {
			m.pendingSaves.Add(ctx, 1, with())
			m.pending[e.Session] = struct{}{}
		}
	case reauth.EventSavedLate, reauth.EventRefreshed, reauth.EventAdopted, reauth.EventSignedIn, reauth.EventSignedOut, reauth.EventSignInRequired:
		if pending {
			m.pendingSaves.Add(ctx, -1, with())
			delete(m.pending, e.Session)
		}
	}
}

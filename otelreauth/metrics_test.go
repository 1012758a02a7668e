package otelreauth_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/metric"
	"go.opentelemetry.io/otel/metric/noop"
	"go.opentelemetry.io/otel/sdk/metric/metricdata"

	"github.com/reauth-go/reauth"
	"github.com/reauth-go/reauth/otelreauth"
	"github.com/reauth-go/reauth/reauthtest"
)

func TestARevocationInMidFlightIsOneRefreshAndTwentyReplays(t *testing.T) {
	tel, server := newTelemetry(t), reauthtest.NewServer(t, reauthtest.Options{})
	tr := tel.transport(server, reauth.Config{})
	signIn(t, tr, server)
	client := &http.Client{Transport: tr.Session("ann")}
	answered := revokeInMidFlight(t, server, 20, func() int {
		status, _, _ := get(t.Context(), client, server.APIURL("/orders"), "")
		return status
	})
	assert.Equal(t, 20, answered)
	assert.Equal(t, 1, server.Counts().Refreshes)

	counts := tel.counts()
	assert.LessOrEqual(t, counts["reauth.refresh.wait.duration"], int64(20))
	assert.Positive(t, counts["reauth.refresh.wait.duration"])
	delete(counts, "reauth.refresh.wait.duration") // some come when the refresh is done
	assert.Equal(t, map[string]int64{
		"reauth.sign_ins": 1,
		"reauth.refreshes{reauth.refresh.trigger=refusal}":        1,
		"reauth.refresh.duration{reauth.refresh.trigger=refusal}": 1,
		"reauth.lock.wait.duration":                               1,
		"reauth.replay.duration":                                  20,
	}, counts)
}

func TestEachEventIsCounted(t *testing.T) {
	failed := &reauth.RefreshError{StatusCode: 503, Err: errors.New("it failed")}
	for kind, want := range map[reauth.EventKind][]string{
		reauth.EventRefreshStarted: nil,
		reauth.EventRefreshed:      {"reauth.refreshes{reauth.refresh.trigger=other}", "reauth.refresh.duration{reauth.refresh.trigger=other}"},
		reauth.EventRefreshFailed:  {"reauth.refreshes{error.type=503,reauth.refresh.trigger=other}", "reauth.refresh.duration{error.type=503,reauth.refresh.trigger=other}"},
		reauth.EventAdopted:        {"reauth.adoptions"},
		reauth.EventReplayed:       {"reauth.replay.duration"},
		reauth.EventWaited:         {"reauth.refresh.wait.duration"},
		reauth.EventRefusalKept:    {"reauth.kept_refusals"},
		reauth.EventSaveFailed:     {"reauth.pending_saves"},
		reauth.EventSavedLate:      {"reauth.pending_save.duration"},
		reauth.EventLocked:         {"reauth.lock.wait.duration"},
		reauth.EventSignedIn:       {"reauth.sign_ins"},
		reauth.EventSignedOut:      {"reauth.sign_outs{error.type=503}"},
		reauth.EventSignInRequired: {"reauth.sign_ins_required"},
		0:                          nil,
		99:                         nil,
	} {
		t.Run(kind.String(), func(t *testing.T) {
			tel := newTelemetry(t)
			tel.instrument(reauth.Config{}).OnEvent(t.Context(), reauth.Event{Kind: kind, Session: "ann", Took: time.Second, Err: failed})
			counts := make(map[string]int64)
			for _, series := range want {
				counts[series] = 1
			}
			assert.Equal(t, counts, tel.counts())
		})
	}
}

func TestDurationsAreSeconds(t *testing.T) {
	tel := newTelemetry(t)
	onEvent := tel.instrument(reauth.Config{}).OnEvent
	for _, kind := range []reauth.EventKind{reauth.EventRefreshed, reauth.EventReplayed, reauth.EventWaited, reauth.EventLocked, reauth.EventSavedLate} {
		onEvent(t.Context(), reauth.Event{Kind: kind, Took: 1500 * time.Millisecond})
	}
	n := 0
	for _, m := range tel.collect() {
		if h, ok := m.Data.(metricdata.Histogram[float64]); ok {
			n++
			assert.Equal(t, "s", m.Unit, m.Name)
			require.Len(t, h.DataPoints, 1, m.Name)
			assert.InDelta(t, 1.5, h.DataPoints[0].Sum, 0, m.Name)
			first, last := 0.005, 30.0
			if m.Name == "reauth.pending_save.duration" {
				first, last = 1, (24 * time.Hour).Seconds()
			}
			bounds := h.DataPoints[0].Bounds
			assert.Equal(t, []float64{first, last}, []float64{bounds[0], bounds[len(bounds)-1]}, m.Name)
		}
	}
	assert.Equal(t, 5, n)
}

// The rates of a series that begins with 1 miss its first event.
func TestCountersBeginWithZero(t *testing.T) {
	tel := newTelemetry(t)
	tel.instrument(reauth.Config{})
	found := make(map[string]int)
	for _, m := range tel.collect() {
		for _, p := range m.Data.(metricdata.Sum[int64]).DataPoints {
			assert.Zero(t, p.Value, m.Name)
			found[m.Name]++
		}
	}
	assert.Equal(t, map[string]int{
		"reauth.refreshes": 10, "reauth.adoptions": 1, "reauth.kept_refusals": 1, "reauth.pending_saves": 1,
		"reauth.sign_ins": 1, "reauth.sign_outs": 1, "reauth.sign_ins_required": 1,
	}, found)
}

func TestAWaitThatItsCallerGivesUpIsCounted(t *testing.T) {
	tel, server := newTelemetry(t), reauthtest.NewServer(t, reauthtest.Options{})
	tr := tel.transport(server, reauth.Config{})
	signIn(t, tr, server)
	server.ExpireAccess()
	release := server.BlockRefresh()
	ctx, cancel := context.WithCancel(t.Context())
	go func() {
		_ = server.Await(t.Context(), func(c reauthtest.Counts) bool { return c.Refreshes >= 1 })
		cancel()
	}()
	_, _, err := get(ctx, &http.Client{Transport: tr.Session("ann")}, server.APIURL("/orders"), "")
	require.ErrorIs(t, err, context.Canceled)
	assert.Equal(t, int64(1), tel.counts()["reauth.refresh.wait.duration"])
	release()
	require.NoError(t, tr.Wait(t.Context()))
	assert.Equal(t, int64(1), tel.counts()["reauth.refreshes{reauth.refresh.trigger=refusal}"])
}

func TestAPendingSaveIsSeenUntilItIsDone(t *testing.T) {
	tel, server := newTelemetry(t), reauthtest.NewServer(t, reauthtest.Options{})
	store := &fullStore{}
	tr := tel.transport(server, reauth.Config{Store: store, RefreshPause: time.Hour})
	signIn(t, tr, server)
	server.ExpireAccess()
	store.isFull.Store(true)
	status, _, err := get(t.Context(), &http.Client{Transport: tr.Session("ann")}, server.APIURL("/orders"), "")
	require.NoError(t, err)
	assert.Equal(t, http.StatusOK, status)
	assert.Equal(t, int64(1), tel.counts()["reauth.pending_saves"])
	assert.Zero(t, tel.counts()["reauth.pending_save.duration"])

	store.isFull.Store(false)
	require.NoError(t, tr.Wait(t.Context()))
	assert.Zero(t, tel.counts()["reauth.pending_saves"])
	assert.Equal(t, int64(1), tel.counts()["reauth.pending_save.duration"])
}

// A save that is pending is reported every quarter of an hour.
func TestAPendingSaveCountsOnce(t *testing.T) {
	for _, over := range []reauth.EventKind{
		reauth.EventSavedLate, reauth.EventRefreshed, reauth.EventAdopted, reauth.EventSignedIn, reauth.EventSignedOut, reauth.EventSignInRequired,
	} {
		tel := newTelemetry(t)
		onEvent := tel.instrument(reauth.Config{}).OnEvent
		onEvent(t.Context(), reauth.Event{Kind: over, Session: "ann"})
		assert.Zero(t, tel.counts()["reauth.pending_saves"], over)
		for range 3 {
			onEvent(t.Context(), reauth.Event{Kind: reauth.EventSaveFailed, Session: "ann", Err: errors.New("full")})
		}
		onEvent(t.Context(), reauth.Event{Kind: reauth.EventSaveFailed, Session: "bob", Err: errors.New("full")})
		assert.Equal(t, int64(2), tel.counts()["reauth.pending_saves"], over)
		for range 2 {
			onEvent(t.Context(), reauth.Event{Kind: over, Session: "ann"})
		}
		assert.Equal(t, int64(1), tel.counts()["reauth.pending_saves"], over)
	}
}

func TestAttributesOfTheProgramsOwn(t *testing.T) {
	tel := newTelemetry(t)
	tenant := func(session string) []attribute.KeyValue {
		if session == "nobody" {
			return []attribute.KeyValue{attribute.String("tenant", ""), {}, attribute.Int("", 1)}
		}
		return []attribute.KeyValue{attribute.String("tenant", "t-"+session), attribute.String("error.type", "mine")}
	}
	onEvent := tel.instrument(reauth.Config{}, otelreauth.WithMetricAttributes(tenant)).OnEvent
	for _, session := range []string{"ann", "nobody"} {
		onEvent(t.Context(), reauth.Event{Kind: reauth.EventAdopted, Session: session})
		onEvent(t.Context(), reauth.Event{Kind: reauth.EventRefreshFailed, Session: session, Err: errors.New("the store is away")})
	}
	assert.Equal(t, map[string]int64{
		"reauth.adoptions{error.type=mine,tenant=t-ann}": 1,
		"reauth.adoptions": 1,
		"reauth.refreshes{error.type=not_asked,reauth.refresh.trigger=other,tenant=t-ann}": 1,
		"reauth.refreshes{error.type=not_asked,reauth.refresh.trigger=other}":              1,
	}, tel.counts(), "the attributes of this module can't be replaced, and empty ones are left out")
}

func TestTransportsOfOneProviderShareSeriesUnlessAttributesTellThemApart(t *testing.T) {
	tel := newTelemetry(t)
	of := func(api string) otelreauth.Option {
		return otelreauth.WithMetricAttributes(func(string) []attribute.KeyValue {
			return []attribute.KeyValue{attribute.String("api", api)}
		})
	}
	for _, opts := range [][]otelreauth.Option{nil, nil, {of("orders")}, {of("payments")}} {
		tel.instrument(reauth.Config{}, opts...).OnEvent(t.Context(), reauth.Event{Kind: reauth.EventAdopted})
	}
	assert.Equal(t, map[string]int64{
		"reauth.adoptions":               2,
		"reauth.adoptions{api=orders}":   1,
		"reauth.adoptions{api=payments}": 1,
	}, tel.counts())
}

// series counts the series of each metric.
func series(metrics []metricdata.Metrics) map[string]int {
	found := make(map[string]int)
	for _, m := range metrics {
		switch data := m.Data.(type) {
		case metricdata.Sum[int64]:
			found[m.Name] = len(data.DataPoints)
		case metricdata.Histogram[float64]:
			found[m.Name] = len(data.DataPoints)
		}
	}
	return found
}

func TestNoAttributeGrowsWithUsers(t *testing.T) {
	after := func(users int) map[string]int {
		tel, server := newTelemetry(t), reauthtest.NewPipeServer(t, reauthtest.Options{})
		tr := tel.transport(server, reauth.Config{Store: new(reauth.MemoryStore)})
		for i := range users {
			user := fmt.Sprintf("user-%d", i)
			session := tr.Session(user)
			client := &http.Client{Transport: session}
			require.NoError(t, session.SignIn(t.Context(), reauth.Token(server.SignIn(user))))
			server.ExpireAccess(user)
			status, _, err := get(t.Context(), client, server.APIURL("/of/"+user), "")
			require.NoError(t, err)
			require.Equal(t, http.StatusOK, status)
			if i%2 == 0 {
				require.NoError(t, session.SignOut(t.Context()))
				continue
			}
			server.Revoke(user)
			_, _, err = get(t.Context(), client, server.APIURL("/of/"+user), "")
			require.ErrorIs(t, err, reauth.ErrSignInRequired)
		}
		assert.Equal(t, int64(users), tel.counts()["reauth.refreshes{reauth.refresh.trigger=refusal}"])
		return series(tel.collect())
	}
	assert.Equal(t, after(2), after(1000))
}

// The answers of a token server are not under this program's control.
func TestNoAttributeGrowsWithWhatATokenServerAnswers(t *testing.T) {
	tel := newTelemetry(t)
	onEvent := tel.instrument(reauth.Config{}).OnEvent
	for i := range 10_000 {
		onEvent(t.Context(), reauth.Event{Kind: reauth.EventRefreshFailed, Took: 1, Err: &reauth.RefreshError{
			StatusCode: i, Code: fmt.Sprintf("error-%d", i), Err: fmt.Errorf("failure %d", i),
		}})
		onEvent(t.Context(), reauth.Event{Kind: reauth.EventKind(i), Took: 1, Err: fmt.Errorf("failure %d", i)})
	}
	for name, n := range series(tel.collect()) {
		assert.Less(t, n, 80, name) // there are about 60 statuses
	}
	for name := range tel.counts() {
		assert.NotContains(t, name, "overflow", "the SDK has a limit of its own")
	}
}

func TestAnInstrumentThatCannotBeMadeIsAnError(t *testing.T) {
	_, err := otelreauth.Instrument(reauth.Config{}, otelreauth.WithMeterProvider(badMeters{}))
	assert.EqualError(t, err, "otelreauth: no reauth.adoptions\nno reauth.pending_saves")
}

type badMeters struct{ noop.MeterProvider }

func (badMeters) Meter(string, ...metric.MeterOption) metric.Meter { return badMeter{} }

type badMeter struct{ noop.Meter }

func (badMeter) Int64Counter(name string, _ ...metric.Int64CounterOption) (metric.Int64Counter, error) {
	if name == "reauth.adoptions" {
		return nil, errors.New("no " + name)
	}
	return noop.Int64Counter{}, nil
}

func (badMeter) Int64UpDownCounter(name string, _ ...metric.Int64UpDownCounterOption) (metric.Int64UpDownCounter, error) {
	return nil, errors.New("no " + name)
}

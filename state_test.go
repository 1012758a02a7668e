package reauth

import (
	"errors"
	"fmt"
	"math"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/reauth-go/reauth/internal/evidence"
)

// Tables over the rules of state.go. The time is 100 s throughout, the refresh pause 5 s.

const (
	testNow   = 100 * time.Second
	testPause = 5 * time.Second
	s1        = time.Second
)

// testGeneration is a token that was not fetched just now and never expires.
func testGeneration(with ...func(*generation)) *generation {
	g := &generation{tok: testToken("current"), early: never, urgent: never, expires: never, certain: never}
	for _, f := range with {
		f(g)
	}
	return g
}

func testToken(name string) Token { return Token{AccessToken: name, RefreshToken: "r-" + name} }

func expired(g *generation) {
	g.early, g.urgent, g.expires, g.certain = testNow-3*s1, testNow-2*s1, testNow, testNow-s1
}
func isUrgent(g *generation) {
	g.early, g.urgent, g.expires, g.certain = testNow-s1, testNow, testNow+10*s1, testNow+9*s1
}
func isEarly(g *generation)    { isUrgent(g); g.early, g.urgent = testNow, testNow+1 }
func lastSecond(g *generation) { isEarly(g); g.certain = testNow }
func fetchedNow(g *generation) { g.fetched, g.obtained = true, testNow-s1 }
func longAgo(g *generation)    { g.fetched, g.obtained = true, testNow-testPause }

var (
	errTest   = &RefreshError{Err: errors.New("the refresh failed")}
	errGone   = &RefreshError{Err: errSignedOut}
	inBackoff = &backoff{err: errTest, until: testNow + 1, pause: s1}
	overNow   = &backoff{err: errTest, until: testNow, pause: s1}
)

func saving() *flight     { return new(flight) }
func refreshing() *flight { return &flight{refreshes: true} }

func TestWhatARequestDoesBeforeItIsSent(t *testing.T) {
	current, early, urgent, old := testGeneration(), testGeneration(isEarly), testGeneration(isUrgent), testGeneration(expired)
	due, notDue := &pendingSave{next: testNow}, &pendingSave{next: testNow + 1}
	leased := &pendingSave{next: testNow, lease: &lease{}}
	rejected := &rejection{}
	needing := func(g *generation) *flight { return &flight{refreshes: true, needed: g} }
	look := step{use: current, wait: true, brief: true, start: startChecking}
	for name, tc := range map[string]struct {
		st      state
		patient bool
		want    step
	}{
		"a token":                                           {state{current: current}, false, step{use: current}},
		"a token, nothing to wait for":                      {state{current: current}, true, step{use: current}},
		"a token that expires soon":                         {state{current: early}, false, step{use: early, start: startRefreshing}},
		"the same, and the request is patient":              {state{current: early}, true, step{use: early, start: startRefreshing}},
		"one that expires very soon, and a patient request": {state{current: urgent}, true, step{use: urgent, start: startRefreshing, wait: true}},
		"the same, and the request is not patient":          {state{current: urgent}, false, step{use: urgent, start: startRefreshing}},
		"it is being refreshed":                             {state{current: urgent, flight: refreshing()}, false, step{use: urgent}},
		"it is being refreshed, and the request is patient": {state{current: urgent, flight: refreshing()}, true, step{use: urgent, wait: true}},
		"the same, but there is still time":                 {state{current: early, flight: refreshing()}, true, step{use: early}},
		"it is being saved, and the request is patient":     {state{current: urgent, flight: saving()}, true, step{use: urgent}},
		"it was refused, and the request is patient":        {state{current: current, flight: needing(current)}, true, step{use: current, wait: true, brief: true}},
		"it was refused, and the request can be sent twice": {state{current: current, flight: needing(current)}, false, step{use: current}},
		"the one before was refused":                        {state{current: current, flight: needing(early)}, true, step{use: current}},
		"the store may hold another":                        {state{current: current, stale: true}, false, look},
		"the same, and the request is patient: a look":      {state{current: current, stale: true}, true, look},
		"a flight looks at the store":                       {state{current: current, flight: &flight{checks: true}}, false, step{use: current, wait: true, brief: true}},
		"the same, and a flight is up":                      {state{current: current, stale: true, flight: saving()}, false, step{use: current, wait: true, brief: true}},
		"the same, and it expires very soon":                {state{current: urgent, stale: true}, true, step{use: urgent, wait: true, brief: true, start: startChecking}},
		"the same, and the last refresh failed":             {state{current: current, stale: true, backoff: inBackoff}, false, look},
		"the same, and it has expired":                      {state{current: old, stale: true}, false, step{wait: true, start: startRefreshing, needed: old}},
		"far from expiry, a refresh is up":                  {state{current: current, flight: refreshing()}, true, step{use: current}},
		"its refresh got a final answer":                    {state{current: urgent, rejected: rejected}, true, step{use: urgent}},
		"its refresh has just failed":                       {state{current: urgent, backoff: inBackoff}, true, step{use: urgent}},
		"its refresh failed a while ago":                    {state{current: early, backoff: overNow}, false, step{use: early, start: startRefreshing}},
		"a pending save that is due":                        {state{current: current, pending: due}, true, step{use: current, start: startSaving}},
		"a pending save that is not due":                    {state{current: current, pending: notDue}, false, step{use: current}},
		"a pending save that has a timer":                   {state{current: current, pending: leased}, false, step{use: current}},
		"a pending save that is due, a flight is up":        {state{current: current, pending: due, flight: saving()}, false, step{use: current}},
		"an early refresh saves what is pending, too":       {state{current: early, pending: due}, false, step{use: early, start: startRefreshing}},
		"a pending save is due during the backoff":          {state{current: early, pending: due, backoff: inBackoff}, true, step{use: early, start: startSaving}},
		"an expired token":                                  {state{current: old}, false, step{wait: true, start: startRefreshing, needed: old}},
		"an expired token, whose refresh has just failed":   {state{current: old, backoff: inBackoff}, false, step{err: errTest}},
		"an expired token, whose refresh is up":             {state{current: old, flight: refreshing(), backoff: inBackoff}, false, step{wait: true}},
		"an expired token, which is being saved":            {state{current: old, flight: saving()}, false, step{wait: true}},
		"an expired token, saved during the backoff":        {state{current: old, flight: saving(), backoff: inBackoff}, false, step{err: errTest}},
		"none is known":                                     {state{}, false, step{wait: true, start: startRefreshing}},
		"none is known, a flight is up":                     {state{flight: refreshing(), backoff: inBackoff}, false, step{wait: true}},
		"none is known, and the last attempt failed":        {state{backoff: inBackoff}, false, step{err: errTest}},
		"signed out, and the store was just asked":          {state{signedOut: &signedOut{err: errGone, nextLook: testNow + 1}}, false, step{err: errGone}},
		"signed out, and the store may be asked again":      {state{signedOut: &signedOut{err: errGone, nextLook: testNow}}, false, step{wait: true, start: startRefreshing}},
	} {
		assert.Equal(t, tc.want, tc.st.next(testNow, tc.patient, false), name)
	}
	putOff := state{current: urgent}
	assert.Equal(t, step{use: urgent}, putOff.next(testNow, true, true), "the token server has asked for a pause")
	needed := state{current: old}
	assert.Equal(t, step{wait: true, start: startRefreshing, needed: old}, needed.next(testNow, false, true), "it is needed all the same")
}

// The endpoints of the tables below, and of the origin of both.
const (
	here   evidence.Endpoint = 1<<40 + 1
	there  evidence.Endpoint = 2<<40 + 2
	ofBoth evidence.Endpoint = 3<<40 + 3
)

// acceptedBy returns what is known once the endpoints have accepted the generation with
// the number.
func acceptedBy(number uint16, at ...evidence.Endpoint) *evidence.Table {
	table := new(evidence.Table)
	for _, e := range at {
		table.Accept(e, number)
	}
	return table
}

// The rows of the table in the design: what the refused attempt carried.
func TestWhatARequestDoesAfterARefusal(t *testing.T) {
	in := func(st state, g *generation) state { st.current = g; return st }
	g, older := testGeneration(), testGeneration(expired)
	newer := testGeneration(func(g *generation) { g.number, g.tok.AccessToken = 2, "newer" })
	before := testGeneration(func(g *generation) { g.epoch = 1 })
	numbered := func(g *generation) { g.number, g.tok.AccessToken = 5, "new" }
	new1, new2, new3 := testGeneration(fetchedNow, numbered), testGeneration(fetchedNow, expired), testGeneration(fetchedNow, lastSecond)
	old := testGeneration(longAgo)
	prev, prevExpired := testGeneration(), testGeneration(expired)
	refresh := func(g *generation) step { return step{wait: true, start: startRefreshing, needed: g} }
	permission := func(held time.Duration) step { return step{own: errPermission, held: held} }
	stay := func(look time.Duration) *rejection { return &rejection{kept: true, look: look} }
	paused := func(until time.Duration) evidence.Pauses { return evidence.Pauses{here: {Until: until}} }
	for name, tc := range map[string]struct {
		st      state
		carried *generation
		pause   time.Duration
		want    step
	}{
		"one from before a sign-in or sign-out":                         {in(state{}, g), before, testPause, step{own: errOtherSignIn}},
		"the same, now signed out":                                      {state{signedOut: &signedOut{err: errGone, nextLook: never}}, before, testPause, step{own: errOtherSignIn}},
		"an older one":                                                  {in(state{flight: refreshing(), backoff: inBackoff}, newer), g, testPause, step{use: newer}},
		"an older one, and the current one has expired":                 {in(state{}, older), g, testPause, refresh(older)},
		"an older one, expired, and the refresh has just failed":        {in(state{backoff: inBackoff}, older), g, testPause, step{err: errTest}},
		"the current one, a refresh is up":                              {in(state{flight: refreshing(), backoff: inBackoff}, g), g, testPause, step{wait: true}},
		"the current one, new, a refresh is up":                         {in(state{flight: refreshing()}, new1), new1, testPause, step{wait: true}},
		"the current one, which is being saved":                         {in(state{flight: saving()}, g), g, testPause, step{wait: true}},
		"one whose refresh has just failed":                             {in(state{backoff: inBackoff}, g), g, testPause, step{err: errTest}},
		"one that a refresh brought just now, and whose own has failed": {in(state{backoff: inBackoff}, new1), new1, testPause, step{err: errTest}},
		"one whose refresh failed a while ago":                          {in(state{backoff: overNow}, g), g, testPause, refresh(g)},
		"one that a refresh brought just now":                           {in(state{}, new1), new1, testPause, permission(4 * s1)},
		"the same, which is being saved":                                {in(state{flight: saving()}, new1), new1, testPause, permission(4 * s1)},
		"the same, and two refreshes brought what was refused":          {in(state{futile: 2}, new1), new1, testPause, permission(19 * s1)},
		"the same, without a pause":                                     {in(state{}, new1), new1, 0, refresh(new1)},
		"one that a refresh brought just now, and has expired":          {in(state{}, new2), new2, testPause, refresh(new2)},
		"the same in the last second of its lifetime":                   {in(state{}, new3), new3, testPause, refresh(new3)},
		"one that a refresh brought longer ago":                         {in(state{}, old), old, testPause, refresh(old)},
		"one of a sign-in, or of the first look at the store":           {in(state{}, g), g, testPause, refresh(g)},
		"one, and there is none":                                        {state{}, g, testPause, step{wait: true, start: startRefreshing}},
		"one, and there is none, and the store was just asked":          {state{signedOut: &signedOut{err: errGone, nextLook: never}}, g, testPause, step{err: errGone}},
		"one, and there is none, but a flight is up to look again":      {state{flight: refreshing()}, g, testPause, step{wait: true}},

		"a new one that this endpoint has accepted":              {in(state{evidence: acceptedBy(5, here)}, new1), new1, testPause, refresh(new1)},
		"a new one, and this endpoint accepted the one before":   {in(state{evidence: acceptedBy(4, here)}, new1), new1, testPause, refresh(new1)},
		"a new one, and this endpoint accepted an older one":     {in(state{evidence: acceptedBy(3, here)}, new1), new1, testPause, permission(4 * s1)},
		"a new one that only another endpoint has accepted":      {in(state{evidence: acceptedBy(5, there, ofBoth)}, new1), new1, testPause, permission(4 * s1)},
		"one that was accepted here, where refreshes don't help": {in(state{evidence: acceptedBy(5, here), pauses: evidence.Pauses{here: {Known: true, Until: testNow + 3*s1}}}, new1), new1, testPause, step{own: errStillRefused, held: 3 * s1}},
		"the same, but it was accepted later":                    {in(state{evidence: acceptedBy(5, here), pauses: paused(testNow + 3*s1)}, new1), new1, testPause, refresh(new1)},
		"an old one, where refreshes don't help":                 {in(state{pauses: paused(testNow + 3*s1)}, old), old, testPause, step{own: errStillRefused, held: 3 * s1}},
		"one where refreshes did not help a while ago":           {in(state{pauses: paused(testNow)}, old), old, testPause, refresh(old)},
		"one where refreshes don't help, and it has expired":     {in(state{pauses: paused(never)}, older), older, testPause, refresh(older)},
		"one that must stay, because it can't be refreshed":      {in(state{rejected: stay(testNow + 2*s1)}, g), g, testPause, step{own: errNotRenewable, held: 2 * s1}},
		"the same, and the store may be asked again":             {in(state{rejected: stay(testNow)}, g), g, testPause, refresh(g)},
		"the same, and it has expired":                           {in(state{rejected: stay(never)}, older), older, testPause, refresh(older)},
		"one whose early refresh got a final answer":             {in(state{rejected: &rejection{look: never}}, g), g, testPause, refresh(g)},

		"a new one that the API may not know yet":            {in(state{previous: prev}, new1), new1, testPause, step{use: prev, fallback: true}},
		"the same, though this endpoint took the one before": {in(state{previous: prev, evidence: acceptedBy(4, here, ofBoth)}, new1), new1, testPause, step{use: prev, fallback: true}},
		"the same, and the one before has expired":           {in(state{previous: prevExpired}, new1), new1, testPause, permission(4 * s1)},
		"the same, without a pause: refreshed":               {in(state{previous: prev}, new1), new1, 0, refresh(new1)},
		"one that the API may not know, but long ago":        {in(state{previous: prev}, old), old, testPause, refresh(old)},
		"a new one that the API knows elsewhere":             {in(state{previous: prev, evidence: acceptedBy(5, ofBoth)}, new1), new1, testPause, permission(4 * s1)},
		"a new one that the API knows here":                  {in(state{previous: prev, evidence: acceptedBy(5, here, ofBoth)}, new1), new1, testPause, refresh(new1)},
		"a new one, whose refresh has just failed":           {in(state{previous: prev, backoff: inBackoff}, new1), new1, testPause, step{err: errTest}},
		"the one before": {in(state{previous: prev}, new1), prev, testPause, step{use: new1}},
	} {
		a := attempt{gen: tc.carried, place: evidence.Place{At: here, Origin: ofBoth}}
		assert.Equal(t, tc.want, tc.st.refused(testNow, a, tc.pause), name)
		if tc.carried == prev {
			assert.Nil(t, tc.st.previous, "it was refused, so nothing goes back to it")
		}
	}
}

func TestASavingFlightThatARequestNeedsBecomesARefresh(t *testing.T) {
	g := testGeneration()
	st := state{current: g, flight: saving()}
	assert.Equal(t, step{wait: true}, st.refused(testNow, attempt{gen: g}, testPause))
	assert.True(t, st.isRefreshing())
	assert.Same(t, g, st.flight.needed, "so its final answer counts at once")

	st = state{current: testGeneration(isEarly), flight: saving()}
	st.next(testNow, true, false)
	assert.False(t, st.isRefreshing(), "nobody needs it while the token is good")
	assert.False(t, (&state{}).isRefreshing())
}

func TestWhenARequestLooksAtMoreThanTheCurrentToken(t *testing.T) {
	g := testGeneration(isEarly)
	pending := &pendingSave{next: testNow - s1}
	for name, tc := range map[string]struct {
		st   state
		want time.Duration
	}{
		"from the early window on":                   {state{}, g.early},
		"from its expiry on, a flight is up":         {state{flight: saving(), pending: pending}, g.expires},
		"from its expiry on, after a final answer":   {state{rejected: &rejection{}}, g.expires},
		"once the backoff is over":                   {state{backoff: &backoff{until: testNow + 3*s1}}, testNow + 3*s1},
		"in the early window, after an old backoff":  {state{backoff: &backoff{until: testNow - s1}}, g.early},
		"at its expiry, however long the backoff is": {state{backoff: &backoff{until: never}}, g.expires},
		"when a pending save is due":                 {state{pending: pending}, testNow - s1},
		"before a pending save is due":               {state{pending: &pendingSave{next: never}}, g.early},
		"not for a pending save that has a timer":    {state{pending: &pendingSave{next: testNow - s1, lease: &lease{}}}, g.early},
		"at once, if the store may hold another":     {state{stale: true}, 0},
		"at once, while a flight looks at the store": {state{flight: &flight{checks: true}}, 0},
		"the same, a flight is up":                   {state{stale: true, flight: saving()}, 0},
	} {
		tc.st.current = g
		assert.Equal(t, tc.want, tc.st.attention(), name)
	}
}

func busyState() state {
	return state{
		epoch: 3, current: testGeneration(), backoff: inBackoff,
		pending:  &pendingSave{tok: testToken("pending")},
		previous: testGeneration(), pauses: evidence.Pauses{here: {Until: never}}, stale: true,
		rejected: &rejection{from: testToken("rejected")},
		flight:   &flight{seen: testToken("seen"), from: testToken("from"), brought: testToken("brought")},
		settled:  7, futile: 2,
	}
}

func TestSettleEndsWhatWasSaidOfTheTokenBefore(t *testing.T) {
	st := busyState()
	st.signedOut = &signedOut{}
	g, up, pending, pauses := testGeneration(), st.flight, st.pending, st.pauses
	st.settle(g)
	had, spent := st.recalls(g.tok)
	assert.True(t, had && !spent)
	st.memory = nil
	assert.Equal(t, state{
		epoch: 3, current: g, flight: up, settled: 8, futile: 2, pending: pending, pauses: pauses, stale: true,
	}, st, "what is pending stays, and so does the wish to look at the store")
	assert.Equal(t, uint32(3), g.epoch)
	assert.Equal(t, uint16(8), g.number)
	assert.Nil(t, g.watch.Load(), "nobody asks who accepts a token that was not fetched")

	gone := &signedOut{}
	st.signedOut, st.pending, st.pauses = gone, nil, nil
	st.settle(nil)
	had, spent = st.recalls(g.tok)
	assert.True(t, had && !spent)
	st.memory = nil
	assert.Equal(t, state{epoch: 3, signedOut: gone, flight: up, settled: 8, futile: 2, stale: true}, st)
}

func TestWhoAcceptsAFetchedTokenIsWatched(t *testing.T) {
	st := state{}
	first, second := testGeneration(fetchedNow), testGeneration(fetchedNow)
	st.settle(first)
	require.NotNil(t, first.watch.Load())
	first.watch.Load().Accept(here, first.number)
	st.settle(second)
	assert.Same(t, st.evidence, second.watch.Load())
	assert.True(t, st.evidence.Accepted(here, second.number, 1), "the one before")
}

func TestAnEarlyRefreshLeavesTheTokenBeforeGood(t *testing.T) {
	before, after := testGeneration(), testGeneration(fetchedNow, func(g *generation) { g.tok.AccessToken = "new" })
	st := state{current: before}
	st.renew(after, true)
	assert.Same(t, before, st.previous)
	assert.Same(t, after, st.current)
	st.renew(testGeneration(), false)
	assert.Nil(t, st.previous, "it was refused, or has expired")
	st.renew(testGeneration(), true)
	assert.Nil(t, st.previous, "the new one is no other: an Update has kept it")
	st.previous = before
	st.turn(testGeneration(), nil)
	assert.Nil(t, st.previous, "nor is there a way back to another sign-in")
}

func TestASignInStartsAnEpoch(t *testing.T) {
	st := busyState()
	st.signedOut = &signedOut{}
	g, pending := testGeneration(), st.pending
	st.turn(g, nil)
	st.memory = nil
	assert.Equal(t, state{epoch: 4, signIn: 4, current: g, pending: pending, settled: 8, stale: true}, st, "no flight, backoff or pause survives")
	assert.Equal(t, uint32(4), g.epoch)
	fetched := testGeneration(fetchedNow)
	before := &evidence.Table{}
	st.evidence = before
	st.turn(fetched, nil)
	assert.NotSame(t, before, st.evidence, "who accepted the tokens of one sign-in says nothing about another")
	assert.Same(t, st.evidence, fetched.watch.Load())
}

func TestASignOutGivesUpWhatTheStoreMayHold(t *testing.T) {
	tokens := func(names ...string) (toks []Token) {
		for _, name := range names {
			toks = append(toks, testToken(name))
		}
		return toks
	}
	before := func(unseen bool) *signedOut { return &signedOut{given: tokens("before"), givenUnseen: unseen} }
	for name, tc := range map[string]struct {
		st     state
		unseen bool
		want   signedOut
	}{
		"all that is known": {busyState(), true,
			signedOut{given: tokens("mine", "current", "pending", "rejected", "seen", "from", "brought")}},
		"nothing is known":                             {state{}, true, signedOut{given: tokens("mine"), givenUnseen: true}},
		"what an earlier sign-out gave up":             {state{signedOut: before(false)}, true, signedOut{given: tokens("mine", "before")}},
		"an earlier one, which has not seen it either": {state{signedOut: before(true)}, true, signedOut{given: tokens("mine", "before"), givenUnseen: true}},
		"an earlier one, and this one has seen it":     {state{signedOut: before(true)}, false, signedOut{given: tokens("mine", "before")}},
	} {
		o := &signedOut{given: tokens("mine"), givenUnseen: tc.unseen}
		epoch, pending, stale := tc.st.epoch, tc.st.pending, tc.st.stale
		tc.st.giveUp(o)
		assert.Equal(t, tc.want, *o, name)
		tc.st.memory = nil
		assert.Equal(t, state{epoch: epoch + 1, signedOut: o, pending: pending, stale: stale, settled: tc.st.settled}, tc.st,
			"%s: what is pending stays until the store is known to hold nothing", name)
	}
}

func TestASessionStaysSignedOutUntilTheStoreShowsANewSignIn(t *testing.T) {
	of := func(signIn string, tok Token) Token { tok.SignInID = signIn; return tok }
	given, fresh := testToken("given"), testToken("new")
	later := given
	later.Expiry = time.Unix(2000, 0)
	for name, tc := range map[string]struct {
		o     signedOut
		shown Token
		ok    bool
		held  bool
		want  signedOut // afterwards
	}{
		"none":                           {signedOut{undeleted: true}, Token{}, false, true, signedOut{}},
		"none, and none was seen before": {signedOut{givenUnseen: true, undeleted: true}, Token{}, false, true, signedOut{}},
		"the one that was given up":      {signedOut{given: []Token{given}, undeleted: true}, given, true, true, signedOut{given: []Token{given}, undeleted: true}},
		"a new one":                      {signedOut{given: []Token{given}, undeleted: true}, fresh, true, false, signedOut{given: []Token{given}, undeleted: true}},
		"the first, if none was ever seen": {signedOut{given: []Token{given}, givenUnseen: true, undeleted: true}, fresh, true, true,
			signedOut{given: []Token{given, fresh}, undeleted: true}},
		"another of the same sign-in, after a SignOut": {signedOut{byCaller: true, given: []Token{of("1", given)}}, of("1", fresh), true, true,
			signedOut{byCaller: true, given: []Token{of("1", given)}}},
		"another of the same sign-in, after a final answer": {signedOut{given: []Token{of("1", given)}}, of("1", fresh), true, false,
			signedOut{given: []Token{of("1", given)}}},
		"another sign-in, after a SignOut": {signedOut{byCaller: true, given: []Token{of("1", given)}}, of("2", fresh), true, false,
			signedOut{byCaller: true, given: []Token{of("1", given)}}},
		"another without a SignInID, after a SignOut": {signedOut{byCaller: true, given: []Token{given}}, fresh, true, false,
			signedOut{byCaller: true, given: []Token{given}}},
	} {
		assert.Equal(t, tc.held, tc.o.holds(tc.shown, tc.ok), name)
		assert.Equal(t, tc.want, tc.o, name)
	}
}

func TestTokensThatAreGivenUpAreKeptOnceAndNotShared(t *testing.T) {
	tok := testToken("a")
	tok.Extra = map[string]string{"scope": "read"}
	o := new(signedOut)
	o.giveUp(tok, tok)
	o.giveUp(tok, testToken("b"))
	tok.Extra["scope"] = "written later"
	a := testToken("a")
	a.Extra = map[string]string{"scope": "read"}
	assert.Equal(t, []Token{a, testToken("b")}, o.given)
}

func TestWhatThisProcessHadAndSpentIsRemembered(t *testing.T) {
	of := func(signIn string, tok Token) Token { tok.SignInID = signIn; return tok }
	st := state{}
	had, spent := st.recalls(testToken("0"))
	assert.False(t, had || spent)
	for i := range 10 {
		st.remember(of("ann", testToken(fmt.Sprint(i))), false)
		st.remember(of("ann", testToken(fmt.Sprint(i))), i%2 == 0)
	}
	for i := range 10 {
		for _, signIn := range []string{"ann", ""} { // a store may keep no SignInID
			had, spent = st.recalls(of(signIn, testToken(fmt.Sprint(i))))
			assert.Equal(t, i >= 2, had, "token %d of 10", i)
			assert.Equal(t, i >= 2 && i%2 == 0, spent, "token %d of 10", i)
		}
		had, _ = st.recalls(of("bob", testToken(fmt.Sprint(i))))
		assert.False(t, had, "the same values, but another sign-in")
	}
	had, _ = st.recalls(Token{})
	assert.False(t, had)

	st = state{}
	st.remember(testToken("without a SignInID"), true)
	_, spent = st.recalls(of("ann", testToken("without a SignInID")))
	assert.True(t, spent)
	st.remember(testToken("without a SignInID"), false)
	_, spent = st.recalls(testToken("without a SignInID"))
	assert.True(t, spent, "it stays spent")
	for i := range 8 { // takes the place of all
		st.remember(testToken(fmt.Sprint(i)), false)
		_, spent = st.recalls(testToken(fmt.Sprint(i)))
		assert.False(t, spent, "it has taken the place of one that was spent")
	}
}

func TestWhenAPendingSaveIsTriedAgain(t *testing.T) {
	tok := testToken("pending")
	held, unlocked := &lease{ready: newPromise[error]()}, &lease{}
	next := func(before *pendingSave, l *lease, guard bool, pause time.Duration) *pendingSave {
		st := state{pending: before}
		st.leavePending(testNow, tok, Token{}, l, guard, pause)
		return st.pending
	}
	for name, tc := range map[string]struct {
		lease *lease
		guard bool
		pause time.Duration
		in    []time.Duration
		keeps bool
	}{
		"after the pause":                      {held, false, testPause, []time.Duration{testPause, testPause}, false},
		"after a short while, without a pause": {nil, true, 0, []time.Duration{grace, grace}, false},
		"soon, if it keeps the lock": {held, true, testPause, []time.Duration{
			grace, 2 * grace, 4 * grace, 8 * grace, 16 * grace, 32 * grace, testPause, testPause}, true},
		"soon, and not more often without a pause":  {held, true, 0, []time.Duration{grace, grace}, true},
		"at most after a pause that is long":        {held, true, 24 * time.Hour, []time.Duration{grace}, true},
		"after the pause, if the store has no lock": {unlocked, true, testPause, []time.Duration{testPause, testPause}, false},
		"after the pause, if the lock was lost":     {nil, true, testPause, []time.Duration{testPause}, false},
	} {
		var p *pendingSave
		for _, in := range tc.in {
			p = next(p, tc.lease, tc.guard, tc.pause)
			assert.Equal(t, testNow+in, p.next, name)
			assert.Equal(t, tc.guard, p.guard, name)
			assert.Equal(t, tc.keeps, p.lease != nil, name)
		}
	}

	first := next(nil, held, true, testPause)
	assert.Equal(t, testNow, first.since)
	assert.Equal(t, testNow+reportPending, first.report)
	first.since, first.report = 1, 2
	again := next(first, held, true, testPause)
	assert.Equal(t, time.Duration(1), again.since, "since the save first failed")
	assert.Equal(t, time.Duration(2), again.report)
	for range 100 { // does not overflow
		again = next(again, held, true, 24*time.Hour)
		assert.LessOrEqual(t, again.next, testNow+grace<<10)
		assert.Greater(t, again.next, testNow)
	}
}

func TestThePauseAfterFailuresDoubles(t *testing.T) {
	const retry = time.Minute
	for name, tc := range map[string]struct {
		before     time.Duration // the pause before; 0: none
		spread     float64
		retryAfter time.Duration
		until      time.Duration // from now
		pause      time.Duration
	}{
		"the first":                          {0, 0, 0, s1, s1},
		"jitter shortens it by a quarter":    {0, 1, 0, s1 - s1/4, s1},
		"by less":                            {0, 0.5, 0, s1 - s1/8, s1},
		"the second":                         {s1, 0, 0, 2 * s1, 2 * s1},
		"at most 30 s":                       {16 * s1, 1, 0, 30*s1 - 30*s1/4, 30 * s1},
		"Retry-After":                        {0, 1, retry, retry, s1},
		"Retry-After, at most 5 min":         {0, 0, time.Hour, 5 * time.Minute, s1},
		"Retry-After that is sooner":         {8 * s1, 0, s1, 16 * s1, 16 * s1},
		"Retry-After that makes no sense":    {0, 0, -time.Hour, s1, s1},
		"Retry-After does not lengthen more": {s1, 0, retry, retry, 2 * s1},
	} {
		st := state{}
		if tc.before != 0 {
			st.backoff = &backoff{pause: tc.before}
		}
		err := &RefreshError{RetryAfter: tc.retryAfter, Err: errors.New("failed")}
		st.failed(testNow, err, tc.spread)
		assert.Equal(t, &backoff{err: err, until: testNow + tc.until, pause: tc.pause}, st.backoff, name)
		if tc.retryAfter <= 0 {
			assert.Equal(t, tc.until, err.RetryAfter, "%s: callers learn of our own pause", name)
		} else {
			assert.Equal(t, tc.retryAfter, err.RetryAfter, name)
		}
	}
	assert.True(t, inBackoff.active(testNow))
	assert.False(t, overNow.active(testNow))
	assert.False(t, (*backoff)(nil).active(testNow))
}

func TestWhatAReplayShows(t *testing.T) {
	current := testGeneration(fetchedNow, func(g *generation) { g.number = 5 })
	prev, before := testGeneration(), testGeneration(func(g *generation) { g.epoch = 1 })
	signedIn := testGeneration()
	start := step{start: startRefreshing, needed: current}
	place := func(at evidence.Endpoint) evidence.Place { return evidence.Place{At: at, Folder: ofBoth} }
	on := func(number uint16, length time.Duration) evidence.Pause {
		return evidence.Pause{Folder: ofBoth, Number: number, Length: length, Until: testNow + length}
	}
	known := evidence.Pause{Folder: ofBoth, Number: 5, Known: true, Length: testPause, Until: testNow + testPause}
	endless := evidence.Pause{Until: never}
	knows := func() *evidence.Table { return acceptedBy(5, here) }
	for name, tc := range map[string]struct {
		st       state
		a        attempt
		refused  bool
		pause    time.Duration
		want     step
		pauses   evidence.Pauses // afterwards
		fallback bool            // previous is still there
	}{
		"refused where the token was accepted": {state{evidence: knows()}, attempt{gen: current, place: place(here)}, true, testPause,
			step{}, evidence.Pauses{here: known}, true},
		"the same, for the second time": {state{evidence: knows(), pauses: evidence.Pauses{here: {Number: 4, Length: testPause, Until: testNow - s1}}}, attempt{gen: current, place: place(here)}, true, testPause,
			step{}, evidence.Pauses{here: known}, true},
		"the same, without a pause": {state{evidence: knows()}, attempt{gen: current, place: place(here)}, true, 0, step{}, nil, true},
		"refused where nothing is known": {state{evidence: knows()}, attempt{gen: current, place: place(there)}, true, testPause,
			step{}, evidence.Pauses{there: on(5, 2*testPause)}, true},
		"the same, and it was refused before": {state{evidence: knows(), pauses: evidence.Pauses{there: {Number: 4, Length: 4 * testPause, Until: testNow - 1}}},
			attempt{gen: current, place: place(there)}, true, testPause, step{}, evidence.Pauses{there: on(5, 8*testPause)}, true},
		"the same, and another request has said so": {state{pauses: evidence.Pauses{there: on(5, testPause)}}, attempt{gen: current, place: place(there)}, true, testPause,
			step{}, evidence.Pauses{there: on(5, testPause)}, true},
		"refused long after the refresh":    {state{}, attempt{gen: current, place: place(here)}, true, testPause, step{}, evidence.Pauses{here: known}, true},
		"refused with a token of a sign-in": {state{}, attempt{gen: signedIn, place: place(here)}, true, testPause, step{}, nil, true},
		"accepted where refreshes did not help": {state{pauses: evidence.Pauses{here: endless, there: endless}}, attempt{gen: current, place: place(here)}, false, testPause,
			step{}, evidence.Pauses{there: endless}, true},
		"the one before, refused too":             {state{}, attempt{gen: prev, place: place(here), fallback: true}, true, testPause, start, nil, false},
		"the same, and a refresh is up":           {state{flight: refreshing()}, attempt{gen: prev, place: place(here), fallback: true}, true, testPause, step{}, nil, false},
		"the same, and a refresh has just failed": {state{backoff: inBackoff}, attempt{gen: prev, place: place(here), fallback: true}, true, testPause, step{}, nil, false},
		"the one before, accepted":                {state{}, attempt{gen: prev, place: place(here), fallback: true}, false, testPause, step{}, nil, true},
		"of another sign-in": {state{pauses: evidence.Pauses{here: endless}}, attempt{gen: before, place: place(here)}, false, testPause,
			step{}, evidence.Pauses{here: endless}, true},
	} {
		st := tc.st
		st.futile = 3
		st.current, st.previous = current, prev
		assert.Equal(t, tc.want, st.judge(testNow, tc.a, tc.refused, tc.pause), name)
		if len(tc.pauses) == 0 {
			assert.Empty(t, st.pauses, name)
		} else {
			assert.Equal(t, tc.pauses, st.pauses, name)
		}
		assert.Equal(t, st.futile == 0, !tc.refused && tc.a.gen.epoch == st.epoch, name)
		assert.Equal(t, tc.fallback, st.previous != nil, name)
	}
	st := state{}
	assert.Equal(t, step{}, st.judge(testNow, attempt{gen: prev, fallback: true}, true, testPause), "signed out meanwhile")
}

func TestHowLongItMattersWhoAcceptsAToken(t *testing.T) {
	lately, old := testGeneration(fetchedNow), testGeneration(longAgo)
	for name, tc := range map[string]struct {
		st   state
		g    *generation
		want bool
	}{
		"during the pause":                {state{}, lately, false},
		"after it":                        {state{}, old, true},
		"a refresh did not help":          {state{futile: 1}, old, false},
		"an endpoint is under a pause":    {state{pauses: evidence.Pauses{here: {Until: testNow + 1}}}, old, false},
		"an endpoint was, until just now": {state{pauses: evidence.Pauses{here: {Until: testNow}}}, old, true},
		"one of two endpoints is":         {state{pauses: evidence.Pauses{here: {Until: testNow}, there: {Until: testNow + 1}}}, old, false},
	} {
		assert.Equal(t, tc.want, tc.st.pauseIsOver(testNow, tc.g, testPause), name)
	}
}

func TestTheRefreshPauseIsStretched(t *testing.T) {
	for _, tc := range []struct {
		count       uint8
		pause, want time.Duration
	}{
		{0, testPause, testPause},
		{1, testPause, 10 * s1},
		{5, testPause, 160 * s1},
		{6, testPause, 5 * time.Minute},
		{255, testPause, 5 * time.Minute},
		{0, time.Hour, time.Hour},
		{3, time.Hour, time.Hour},
		{3, 0, 0},
		{3, -1, 0},
		{255, math.MaxInt64 / 3, math.MaxInt64 / 3},
	} {
		assert.Equal(t, tc.want, (&state{futile: tc.count}).stretch(tc.pause), "%d of %s", tc.count, tc.pause)
	}
}

func TestWhatCanBeForgotten(t *testing.T) {
	out := func(with func(*signedOut)) state {
		o := &signedOut{err: errGone, nextLook: testNow, since: testNow - rememberSignOut}
		with(o)
		return state{signedOut: o}
	}
	nothing := func(*signedOut) {}
	lately := func(o *signedOut) { o.since++ }
	of := func(st state, with ...func(*generation)) state { st.current = testGeneration(with...); return st }
	for name, tc := range map[string]struct {
		st        state
		refresher startKind
		want      bool
	}{
		"a session of which nothing is known":           {state{}, startKind{}, true},
		"a token":                                       {of(state{}), startKind{}, true},
		"a flight that is up":                           {of(state{flight: saving()}), startKind{}, false},
		"a pending save":                                {of(state{pending: new(pendingSave)}), startKind{}, false},
		"the pause after a failure":                     {of(state{backoff: inBackoff}), startKind{}, false},
		"when it is over":                               {of(state{backoff: overNow}), startKind{}, true},
		"the pause after a refresh or an adoption":      {of(state{}, fetchedNow), startKind{}, false},
		"when that is over":                             {of(state{}, longAgo), startKind{}, true},
		"the pause after one that did not help":         {of(state{futile: 1}, longAgo), startKind{}, false},
		"the pause of an endpoint":                      {of(state{pauses: evidence.Pauses{here: {Until: testNow + 1}}}, longAgo), startKind{}, false},
		"a final answer to an early refresh":            {of(state{rejected: new(rejection)}, isEarly), startKind{}, false},
		"the same once the token has expired":           {of(state{rejected: new(rejection)}, expired), startKind{}, true},
		"the same if it is never refreshed early":       {of(state{rejected: new(rejection)}), startKind{}, true},
		"a sign-out of yesterday":                       {out(nothing), startKind{}, true},
		"a later one":                                   {out(lately), startKind{}, false},
		"a later one, and the refresher needs a token":  {out(lately), startKind{needsToken: true}, true},
		"a refresher that starts by itself":             {out(nothing), startKind{needsToken: true, selfStarting: true}, false},
		"the pause until the store is asked again":      {out(func(o *signedOut) { o.nextLook++ }), startKind{needsToken: true}, false},
		"a sign-out that has not reached the store yet": {out(func(o *signedOut) { o.undeleted = true }), startKind{needsToken: true}, false},
	} {
		assert.Equal(t, tc.want, tc.st.forgettable(testNow, testPause, tc.refresher), name)
	}
}

package reauth

import (
	"errors"
	"fmt"
	"math"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
)

// Tables over the rules of state.go. The time is 100 s throughout, the refresh pause 5 s.

const (
	testNow   = 100 * time.Second
	testPause = 5 * time.Second
	s1        = time.Second
)

// testGeneration is a token that was not fetched just now and never expires.
func testGeneration(with ...func(*generation)) *generation {
	g := &generation{tok: testToken("current"), early: never, expires: never, certain: never}
	for _, f := range with {
		f(g)
	}
	return g
}

func testToken(name string) Token { return Token{AccessToken: name, RefreshToken: "r-" + name} }

func expired(g *generation)    { g.early, g.expires, g.certain = testNow-2*s1, testNow, testNow-s1 }
func isEarly(g *generation)    { g.early, g.expires, g.certain = testNow, testNow+10*s1, testNow+9*s1 }
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
	current, early, old := testGeneration(), testGeneration(isEarly), testGeneration(expired)
	due, notDue := &pendingSave{next: testNow}, &pendingSave{next: testNow + 1}
	rejected := &rejection{}
	for name, tc := range map[string]struct {
		st      state
		patient bool
		want    step
	}{
		"a token":                                           {state{current: current}, false, step{use: current}},
		"a token, nothing to wait for":                      {state{current: current}, true, step{use: current}},
		"a token that expires soon":                         {state{current: early}, false, step{use: early, start: startRefreshing}},
		"the same, and the request is patient":              {state{current: early}, true, step{use: early, start: startRefreshing, wait: true}},
		"it is being refreshed":                             {state{current: early, flight: refreshing()}, false, step{use: early}},
		"it is being refreshed, and the request is patient": {state{current: early, flight: refreshing()}, true, step{use: early, wait: true}},
		"it is being saved, and the request is patient":     {state{current: early, flight: saving()}, true, step{use: early}},
		"far from expiry, a refresh is up":                  {state{current: current, flight: refreshing()}, true, step{use: current}},
		"its refresh got a final answer":                    {state{current: early, rejected: rejected}, true, step{use: early}},
		"its refresh has just failed":                       {state{current: early, backoff: inBackoff}, true, step{use: early}},
		"its refresh failed a while ago":                    {state{current: early, backoff: overNow}, false, step{use: early, start: startRefreshing}},
		"a pending save that is due":                        {state{current: current, pending: due}, true, step{use: current, start: startSaving}},
		"a pending save that is not due":                    {state{current: current, pending: notDue}, false, step{use: current}},
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
		assert.Equal(t, tc.want, tc.st.next(testNow, tc.patient), name)
	}
}

// The rows of the table in the design: what the refused attempt carried.
func TestWhatARequestDoesAfterARefusal(t *testing.T) {
	in := func(st state, g *generation) state { st.current = g; return st }
	g, older := testGeneration(), testGeneration(expired)
	newer := testGeneration(func(g *generation) { g.number = 2 })
	before := testGeneration(func(g *generation) { g.epoch = 1 })
	new1, new2, new3 := testGeneration(fetchedNow), testGeneration(fetchedNow, expired), testGeneration(fetchedNow, lastSecond)
	old := testGeneration(longAgo)
	refresh := func(g *generation) step { return step{wait: true, start: startRefreshing, needed: g} }
	for name, tc := range map[string]struct {
		st      state
		carried *generation
		pause   time.Duration
		want    step
	}{
		"one from before a sign-in or sign-out":                         {in(state{}, g), before, testPause, step{}},
		"the same, now signed out":                                      {state{signedOut: &signedOut{err: errGone, nextLook: never}}, before, testPause, step{}},
		"an older one":                                                  {in(state{flight: refreshing(), backoff: inBackoff}, newer), g, testPause, step{use: newer}},
		"an older one, and the current one has expired":                 {in(state{}, older), g, testPause, refresh(older)},
		"an older one, expired, and the refresh has just failed":        {in(state{backoff: inBackoff}, older), g, testPause, step{err: errTest}},
		"the current one, a refresh is up":                              {in(state{flight: refreshing(), backoff: inBackoff}, g), g, testPause, step{wait: true}},
		"the current one, new, a refresh is up":                         {in(state{flight: refreshing()}, new1), new1, testPause, step{wait: true}},
		"the current one, which is being saved":                         {in(state{flight: saving()}, g), g, testPause, step{wait: true}},
		"one whose refresh has just failed":                             {in(state{backoff: inBackoff}, g), g, testPause, step{err: errTest}},
		"one that a refresh brought just now, and whose own has failed": {in(state{backoff: inBackoff}, new1), new1, testPause, step{err: errTest}},
		"one whose refresh failed a while ago":                          {in(state{backoff: overNow}, g), g, testPause, refresh(g)},
		"one that a refresh brought just now":                           {in(state{}, new1), new1, testPause, step{held: 4 * s1}},
		"the same, which is being saved":                                {in(state{flight: saving()}, new1), new1, testPause, step{held: 4 * s1}},
		"the same, and two refreshes did not help":                      {in(state{futile: futility{count: 2}}, new1), new1, testPause, step{held: 19 * s1}},
		"the same, without a pause":                                     {in(state{}, new1), new1, 0, refresh(new1)},
		"one that a refresh brought just now, and has expired":          {in(state{}, new2), new2, testPause, refresh(new2)},
		"the same in the last second of its lifetime":                   {in(state{}, new3), new3, testPause, refresh(new3)},
		"one that a refresh brought longer ago":                         {in(state{}, old), old, testPause, refresh(old)},
		"one of a sign-in, or of the first look at the store":           {in(state{}, g), g, testPause, refresh(g)},
		"one, and there is none":                                        {state{}, g, testPause, step{wait: true, start: startRefreshing, absent: true}},
		"one, and there is none, and the store was just asked":          {state{signedOut: &signedOut{err: errGone, nextLook: never}}, g, testPause, step{err: errGone, absent: true}},
		"one, and there is none, but a flight is up to look again":      {state{flight: refreshing()}, g, testPause, step{wait: true, absent: true}},
	} {
		assert.Equal(t, tc.want, tc.st.refused(testNow, tc.carried, tc.pause), name)
	}
}

func TestASavingFlightThatARequestNeedsBecomesARefresh(t *testing.T) {
	g := testGeneration()
	st := state{current: g, flight: saving()}
	assert.Equal(t, step{wait: true}, st.refused(testNow, g, testPause))
	assert.True(t, st.isRefreshing())
	assert.Same(t, g, st.flight.needed, "so its final answer counts at once")

	st = state{current: testGeneration(isEarly), flight: saving()}
	st.next(testNow, true)
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
	} {
		tc.st.current = g
		assert.Equal(t, tc.want, tc.st.attention(), name)
	}
}

func busyState() state {
	return state{
		epoch: 3, current: testGeneration(), backoff: inBackoff,
		pending:  &pendingSave{spent: []Token{testToken("spent")}},
		rejected: &rejection{from: testToken("rejected")},
		flight:   &flight{seen: testToken("seen"), from: testToken("from"), brought: testToken("brought")},
		futile:   futility{settled: 7, judged: 6, count: 2},
	}
}

func TestSettleEndsWhatWasSaidOfTheTokenBefore(t *testing.T) {
	st := busyState()
	st.signedOut = &signedOut{}
	g, up := testGeneration(), st.flight
	st.settle(g)
	assert.Equal(t, state{epoch: 3, current: g, flight: up, futile: futility{settled: 8, judged: 6, count: 2}}, st)
	assert.Equal(t, uint64(3), g.epoch)
	assert.Equal(t, uint32(8), g.number)

	gone := &signedOut{}
	st.signedOut = gone
	st.settle(nil)
	assert.Equal(t, state{epoch: 3, signedOut: gone, flight: up, futile: futility{settled: 8, judged: 6, count: 2}}, st)
}

func TestASignInStartsAnEpoch(t *testing.T) {
	st := busyState()
	st.signedOut = &signedOut{}
	g := testGeneration()
	st.turn(g, nil)
	assert.Equal(t, state{epoch: 4, current: g, futile: futility{settled: 8}}, st, "no flight, backoff, pending save, or doubled pause survives")
	assert.Equal(t, uint64(4), g.epoch)
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
			signedOut{given: tokens("mine", "current", "spent", "rejected", "seen", "from", "brought")}},
		"nothing is known":                             {state{}, true, signedOut{given: tokens("mine"), givenUnseen: true}},
		"what an earlier sign-out gave up":             {state{signedOut: before(false)}, true, signedOut{given: tokens("mine", "before")}},
		"an earlier one, which has not seen it either": {state{signedOut: before(true)}, true, signedOut{given: tokens("mine", "before"), givenUnseen: true}},
		"an earlier one, and this one has seen it":     {state{signedOut: before(true)}, false, signedOut{given: tokens("mine", "before")}},
	} {
		o := &signedOut{given: tokens("mine"), givenUnseen: tc.unseen}
		epoch := tc.st.epoch
		tc.st.giveUp(o)
		assert.Equal(t, tc.want, *o, name)
		assert.Equal(t, state{epoch: epoch + 1, signedOut: o, futile: futility{settled: tc.st.futile.settled}}, tc.st, name)
	}
}

func TestASessionStaysSignedOutUntilTheStoreShowsANewSignIn(t *testing.T) {
	given, fresh := testToken("given"), testToken("new")
	for name, tc := range map[string]struct {
		unseen, undeleted bool
		shown             Token
		ok                bool
		held              bool
		want              signedOut // afterwards
	}{
		"none":                             {false, true, Token{}, false, true, signedOut{given: []Token{given}}},
		"none, and none was seen before":   {true, true, Token{}, false, true, signedOut{given: []Token{given}}},
		"the one that was given up":        {false, true, given, true, true, signedOut{given: []Token{given}, undeleted: true}},
		"a new one":                        {false, true, fresh, true, false, signedOut{given: []Token{given}, undeleted: true}},
		"the first, if none was ever seen": {true, true, fresh, true, true, signedOut{given: []Token{given, fresh}, undeleted: true}},
	} {
		o := &signedOut{given: []Token{given}, givenUnseen: tc.unseen, undeleted: tc.undeleted}
		assert.Equal(t, tc.held, o.holds(tc.shown, tc.ok), name)
		assert.Equal(t, tc.want, *o, name)
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

func TestAPendingSaveRemembersTheLatestSpentTokens(t *testing.T) {
	var spent []Token
	for i := range 10 {
		spent = append(spent, testToken(fmt.Sprint(i)))
	}
	st := state{}
	st.leavePending(testNow, spent, testPause)
	for i, tok := range spent {
		assert.Equal(t, i >= 2, st.pending.hasSpent(tok), "token %d of 10", i)
	}
	st.leavePending(testNow, spent[:3], testPause)
	assert.Equal(t, &pendingSave{spent: spent[:3], next: testNow + testPause}, st.pending)
	st.leavePending(testNow, nil, 0)
	assert.Equal(t, testNow+grace, st.pending.next, "Wait would try again and again")
	assert.False(t, st.pending.hasSpent(Token{}))
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
	}
	assert.True(t, inBackoff.active(testNow))
	assert.False(t, overNow.active(testNow))
	assert.False(t, (*backoff)(nil).active(testNow))
}

func TestRefreshesThatDoNotHelpAreCounted(t *testing.T) {
	replay := func(number uint32, with ...func(*generation)) *generation {
		return testGeneration(append(with, func(g *generation) { g.fetched, g.number = true, number })...)
	}
	type verdict struct {
		g       *generation
		refused bool
	}
	of := func(number uint32, refused bool) verdict { return verdict{replay(number), refused} }
	for name, tc := range map[string]struct {
		start    futility
		verdicts []verdict
		want     futility
	}{
		"one refusal":                {futility{}, []verdict{of(1, true)}, futility{judged: 1, count: 1}},
		"one refresh counts once":    {futility{}, []verdict{of(1, true), of(1, true)}, futility{judged: 1, count: 1}},
		"two refreshes":              {futility{}, []verdict{of(1, true), of(2, true)}, futility{judged: 2, count: 2}},
		"an accepted replay ends it": {futility{judged: 2, count: 2}, []verdict{of(3, false)}, futility{judged: 3}},
		"refused after accepted":     {futility{}, []verdict{of(1, false), of(1, true)}, futility{judged: 1}},
		"accepted after refused":     {futility{}, []verdict{of(1, true), of(1, false)}, futility{judged: 1}},
		"a token that was signed in": {futility{}, []verdict{{replay(1, func(g *generation) {}), true}, {testGeneration(), true}},
			futility{judged: 1, count: 1}},
		"a replay under an earlier sign-in": {futility{judged: 2, count: 2},
			[]verdict{{replay(3, func(g *generation) { g.epoch = 1 }), true}, {replay(3, func(g *generation) { g.epoch = 1 }), false}},
			futility{judged: 2, count: 2}},
		"the count does not overflow": {futility{count: math.MaxUint8}, []verdict{of(1, true)}, futility{judged: 1, count: math.MaxUint8}},
	} {
		st := state{futile: tc.start}
		for _, v := range tc.verdicts {
			st.judge(v.g, v.refused)
		}
		assert.Equal(t, tc.want, st.futile, name)
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
		assert.Equal(t, tc.want, futility{count: tc.count}.stretch(tc.pause), "%d of %s", tc.count, tc.pause)
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
	futile := futility{count: 1}
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
		"the pause after one that did not help":         {of(state{futile: futile}, longAgo), startKind{}, false},
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

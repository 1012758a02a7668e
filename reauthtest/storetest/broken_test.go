package storetest_test

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/reauth-go/reauth"
	"github.com/reauth-go/reauth/reauthtest/storetest"
)

// A leased is a store whose locks are leases that can be lost. It keeps all that
// is asked of it, unless one of the defects is set.
type leased struct {
	reauth.MemoryStore // tokens only
	mu                 sync.Mutex
	leases             map[string]*lease
	waits              map[string]chan struct{} // closed when the token changes
	given              map[string]reauth.Token  // what a defect keeps of a session

	mergesExtra, forgetsExpiry, ignoresCase, keepsDeleted, cutsLongNames, saysNothingOfErrors,
	locksNothing, locksAllAtOnce, waitsForEver, endsWithItsContext, losesValues,
	runsOut, ignoresLoss, freesOthers, printsTokens, mixes, keepsAbandoned, keepsLate,
	cutsLongTokens, replacesOddBytes, refusesTooLate, sharesWhatIsSaved, sharesWhatIsLoaded,
	refusesPastALock, takesLocksByWriting,
	keepsFourFields, readsWhenLost, lags, goesOnAfterUnlock, grantsInVain, unlocksAfterFailure,
	tellsNothing, tellsOfUnlocks,
	failsNowAndThen, insertsTakeLocks bool

	saves atomic.Int32 // under leases

	long     time.Duration // for how long the suite may take a lease to be granted, if not for leaseTime
	refusing atomic.Bool   // all writes
}

const leaseTime = 30 * time.Millisecond

type lease struct {
	held  context.Context
	lose  context.CancelCauseFunc
	given atomic.Bool // back
}

var errRefused = errors.New("no writes are accepted")

type leaseKey struct{}

func (s *leased) name(session string) string {
	if s.ignoresCase {
		session = strings.ToLower(session)
	}
	if s.cutsLongNames && len(session) > 255 {
		session = session[:255]
	}
	return session
}

// check is called before each write.
func (s *leased) check(ctx context.Context, session string) error {
	l, ok := ctx.Value(leaseKey{}).(*lease)
	switch {
	case s.refusing.Load():
		if ok && s.unlocksAfterFailure {
			l.lose(errors.New("unlocked"))
		}
		return errRefused
	case ok && s.goesOnAfterUnlock && l.given.Load():
		return nil
	case !ok && s.refusesPastALock && s.isLocked(session):
		return errors.New("another has the lock")
	case !ok && s.takesLocksByWriting:
		s.lose(session)
		return nil
	case !ok || s.ignoresLoss:
		return nil
	}
	return context.Cause(l.held)
}

func (s *leased) isLocked(session string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	l := s.leases[session]
	return l != nil && l.held.Err() == nil
}

func (s *leased) keep(session string, tok reauth.Token) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.given[session] = tok
}

func (s *leased) kept(session string) reauth.Token {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.given[session]
}

func (s *leased) Load(ctx context.Context, session string) (reauth.Token, bool, error) {
	l, leased := ctx.Value(leaseKey{}).(*lease)
	if leased && !s.readsWhenLost && !(s.goesOnAfterUnlock && l.given.Load()) && l.held.Err() != nil {
		return reauth.Token{}, false, context.Cause(l.held)
	}
	if leased && s.lags {
		if tok := s.kept(session); tok.AccessToken != "" {
			return tok, true, nil
		}
	}
	tok, ok, err := s.MemoryStore.Load(ctx, s.name(session))
	if s.forgetsExpiry {
		tok.Expiry = time.Time{}
	}
	if s.mixes && ok {
		time.Sleep(time.Millisecond)
		again, _, _ := s.MemoryStore.Load(ctx, s.name(session))
		tok.RefreshToken = again.RefreshToken
	}
	switch {
	case s.sharesWhatIsSaved:
		tok.Extra = maps.Clone(s.kept(session).Extra)
	case s.sharesWhatIsLoaded:
		tok.Extra = s.kept(session).Extra
	}
	if !ok && s.saysNothingOfErrors {
		return tok, ok, errors.New("not found")
	}
	return tok, ok, err
}

func (s *leased) Save(ctx context.Context, session string, tok reauth.Token) error {
	if err := s.check(ctx, session); err != nil {
		return err
	}
	_, leased := ctx.Value(leaseKey{}).(*lease)
	switch {
	case s.failsNowAndThen && leased && s.saves.Add(1)%5 == 0:
		return errors.New("the database is busy")
	case s.insertsTakeLocks && !leased && s.kept(session).AccessToken == "": // there is a row from then on
		s.keep(session, tok)
		s.lose(session)
	}
	if s.keepsFourFields {
		tok = reauth.Token{AccessToken: tok.AccessToken, TokenType: tok.TokenType, RefreshToken: tok.RefreshToken, Expiry: tok.Expiry}
	}
	switch {
	case s.lags:
		before, _, _ := s.MemoryStore.Load(ctx, session)
		s.keep(session, before)
	case s.printsTokens, s.sharesWhatIsSaved:
		s.keep(session, tok)
	case s.sharesWhatIsLoaded:
		s.keep(session, reauth.Token{Extra: maps.Clone(tok.Extra)})
	}
	if s.cutsLongTokens {
		tok.AccessToken = tok.AccessToken[:min(len(tok.AccessToken), 4096)]
	}
	if s.replacesOddBytes {
		tok.AccessToken = strings.ToValidUTF8(tok.AccessToken, "\ufffd")
	}
	if s.refusesTooLate && !utf8.ValidString(tok.AccessToken) {
		_ = s.MemoryStore.Delete(ctx, s.name(session))
		return errors.New("not UTF-8")
	}
	if s.mergesExtra {
		old, _, _ := s.MemoryStore.Load(ctx, s.name(session))
		merged := maps.Clone(old.Extra)
		if merged == nil {
			merged = map[string]string{}
		}
		maps.Copy(merged, tok.Extra)
		tok.Extra = merged
	}
	defer s.tell(session)
	return s.MemoryStore.Save(ctx, s.name(session), tok)
}

// tell ends the waits for the lock of session.
func (s *leased) tell(session string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if c := s.waits[session]; c != nil && !s.tellsNothing {
		close(c)
		delete(s.waits, session)
	}
}

func (s *leased) Delete(ctx context.Context, session string) error {
	if err := s.check(ctx, session); err != nil {
		return err
	}
	if s.keepsDeleted {
		return nil
	}
	defer s.tell(session)
	return s.MemoryStore.Delete(ctx, s.name(session))
}

func (s *leased) Format(f fmt.State, _ rune) {
	s.mu.Lock()
	defer s.mu.Unlock()
	_, _ = fmt.Fprint(f, "leased")
	for session, tok := range s.given {
		_, _ = fmt.Fprint(f, " ", session, ":", tok.AccessToken)
	}
}

func (s *leased) Lock(ctx context.Context, session string) (context.Context, func(), error) {
	if s.locksAllAtOnce {
		session = "all"
	}
	if s.waitsForEver {
		ctx = context.WithoutCancel(ctx)
	}
	if s.refusing.Load() && !s.grantsInVain {
		return nil, nil, errRefused
	}
	for {
		if ctx.Err() != nil {
			return nil, nil, context.Cause(ctx)
		}
		s.mu.Lock()
		holder := s.leases[session]
		if holder == nil || holder.held.Err() != nil || s.locksNothing {
			break
		}
		changed := s.waits[session]
		if changed == nil {
			changed = make(chan struct{})
			s.waits[session] = changed
		}
		s.mu.Unlock()
		select {
		case <-holder.held.Done():
			if s.tellsOfUnlocks {
				return nil, nil, reauth.ErrChanged
			}
		case <-changed:
			return nil, nil, reauth.ErrChanged
		case <-ctx.Done():
		}
	}
	defer s.mu.Unlock()
	parent := context.WithoutCancel(ctx)
	if s.endsWithItsContext {
		parent = ctx
	}
	if s.losesValues {
		parent = context.Background()
	}
	l := new(lease)
	l.held, l.lose = context.WithCancelCause(parent)
	s.leases[session] = l
	abandoned := s.keepsAbandoned && ctx.Err() != nil
	if s.keepsLate {
		<-time.After(time.Millisecond) // as an answer takes
		end, ends := ctx.Deadline()
		abandoned = ends && time.Now().After(end)
	}
	if s.runsOut || abandoned {
		time.AfterFunc(leaseTime, func() { l.lose(errors.New("the lease has run out")) })
	}
	if abandoned {
		return nil, nil, errors.New("given up")
	}
	return context.WithValue(l.held, leaseKey{}, l), func() {
		if s.freesOthers {
			s.lose(session)
		}
		l.given.Store(true)
		l.lose(errors.New("unlocked"))
	}, nil
}

// Purge hides that of the MemoryStore, which knows nothing of the leases.
func (s *leased) Purge() {}

func (s *leased) lose(session string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if l := s.leases[session]; l != nil {
		l.lose(errors.New("the lease was lost"))
	}
}

func (s *leased) storage() storetest.Storage {
	s.leases, s.given, s.waits = make(map[string]*lease), make(map[string]reauth.Token), make(map[string]chan struct{})
	return storetest.Storage{
		Open: func(testing.TB) reauth.Store { return s },
		Lose: func(_ testing.TB, session string) { s.lose(session) },
		Refuse: func(testing.TB) func() {
			s.refusing.Store(true)
			return func() { s.refusing.Store(false) }
		},
		TellsChanges: true,
		Lease:        cmp.Or(s.long, leaseTime),
	}
}

func TestAStoreWhoseLocksAreLeases(t *testing.T) {
	if defect := os.Getenv("STORETEST_DEFECT"); defect != "" {
		storetest.Run(t, defects[defect].store.storage())
		return
	}
	storetest.Run(t, new(leased).storage())
}

var defects = map[string]struct {
	store *leased
	found string // the test that finds it
	hangs bool   // by not ending
}{
	"absence is an error":                      {&leased{saysNothingOfErrors: true}, "AbsentIsNotAnError", false},
	"the expiry is lost":                       {&leased{forgetsExpiry: true}, "WhatIsSavedIsLoaded", false},
	"only four fields are kept":                {&leased{keepsFourFields: true}, "WhatIsSavedIsLoaded", false},
	"what was there is merged":                 {&leased{mergesExtra: true}, "SaveReplacesAll", false},
	"deleted tokens stay":                      {&leased{keepsDeleted: true}, "DeleteIsForEverybody", false},
	"names differ by case alone":               {&leased{ignoresCase: true}, "SessionsAreKeptApart", false},
	"long names are cut":                       {&leased{cutsLongNames: true}, "SessionsAreKeptApart", false},
	"long tokens are cut":                      {&leased{cutsLongTokens: true}, "LargeTokens", false},
	"odd bytes become others":                  {&leased{replacesOddBytes: true}, "OddTokensAreKeptOrRefused", false},
	"a refused token costs the old one":        {&leased{refusesTooLate: true}, "OddTokensAreKeptOrRefused", false},
	"saved tokens are shared with the caller":  {&leased{sharesWhatIsSaved: true}, "NothingIsSharedWithTheCaller", false},
	"loaded tokens are shared with the caller": {&leased{sharesWhatIsLoaded: true}, "NothingIsSharedWithTheCaller", false},
	"a token is read in two steps":             {&leased{mixes: true}, "TokensAreLoadedWhole", false},
	"printing shows tokens":                    {&leased{printsTokens: true}, "NoSecretIsPrinted", false},
	"two refresh at once":                      {&leased{locksNothing: true}, "TransportsOfManyProcesses", false},
	"two hold the lock":                        {&leased{locksNothing: true}, "Locker/KeepsOthersOff", false},
	"one lock for all sessions":                {&leased{locksAllAtOnce: true}, "Locker/LeavesOtherSessionsFree", true},
	"a wait outlasts its context":              {&leased{waitsForEver: true}, "Locker/EndsItsWaitWithItsContext", true},
	"an abandoned wait takes the lock":         {&leased{keepsAbandoned: true}, "Locker/LosesNothingToAbandonedWaits", false},
	"a lock that comes late is kept":           {&leased{keepsLate: true}, "Locker/LosesNothingToAbandonedWaits", false},
	"held ends with the context of Lock":       {&leased{endsWithItsContext: true}, "Locker/HeldHasTheValuesOfItsContextButNotItsEnd", false},
	"held has no values":                       {&leased{losesValues: true}, "Locker/HeldHasTheValuesOfItsContextButNotItsEnd", false},
	"a lease is not renewed":                   {&leased{runsOut: true}, "Locker/LastsAsLongAsItIsHeld", false},
	"only the holder of the lock may write":    {&leased{refusesPastALock: true}, "Locker/IsNotNeededToWrite", false},
	"writing takes the lock away":              {&leased{takesLocksByWriting: true}, "Locker/IsNotNeededToWrite", false},
	"a lock goes on after it was given back":   {&leased{goesOnAfterUnlock: true}, "Locker/ALockThatWasGivenBackIsOver", false},
	"reads under a lease lag":                  {&leased{lags: true}, "Locker/KeepsOthersOff", false},
	"a lost lease reads":                       {&leased{readsWhenLost: true}, "Locker/ALostLeaseReadsNothing", false},
	"a lock is granted to save in vain":        {&leased{grantsInVain: true}, "Locker/IsGrantedOnlyWhereASaveCanBeDone", false},
	"a save that fails unlocks":                {&leased{unlocksAfterFailure: true}, "Locker/OutlastsASaveThatFails", false},
	"a save that fails signs out":              {&leased{unlocksAfterFailure: true, grantsInVain: true, long: 10 * time.Second}, "ARefusedSaveSignsNobodyOut", false},
	"nobody learns of a change":                {&leased{tellsNothing: true}, "Locker/IsWaitedForUntilTheTokenChanges", true},
	"an unlock counts as a change":             {&leased{tellsOfUnlocks: true}, "Locker/IsWaitedForWhileTheTokenStays", false},
	"now and then a save fails":                {&leased{failsNowAndThen: true}, "Locker/KeepsOthersOff", false},
	"a new row takes the lock away":            {&leased{insertsTakeLocks: true, long: 10 * time.Second}, "Locker/IsNotNeededToWrite", false},
	"a lost lease writes":                      {&leased{ignoresLoss: true}, "Locker/ALostLeaseWritesNothing", false},
	"a lost lease frees another's":             {&leased{freesOthers: true}, "Locker/ALostLeaseFreesNobodyElses", false},
}

// TestTheSuiteFindsDefects runs each test that is to find a defect in a process
// of its own, since a test cannot expect another to fail.
func TestTheSuiteFindsDefects(t *testing.T) {
	if os.Getenv("STORETEST_DEFECT") != "" {
		return
	}
	for defect, c := range defects {
		t.Run(defect, func(t *testing.T) { mustBeFound(t, defect, "TestAStoreWhoseLocksAreLeases", c.found, c.hangs) })
	}
	for defect, c := range watchDefects {
		t.Run(defect, func(t *testing.T) { mustBeFound(t, defect, "TestAStoreThatTells", c.found, c.hangs) })
	}
}

func mustBeFound(t *testing.T, defect, test, found string, hangs bool) {
	t.Parallel()
	self, err := os.Executable()
	require.NoError(t, err)
	timeout := "10s"
	if hangs {
		timeout = "3s"
	}
	cmd := exec.CommandContext(t.Context(), self, "-test.v", "-test.timeout="+timeout, "-test.run=^"+test+"$/^"+strings.ReplaceAll(found, "/", "$/^")+"$")
	cmd.Env = append(os.Environ(), "STORETEST_DEFECT="+defect)
	out, err := cmd.CombinedOutput()
	assert.Error(t, err, "the suite has passed a store with this defect")
	failed := strings.Contains(string(out), "--- FAIL: "+test+"/"+found) && !strings.Contains(string(out), "panic: ")
	assert.True(t, failed || hangs && strings.Contains(string(out), "panic: test timed out"), "it failed otherwise:\n%s", out)
}

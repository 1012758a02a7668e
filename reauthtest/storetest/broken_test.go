package storetest_test

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"strings"
	"sync"
	"testing"
	"time"

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
	given              map[string]string // what a defect keeps of a session

	mergesExtra, forgetsExpiry, ignoresCase, keepsDeleted, cutsLongNames, saysNothingOfErrors,
	locksNothing, locksAllAtOnce, waitsForEver, endsWithItsContext, losesValues,
	runsOut, ignoresLoss, freesOthers, printsTokens, mixes, keepsAbandoned bool
}

type lease struct {
	held context.Context
	lose context.CancelCauseFunc
}

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

func (s *leased) check(ctx context.Context) error {
	l, ok := ctx.Value(leaseKey{}).(*lease)
	if !ok || s.ignoresLoss {
		return nil
	}
	return context.Cause(l.held)
}

func (s *leased) Load(ctx context.Context, session string) (reauth.Token, bool, error) {
	tok, ok, err := s.MemoryStore.Load(ctx, s.name(session))
	if s.forgetsExpiry {
		tok.Expiry = time.Time{}
	}
	if s.mixes && ok {
		time.Sleep(time.Millisecond)
		again, _, _ := s.MemoryStore.Load(ctx, s.name(session))
		tok.RefreshToken = again.RefreshToken
	}
	if !ok && s.saysNothingOfErrors {
		return tok, ok, errors.New("not found")
	}
	return tok, ok, err
}

func (s *leased) Save(ctx context.Context, session string, tok reauth.Token) error {
	if err := s.check(ctx); err != nil {
		return err
	}
	if s.printsTokens {
		s.mu.Lock()
		s.given[session] = tok.AccessToken
		s.mu.Unlock()
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
	return s.MemoryStore.Save(ctx, s.name(session), tok)
}

func (s *leased) Delete(ctx context.Context, session string) error {
	if err := s.check(ctx); err != nil {
		return err
	}
	if s.keepsDeleted {
		return nil
	}
	return s.MemoryStore.Delete(ctx, s.name(session))
}

func (s *leased) Format(f fmt.State, _ rune) {
	s.mu.Lock()
	defer s.mu.Unlock()
	_, _ = fmt.Fprint(f, "leased", s.given)
}

func (s *leased) Lock(ctx context.Context, session string) (context.Context, func(), error) {
	if s.locksAllAtOnce {
		session = "all"
	}
	if s.waitsForEver {
		ctx = context.WithoutCancel(ctx)
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
		s.mu.Unlock()
		select {
		case <-holder.held.Done():
		case <-ctx.Done():
		}
	}
	defer s.mu.Unlock()
	if s.keepsAbandoned {
		time.Sleep(20 * time.Millisecond)
		if ctx.Err() != nil {
			s.leases[session] = &lease{held: context.Background()}
			return nil, nil, context.Cause(ctx)
		}
	}
	parent := context.WithoutCancel(ctx)
	if s.endsWithItsContext {
		parent = ctx
	}
	if s.losesValues {
		parent = context.Background()
	}
	l := new(lease)
	l.held, l.lose = context.WithCancelCause(parent)
	if s.runsOut {
		time.AfterFunc(20*time.Millisecond, func() { l.lose(errors.New("the lease has run out")) })
	}
	s.leases[session] = l
	return context.WithValue(l.held, leaseKey{}, l), func() {
		if s.freesOthers {
			s.lose(session)
		}
		l.lose(errors.New("unlocked"))
	}, nil
}

func (s *leased) lose(session string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if l := s.leases[session]; l != nil {
		l.lose(errors.New("the lease was lost"))
	}
}

func (s *leased) storage() storetest.Storage {
	s.leases, s.given = make(map[string]*lease), make(map[string]string)
	return storetest.Storage{
		Open:  func(testing.TB) reauth.Store { return s },
		Lose:  func(_ testing.TB, session string) { s.lose(session) },
		Lease: 30 * time.Millisecond,
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
	"absence is an error":                {&leased{saysNothingOfErrors: true}, "AbsentIsNoError", false},
	"the expiry is lost":                 {&leased{forgetsExpiry: true}, "WhatIsSavedIsLoaded", false},
	"what was there is merged":           {&leased{mergesExtra: true}, "SaveReplacesAll", false},
	"deleted tokens stay":                {&leased{keepsDeleted: true}, "DeleteIsForEverybody", false},
	"names differ by case alone":         {&leased{ignoresCase: true}, "SessionsAreKeptApart", false},
	"long names are cut":                 {&leased{cutsLongNames: true}, "SessionsAreKeptApart", false},
	"a token is read in two steps":       {&leased{mixes: true}, "TokensAreLoadedWhole", false},
	"printing shows tokens":              {&leased{printsTokens: true}, "NoSecretIsPrinted", false},
	"two hold the lock":                  {&leased{locksNothing: true}, "Locker/KeepsOthersOff", false},
	"one lock for all sessions":          {&leased{locksAllAtOnce: true}, "Locker/LeavesOtherSessionsFree", true},
	"a wait outlasts its context":        {&leased{waitsForEver: true}, "Locker/EndsItsWaitWithItsContext", true},
	"an abandoned wait takes the lock":   {&leased{keepsAbandoned: true}, "Locker/LosesNothingToAbandonedWaits", true},
	"held ends with the context of Lock": {&leased{endsWithItsContext: true}, "Locker/HeldHasTheValuesOfItsContextButNotItsEnd", false},
	"held has no values":                 {&leased{losesValues: true}, "Locker/HeldHasTheValuesOfItsContextButNotItsEnd", false},
	"a lease is not renewed":             {&leased{runsOut: true}, "Locker/LastsAsLongAsItIsHeld", false},
	"a lost lease writes":                {&leased{ignoresLoss: true}, "Locker/ALostLeaseWritesNothing", false},
	"a lost lease frees another's":       {&leased{freesOthers: true}, "Locker/ALostLeaseFreesNobodyElses", false},
}

// TestTheSuiteFindsDefects runs each test that is to find a defect in a process
// of its own, since a test cannot expect another to fail.
func TestTheSuiteFindsDefects(t *testing.T) {
	if os.Getenv("STORETEST_DEFECT") != "" {
		return
	}
	self, err := os.Executable()
	require.NoError(t, err)
	for defect, c := range defects {
		t.Run(defect, func(t *testing.T) {
			t.Parallel()
			cmd := exec.CommandContext(t.Context(), self, "-test.v", "-test.timeout=5s", "-test.run=^TestAStoreWhoseLocksAreLeases$/^"+strings.ReplaceAll(c.found, "/", "$/^")+"$")
			cmd.Env = append(os.Environ(), "STORETEST_DEFECT="+defect)
			out, err := cmd.CombinedOutput()
			assert.Error(t, err, "the suite has passed a store with this defect")
			found := strings.Contains(string(out), "--- FAIL: TestAStoreWhoseLocksAreLeases/"+c.found)
			assert.True(t, found || c.hangs && strings.Contains(string(out), "panic: test timed out"), "it failed otherwise:\n%s", out)
		})
	}
}

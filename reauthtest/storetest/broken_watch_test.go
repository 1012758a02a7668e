package storetest_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"sync"
	"testing"
	"time"

	"github.com/reauth-go/reauth"
	"github.com/reauth-go/reauth/reauthtest/storetest"
)

// A board is what the processes of a watched share, and what each of them has heard.
type board struct {
	reauth.MemoryStore

	mu       sync.Mutex
	watchers map[*watcher]bool
}

type watcher struct {
	of   *watched
	news chan string
}

// A watched is a store of a process that tells what others do, and purges, unless one of the
// defects is set.
type watched struct {
	*board

	tellsNobody, tellsNoDelete, tellsItsOwn, saysNothingAtFirst, tellsOneWatch, ignoresItsEnd, endsWithoutCause,
	takesNil, catchesPanics,
	purgesNothing, purgesAll, purgesSilently, purgesTheLocked, countsWrong, takesNoTime bool
}

func (s *watched) Save(ctx context.Context, session string, tok reauth.Token) error {
	defer s.tell(session)
	return s.MemoryStore.Save(ctx, session, tok)
}

func (s *watched) Delete(ctx context.Context, session string) error {
	if !s.tellsNoDelete {
		defer s.tell(session)
	}
	return s.MemoryStore.Delete(ctx, session)
}

func (s *watched) tell(session string) { s.tellOf(session, s.tellsItsOwn) }

func (s *watched) tellOf(session string, own bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for w := range s.watchers {
		if !s.tellsNobody && (w.of != s || own) {
			w.news <- session
		}
	}
}

func (s *watched) Watch(ctx context.Context, changed func(string), missed func()) (err error) {
	if !s.takesNil && (changed == nil || missed == nil) {
		return fmt.Errorf("changed is nil: %t; missed is nil: %t", changed == nil, missed == nil)
	}
	if s.catchesPanics {
		defer func() { _ = recover() }()
	}
	w := &watcher{s, make(chan string, 100)}
	s.mu.Lock()
	if s.tellsOneWatch {
		clear(s.watchers)
	}
	s.watchers[w] = true
	s.mu.Unlock()
	defer func() {
		s.mu.Lock()
		delete(s.watchers, w)
		s.mu.Unlock()
	}()
	if ctx.Err() == nil && !s.saysNothingAtFirst {
		missed()
	}
	end := ctx.Done()
	if s.ignoresItsEnd {
		end = nil
	}
	for {
		select {
		case <-end:
			if s.endsWithoutCause {
				return errors.New("ended")
			}
			return context.Cause(ctx)
		case session := <-w.news:
			changed(session)
		}
	}
}

func (s *watched) Purge(ctx context.Context, olderThan time.Duration) (int, error) {
	switch {
	case s.purgesNothing:
		return 0, nil
	case s.takesNoTime && olderThan <= 0:
		return 0, nil
	case s.purgesAll && olderThan > 0:
		olderThan = 1
	case s.purgesTheLocked && olderThan > 0:
		_ = s.MemoryStore.Delete(ctx, "storetest purged locked")
	}
	const session = "storetest watched purge" // of this one it tells
	_, before, _ := s.MemoryStore.Load(ctx, session)
	n, err := s.MemoryStore.Purge(ctx, olderThan)
	if _, after, _ := s.MemoryStore.Load(ctx, session); before && !after {
		s.tellOf(session, !s.purgesSilently)
	}
	if s.countsWrong {
		n *= 2
	}
	return n, err
}

func TestAStoreThatTells(t *testing.T) {
	store := watched{}
	if defect := os.Getenv("STORETEST_DEFECT"); defect != "" {
		store = watchDefects[defect].store
	}
	b := &board{watchers: make(map[*watcher]bool)}
	storetest.Run(t, storetest.Storage{Open: func(testing.TB) reauth.Store {
		opened := store
		opened.board = b
		return &opened
	}})
}

var watchDefects = map[string]struct {
	store watched
	found string
	hangs bool
}{
	"no news of others":                  {watched{tellsNobody: true}, "Watch/TellsWhatOthersDo", true},
	"no news of a delete":                {watched{tellsNoDelete: true}, "Watch/TellsWhatOthersDo", true},
	"no news of a delete under a lock":   {watched{tellsNoDelete: true}, "Watch/TellsWhatOthersDoUnderALock", true},
	"news of oneself":                    {watched{tellsItsOwn: true}, "Watch/DoesNotTellItsOwn", false},
	"nothing is missed at the beginning": {watched{saysNothingAtFirst: true}, "Watch/TellsWhatOthersDo", true},
	"no news of its own purge":           {watched{purgesSilently: true}, "Watch/TellsWhatIsPurged", true},
	"one Watch at a time":                {watched{tellsOneWatch: true}, "Watch/MayBeCalledSeveralTimes", true},
	"Watch outlasts its context":         {watched{ignoresItsEnd: true}, "Watch/EndsWithItsContext", true},
	"Watch ends without the cause":       {watched{endsWithoutCause: true}, "Watch/EndsWithItsContext", false},
	"Watch takes nil":                    {watched{takesNil: true}, "Watch/NeedsBothFunctions", true},
	"Watch catches panics":               {watched{catchesPanics: true}, "Watch/LetsPanicsPass", false},
	"nothing is purged":                  {watched{purgesNothing: true}, "Purge/DeletesWhatWasSavedLongAgo", true},
	"everything is purged":               {watched{purgesAll: true}, "Purge/DeletesWhatWasSavedLongAgo", false},
	"a purge counts wrong":               {watched{countsWrong: true}, "Purge/DeletesWhatWasSavedLongAgo", false},
	"each purge counts all":              {watched{countsWrong: true}, "Purge/MayRunSeveralTimesAtOnce", false},
	"locked sessions are purged":         {watched{purgesTheLocked: true}, "Purge/LeavesALockedSessionAlone", false},
	"a purge needs no time":              {watched{takesNoTime: true}, "Purge/NeedsATime", false},
}

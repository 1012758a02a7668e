// Package storetest is the conformance suite for stores. It tests whether a reauth.Store,
// and a reauth.Locker if it is one, behaves as documented.
//
//	var _ reauth.Locker = (*mystore.Store)(nil) // or it isn't tested as one
//
//	func TestStore(t *testing.T) {
//		dir := t.TempDir()
//		storetest.Run(t, storetest.Storage{
//			Open: func(tb testing.TB) reauth.Store { return mystore.New(dir) },
//		})
//	}
//
// It runs in real time against the real storage, and takes a few seconds.
package storetest

import (
	"testing"
	"time"

	"github.com/reauth-go/reauth"
)

// A Storage is a place where tokens are kept, and how to open it.
type Storage struct {
	// Open returns a store that keeps its tokens in the storage. It is called many times,
	// and the stores it returns should share no more than different processes would. It
	// calls Fatal if it fails, and Cleanup to close resources. Required.
	Open func(tb testing.TB) reauth.Store

	// Lose takes the lock of session away from its holder, as if a lease had not been
	// renewed, so that another can take it. Nil if a lock cannot be lost; then the suite
	// does not test that case.
	Lose func(tb testing.TB, session string)

	// Refuse makes the storage refuse what is written to it, like a full disk or a
	// database that has become read-only, until accept is called. The suite calls accept
	// after a tenth of a second to a second, and within half a Lease. Nil if a test can't
	// do that; then the suite does not test those cases.
	Refuse func(tb testing.TB) (accept func())

	// TellsChanges says that the wait for a lock ends with reauth.ErrChanged once the token
	// has changed. The suite then tests that it does.
	TellsChanges bool

	// Lease is how long a lock is granted at a time. The suite holds a lock for three
	// times that long, so open the store with a short lease, but not shorter than a busy
	// machine may need to take a lock, which is about half a second. What a lease that was
	// lost late has kept from being done is tried again, up to twice. 0 means that locks are
	// not leases.
	Lease time.Duration
}

// Run tests a storage. It tests locking if the first store it opens is a reauth.Locker, and
// the methods Watch and Purge if that has them, with the signatures of those of the stores
// of this module:
//
//	Watch(ctx context.Context, changed func(session string), missed func()) error
//	Purge(ctx context.Context, olderThan time.Duration) (int, error)
//
// The names of its sessions begin with "storetest", except for a few unusual names, whose
// sessions are deleted again. But the tests of Purge delete all sessions in the storage.
func Run(t *testing.T, s Storage) {
	t.Helper()
	if s.Open == nil {
		t.Fatal("storetest: Storage.Open is nil")
	}
	run(t, s, []test{
		{"AbsentIsNotAnError", absentIsNotAnError},
		{"WhatIsSavedIsLoaded", whatIsSavedIsLoaded},
		{"SaveReplacesAll", saveReplacesAll},
		{"DeleteIsForEverybody", deleteIsForEverybody},
		{"SessionsAreKeptApart", sessionsAreKeptApart},
		{"LargeTokens", largeTokens},
		{"OddTokensAreKeptOrRefused", oddTokensAreKeptOrRefused},
		{"NothingIsSharedWithTheCaller", nothingIsSharedWithTheCaller},
		{"TokensAreLoadedWhole", tokensAreLoadedWhole},
		{"NoSecretIsPrinted", noSecretIsPrinted},
		{"TransportsOfManyProcesses", transportsOfManyProcesses},
		{"ARefusedSaveSignsNobodyOut", aRefusedSaveSignsNobodyOut},
	})
	store := s.Open(t)
	if _, ok := store.(reauth.Locker); ok {
		t.Run("Locker", func(t *testing.T) { run(t, s, lockerTests) })
	}
	if _, ok := store.(watchingStore); ok {
		t.Run("Watch", func(t *testing.T) { run(t, s, watchTests) })
	}
	if _, ok := store.(purgingStore); ok {
		t.Run("Purge", func(t *testing.T) { run(t, s, purgeTests) })
	}
}

type test struct {
	name string
	run  func(*testing.T, Storage)
}

func run(t *testing.T, s Storage, tests []test) {
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) { test.run(t, s) })
	}
}

var lockerTests = []test{
	{"KeepsOthersOff", lockKeepsOthersOff},
	{"LeavesOtherSessionsFree", lockLeavesOtherSessionsFree},
	{"EndsItsWaitWithItsContext", lockEndsItsWaitWithItsContext},
	{"LosesNothingToAbandonedWaits", lockLosesNothingToAbandonedWaits},
	{"HeldHasTheValuesOfItsContextButNotItsEnd", heldHasTheValuesOfItsContextButNotItsEnd},
	{"LastsAsLongAsItIsHeld", lockLastsAsLongAsItIsHeld},
	{"IsWaitedForUntilTheTokenChanges", lockIsWaitedForUntilTheTokenChanges},
	{"IsWaitedForWhileTheTokenStays", lockIsWaitedForWhileTheTokenStays},
	{"IsNotNeededToWrite", lockIsNotNeededToWrite},
	{"ALockThatWasGivenBackIsOver", aLockThatWasGivenBackIsOver},
	{"IsGrantedOnlyWhereASaveCanBeDone", lockIsGrantedOnlyWhereASaveCanBeDone},
	{"OutlastsASaveThatFails", lockOutlastsASaveThatFails},
	{"ALostLeaseReadsNothing", aLostLeaseReadsNothing},
	{"ALostLeaseWritesNothing", aLostLeaseWritesNothing},
	{"ALostLeaseFreesNobodyElses", aLostLeaseFreesNobodyElses},
}

var watchTests = []test{
	{"TellsWhatOthersDo", watchTellsWhatOthersDo},
	{"TellsWhatOthersDoUnderALock", watchTellsWhatOthersDoUnderALock},
	{"DoesNotTellItsOwn", watchDoesNotTellItsOwn},
	{"TellsWhatIsPurged", watchTellsWhatIsPurged},
	{"MayBeCalledSeveralTimes", watchMayBeCalledSeveralTimes},
	{"EndsWithItsContext", watchEndsWithItsContext},
	{"NeedsBothFunctions", watchNeedsBothFunctions},
	{"LetsPanicsPass", watchLetsPanicsPass},
}

var purgeTests = []test{
	{"DeletesWhatWasSavedLongAgo", purgeDeletesWhatWasSavedLongAgo},
	{"MayRunSeveralTimesAtOnce", purgeMayRunSeveralTimesAtOnce},
	{"LeavesALockedSessionAlone", purgeLeavesALockedSessionAlone},
	{"NeedsATime", purgeNeedsATime},
}

// Package storetest is the conformance suite for stores: it tests whether a
// reauth.Store, and a reauth.Locker where it is one, keeps what their
// documentation asks of them.
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

// A Storage is what is tested: one place where tokens are kept, and how to get
// at it.
type Storage struct {
	// Open returns a store that keeps its tokens in the storage. It is called
	// many times, and what it returns should share no more than different
	// processes would. It calls Fatal if it fails, and Cleanup for what has to be
	// closed. Required.
	Open func(tb testing.TB) reauth.Store

	// Lose takes the lock of session from whoever holds it, as happens to a
	// lease that was not renewed: another can get it from then on. Nil where a
	// lock cannot be lost; what has to happen then is not tested.
	Lose func(tb testing.TB, session string)

	// Lease is for how long a lock is granted at a time. The suite holds one for
	// three times that long, so the store should be opened with a short one, but
	// not one shorter than a busy machine may take to get a lock: half a second or
	// so. 0 means that locks are no leases.
	Lease time.Duration
}

// Run tests a storage. What the store does as a reauth.Locker is tested if the
// first one opened is a Locker. Every session is called something that begins
// with "storetest", but for a few whose names are the point, which are deleted
// again.
func Run(t *testing.T, s Storage) {
	t.Helper()
	if s.Open == nil {
		t.Fatal("storetest: Storage.Open is nil")
	}
	for _, test := range []struct {
		name string
		run  func(*testing.T, Storage)
	}{
		{"AbsentIsNoError", absentIsNoError},
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
	} {
		t.Run(test.name, func(t *testing.T) { test.run(t, s) })
	}
	if _, ok := s.Open(t).(reauth.Locker); ok {
		t.Run("Locker", func(t *testing.T) { runLocker(t, s) })
	}
}

func runLocker(t *testing.T, s Storage) {
	for _, test := range []struct {
		name string
		run  func(*testing.T, Storage)
	}{
		{"KeepsOthersOff", lockKeepsOthersOff},
		{"LeavesOtherSessionsFree", lockLeavesOtherSessionsFree},
		{"EndsItsWaitWithItsContext", lockEndsItsWaitWithItsContext},
		{"LosesNothingToAbandonedWaits", lockLosesNothingToAbandonedWaits},
		{"HeldHasTheValuesOfItsContextButNotItsEnd", heldHasTheValuesOfItsContextButNotItsEnd},
		{"LastsAsLongAsItIsHeld", lockLastsAsLongAsItIsHeld},
		{"IsNotNeededToWrite", lockIsNotNeededToWrite},
		{"ALostLeaseWritesNothing", aLostLeaseWritesNothing},
		{"ALostLeaseFreesNobodyElses", aLostLeaseFreesNobodyElses},
	} {
		t.Run(test.name, func(t *testing.T) { test.run(t, s) })
	}
}

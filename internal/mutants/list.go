package main

// A mutant is one broken line.
type mutant struct {
	name   string // begins with the promise's number, if it is one's
	file   string
	line   string // what stands there
	broken string // what stands there instead
	tests  string // those that are to notice: parts of their names, with | between
}

var mutants = []mutant{
	{
		name:   "P1 a late refusal is not compared with the current token",
		file:   "internal/mutants/list.go",
		line:   "case cur != g && now < cur.expires:",
		broken: "case false:",
		tests:  "WhatARequestDoesAfter|Promise1[A-Z]|RefusedAfterRotation",
	},
	{
		name: "P1 a flight is not shared",
		file: "state.go",
		line: `	case st.flight == nil:
		return step{wait: true, start: startRefreshing, needed: st.current}
	}
`,
		broken: `	default:
		return step{wait: true, start: startRefreshing, needed: st.current}
	}
`,
		tests: "WhatARequestDoes|Promise1[A-Z]",
	},
	{
		name: "P1 what is stored is not compared",
		file: "refresh.go",
		line: `		case ok:
			if o := f.adoption(stored, EventAdopted); o != nil {
				return o
			}
`,
		broken: "\t\tcase ok:\n",
		tests:  "ComparedWithTheStored|Promise1[A-Z]",
	},
	{
		name: "P1 a save under a lost lease counts as done",
		file: "internal/mutants/list.go",
		line: "\tswitch {\n\tcase errors.Is(err, errUnsettled): //",
		broken: `	if l.held.Err() != nil {
		saved, err = true, nil
	}
	switch {
	case errors.Is(err, errUnsettled): //`,
		tests: "ASaveUnderALostLease",
	},
	{
		name:   "P1 a refresh is aborted by a lost lease",
		file:   "refresh.go",
		line:   "call(f, f.ctx, what,",
		broken: "call(f, f.lease.held, what,",
		tests:  "NotAbortedByALostLease|Promise2",
	},
	{
		name: "P1 a lease is never given back",
		file: "lease.go",
		line: `	if s.lease == l {
		s.lease = nil
	}
	s.giveBack(l)
`,
		broken: `	if s.lease == l {
		s.lease = nil
	}
`,
		tests: "Lock|Lease|Promise1[A-Z]",
	},
	{
		name:   "P1 a flight does not lock",
		file:   "lease.go",
		line:   "	if locker == nil {\n		return",
		broken: "	if locker != nil {\n		return",
		tests:  "Promise1[A-Z]|StoreCallsFindTheirLease|Lock",
	},
	{
		name: "P1 a lock that comes when all have left is kept",
		file: "lease.go",
		line: `	if abandoned {
		s.giveBack(l)
	}`,
		broken: "	_ = abandoned",
		tests:  "ALockThatIgnoresItsContext",
	},
	{
		name:   "P1 a lease that was lost is shared",
		file:   "lease.go",
		line:   "joined := l != nil && !l.lost() &&",
		broken: "joined := l != nil &&",
		tests:  "APendingSaveWhoseLockIsLost|SignInAndSignOutDoNotWait",
	},
	{
		name:   "P1 a lock ends with the first call that waits for it",
		file:   "lease.go",
		line:   "go s.lock(s.owner.forFlight(ctx, s.name), locker, l)",
		broken: "go s.lock(ctx, locker, l)",
		tests:  "ALockOutlives",
	},
	{
		name:   "P1 a refresh is sent after a load that returned too late",
		file:   "flight.go",
		line:   "if err == nil && f.isAbandoned() {",
		broken: "if false {",
		tests:  "ALoadThatReturnsTooLate",
	},
	{
		name:   "P1 a call that returns overtakes its own abandonment",
		file:   "flight.go",
		line:   "	if !watch.Stop() {\n		<-abandoned // from",
		broken: "	if !watch.Stop() && false {\n		<-abandoned // from",
		tests:  "AnAbandonedCall",
	},
	{
		name:   "P1 which token was refreshed is decided by the access token alone",
		file:   "token.go",
		line:   "return t.AccessToken == u.AccessToken && t.RefreshToken == u.RefreshToken",
		broken: "return t.AccessToken == u.AccessToken",
		tests:  "ComparedWithTheStored",
	},
	{
		name:   "P1 a call that joins an attempt to lock has that attempt's time",
		file:   "lease.go",
		line:   "\t\tif joined && err == errLockTimeout && l.timedOut() && ctx.Err() == nil {\n\t\t\tcontinue",
		broken: "\t\tif false {\n\t\t\tcontinue",
		tests:  "JoinsAnEarlierAttempt",
	},
	{
		name:   "P2 a flight ends with the request that started it",
		file:   "context.go",
		line:   "return untraced{context.WithoutCancel(ctx)}",
		broken: "return untraced{ctx}",
		tests:  "Promise2",
	},
	{
		name: "P2 a flight has the starter's trace",
		file: "context.go",
		line: `if _, ok := v.(*httptrace.ClientTrace); ok {
		return nil
	}`,
		broken: "_ = httptrace.ClientTrace{}",
		tests:  "Promise2",
	},
	{
		name: "P2 the refresher's context error is passed on",
		file: "flight.go",
		line: `		err = errUnfinished
	}
	if err != nil {
		err = wrap`,
		broken: `	}
	if err != nil {
		err = wrap`,
		tests: "Promise2",
	},
	{
		name: "P2 a caller does not leave when its own context ends",
		file: "singleflight.go",
		line: `	case <-ctx.Done():
		return value, false
	}`,
		broken: "	}",
		tests:  "Promise2|APromise",
	},
	{
		name: "P2 a result that is there is lost to a context that is done",
		file: "singleflight.go",
		line: `	select {
	case <-p.kept:
		return p.value, true
	default:
	}
`,
		broken: "",
		tests:  "KeptPromise",
	},
	{
		name: "P2 a caller that has gone gets the refusal of a body that cannot be replayed",
		file: "transport.go",
		line: `		if ctx.Err() != nil {
			body.Drain(ctx, resp)
			return nil, context.Cause(ctx)
		}
`,
		broken: "",
		tests:  "CallerThatLeaves",
	},
	{
		name:   "P2 errors that match a context's are passed on",
		file:   "internal/redact/redact.go",
		line:   "	if clean == text && ContextError(err) == nil {",
		broken: "	if clean == text {",
		tests:  "Promise2|Harmless",
	},
	{
		name: "P3 a token is used before it is saved",
		file: "save.go",
		line: "\tf.store(o, l, stored, from, g.tok, settle)\n",
		broken: `	s.change(settle)
	f.store(o, l, stored, from, g.tok, settle)
`,
		tests: "Promise3",
	},
	{
		name:   "P4 a spent token is spent again while its successor's save is pending",
		file:   "refresh.go",
		line:   "\t\t\tfrom = mine\n",
		broken: "\t\t\t_ = mine\n",
		tests:  "Promise4|WhoseSaveIsPending",
	},
	{
		name: "P4 a pending save that fails again is forgotten",
		file: "internal/mutants/list.go",
		line: `		st.leavePending(now, tok, l, p == nil || p.guard, s.owner.refreshPause)
		if report {
`,
		broken: `		st.pending = nil
		if report && st.pending != nil {
`,
		tests: "PendingSave",
	},
	{
		name:   "P4 a pending save replaces what another process stored",
		file:   "save.go",
		line:   "\tcase !spent: // another",
		broken: "\tcase false: // another",
		tests:  "PendingSave",
	},
	{
		name: "P4 what was spent is not remembered",
		file: "internal/mutants/list.go",
		line: `			st.remember(from, true)
		}
		st.renew`,
		broken: `			_ = from
		}
		st.renew`,
		tests: "Spent|AStoreThatForgets",
	},
	{
		name:   "P4 older spent tokens are forgotten at the next refresh",
		file:   "token.go",
		line:   "const mostRemembered = 8",
		broken: "const mostRemembered = 1",
		tests:  "ASpentToken|HadAndSpent",
	},
	{
		name:   "P4 the latest tokens are forgotten in place of the oldest",
		file:   "token.go",
		line:   "m.next = (m.next + 1) % mostRemembered",
		broken: "m.next = min(m.next+1, mostRemembered-1)",
		tests:  "HadAndSpent",
	},
	{
		name: "P4 a refresh is sent under a lease that was lost",
		file: "internal/mutants/list.go",
		line: `	case l.held.Err() != nil:
		return Token{}, false, errLockLost
`,
		broken: "",
		tests:  "HasBecomeWrong",
	},
	{
		name:   "P4 a sign-in with the token that is being refreshed is one like any other",
		file:   "signin.go",
		line:   "return st.flight != nil && st.flight.from.same(tok)",
		broken: "return false && st.flight.from.same(tok)",
		tests:  "ASignInWithThe",
	},
	{
		name: "P4 a save that took effect though it seemed to fail is repeated",
		file: "save.go",
		line: `	case ok && mine.is(stored): // the save that seemed to fail did not
		f.pendingSaved(pending)
	case !spent:`,
		broken: "\tcase !spent && !mine.is(stored):",
		tests:  "ASaveThatSeemedToFail",
	},
	{
		name:   "P4 the lease is given back while a save is pending",
		file:   "state.go",
		line:   "\t\tp.lease = l\n",
		broken: "",
		tests:  "ThePendingSaveKeepsTheLock|IsTriedUnderItsLock|WhenAPendingSave",
	},
	{
		name:   "P4 the lease is given back though the refresh token has changed",
		file:   "save.go",
		line:   "guard := tok.RefreshToken != stored.RefreshToken",
		broken: "guard := false",
		tests:  "ThePendingSaveKeepsTheLock|IsTriedUnderItsLock",
	},
	{
		name:   "P4 the lease is kept for a save that protects no refresh token",
		file:   "save.go",
		line:   "guard := tok.RefreshToken != stored.RefreshToken",
		broken: "guard := true",
		tests:  "OncePerRefreshPause",
	},
	{
		name:   "P4 a pending save is no user of its lease",
		file:   "cached.go",
		line:   "\t\t\tp.lease.users++\n",
		broken: "",
		tests:  "ThePendingSaveKeepsTheLock|IsTriedUnderItsLock",
	},
	{
		name:   "P4 a pending save has no timer",
		file:   "cached.go",
		line:   "\t\t\ttime.AfterFunc(p.next-s.owner.now(), func() { s.savePending(p) })\n",
		broken: "",
		tests:  "IsTriedUnderItsLock",
	},
	{
		name:   "P4 a save is tried under its lease after its refresh token has expired",
		file:   "cached.go",
		line:   "\t\tcase expired:\n",
		broken: "\t\tcase expired && false:\n",
		tests:  "ThePendingSaveGivesTheLockBack",
	},
	{
		name: "P4 a pending save that a flight gets ahead of has no timer any more",
		file: "internal/mutants/list.go",
		line: `			st.leavePending(now, p.tok, p.lease, p.guard, s.owner.refreshPause)
			return
`,
		broken: "\t\t\treturn\n",
		tests:  "UnderItsLockAfterARefresh",
	},
	{
		name:   "P4 a pending save that could not be tried has no timer any more",
		file:   "flight.go",
		line:   "\t\tdefer s.change(func(st *state, now time.Duration) { st.retryPending(now, s.owner.refreshPause) })\n",
		broken: "",
		tests:  "IsTriedUnderItsLock|IsTriedAgainAfter",
	},
	{
		name:   "P4 that a save is still pending is reported at each try",
		file:   "save.go",
		line:   "report = p == nil || now >= p.report",
		broken: "report = true",
		tests:  "ThePendingSaveKeepsTheLock",
	},
	{
		name:   "P4 that a save is still pending is reported once only",
		file:   "save.go",
		line:   "report = p == nil || now >= p.report",
		broken: "report = p == nil",
		tests:  "ThePendingSaveKeepsTheLock",
	},
	{
		name:   "P4 a sign-in does not let a pending save go first",
		file:   "signin.go",
		line:   "if p != nil && p.lease == l && l.ready != nil {",
		broken: "if p != nil && false {",
		tests:  "PendingSave",
	},
	{
		name: "P4 a store that forgets a write is believed",
		file: "save.go",
		line: `		case spent && st.current != nil && !st.current.tok.is(stored) && st.current.tok.sameSignIn(stored):
			mine = st.current.tok
`,
		broken: "",
		tests:  "AStoreThatForgets",
	},
	{
		name: "P4 a write that ended without an answer leaves its lease as it was",
		file: "lease.go",
		line: `			if bounded.Err() != nil {
				s.unsettle(l)
			}
`,
		broken: "",
		tests:  "OutcomeIsUnknown",
	},
	{
		name:   "P4 a flight goes on under a lease whose last write is not settled",
		file:   "save.go",
		line:   "\tif s.isUnsettled(l) {\n\t\t// A write may still",
		broken: "\tif false {\n\t\t// A write may still",
		tests:  "MayStillArrive",
	},
	{
		name:   "P4 a sign-in is written under a lease whose last write is not settled",
		file:   "signin.go",
		line:   "\t\tif !s.isUnsettled(l) {\n",
		broken: "\t\tif true {\n",
		tests:  "OutcomeIsUnknown",
	},
	{
		name:   "P4 a refresh is saved under a lease whose last write ended without an answer meanwhile",
		file:   "internal/mutants/list.go",
		line:   "if !again && s.isUnsettled(l) {",
		broken: "if false {",
		tests:  "MayStillArrive",
	},
	{
		name:   "P4 a token is deleted under a lease whose last write ended without an answer meanwhile",
		file:   "signin.go",
		line:   "\t\t\t\tif s.isUnsettled(l) {\n",
		broken: "\t\t\t\tif false {\n",
		tests:  "MayStillArrive",
	},
	{
		name:   "P4 a sign-in is written under a lease whose last write ended without an answer meanwhile",
		file:   "signin.go",
		line:   "\t\t\tcase s.isUnsettled(l): // by",
		broken: "\t\t\tcase false: // by",
		tests:  "MayStillArrive",
	},
	{
		name:   "P4 a flight whose pending save is not settled asks all the same",
		file:   "save.go",
		line:   "\t\t\tif s.isUnsettled(l) {\n\t\t\t\treturn Token{}, f.failure(",
		broken: "\t\t\tif false {\n\t\t\t\treturn Token{}, f.failure(",
		tests:  "NothingIsRefreshedWhile",
	},
	{
		name:   "P4 a lease that is kept for a save is given to nobody else when the save is done",
		file:   "cached.go",
		line:   "\t\t\ts.releaseLocked(pending.lease)\n",
		broken: "\t\t\t_ = s\n",
		tests:  "ThePendingSaveKeepsTheLock|IsTriedUnderItsLock",
	},
	{
		name:   "P4 a new refresh token beside an error is dropped",
		file:   "refresh.go",
		line:   `case tok.RefreshToken != "" && tok.RefreshToken != from.RefreshToken:`,
		broken: "case false:",
		tests:  "BesideAnError",
	},
	{
		name:   "P4 a salvaged refresh token is stored with the refused access token",
		file:   "save.go",
		line:   `		kept.AccessToken, kept.Expiry = "", time.Time{} // it`,
		broken: "\t\t_ = kept.Expiry // it",
		tests:  "ASalvagedRefreshToken|BesideAnError",
	},
	{
		name:   "P4 the old refresh token is not kept beside the salvaged one",
		file:   "save.go",
		line:   ".boundExtra(from).withPrevious(from)",
		broken: ".boundExtra(from)",
		tests:  "BesideAnError",
	},
	{
		name:   "P4 a final answer to a salvaged refresh token is final",
		file:   "refresh.go",
		line:   "ok && final && f.update == nil {",
		broken: "ok && final && false {",
		tests:  "BesideAnError",
	},
	{
		name:   "P4 the refresh token from before a salvaged one is tried at a temporary failure",
		file:   "refresh.go",
		line:   "ok && final && f.update == nil {",
		broken: "ok && err != nil && f.update == nil {",
		tests:  "ASalvagedRefreshToken",
	},
	{
		name:   "P4 a refresher sees the refresh token that is kept beside the salvaged one",
		file:   "refresh.go",
		line:   "\tdelete(visible.Extra, extraPrevious)\n",
		broken: "",
		tests:  "ASalvagedRefreshToken",
	},
	{
		name: "P4 an answer of which only the refresh token was salvaged causes no pause",
		file: "save.go",
		line: `		st.renew(g, false)
		fail(st, now)
`,
		broken: `		st.renew(g, false)
		_ = fail
`,
		tests: "ASalvagedRefreshToken",
	},
	{
		name: "P5 no pause after a failure",
		file: "refused.go",
		line: `	case st.backoff.active(now):
		return step{err: st.backoff.err}
	case st.rejected`,
		broken: "\tcase st.rejected",
		tests:  "Promise5|WhatARequestDoesAfter",
	},
	{
		name: "P5 no pause after a failure where the token has expired",
		file: "state.go",
		line: `	case !st.isRefreshing() && st.backoff.active(now):
		return step{err: st.backoff.err}
`,
		broken: "",
		tests:  "Promise5|WhatARequestDoes",
	},
	{
		name:   "P5 the pause does not double",
		file:   "state.go",
		line:   "min(2*st.backoff.pause, longestBackoff)",
		broken: "firstBackoff",
		tests:  "Promise5|ThePauseAfterFailures",
	},
	{
		name:   "P5 Retry-After is ignored",
		file:   "internal/mutants/list.go",
		line:   "max(jittered, min(err.RetryAfter, longestRetryAfter))",
		broken: "jittered",
		tests:  "Promise5|ThePauseAfterFailures",
	},
	{
		name:   "P5 the pause has no jitter",
		file:   "flight.go",
		line:   "pause, spread := s.owner.refreshPause, rand.Float64()",
		broken: "pause, spread := s.owner.refreshPause, 0*rand.Float64()",
		tests:  "FailuresOfManySessions",
	},
	{
		name:   "P5 every failure is final",
		file:   "internal/mutants/list.go",
		line:   "if final = requiresSignIn(err); final && from.isZero() {",
		broken: "if final = true; final && from.isZero() {",
		tests:  "Promise5",
	},
	{
		name: "P5 a failed early refresh gives up the good token",
		file: "flight.go",
		line: "\t\t\tst.failed(now, err, spread)\n",
		broken: `			st.current = nil
			st.failed(now, err, spread)
`,
		tests: "Promise5",
	},
	{
		name:   "P5 a request that waits for an early refresh fails with it",
		file:   "internal/mutants/list.go",
		line:   "case next.use != nil && s.current.Load() == next.use && s.owner.now() < next.use.expires:",
		broken: "case false:",
		tests:  "ABodyThatCannotBeSentTwice",
	},
	{
		name:   "P5 a request that waits for an early refresh goes with a token that has expired",
		file:   "cached.go",
		line:   " && s.owner.now() < cur.expires\n",
		broken: "\n",
		tests:  "ABodyThatCannotBeSentTwice",
	},
	{
		name:   "P5 a flight that was up only to save, and asks, is not taken for a refresh",
		file:   "refresh.go",
		line:   "f.refreshes, f.from = true, from",
		broken: "f.from = from",
		tests:  "APendingSaveThatRefreshes",
	},
	{
		name: "P5 a flight that was up only to save asks in the pause after a failure",
		file: "refresh.go",
		line: `		case !f.refreshes && st.backoff.active(now):
			err = st.backoff.err
`,
		broken: "",
		tests:  "APendingSave",
	},
	{
		name:   "P5 a final answer to an early refresh leaves the backoff of an earlier failure",
		file:   "flight.go",
		line:   "st.rejected, st.backoff = &rejection{from: from, err: cause, kept: keeps, look: now + pause}, nil",
		broken: "st.rejected = &rejection{from: from, err: cause, kept: keeps, look: now + pause}",
		tests:  "EndsTheBackoff",
	},
	{
		name: "P6 being signed out is not remembered",
		file: "internal/mutants/list.go",
		line: `	case st.signedOut != nil && now < st.signedOut.nextLook:
		return step{err: st.signedOut.err}
`,
		broken: "",
		tests:  "Promise6|WhatARequestDoes",
	},
	{
		name:   "P6 the token is not deleted",
		file:   "flight.go",
		line:   "return struct{}{}, s.owner.store.Delete(ctx, s.name)",
		broken: "return struct{}{}, nil",
		tests:  "Promise6|AFinalAnswerDeletes",
	},
	{
		name:   "P6 a token that was given up is taken again",
		file:   "state.go",
		line:   "return g.is(tok) || o.byCaller",
		broken: "return o.byCaller",
		tests:  "Promise6|StaysSignedOut",
	},
	{
		name:   "P6 a flight that is up to save refreshes in the pause after a failure",
		file:   "state.go",
		line:   "case !st.isRefreshing() && st.backoff.active(now):",
		broken: "case st.flight == nil && st.backoff.active(now):",
		tests:  "WhatARequestDoes|APendingSave",
	},
	{
		name:   "P6 a final answer deletes what another process stored meanwhile",
		file:   "refresh.go",
		line:   "\t\tif !ok || after.is(stored) || after.is(from) {",
		broken: "\t\tif true {",
		tests:  "AFinalAnswer",
	},
	{
		name:   "P6 a final answer to an early refresh signs out at once",
		file:   "flight.go",
		line:   "good := st.current != nil && now < st.current.expires && !signedOutElsewhere",
		broken: "good := false",
		tests:  "AFinalAnswer",
	},
	{
		name:   "P6 an early refresh that a refusal joins is still early",
		file:   "flight.go",
		line:   "good && (f.needed == nil || keeps)",
		broken: "good",
		tests:  "ThatARefusalJoins|TakesEffectAtARefusal",
	},
	{
		name:   "P6 an early refresh is tried again after a final answer",
		file:   "internal/mutants/list.go",
		line:   "		case now >= g.early && st.rejected == nil && !",
		broken: "		case now >= g.early && !",
		tests:  "WhatARequestDoesBefore|TakesEffectAtExpiry",
	},
	{
		name: "P6 the token server is asked again after a final answer",
		file: "refresh.go",
		line: `		case st.rejected != nil && st.rejected.from.same(from):
			final, err = true, st.rejected.err
`,
		broken: "",
		tests:  "AFinalAnswer",
	},
	{
		name:   "P6 a final answer to an early refresh speaks for another token",
		file:   "refresh.go",
		line:   "case st.rejected != nil && st.rejected.from.same(from):",
		broken: "case st.rejected != nil:",
		tests:  "YieldsToAnotherToken",
	},
	{
		name:   "P6 a final answer is final though the store could not be loaded",
		file:   "refresh.go",
		line:   "		if loadErr != nil {\n			o :=",
		broken: "		if loadErr != nil && false {\n			o :=",
		tests:  "WhileTheStoreCannotBeLoaded",
	},
	{
		name:   "P6 a final answer is forgotten while the store cannot be loaded",
		file:   "refresh.go",
		line:   "				st.rejected = &rejection{from: from, err: err}\n",
		broken: "				_ = err\n",
		tests:  "WhileTheStoreCannotBeLoaded",
	},
	{
		name:   "P6 the news that a sign-in is required follows a sign-in",
		file:   "flight.go",
		line:   "if e.Kind != EventSignInRequired || !f.isPast() {",
		broken: "if true {",
		tests:  "ASignInIsNotFollowed",
	},
	{
		name:   "P6 a final answer does not give up the current token",
		file:   "flight.go",
		line:   "\t\t\tgone.giveUp(st.current.tok)\n",
		broken: "\t\t\t_ = gone\n",
		tests:  "AFinalAnswerGivesUp",
	},
	{
		name:   "P6 a final answer does not give up the refreshed token",
		file:   "flight.go",
		line:   "\t\tgone.giveUp(from, stored)\n",
		broken: "\t\t_ = from\n",
		tests:  "AFinalAnswer|Promise6",
	},
	{
		name:   "P6 a sign-in elsewhere is forgotten when the store fails",
		file:   "cached.go",
		line:   "\t\t\tst.isBack = true\n",
		broken: "\t\t\t_ = o\n",
		tests:  "ASignInElsewhere",
	},
	{
		name:   "P6 a sign-in elsewhere that has gone again leaves no sign-out",
		file:   "flight.go",
		line:   "\t\tst.isBack = false // a sign-in may have been seen, and gone again\n",
		broken: "\t\t_ = st\n",
		tests:  "ThatHasGoneAgain",
	},
	{
		name:   "P6 a store that must itself sign in signs the session out",
		file:   "sessions.go",
		line:   "return found{}, elsewhere(err)",
		broken: "return found{}, err",
		tests:  "AStoreThatMustSignIn",
	},
	{
		name:   "P6 a store whose lock must itself sign in signs the session out",
		file:   "lease.go",
		line:   `wrap("lock", elsewhere(err))`,
		broken: `wrap("lock", err)`,
		tests:  "AStoreThatMustSignIn",
	},
	{
		name:   "P6 a session that is signed out asks the store at each request",
		file:   "flight.go",
		line:   "\t\tgone.nextLook = now + pause\n",
		broken: "\t\tgone.nextLook = now + 0*pause\n",
		tests:  "LooksAtTheStoreOncePer",
	},
	{
		name: "P6 a refresher that needs a token is asked without one",
		file: "refresh.go",
		line: `		case from.isZero() && s.owner.declaresNeed:
			final, err = true, errNotSignedIn
`,
		broken: "",
		tests:  "NeedsToken",
	},
	{
		name:   "P6 a flight chases tokens for ever",
		file:   "refresh.go",
		line:   "for range 3 {",
		broken: "for range 300 {",
		tests:  "DoesNotChaseTokens",
	},
	{
		name:   "P7 what a void flight brings is kept",
		file:   "flight.go",
		line:   "		if void = st.flight != f && !f.over; void {",
		broken: "		if void = false; void {",
		tests:  "Promise7",
	},
	{
		name:   "P7 what a void flight brings is saved",
		file:   "save.go",
		line:   "\t\tif f.isVoid() {",
		broken: "\t\tif false {",
		tests:  "Promise7|MeetsIsDropped",
	},
	{
		name: "P7 a refusal from before a sign-in is replayed under it",
		file: "internal/mutants/list.go",
		line: `	case g.epoch != st.epoch:
		return step{own: errOtherSignIn}
`,
		broken: "",
		tests:  "WhatARequestDoesAfter|RefusedUnderAnEarlier",
	},
	{
		name: "P7 a sign-in does not void the flight that is up",
		file: "state.go",
		line: `	st.epoch++
	st.flight = nil
`,
		broken: "	st.epoch++\n",
		tests:  "Promise7|ASignInStartsAnEpoch|SignIn",
	},
	{
		name:   "P7 a void flight does not land when the sign-in comes",
		file:   "cached.go",
		line:   "\t\tup.keep(l)\n",
		broken: "\t\t_ = l\n",
		tests:  "Promise7|ARefresh|SignIn",
	},
	{
		name: "P7 a failed sign-out is not a sign-out",
		file: "signin.go",
		line: `		waiting.since = now
		st.giveUp(waiting)
`,
		broken: "		waiting.since = now\n",
		tests:  "SignOut",
	},
	{
		name: "P7 a flight that is void asks for a refresh",
		file: "internal/mutants/list.go",
		line: `	case f.isVoid():
		return Token{}, false, errMeanwhile
	case l.held`,
		broken: "	case l.held",
		tests:  "HasBecomeWrong",
	},
	{
		name:   "P7 a sign-out forgets what another that is under way gives up",
		file:   "state.go",
		line:   "		o.giveUp(st.signedOut.given...)\n",
		broken: "",
		tests:  "SignOut",
	},
	{
		name:   "P7 a sign-out forgets that another has not seen the store",
		file:   "state.go",
		line:   "		o.givenUnseen = o.givenUnseen && st.signedOut.givenUnseen\n",
		broken: "		o.givenUnseen = false\n",
		tests:  "ASignOutGivesUpWhatTheStore",
	},
	{
		name:   "P7 a failed sign-out gives up nothing that it has not seen",
		file:   "signin.go",
		line:   "givenUnseen: err != nil && !had.loaded,",
		broken: "",
		tests:  "AFailedSignOutGivesUp",
	},
	{
		name:   "P7 a failed sign-out gives up what the store shows once it was seen empty",
		file:   "state.go",
		line:   "		o.givenUnseen = false\n		if ok {",
		broken: "		if ok {",
		tests:  "GivesUpNothingOnce|StaysSignedOut",
	},
	{
		name:   "P7 what comes after another sign-in is revoked",
		file:   "flight.go",
		line:   "signedOut = st.signedOut != nil && st.signedOut.byCaller",
		broken: "signedOut = st.current == nil",
		tests:  "NotRevoked",
	},
	{
		name:   "P7 what comes after a sign-out is not revoked",
		file:   "flight.go",
		line:   "		if signedOut && !o.unsaved.isZero() {",
		broken: "		if signedOut && false {",
		tests:  "Revoked",
	},
	{
		name:   "P7 a replay under an earlier sign-in counts for this one",
		file:   "refused.go",
		line:   "\tcase g.epoch != st.epoch: // it says nothing about this sign-in\n",
		broken: "",
		tests:  "RefreshesThatDoNotHelp|WhatAReplayShows",
	},
	{
		name: "P7 a request that was not sent yet fails with the flight that is void",
		file: "cached.go",
		line: "\t\tcase got.void, got.again:\n",
		broken: `		case got.void:
			return nil, errMeanwhile
		case got.again:
`,
		tests: "Promise7|MaySignIn|Meanwhile",
	},
	{
		name:   "P7 a sign-in with the current token does nothing while a flight waits",
		file:   "signin.go",
		line:   "return st.flight != nil && st.flight.from.same(tok)",
		broken: "return st.flight != nil && (st.flight.from.same(tok) || st.current != nil && st.current.tok.same(tok))",
		tests:  "ASignInOfTheToken",
	},
	{
		name:   "P7 a sign-in with the token that a flight has loaded does nothing while that waits",
		file:   "signin.go",
		line:   "return st.flight != nil && st.flight.from.same(tok)",
		broken: "return st.flight != nil && (st.flight.from.same(tok) || st.flight.seen.same(tok))",
		tests:  "ASignInOfTheToken",
	},
	{
		name:   "P7 a sign-out does not give up what a flight has loaded",
		file:   "state.go",
		line:   "o.giveUp(st.flight.seen, st.flight.from, st.flight.brought)",
		broken: "o.giveUp(st.flight.brought)",
		tests:  "GivesUpWhat",
	},
	{
		name:   "P7 a sign-out does not give up what a flight is storing",
		file:   "state.go",
		line:   "o.giveUp(st.flight.seen, st.flight.from, st.flight.brought)",
		broken: "o.giveUp(st.flight.seen, st.flight.from)",
		tests:  "GivesUpWhat",
	},
	{
		name:   "P7 a flight does not tell what it is storing",
		file:   "save.go",
		line:   "\ts.change(func(*state, time.Duration) { f.brought = tok })\n",
		broken: "",
		tests:  "GivesUpWhatARefreshIsSaving",
	},
	{
		name:   "P7 a flight does not tell what it has loaded",
		file:   "flight.go",
		line:   "			f.seen = got.tok\n",
		broken: "			_ = got\n",
		tests:  "GivesUp|SignOut",
	},
	{
		name:   "P7 a token that could not be saved during a sign-out is not revoked",
		file:   "save.go",
		line:   "\to.unsaved = tok\n",
		broken: "",
		tests:  "Revoked",
	},
	{
		name:   "P7 a token that was saved during a sign-out is revoked twice",
		file:   "save.go",
		line:   "\t\to.unsaved = Token{} // if",
		broken: "\t\t// if",
		tests:  "Revoked",
	},
	{
		name: "P7 a final answer deletes what a sign-in has saved",
		file: "flight.go",
		line: `			if f.isVoid() {
				return struct{}{}, nil
			}
`,
		broken: "",
		tests:  "AFinalAnswerDoesNotDelete",
	},
	{
		name:   "P7 a sign-in that is not settled passes for another process's",
		file:   "flight.go",
		line:   "		err = s.lockWrites(f.ctx)\n",
		broken: "		return got.tok, got.ok, nil\n",
		tests:  "ARequestRefusedDuringASignIn",
	},
	{
		name:   "P7 a pause that refreshes have doubled survives a sign-in",
		file:   "state.go",
		line:   "\tst.futile, st.pauses = 0, nil\n",
		broken: "\tst.pauses = nil\n",
		tests:  "ASignInStartsAnEpoch",
	},
	{
		name:   "P7 a session in use by a sign-out does not fence a second time",
		file:   "signin.go",
		line:   "\t\t\t\t\tst.giveUp(o)\n\t\t\t\t\tif err",
		broken: "\t\t\t\t\t_ = o\n\t\t\t\t\tif err",
		tests:  "SignOut",
	},
	{
		name:   "P7 what could not be revoked is not kept",
		file:   "signin.go",
		line:   "\t\ts.owner.unrevoked.keep(s.owner.now(), s.name, tok)\n",
		broken: "",
		tests:  "AnEarlierOneCouldNot",
	},
	{
		name:   "P7 a sign-out does not try again to revoke",
		file:   "internal/mutants/list.go",
		line:   "m.unrevoked.again(ctx, s), ",
		broken: "",
		tests:  "AnEarlierOneCouldNot",
	},
	{
		name:   "P7 what could not be revoked is kept for ever",
		file:   "internal/mutants/list.go",
		line:   "k.session == s.name && now-k.since <= longestUnrevoked {",
		broken: "k.session == s.name && now >= 0 {",
		tests:  "IsRetriedForAnHour",
	},
	{
		name:   "P7 what could not be revoked is kept without bound",
		file:   "sessions.go",
		line:   "\tu.kept = slices.Delete(u.kept, 0, max(0, len(u.kept)-mostUnrevoked+1))\n",
		broken: "",
		tests:  "AreKeptOf1024",
	},
	{
		name:   "P7 a sign-out revokes what another session could not",
		file:   "sessions.go",
		line:   "\t\treturn k.session == session\n",
		broken: "\t\treturn true\n",
		tests:  "AnEarlierOneCouldNot|RevocationsThatFail",
	},
	{
		name:   "P7 what came too late and could not be revoked is not kept",
		file:   "flight.go",
		line:   "s.revokeOrKeep(f.ctx, o.unsaved)",
		broken: "s.revoke(f.ctx, o.unsaved)",
		tests:  "CameTooLateAndCouldNot",
	},
	{
		name:   "P7 a sign-out that can't lock deletes nothing",
		file:   "signin.go",
		line:   "\t\tl, err = &lease{held: m.forFlight(ctx, s.name)}, nil\n",
		broken: "",
		tests:  "CantLock",
	},
	{
		name:   "P7 a sign-out deletes behind the back of a process that holds the lock",
		file:   "signin.go",
		line:   " && err != errLockTimeout && ctx.Err() == nil {",
		broken: " && ctx.Err() == nil {",
		tests:  "CantLock",
	},
	{
		name:   "P7 a sign-out without the lock succeeds",
		file:   "signin.go",
		line:   "\t\terr = errors.Join(lockErr, err)\n",
		broken: "\t\t_ = lockErr\n",
		tests:  "CantLock",
	},
	{
		name:   "P7 a sign-out gives up only the very token",
		file:   "state.go",
		line:   `g.is(tok) || o.byCaller && g.SignInID != "" && g.SignInID == tok.SignInID`,
		broken: "g.is(tok)",
		tests:  "StaysSignedOut|AnotherProcessRefreshes",
	},
	{
		name:   "P7 a final answer gives up all of the sign-in",
		file:   "state.go",
		line:   `o.byCaller && g.SignInID != "" &&`,
		broken: `g.SignInID != "" &&`,
		tests:  "StaysSignedOut",
	},
	{
		name:   "P7 a token that comes after a sign-out is not stored for it to delete",
		file:   "save.go",
		line:   "\t\t\tif !signedOut {\n",
		broken: "\t\t\tif true {\n",
		tests:  "ATokenThatComesAfterASignOut",
	},
	{
		name:   "P7 a token that comes after a sign-out replaces what another process stored",
		file:   "save.go",
		line:   "if err != nil || !now.ok || !now.tok.is(stored) {",
		broken: "if err != nil || !now.ok {",
		tests:  "ATokenThatComesAfterASignOut|AfterASignOut",
	},
	{
		name:   "P7 a token that can't be stored for a sign-out to delete is not kept",
		file:   "flight.go",
		line:   "\t\t\t\to.ifVoid(st, now)\n",
		broken: "\t\t\t\t_ = now\n",
		tests:  "AfterASignOut",
	},
	{
		name: "P7 a failed sign-out forgets what is pending",
		file: "signin.go",
		line: `					if err == nil {
						st.pending = nil
					}
`,
		broken: "\t\t\t\t\tst.pending = nil\n",
		tests:  "AFailedSignOutLeaves",
	},
	{
		name:   "P7 a request goes out with a token that was signed out meanwhile",
		file:   "cached.go",
		line:   "case next.use != nil && s.isStillGood(next.use):",
		broken: "case next.use != nil:",
		tests:  "IsRefusedForGood",
	},
	{
		name:   "P8 the chain of redirects is not followed back",
		file:   "internal/origin/origin.go",
		line:   "for hop := req; hop.Response != nil; {",
		broken: "for hop := req; false; {",
		tests:  "OnRedirects|AlongRedirects",
	},
	{
		name:   "P8 http counts as https",
		file:   "internal/origin/origin.go",
		line:   "a.port == b.port && ascii.EqualFold(a.scheme, b.scheme) && ascii.EqualFold(a.host, b.host)",
		broken: "ascii.EqualFold(a.host, b.host)",
		tests:  "OnRedirects|Same|Entry",
	},
	{
		name:   "P8 a step down from https to http is not a step to another origin",
		file:   "internal/origin/origin.go",
		line:   "if !from.is(at) && (!named || !from.all(s.names)) {",
		broken: "if from[0].host != at[0].host && (!named || !from.all(s.names)) {",
		tests:  "OnRedirects|AlongRedirects",
	},
	{
		name:   "P8 the Host of a request does not count",
		file:   "internal/origin/origin.go",
		line:   " && (d[1] == d[0] || condition(d[1]))",
		broken: "",
		tests:  "HostOfARequest|ForwardProxy|ReverseProxy",
	},
	{
		name:   "P8 the Opaque of a URL does not count",
		file:   "internal/origin/origin.go",
		line:   " && (d[2] == d[0] || condition(d[2]))",
		broken: "",
		tests:  "OpaqueOfAURL|ForwardProxy",
	},
	{
		name:   "P8 a path can continue the host",
		file:   "internal/origin/origin.go",
		line:   "(req.Host == \"\" || req.Host == u.Host) && rooted(u)",
		broken: "(req.Host == \"\" || req.Host == u.Host)",
		tests:  "PathThatDoesNot|ForwardProxy",
	},
	{
		name:   "P8 a refresh request follows a redirect to another origin",
		file:   "internal/tokenserver/client.go",
		line:   "if origin.Same(via[0].URL, req.URL) {",
		broken: "if origin.Same(via[0].URL, req.URL) || true {",
		tests:  "NoRedirectLeaves",
	},
	{
		name:   "P8 a path can continue the host of a redirected request",
		file:   "internal/origin/origin.go",
		line:   "if !ok || !rooted(req.URL) {",
		broken: "if !ok {",
		tests:  "PathThatDoesNot|AlongRedirects",
	},
	{
		name:   "P9 a refused replay is replayed",
		file:   "transport.go",
		line:   "\t\t\ts.judge(cause, attempt{gen: r.gen, place: a.place, fallback: r.fallback}, refused)\n",
		broken: "\t\t\tif refused {\n\t\t\t\tagain, err = t.send(req, s.name, r.gen, nil, nil)\n\t\t\t}\n",
		tests:  "Promise9",
	},
	{
		name:   "P9 a refusal that waited is an error",
		file:   "transport.go",
		line:   "\t\treturn t.keep(ctx, s, resp, r.own)\n",
		broken: "\t\treturn nil, &RefreshError{Session: s.name, Err: r.own}\n",
		tests:  "ARefusalThatWaited",
	},
	{
		name:   "P9 a refusal that was not read whole is handed over",
		file:   "transport.go",
		line:   "\t\tif !whole {\n",
		broken: "\t\tif !whole && false {\n",
		tests:  "TooLongToKeep",
	},
	{
		name:   "P9 the cookies of a refusal that is replayed are lost",
		file:   "transport.go",
		line:   "len(cookies) > 0 { // those",
		broken: "false { // those",
		tests:  "CookiesOfARefusal",
	},
	{
		name:   "P9 the cookies of a refusal come after those of the replay",
		file:   "transport.go",
		line:   `append(slices.Clone(cookies), again.Header["Set-Cookie"]...)`,
		broken: `append(slices.Clone(again.Header["Set-Cookie"]), cookies...)`,
		tests:  "CookiesOfARefusal",
	},
	{
		name:   "P9 a refusal with claims that the refresher was not told of causes no refresh",
		file:   "transport.go",
		line:   `claims != "" && f.claims != claims:`,
		broken: `claims != "" && false:`,
		tests:  "WithClaims|WithOtherClaims",
	},
	{
		name:   "P9 claims cause a refresh of their own though another flight was told of them",
		file:   "transport.go",
		line:   "\t\t\t\tcase cur == r.gen:\n",
		broken: "\t\t\t\tcase true:\n",
		tests:  "WithClaims",
	},
	{
		name:   "P9 a request that waited for claims goes on under another sign-in",
		file:   "transport.go",
		line:   "\t\t\t\tcase cur != nil && cur.epoch == r.gen.epoch && now < cur.expires:\n",
		broken: "\t\t\t\tcase cur != nil && now < cur.expires:\n",
		tests:  "WithClaims",
	},
	{
		name:   "P9 a request that waited for claims goes on with the token before",
		file:   "transport.go",
		line:   "\t\t\t\tcase cur != nil && cur.epoch == r.gen.epoch && now < cur.expires:\n",
		broken: "\t\t\t\tcase false:\n",
		tests:  "WithClaims",
	},
	{
		name:   "P9 a refresher is not told of the refusal",
		file:   "context.go",
		line:   "\tsc.refusal = &Refusal{StatusCode: resp.StatusCode, Header: resp.Header.Clone()}\n",
		broken: "\tsc.refusal = &Refusal{}\n",
		tests:  "IsToldOfTheFirst",
	},
	{
		name:   "P10 resp.Request carries the token",
		file:   "transport.go",
		line:   "	resp.Request = req\n",
		broken: "	resp.Request = clone\n",
		tests:  "Promise10",
	},
	{
		name:   "P10 a panic's value is shown",
		file:   "singleflight.go",
		line:   `panicked with a %T", what, v)`,
		broken: `panicked with %v", what, v)`,
		tests:  "Promise10|APanic",
	},
	{
		name:   "P10 a refresher that ignores its context is waited for",
		file:   "flight.go",
		line:   "watch := time.AfterFunc(timeout+grace, func()",
		broken: "watch := time.AfterFunc(1000*time.Hour, func()",
		tests:  "Promise10",
	},
	{
		name: "P10 the late answer of an abandoned refresh is thrown away",
		file: "save.go",
		line: "\tif f.isAbandoned() { // the next flight",
		broken: `	if f.isAbandoned() {
		*o = *f.failure(errUnfinished)
		return
	}
	if f.isAbandoned() { // the next flight`,
		tests: "Promise10",
	},
	{
		name:   "P10 the late answer of an abandoned refresh is not saved of its own accord",
		file:   "internal/mutants/list.go",
		line:   "	if o.saveNow {",
		broken: "	if false {",
		tests:  "Promise10",
	},
	{
		name:   "P10 a second refresh starts before an abandoned one has returned",
		file:   "flight.go",
		line:   "		if st.flight == f && !o.stays {",
		broken: "		if st.flight == f {",
		tests:  "Promise10|IgnoresItsContext",
	},
	{
		name:   "P10 a refresh that is abandoned is not reported",
		file:   "flight.go",
		line:   "		case st.flight != f || !f.refreshes:",
		broken: "		case true:",
		tests:  "Promise10|AnAbandonedCall|APendingSaveThatHangs",
	},
	{
		name:   "P6 a signed-out session is not so while the store hangs",
		file:   "flight.go",
		line:   "			o.err = st.signedOut.err\n",
		broken: "",
		tests:  "ASignedOutSessionStays",
	},
	{
		name:   "P6 invalid_grant is final only with a 400 or 401",
		file:   "internal/tokenserver/json.go",
		line:   "case j.IsSuccess(), j.Status >= 400 && j.Status < 500:",
		broken: "case j.IsSuccess(), j.Status == 400, j.Status == 401:",
		tests:  "Final",
	},
	{
		name:   "P6 an answer of a server that is busy is final",
		file:   "internal/tokenserver/json.go",
		line:   "\treturn status == 408 || status == 425 || status == 429\n",
		broken: "\treturn false\n",
		tests:  "Final|NotFinal",
	},
	{
		name:   "P6 FinalCodes are not final",
		file:   "internal/tokenserver/json.go",
		line:   `if slices.Contains(f.Codes, code) && code != "" || slices`,
		broken: "if slices",
		tests:  "Final",
	},
	{
		name:   "P6 FinalStatus counts for a page too",
		file:   "internal/tokenserver/json.go",
		line:   "(isText || j.isJSON) {",
		broken: "(isText || true) {",
		tests:  "FinalAnswers",
	},
	{
		name:   "P6 what Final says does not count",
		file:   "internal/tokenserver/json.go",
		line:   "return f.Func != nil && j.fault == nil && f.Func(j.Status, j.Text())",
		broken: "return false",
		tests:  "Final",
	},
	{
		name:   "P6 FinalCodes of a Refresher do not count",
		file:   "oauth/refresher.go",
		line:   `final.Codes = append([]string{"invalid_grant"}, r.FinalCodes...)`,
		broken: `final.Codes = []string{"invalid_grant"}`,
		tests:  "Refusals",
	},
	{
		name:   "P6 Final of a Refresher does not count",
		file:   "oauth/refresher.go",
		line:   "tokenserver.Finality{Func: r.Final}",
		broken: "tokenserver.Finality{}",
		tests:  "TestFinal",
	},
	{
		name:   "P6 FinalCodes of an Endpoint do not count",
		file:   "jsonauth/endpoint.go",
		line:   `append([]string{"invalid_grant"}, e.FinalCodes...)`,
		broken: `[]string{"invalid_grant"}`,
		tests:  "Codes",
	},
	{
		name:   "P6 Final of an Endpoint does not count",
		file:   "jsonauth/endpoint.go",
		line:   "Statuses: e.FinalStatus, Func: e.Final}",
		broken: "Statuses: e.FinalStatus}",
		tests:  "Refusals|Codes",
	},
	{
		name:   "P6 invalid_grant is final for a grant that sends no refresh token",
		file:   "oauth/refresher.go",
		line:   "\tif renews {\n\t\tfinal.Codes",
		broken: "\tif true {\n\t\tfinal.Codes",
		tests:  "InvalidGrantSignsOut",
	},
	{
		name:   "P10 the extras of a token are shown in errors",
		file:   "token.go",
		line:   "			secrets = append(secrets, v)\n",
		broken: "			_ = v\n",
		tests:  "ErrorsOfARefresh",
	},
	{
		name:   "P10 errors are not redacted",
		file:   "internal/redact/redact.go",
		line:   `text = strings.ReplaceAll(text, s, "[redacted]")`,
		broken: "",
		tests:  "Promise10|Text",
	},
	{
		name:   "P10 a refused answer is read to its end however long",
		file:   "internal/body/drain.go",
		line:   "io.CopyN(&kept, source, drainBytes+1)",
		broken: "io.Copy(&kept, source)",
		tests:  "Drain",
	},
	{
		name:   "P10 a refused answer is waited for however long",
		file:   "internal/body/drain.go",
		line:   "context.WithTimeout(ctx, drainTime)",
		broken: "context.WithTimeout(ctx, 1000*drainTime)",
		tests:  "Drain",
	},
	{
		name:   "P10 a refused answer is waited for beyond the request's context",
		file:   "internal/body/drain.go",
		line:   "context.WithTimeout(ctx, drainTime)",
		broken: "context.WithTimeout(context.WithoutCancel(ctx), drainTime)",
		tests:  "Drain",
	},
	{
		name:   "P10 a refusal's URL is told with its query",
		file:   "context.go",
		line:   "Path: u.Path, RawPath: u.RawPath}).String()",
		broken: "Path: u.Path, RawPath: u.RawPath, RawQuery: u.RawQuery}).String()",
		tests:  "IsToldOfTheFirst",
	},
	{
		name:   "P10 a panic in Refused leaks the response",
		file:   "transport.go",
		line:   "\tdefer closeOnPanic(resp.Body)()\n\treturn body.Peek",
		broken: "\treturn body.Peek",
		tests:  "APanicOfTheProgramsOwnCode",
	},
	{
		name:   "P10 a panic in an event handler leaks the response to the replay",
		file:   "transport.go",
		line:   "\tdefer closeOnPanic(again.Body)()\n",
		broken: "",
		tests:  "APanicOfTheProgramsOwnCode",
	},
	{
		name:   "P10 a panic in an event handler leaks the refusal",
		file:   "transport.go",
		line:   "\tdefer closeOnPanic(resp.Body)()\n\ta := attempt",
		broken: "\ta := attempt",
		tests:  "APanicOfTheProgramsOwnCode",
	},
	{
		name:   "P10 a panic in an event handler leaks a response from an origin that is not listed",
		file:   "transport.go",
		line:   "\t\t\tdefer closeOnPanic(resp.Body)()\n\t\t\tt.sessions.emit",
		broken: "\t\t\tt.sessions.emit",
		tests:  "APanicOfTheProgramsOwnCode",
	},
	{
		name:   "P11 a panic is not contained",
		file:   "singleflight.go",
		line:   "if v := recover(); v != nil {",
		broken: "if v := any(nil); v != nil {",
		tests:  "Promise11",
	},
	{
		name:   "P11 Goexit is not noticed",
		file:   "singleflight.go",
		line:   "			p.keep(r)\n		}()",
		broken: "			if r.err == nil { p.keep(r) }\n		}()",
		tests:  "Promise11|Spawn",
	},
	{
		name: "P11 a handler that panics at an abandonment holds the waiters",
		file: "flight.go",
		line: `	if contained("OnEvent", func() { f.end(o) }) != nil {
		f.land(landing{err: err})
	}`,
		broken: `	_ = contained("OnEvent", func() { f.end(o) })`,
		tests:  "AHandlerThatPanics",
	},
	{
		name:   "P11 a handler that signs in and panics fails the next session",
		file:   "flight.go",
		line:   "		if !f.isVoid() { // the panic came",
		broken: "		if true { // the panic came",
		tests:  "AHandlerThatSignsInAndPanics",
	},
	{
		name: "P11 a handler that signs in and panics fails the waiters",
		file: "flight.go",
		line: `	if f.isPast() {
		l = landing{void: true}
	}
`,
		broken: "",
		tests:  "AHandlerThatSignsInAndPanics|Promise7",
	},
	{
		name:   "P11 a panic in HeaderValue loses the token",
		file:   "cached.go",
		line:   `await("HeaderValue", func() (string, error) { return m.headerValue(tok) })`,
		broken: "m.headerValue(tok)",
		tests:  "APanicInHeaderValue",
	},
	{
		name:   "a handle's context names another session",
		file:   "context.go",
		line:   "	if SessionFromContext(ctx) == session {",
		broken: "	if true {",
		tests:  "TheContextNames",
	},
	{
		name:   "P12 a refresher's own requests are not let through",
		file:   "transport.go",
		line:   " || sc.isRefreshing(t.sessions)",
		broken: "",
		tests:  "Promise12",
	},
	{
		name:   "P12 other Transports are bypassed too",
		file:   "context.go",
		line:   "if r.sessions == m && (name",
		broken: "if (name",
		tests:  "Promise12",
	},
	{
		name:   "P12 a refresh inside another forgets that one",
		file:   "context.go",
		line:   "refresh: &refreshScope{m, session, sc.refresh},",
		broken: "refresh: &refreshScope{m, session, nil},",
		tests:  "ThatWouldWaitForItself",
	},
	{
		name:   "P12 Wait waits for the refresher that calls it",
		file:   "transport.go",
		line:   "	if r := scopeOf(ctx).refreshing(t.sessions, nil); r != nil {",
		broken: "	if r := scopeOf(ctx).refreshing(t.sessions, nil); r != nil && false {",
		tests:  "ThatWouldWaitForItself",
	},
	{
		name:   "P13 Forget causes no look at the store",
		file:   "sessions.go",
		line:   "\t\tst.stale = st.current != nil\n",
		broken: "",
		tests:  "OnceItIsForgotten",
	},
	{
		name:   "P13 Forget lets a session that is signed out wait for the end of its pause",
		file:   "sessions.go",
		line:   "\t\t\tst.signedOut.nextLook = now\n",
		broken: "\t\t\t_ = now\n",
		tests:  "IfItIsForgotten",
	},
	{
		name: "P13 a session that was forgotten is used without a look",
		file: "state.go",
		line: `	case st.isChecking():
		return 0
	case st.flight`,
		broken: "\tcase st.flight",
		tests:  "LooksAtMore|OnceItIsForgotten",
	},
	{
		name: "P13 a request does not wait for the look after Forget",
		file: "state.go",
		line: `	case st.isChecking():
		next.wait, next.brief = true, true
`,
		broken: "\tcase false:\n",
		tests:  "BeforeItIsSent|OnceItIsForgotten",
	},
	{
		name: "P13 the look after Forget is waited for however long",
		file: "state.go",
		line: `	case st.isChecking():
		next.wait, next.brief = true, true
`,
		broken: `	case st.isChecking():
		next.wait = true
`,
		tests: "BeforeItIsSent|TheLookAfterForget",
	},
	{
		name:   "P13 the look after Forget takes as long as the store likes",
		file:   "refresh.go",
		line:   "context.WithTimeout(f.ctx, briefWait)",
		broken: "context.WithTimeout(f.ctx, 1000*briefWait)",
		tests:  "TheLookAfterForget",
	},
	{
		name: "P13 Forget during a look is about that look",
		file: "flight.go",
		line: `			st.flight = nil
		}
		if o.change`,
		broken: `			st.flight, st.stale = nil, false
		}
		if o.change`,
		tests: "ForgetDuringALook",
	},
	{
		name:   "P13 Forget ends a sign-out that has not reached the store",
		file:   "sessions.go",
		line:   "if st.signedOut != nil && !st.signedOut.undeleted {",
		broken: "if st.signedOut != nil {",
		tests:  "ForgetKeepsASignOut",
	},
	{
		name:   "P13 ForgetAll leaves out the session without a name",
		file:   "sessions.go",
		line:   "\tm.forget(\"\")\n",
		broken: "",
		tests:  "OnceItIsForgotten|ForgetAll",
	},
	{
		name:   "P13 ForgetAll is about one session only",
		file:   "sessions.go",
		line:   "\tfor _, name := range names {\n\t\tm.forget(name)",
		broken: "\tfor _, name := range names[:0] {\n\t\tm.forget(name)",
		tests:  "ForgetAll",
	},
	{
		name:   "P14 another sign-in in another process starts no epoch",
		file:   "refresh.go",
		line:   "\t\tif other {\n",
		broken: "\t\tif false {\n",
		tests:  "IsNotReplayedUnderAnotherSignIn",
	},
	{
		name:   "P14 any token of another sign-in counts as one of this sign-in",
		file:   "refresh.go",
		line:   "other := cur != nil && !cur.tok.sameSignIn(tok)",
		broken: "other := cur == nil && false",
		tests:  "IsNotReplayedUnderAnotherSignIn",
	},
	{
		name:   "P14 a request refused when another sign-in was found fails in place of keeping its response",
		file:   "refresh.go",
		line:   "\t\t\tf.elsewhere = true\n",
		broken: "",
		tests:  "IsNotReplayedUnderAnotherSignIn",
	},
	{
		name:   "P14 a token without a SignInID is of another sign-in",
		file:   "token.go",
		line:   `return t.SignInID == "" || u.SignInID == "" || t.SignInID == u.SignInID`,
		broken: "return t.SignInID == u.SignInID",
		tests:  "OfTheSignInAtHand",
	},
	{
		name:   "P14 two tokens are of one sign-in whatever their SignInIDs",
		file:   "token.go",
		line:   `return t.SignInID == "" || u.SignInID == "" || t.SignInID == u.SignInID`,
		broken: "return true",
		tests:  "IsNotReplayedUnderAnotherSignIn",
	},
	{
		name: "P14 a SignIn keeps the SignInID that it is given",
		file: "internal/mutants/list.go",
		line: "\ttok.SignInID = rand.Text()\n",
		broken: `	if tok.SignInID == "" {
		tok.SignInID = rand.Text()
	}
`,
		tests: "ASignInIDIsGiven",
	},
	{
		name: "P14 a refresher sets the SignInID",
		file: "refresh.go",
		line: `		tok.SignInID = from.SignInID
		tok = tok.boundExtra(from)
`,
		broken: "\t\ttok = tok.boundExtra(from)\n",
		tests:  "ASignInIDIsGiven",
	},
	{
		name: "P14 a refresh loses the SignInID",
		file: "refresh.go",
		line: `	if tok.SignInID == "" {
		tok.SignInID = from.SignInID
	}
`,
		broken: "",
		tests:  "UpdateLeavesOut",
	},
	{
		name:   "P14 a token renewed in place is the one that was there",
		file:   "token.go",
		line:   "return t.same(u) && !t.renewedBy(u) && !u.renewedBy(t)",
		broken: "return t.same(u)",
		tests:  "RenewedInPlace|RenewsTheTokenInPlace",
	},
	{
		name:   "P14 what this process had of another sign-in counts as one of this",
		file:   "token.go",
		line:   "(m.signIns[i] == signIn || m.signIns[i] == 0 || signIn == 0)",
		broken: "(m.signIns[i] == signIn || true)",
		tests:  "HadAndSpent",
	},
	{
		name:   "P14 a session that names none is the session without a name",
		file:   "transport.go",
		line:   `	if t.requireSession && name == "" {`,
		broken: "\tif false {",
		tests:  "RequireSession",
	},
	{
		name:   "P14 a Jar is shared by the sessions of an endpoint",
		file:   "jsonauth/endpoint.go",
		line:   "\tif e.Client != nil && e.Client.Jar != nil && (",
		broken: "\tif false && (",
		tests:  "EveryBadField|BadField",
	},
	{
		name:   "P14 a session's name reaches the Transport that its refresher uses",
		file:   "context.go",
		line:   "\tif s.inherited {\n",
		broken: "\tif false {\n",
		tests:  "NamesOfSessionsDoNotReach",
	},
	{
		name:   "P14 a session's name reaches the Transport that its store uses",
		file:   "context.go",
		line:   "return scope{session: session, inherited: true, refresh: sc.refresh",
		broken: "return scope{session: session, refresh: sc.refresh",
		tests:  "NamesOfSessionsDoNotReach",
	},
	{
		name:   "P14 a refresher is told of a refusal by the API of another Transport",
		file:   "context.go",
		line:   "\t\tsc.refusal = nil\n",
		broken: "\t\t_ = sc\n",
		tests:  "OfAnotherTransport",
	},
	{
		name:   "P14 a look without the lease believes another sign-in",
		file:   "refresh.go",
		line:   "case ok && !had && cur.tok.sameSignIn(stored):",
		broken: "case ok && !had:",
		tests:  "ALookThatLags",
	},
	{
		name:   "P14 a look without the lease believes a token from before",
		file:   "refresh.go",
		line:   "\t\treturn had && !cur.tok.renewedBy(stored)\n",
		broken: "\t\treturn had && false\n",
		tests:  "ALookThatLags",
	},
	{
		name:   "P14 a look without the lease takes a token that was renewed in place for the one from before",
		file:   "refresh.go",
		line:   "\t\treturn had && !cur.tok.renewedBy(stored)\n",
		broken: "\t\treturn had\n",
		tests:  "RenewedInPlace",
	},
	{
		name: "P14 a look without the lease believes that there is no token",
		file: "refresh.go",
		line: "\tcase ok && !had && cur",
		broken: `	case !ok:
		return f.refusal(nil, Token{}, Token{}, false, errNotSignedIn)
	case ok && !had && cur`,
		tests: "ALookThatLags",
	},
	{
		name:   "a missing refresh token does not keep the old one",
		file:   "refresh.go",
		line:   "tok.RefreshToken = from.RefreshToken",
		broken: "_ = from",
		tests:  "Promise4RefreshWithout",
	},
	{
		name:   "no pause after a refresh",
		file:   "refused.go",
		line:   "\tif cur.fetched && !lacking && now <",
		broken: "\tif false && now <",
		tests:  "Refused|WhatARequestDoesAfter",
	},
	{
		name:   "the pause after a refresh holds in the last second of the lifetime",
		file:   "refused.go",
		line:   "now < min(cur.certain, fresh)",
		broken: "now < fresh",
		tests:  "WhatARequestDoesAfter",
	},
	{
		name:   "the pause after refreshes that do not help does not double",
		file:   "internal/mutants/list.go",
		line:   "if pause *= 2; pause >= longest {",
		broken: "if pause >= longest {",
		tests:  "PauseDoubles|IsStretched",
	},
	{
		name:   "one refresh that does not help counts for each of its replays",
		file:   "internal/mutants/list.go",
		line:   "case st.futile.judged != g.number && g.fetched:",
		broken: "case g.fetched:",
		tests:  "RefreshesThatDoNotHelp",
	},
	{
		name:   "the session stays locked while handlers hear of a refresh",
		file:   "flight.go",
		line:   "	f.leave()\n	if void {",
		broken: "	defer f.leave()\n	if void {",
		tests:  "TheSessionIsNotLocked",
	},
	{
		name:   "the session stays locked while a token that came too late is revoked",
		file:   "flight.go",
		line:   "	f.leave()\n	if void {",
		broken: "	defer f.leave()\n	if void {",
		tests:  "TheLockIsFree",
	},
	{
		name: "the session stays locked while handlers hear of a sign-in",
		file: "internal/mutants/list.go",
		line: `		s.release(l)
	}
	if err == nil {
		s.owner.emit`,
		broken: `		defer s.release(l)
	}
	if err == nil {
		s.owner.emit`,
		tests: "TheSessionIsNotLocked",
	},
	{
		name:   "a sign-out does not revoke",
		file:   "signin.go",
		line:   "s.revokeOrKeep(ctx, last)); notRevoked",
		broken: "s.revokeOrKeep(ctx, Token{SignInID: last.SignInID})); notRevoked",
		tests:  "ASignOutRevokes",
	},
	{
		name:   "a sign-out revokes the stored token though a save is pending",
		file:   "signin.go",
		line:   "\t\tlast = pending.tok\n",
		broken: "",
		tests:  "ASignOutRevokes",
	},
	{
		name:   "two write to the store at once",
		file:   "lease.go",
		line:   "if s.writers--; s.writers == 0 {",
		broken: "if s.writers--; true {",
		tests:  "StandInLine",
	},
	{
		name: "a done context gets a turn to write",
		file: "lease.go",
		line: `	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
`,
		broken: "",
		tests:  "WhoseContextIsDone|StandInLine",
	},
	{
		name:   "a save that hangs counts as a failed refresh",
		file:   "flight.go",
		line:   "		case st.flight != f || !f.refreshes:",
		broken: "		case st.flight != f:",
		tests:  "APendingSaveThatHangs",
	},
	{
		name:   "a refresh that failed after its waiters were released is reported twice",
		file:   "flight.go",
		line:   "			f.told = true\n",
		broken: "",
		tests:  "Promise10",
	},
	{
		name:   "a saving flight becomes a refresh while the current token is good",
		file:   "refresh.go",
		line:   "\t\t\tif cur != nil && f.enough() {",
		broken: "\t\t\tif false {",
		tests:  "PendingSave",
	},
	{
		name:   "a request joins a saving flight that does not refresh",
		file:   "state.go",
		line:   "	st.flight.refreshes, st.flight.needed = true, st.current\n",
		broken: "",
		tests:  "ASavingFlight|RefusalDuringAPendingSave",
	},
	{
		name:   "a pending save is tried at each request",
		file:   "state.go",
		line:   "case st.pending != nil && st.pending.lease == nil && now >= st.pending.next:",
		broken: "case st.pending != nil && st.pending.lease == nil:",
		tests:  "WhatARequestDoesBefore",
	},
	{
		name:   "Wait does not try a pending save",
		file:   "sessions.go",
		line:   "			again = min(again, s.saveIfDue(ctx))\n",
		broken: "			_ = s\n",
		tests:  "WaitRetries",
	},
	{
		name:   "Wait does not wait for what runs",
		file:   "sessions.go",
		line:   "if i.running == 0 && len(i.pending) == 0 {",
		broken: "if len(i.pending) == 0 {",
		tests:  "WaitReturnsOnce",
	},
	{
		name:   "the fast path is taken though the token needs attention",
		file:   "cached.go",
		line:   "if g == nil || int64(s.owner.now()) >= g.attend.Load() {",
		broken: "if g == nil {",
		tests:  "TheFastPath|EarlyRefresh",
	},
	{
		name:   "a header, its token and the stored one are two strings",
		file:   "cached.go",
		line:   "			g.tok.AccessToken = v[len(v)-len(tok.AccessToken):] // one",
		broken: "			_ = v // one",
		tests:  "OneString",
	},
	{
		name:   "jitter lengthens the early window",
		file:   "cached.go",
		line:   "return window - rand.N(jitter)",
		broken: "return window + rand.N(jitter)",
		tests:  "Jitter",
	},
	{
		name: "a session that is in use is evicted",
		file: "sessions.go",
		line: `	if s.users.Load() != 0 {
		return false
	}
`,
		broken: "",
		tests:  "TheCache|Eviction",
	},
	{
		name:   "a session with a flight up is evicted",
		file:   "state.go",
		line:   "case st.flight != nil, st.pending != nil, st.backoff.active(now):",
		broken: "case st.pending != nil, st.backoff.active(now):",
		tests:  "WhatCanBeForgotten|TheCache",
	},
	{
		name:   "a session with a pending save is evicted",
		file:   "state.go",
		line:   "case st.flight != nil, st.pending != nil, st.backoff.active(now):",
		broken: "case st.flight != nil, st.backoff.active(now):",
		tests:  "WhatCanBeForgotten|TheCache",
	},
	{
		name:   "a session in the pause after a failure is evicted",
		file:   "state.go",
		line:   "case st.flight != nil, st.pending != nil, st.backoff.active(now):",
		broken: "case st.flight != nil, st.pending != nil:",
		tests:  "WhatCanBeForgotten",
	},
	{
		name:   "a session whose token may still be stored is evicted",
		file:   "state.go",
		line:   "case o != nil && (o.undeleted || refresher.selfStarting || now < o.nextLook):",
		broken: "case o != nil && (refresher.selfStarting || now < o.nextLook):",
		tests:  "WhatCanBeForgotten|TheCache",
	},
	{
		name:   "a session whose failed sign-out did not reach the store is evicted",
		file:   "signin.go",
		line:   "undeleted: err != nil,",
		broken: "",
		tests:  "TheCacheKeeps",
	},
	{
		name:   "a session whose sign-out did not get the lock is evicted",
		file:   "signin.go",
		line:   "givenUnseen: true, undeleted: true, nextLook: never}",
		broken: "givenUnseen: true, nextLook: never}",
		tests:  "TheCacheKeeps",
	},
	{
		name:   "a session whose final answer did not reach the store is evicted",
		file:   "flight.go",
		line:   "undeleted: notDeleted != nil, ",
		broken: "undeleted: notDeleted != nil && false, ",
		tests:  "TheCacheKeeps",
	},
	{
		name:   "a failed sign-out is never forgotten",
		file:   "state.go",
		line:   "		o.undeleted = false\n",
		broken: "",
		tests:  "StaysSignedOut|IsForgotten",
	},
	{
		name:   "it is not learned that the refresher needs a token",
		file:   "refresh.go",
		line:   "			s.owner.needsToken.Store(true)\n",
		broken: "",
		tests:  "IsForgotten|TheCacheKeeps",
	},
	{
		name:   "it is not learned that the refresher starts by itself",
		file:   "save.go",
		line:   "\t\ts.owner.selfStarting.Store(true)\n",
		broken: "",
		tests:  "ASelfStarting|NeverForgotten",
	},
	{
		name:   "Refresh knows the refused token only by its refresh token too",
		file:   "session.go",
		line:   `if refused.AccessToken == "" || refused.AccessToken != cur.tok.AccessToken {`,
		broken: "if !cur.tok.same(refused) {",
		tests:  "RefreshKnowsTheRefusedToken",
	},
	{
		name:   "what was kept of a body is not sent again",
		file:   "internal/body/stream.go",
		line:   "	b.owner = secondAttempt\n",
		broken: "	b.owner = secondAttempt\n	b.kept.free()\n",
		tests:  "ReplayIsWhatWasKept",
	},
	{
		name:   "what was still unread of a body is not sent again",
		file:   "internal/body/stream.go",
		line:   "n, err := s.first.source.Read(p)",
		broken: "n, err := 0, io.EOF",
		tests:  "ReplayIsWhatWasKept",
	},
	{
		name:   "a body is replayed though more was read than was kept",
		file:   "internal/body/stream.go",
		line:   "n > 0 && b.size > b.limit",
		broken: "false",
		tests:  "ReplayBufferLimit",
	},
	{
		name:   "what a Read in progress brings is not sent again",
		file:   "internal/body/stream.go",
		line:   "		if !b.filling {\n			b.kept",
		broken: "		if true {\n			b.kept",
		tests:  "ReadInProgress|RandomSchedules",
	},
	{
		name:   "a first attempt that missed a part of a body looks whole",
		file:   "internal/body/stream.go",
		line:   "case b.err != nil && !b.missed:",
		broken: "case b.err != nil:",
		tests:  "EndThat|RandomSchedules",
	},
	{
		name:   "GetBody is called while the first attempt reads",
		file:   "internal/body/rewind.go",
		line:   "return t.reading || t.closing",
		broken: "return t.closing",
		tests:  "GetBodyIs|RandomSchedules|BodyOfOneReader",
	},
	{
		name:   "more is kept of a body than may be",
		file:   "internal/body/stream.go",
		line:   "left := b.limit - b.size; left > 0",
		broken: "left := int64(1 << 40); left > 0",
		tests:  "ReplayBuffer",
	},
	{
		name:   "an endpoint that has accepted the token waits for the pause",
		file:   "refused.go",
		line:   "fresh) && !known {",
		broken: "fresh) {",
		tests:  "AfterARefusal|RefreshedWhereItWasAccepted",
	},
	{
		name:   "an endpoint that has accepted the token before waits for the pause",
		file:   "refused.go",
		line:   "known := st.evidence.Accepted(a.place.At, cur.number, 1)\n\tif",
		broken: "known := st.evidence.Accepted(a.place.At, cur.number, 0)\n\tif",
		tests:  "AfterARefusal",
	},
	{
		name:   "it is not noted which endpoint accepts a token",
		file:   "cached.go",
		line:   "\ttable.Accept(at.At, g.number)\n",
		broken: "\t_ = at.At\n",
		tests:  "RefreshedWhereItWasAccepted|DoesNotHideARevocation",
	},
	{
		name:   "it is not noted which origin accepts a token",
		file:   "cached.go",
		line:   "\ttable.Accept(at.Origin, g.number)\n",
		broken: "\t_ = at.Origin\n",
		tests:  "TheTokenBefore",
	},
	{
		name:   "it is not noted that an endpoint accepts a replay",
		file:   "transport.go",
		line:   "\t\t\ts.accepted(r.gen, table, req)\n",
		broken: "\t\t\t_ = table\n",
		tests:  "RefreshedWhereItWasAccepted",
	},
	{
		name:   "it is not noted that an endpoint accepts a first attempt",
		file:   "transport.go",
		line:   "\t\t\ts.accepted(g, table, req)\n",
		broken: "\t\t\t_ = table\n",
		tests:  "DoesNotHideARevocation|InTurn|TheTokenBefore",
	},
	{
		name:   "it is noted for ever who accepts a token",
		file:   "cached.go",
		line:   "\t\t\tg.watch.Store(nil)\n",
		broken: "",
		tests:  "AcceptsATokenIsNoted",
	},
	{
		name:   "it is not noted any more who accepts a token while an endpoint is under a pause",
		file:   "cached.go",
		line:   "\t\tif st.pauseIsOver(now, g, s.owner.refreshPause) {",
		broken: "\t\tif true {",
		tests:  "DoesNotHideARevocation",
	},
	{
		name:   "an endpoint where a refresh did not help is refreshed for at each refusal",
		file:   "refused.go",
		line:   "\t\tst.pauses.Set(now, a.place, g.number, pause, known)\n",
		broken: "\t\t_ = known\n",
		tests:  "WhatAReplayShows|InTurn",
	},
	{
		name:   "an accepted replay does not end the pause of its endpoint",
		file:   "refused.go",
		line:   "\t\tdelete(st.pauses, a.place.At)\n",
		broken: "",
		tests:  "WhatAReplayShows|InTurn",
	},
	{
		name:   "the pause of an endpoint holds once the token has expired",
		file:   "internal/mutants/list.go",
		line:   "now < min(cur.certain, until) {",
		broken: "now < until {",
		tests:  "AfterARefusal|UnderAPause",
	},
	{
		name:   "the pauses of endpoints survive a sign-in",
		file:   "state.go",
		line:   "\tst.futile, st.pauses = 0, nil\n",
		broken: "\tst.futile = 0\n",
		tests:  "StartsAnEpoch",
	},
	{
		name:   "the pause doubles where the endpoint is known to accept tokens",
		file:   "refused.go",
		line:   "pause, known)",
		broken: "pause, known && false)",
		tests:  "WhatAReplayShows|InTurn",
	},
	{
		name:   "pauses of endpoints are kept without bound",
		file:   "internal/evidence/evidence.go",
		line:   "if len(*p) >= mostPauses || q.Until+longest <= now {",
		broken: "if q.Until+longest <= now {",
		tests:  "PausesAreBounded",
	},
	{
		name:   "each identifier in a path makes an endpoint",
		file:   "internal/evidence/evidence.go",
		line:   "\t\t\tsegment = \"0\"\n",
		broken: "\t\t\t_ = segment\n",
		tests:  "WhatIsOneEndpoint",
	},
	{
		name:   "the method of a request does not count for its endpoint",
		file:   "internal/evidence/evidence.go",
		line:   "\th.WriteString(req.Method)\n",
		broken: "",
		tests:  "WhatIsOneEndpoint",
	},
	{
		name:   "an endpoint can take the place of an origin",
		file:   "internal/evidence/evidence.go",
		line:   "Endpoint(sum&^(slots-1) | sum%(slots-originSlots))",
		broken: "Endpoint(sum)",
		tests:  "TakeThePlace",
	},
	{
		name:   "a later token that was accepted speaks for an earlier one",
		file:   "internal/evidence/evidence.go",
		line:   "number-uint16(value) <= before",
		broken: "true",
		tests:  "WhatATableShows",
	},
	{
		name:   "the token before is not used while the API does not know the new one",
		file:   "refused.go",
		line:   "\tif prev := st.previous; prev != nil && !lacking",
		broken: "\tif prev := st.previous; false && !lacking",
		tests:  "AfterARefusal|TheTokenBeforeIsUsed",
	},
	{
		name:   "the token before is used after the pause",
		file:   "refused.go",
		line:   "now < min(prev.expires, cur.obtained+pause) &&",
		broken: "now < prev.expires &&",
		tests:  "AfterARefusal",
	},
	{
		name:   "the token before is used after it has expired",
		file:   "refused.go",
		line:   "now < min(prev.expires, cur.obtained+pause) &&",
		broken: "now < cur.obtained+pause &&",
		tests:  "AfterARefusal",
	},
	{
		name:   "the token before is used though its origin knows the new one",
		file:   "refused.go",
		line:   "cur.obtained+pause) &&\n\t\t!st.evidence.Accepted(a.place.Origin, cur.number, 0) {",
		broken: "cur.obtained+pause) {",
		tests:  "AfterARefusal|TheTokenBefore",
	},
	{
		name: "the token before is used though it was refused",
		file: "internal/mutants/list.go",
		line: `	if early {
		st.previous = before
	}
`,
		broken: "\tst.previous = before\n",
		tests:  "TheTokenBeforeGood|AfterARefusalOfIt",
	},
	{
		name: "the token before is used though it was refused after the refresh",
		file: "refused.go",
		line: `	if g == st.previous {
		st.previous = nil
	}
`,
		broken: "",
		tests:  "AfterARefusal",
	},
	{
		name:   "the token before survives a sign-in",
		file:   "state.go",
		line:   "\tst.backoff, st.rejected, st.previous, st.isBack = nil, nil, nil, false\n",
		broken: "\tst.backoff, st.rejected, st.isBack = nil, nil, false\n",
		tests:  "SettleEnds|TheTokenBeforeGood",
	},
	{
		name:   "a refusal of the token before starts no refresh",
		file:   "refused.go",
		line:   "\t\t\treturn step{start: startRefreshing, needed: st.current}\n",
		broken: "\t\t\treturn step{}\n",
		tests:  "WhatAReplayShows|InTheBackground",
	},
	{
		name:   "a refusal from an origin that is not listed is not reported",
		file:   "transport.go",
		line:   "resp != nil && resp.StatusCode == http.StatusUnauthorized {",
		broken: "resp != nil && false {",
		tests:  "NotListedSaysSo",
	},
	{
		name:   "a refusal that is handed over is not reported",
		file:   "transport.go",
		line:   "\tt.sessions.emit(ctx, s.name, Event{Kind: EventRefusalKept, Err: why})\n",
		broken: "\t_ = why\n",
		tests:  "ThatReturnsTheRefusedToken|StrayRefusal",
	},
	{
		name:   "a refresher that returns what was refused has helped",
		file:   "save.go",
		line:   "if !early && f.update == nil && tok.same(from) && !from.renewedBy(tok) {",
		broken: "if false {",
		tests:  "ThatReturnsTheRefusedToken",
	},
	{
		name:   "a refresher that renews the token in place has not helped",
		file:   "save.go",
		line:   " && !from.renewedBy(tok) {",
		broken: " {",
		tests:  "RenewsTheTokenInPlace",
	},
	{
		name:   "a refused token that can't be refreshed is given up",
		file:   "flight.go",
		line:   `keeps := from.RefreshToken == "" && from.AccessToken != "" && err.StatusCode == 0`,
		broken: "keeps := false",
		tests:  "AStrayRefusal",
	},
	{
		name: "a refused token that can't be refreshed is looked for at each request",
		file: "refused.go",
		line: `	case st.rejected != nil && st.rejected.kept && now < min(cur.expires, st.rejected.look):
		return step{own: errNotRenewable, held: st.rejected.look - now}
`,
		broken: "",
		tests:  "AfterARefusal|AStrayRefusal",
	},
	{
		name:   "an upload does not wait for a refresh that a refusal has started",
		file:   "state.go",
		line:   "\tcase patient && st.isRefreshing() && st.flight.needed == g:\n\t\tnext.wait, next.brief = true, true",
		broken: "\tcase false:\n\t\tnext.wait, next.brief = true, true",
		tests:  "BeforeItIsSent|AnUploadWaits",
	},
	{
		name:   "an upload waits longer for a refresh that a refusal has started",
		file:   "state.go",
		line:   "\t\tnext.wait, next.brief = true, true // a refusal",
		broken: "\t\tnext.wait = true // a refusal",
		tests:  "BeforeItIsSent|AnUploadWaits",
	},
	{
		name:   "callers do not learn when to try again",
		file:   "state.go",
		line:   "\t\terr.RetryAfter = jittered // so",
		broken: "\t\t_ = jittered // so",
		tests:  "ThePauseAfterFailures|TellsWhenToTryAgain",
	},
	{
		name:   "a caller's own credential in another spelling is not seen",
		file:   "credential.go",
		line:   "len(k) == len(name) && ascii.EqualFold(k, name) && slices",
		broken: "k == name && slices",
		tests:  "InAnySpelling",
	},
	{
		name:   "an empty header in another spelling goes with the token",
		file:   "transport.go",
		line:   "\t\t\t\tdelete(header, k)\n",
		broken: "",
		tests:  "InAnySpelling",
	},
	{
		name: "a token type that is no scheme is sent",
		file: "token.go",
		line: `	return "Bearer"
}

// schemes`,
		broken: `	return t.TokenType
}

// schemes`,
		tests: "OnlyARegisteredScheme",
	},
	{
		name:   "several Config.SignIn run at once",
		file:   "signin.go",
		line:   "\t\ts.signing = run\n",
		broken: "",
		tests:  "ShareOne",
	},
	{
		name:   "a Config.SignIn that nobody waits for is not cancelled",
		file:   "signin.go",
		line:   "\t\trun.cancel()\n",
		broken: "",
		tests:  "NobodyWaitsFor",
	},
	{
		name:   "a Config.SignIn is cancelled when the first of its waiters leaves",
		file:   "signin.go",
		line:   "run.waiters--; run.waiters == 0 {",
		broken: "run.waiters--; true {",
		tests:  "OnItsOwnContext",
	},
	{
		name:   "a request joins a Config.SignIn that is cancelled",
		file:   "signin.go",
		line:   "\t\t\trun.waiters = -1 // nobody",
		broken: "\t\t\t// nobody",
		tests:  "NobodyWaitsFor",
	},
	{
		name:   "a Config.SignIn that failed is called again at once",
		file:   "signin.go",
		line:   "\t\trun.until = m.now() + max(m.refreshPause, 1)\n",
		broken: "\t\ts.signing = nil\n",
		tests:  "NotRepeatedForARefreshPause",
	},
	{
		name: "a Config.SignIn that failed is never called again",
		file: "internal/mutants/list.go",
		line: `	if run != nil && run.until != 0 && m.now() >= run.until {
		run = nil
	}
`,
		broken: "",
		tests:  "NotRepeatedForARefreshPause",
	},
	{
		name:   "a Config.SignIn opens another",
		file:   "signin.go",
		line:   " || scopeOf(ctx).isRefreshing(m) {",
		broken: " {",
		tests:  "RequestsOfASignInItself",
	},
	{
		name:   "a Config.SignIn is called at a temporary failure",
		file:   "signin.go",
		line:   "if m.signIn == nil || !errors.Is(cause, ErrSignInRequired) ||",
		broken: "if m.signIn == nil ||",
		tests:  "ATemporaryFailureIsTheSame",
	},
	{
		name:   "a Config.SignIn is called with Anonymous",
		file:   "config.go",
		line:   "\t\tm.signIn = nil\n",
		broken: "",
		tests:  "NotCalledWithAnonymous",
	},
	{
		name: "a Config.SignIn is called for a request that a sign-out has met",
		file: "transport.go",
		line: `		case err != nil && r.void:
			return r, err
`,
		broken: "",
		tests:  "NoBrowserIsOpenedForARequest",
	},
	{
		name: "a Config.SignIn is called for a call of Refresh that a sign-out has met",
		file: "session.go",
		line: `		case r.void:
			return Token{}, err
`,
		broken: "",
		tests:  "NoBrowserIsOpenedForACall",
	},
	{
		name:   "a Config.SignIn has the deadline of the request that starts it",
		file:   "signin.go",
		line:   "context.WithCancel(m.forFlight(ctx, s.name))",
		broken: "context.WithCancel(m.within(ctx, s.name))",
		tests:  "OnItsOwnContext",
	},
	{
		name:   "an Update's error reaches others",
		file:   "refresh.go",
		line:   "\to := &outcome{landing: landing{again: true, fault: harmless(err, f.secrets)}}\n",
		broken: "\to := &outcome{landing: landing{err: refreshError(f.session.name, err)}}\n",
		tests:  "AnErrorOfAnUpdate",
	},
	{
		name: "an Update that fails starts a pause",
		file: "flight.go",
		line: `		case f.update != nil:
			o.landing = landing{again: true, fault: err}
`,
		broken: "",
		tests:  "AFailedUpdate",
	},
	{
		name:   "an Update's result keeps the old refresh token",
		file:   "refresh.go",
		line:   "\tif f.update == nil {\n\t\tif tok.RefreshToken == \"\" {",
		broken: "\tif true {\n\t\tif tok.RefreshToken == \"\" {",
		tests:  "UpdateLeavesOut",
	},
	{
		name: "an Update's result is used and not stored",
		file: "save.go",
		line: `	f.store(o, l, stored, from, g.tok, settle)
	return o
`,
		broken: `	if f.update != nil {
		o.change = settle
		return o
	}
	f.store(o, l, stored, from, g.tok, settle)
	return o
`,
		tests: "UpdateStores",
	},
	{
		name:   "an Update is dropped for the token of another process",
		file:   "refresh.go",
		line:   "o := &outcome{landing: landing{gen: g, again: f.update != nil},",
		broken: "o := &outcome{landing: landing{gen: g},",
		tests:  "AnUpdateFindsTheToken",
	},
	{
		name:   "an Update within an Update waits for itself",
		file:   "session.go",
		line:   `s.enter(ctx, "Update")`,
		broken: `s.enter(ctx, "")`,
		tests:  "AnUpdateWithinAnUpdate",
	},
	{
		name: "an Update of a session without a token is not run where the refresher needs one",
		file: "refresh.go",
		line: `		case f.update != nil:
			f.from = from
`,
		broken: "",
		tests:  "UpdateOfASession|AnUpdate",
	},
	{
		name:   "an Update that finds code which ignores its context is no error",
		file:   "session.go",
		line:   "\t\t\treturn Token{}, got.err // the",
		broken: "\t\t\treturn Token{}, nil // the",
		tests:  "AnUpdateDoesNotWait",
	},
	{
		name: "an Update that a sign-in or sign-out meets is no error",
		file: "session.go",
		line: `		case got.void:
			return Token{}, &RefreshError{Session: s.name, Err: errMeanwhile}
`,
		broken: "",
		tests:  "AnUpdateThatASign",
	},
	{
		name:   "what answers add to Extra is not bounded",
		file:   "refresh.go",
		line:   "\t\ttok = tok.boundExtra(from)\n",
		broken: "",
		tests:  "ExtraIsBounded",
	},
	{
		name:   "what an answer adds to Extra goes before what was there",
		file:   "token.go",
		line:   "cmp.Or(isOld(a)-isOld(b), length",
		broken: "cmp.Or(isOld(b)-isOld(a), length",
		tests:  "ExtraIsBounded",
	},
	{
		name:   "what a salvaged answer adds to Extra is not bounded",
		file:   "save.go",
		line:   "kept = kept.boundExtra(from).withPrevious(from)",
		broken: "kept = kept.withPrevious(from)",
		tests:  "ASalvagedRefreshToken",
	},
	{
		name:   "a session is not refreshed before its refresh token expires",
		file:   "cached.go",
		line:   "\t\tif t := tok.RefreshExpiry; !t.IsZero() {",
		broken: "\t\tif t := tok.RefreshExpiry; false {",
		tests:  "BeforeItsRefreshTokenExpires",
	},
	{
		name:   "a session is not refreshed when the server asks for it",
		file:   "cached.go",
		line:   "if t := tok.RefreshAfter; !t.IsZero() && at(t) < g.expires {",
		broken: "if t := tok.RefreshAfter; false {",
		tests:  "WhenTheServerAsks",
	},
	{
		name:   "a refresh token that stays the same loses its expiry",
		file:   "refresh.go",
		line:   "\t\t\ttok.RefreshExpiry = from.RefreshExpiry\n",
		broken: "",
		tests:  "KeepsItsExpiry",
	},
	{
		name:   "a RefreshAfter that is over causes a refresh per request",
		file:   "refresh.go",
		line:   "\t\t\ttok.RefreshAfter = time.Time{}\n",
		broken: "",
		tests:  "CauseNoRefreshPerRequest",
	},
	{
		name:   "a RefreshExpiry that is over causes a refresh per request",
		file:   "refresh.go",
		line:   "\t\t\ttok.RefreshExpiry = time.Time{}\n",
		broken: "",
		tests:  "CauseNoRefreshPerRequest",
	},
	{
		name:   "the first attempt reads on after GetBody was called",
		file:   "internal/body/rewind.go",
		line:   "\t\t\tt.stopped = true\n",
		broken: "\t\t\t_ = t\n",
		tests:  "GetBodyIs|RandomSchedules",
	},
	{
		name:   "GetBody is called during the call of another",
		file:   "internal/body/rewind.go",
		line:   "\t\tb.opening = b.opening || quiet && !over\n",
		broken: "",
		tests:  "WaitsForACallOfGetBody",
	},
	{
		name:   "a caller's body is closed twice",
		file:   "internal/body/stream.go",
		line:   "\tif b.sourceClosed.CompareAndSwap(false, true) {",
		broken: "\tif true {",
		tests:  "SourceIsClosedOnce|ClosedOnce",
	},
	{
		name:   "the pause of an endpoint does not double",
		file:   "internal/evidence/evidence.go",
		line:   "length = Doubled(max(before.Length, length), length)",
		broken: "_ = before",
		tests:  "HidesNoRevocation",
	},
	{
		name:   "the endpoints of all folders speak for each other",
		file:   "internal/evidence/evidence.go",
		line:   "if q.Folder == at.Folder {",
		broken: "if q.Folder == at.Folder || true {",
		tests:  "WhatIsOneFolder|ManyEndpointsOfAFolder|HidesNoRevocation|DoesNotHide",
	},
	{
		name:   "many endpoints of a folder do not speak for the others",
		file:   "refused.go",
		line:   "max(st.pauses.Stretch(a.place, pause), st.stretch(pause))",
		broken: "max(pause, st.stretch(pause))",
		tests:  "ManyEndpointsThatRefuse",
	},
	{
		name:   "a pause outlasts the acceptance of a token",
		file:   "internal/evidence/evidence.go",
		line:   "\tif known && !q.Known {",
		broken: "\tif false {",
		tests:  "WhatARequestDoesAfterARefusal|APauseDoubles",
	},
	{
		name:   "a server that is overloaded has accepted the token",
		file:   "refused.go",
		line:   "\treturn resp.StatusCode < 500\n",
		broken: "\treturn true\n",
		tests:  "ServerThatIsOverloaded",
	},
	{
		name:   "an overloaded server's answer to a replay ends the pause",
		file:   "transport.go",
		line:   "if refused || accepted {",
		broken: "if true {",
		tests:  "AnOverloadedServer",
	},
	{
		name:   "Refresh returns the token before",
		file:   "refused.go",
		line:   " && a.place.Origin != 0",
		broken: "",
		tests:  "RefreshNeverReturns",
	},
	{
		name:   "P5 a token is refreshed early while the token server asks for a pause",
		file:   "cached.go",
		line:   "s.owner.throttle.IsOn(now)",
		broken: "false",
		tests:  "NoTokenIsRefreshedEarly",
	},
	{
		name:   "P5 sessions ask all at once while the token server asks for a pause",
		file:   "refresh.go",
		line:   "\tf.takeTurn()\n",
		broken: "",
		tests:  "AskOneAtATime",
	},
	{
		name:   "P5 sessions ask one after the other without a second between",
		file:   "internal/throttle/throttle.go",
		line:   "time.After(last + apart - now())",
		broken: "time.After(last - last)",
		tests:  "AskOneAtATime",
	},
	{
		name:   "P5 the turn of an abandoned flight is never over",
		file:   "flight.go",
		line:   "\tif turn != nil {",
		broken: "\tif turn != nil && false {",
		tests:  "WhoseTurnDoesNotCome",
	},
	{
		name:   "P5 the pause of the token server goes on for those who wait",
		file:   "internal/throttle/throttle.go",
		line:   "\t\tcase <-over: // unless",
		broken: "\t\tcase <-(chan int)(nil): // unless",
		tests:  "PauseOfTheTokenServerEnds",
	},
	{
		name:   "P5 nothing is adopted while the token server asks for a pause",
		file:   "refresh.go",
		line:   "case checks, s.owner.throttle.IsOn(s.owner.now()):",
		broken: "case checks:",
		tests:  "IsAdoptedThoughTheTokenServer",
	},
	{
		name:   "P14 a request is replayed under a sign-in of the program though Config.SignIn was to run",
		file:   "transport.go",
		line:   " && !s.brought(gen.tok.SignInID) {",
		broken: " && false {",
		tests:  "NothingIsReplayedUnderASignIn",
	},
	{
		name:   "P4 what a refresh brings is not saved where a sign-in may still arrive",
		file:   "save.go",
		line:   "\t\tif f.isVoid() {\n\t\t\tsignedOut",
		broken: "\t\tif s.isUnsettled(l) {\n\t\t\treturn false, errUnsettled\n\t\t}\n\t\tif f.isVoid() {\n\t\t\tsignedOut",
		tests:  "ThoughASignInThereMayStillArrive",
	},
	{
		name:   "an expired token that an Update keeps is good again",
		file:   "refresh.go",
		line:   "\tif f.update != nil && tok.AccessToken == from.AccessToken {",
		broken: "\tif false {",
		tests:  "ThatAnUpdateKeepsStaysExpired",
	},
	{
		name:   "with Anonymous, a request whose own refresh ends the session fails",
		file:   "transport.go",
		line:   "(t.anonymous || t.sessions.signIn != nil)",
		broken: "t.sessions.signIn != nil",
		tests:  "RefusedOnceTheTokenIsLost",
	},
	{
		name:   "CodePath is not used",
		file:   "oauth/refresher.go",
		line:   "\treturn a.NamedCode(r.CodePath, r.FinalCodes)\n",
		broken: "\treturn a.Code(r.FinalCodes)\n",
		tests:  "CodePathSays",
	},
	{
		name:   "a token that was not decrypted is refreshed, and deleted",
		file:   "cached.go",
		line:   "tok.RefreshToken != \"\" && !ascii.IsFieldValue(tok.AccessToken):",
		broken: "!ascii.IsFieldValue(tok.AccessToken):",
		tests:  "AnAccessTokenThatNoHeaderCanCarryStays",
	},
	{
		name:   "a wrong password is a temporary failure where the server says so in words",
		file:   "jsonauth/endpoint.go",
		line:   "\tfinality.Text = true",
		broken: "\tfinality.Text = false",
		tests:  "ARefusalInWords",
	},
}

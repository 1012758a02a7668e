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
		name: "P1 a late refusal is not compared with the current token",
		file: "session.go",
		line: `case cur != g && now < cur.expires:
		return verdict{replay: cur}`,
		broken: `case false:
		return verdict{replay: cur}`,
		tests: "Promise1[A-Z]|RefusedAfterRotation",
	},
	{
		name: "P1 a flight is not shared",
		file: "session.go",
		line: `	case s.flight == nil:
		return s.depart(ctx, true, g), nil
	}
	s.flight.refreshes, s.flight.needed = true, g
	return s.flight, nil`,
		broken: `	}
	return s.depart(ctx, true, g), nil`,
		tests: "Promise1[A-Z]",
	},
	{
		name: "P1 what is stored is not compared",
		file: "refresh.go",
		line: `		case ok:
			if f.adopt(stored, Event{Kind: EventAdopted}) {
				return
			}
`,
		broken: `		case ok:
`,
		tests: "Promise1[A-Z]",
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
		file: "refresh.go",
		line: `		err = errUnfinished
	}
	if err != nil {`,
		broken: `	}
	if err != nil {`,
		tests: "Promise2",
	},
	{
		name:   "P2 errors that match a context's are passed on",
		file:   "errors.go",
		line:   "if clean == text && !errors.Is(err, context.Canceled) && !errors.Is(err, context.DeadlineExceeded) {",
		broken: "if clean == text || errors.Is(err, context.Canceled) {",
		tests:  "Promise2",
	},
	{
		name: "P3 a token is used before it is saved",
		file: "refresh.go",
		line: `	err := f.save(lease, g.tok)
	if errors.Is`,
		broken: `	f.session.current.Store(g)
	err := f.save(lease, g.tok)
	if errors.Is`,
		tests: "Promise3",
	},
	{
		name: "P4 a spent token is spent again while its successor is owed",
		file: "refresh.go",
		line: `from = cur.tok
		case stored`,
		broken: `from = stored
		case stored`,
		tests: "Promise4",
	},
	{
		name: "P5 no pause after a failure",
		file: "session.go",
		line: `	case (s.flight == nil || !s.flight.refreshes) && s.failure != nil && s.owner.now() < s.failure.until:
		return nil, s.failure.err
`,
		broken: "",
		tests:  "Promise5",
	},
	{
		name:   "P5 the pause does not double",
		file:   "refresh.go",
		line:   "min(2*s.failure.pause, longestFailurePause)",
		broken: "firstFailurePause",
		tests:  "Promise5",
	},
	{
		name:   "P5 Retry-After is ignored",
		file:   "refresh.go",
		line:   "max(jittered, min(err.RetryAfter, longestRetryAfter))",
		broken: "jittered",
		tests:  "Promise5",
	},
	{
		name:   "P5 every failure is final",
		file:   "refresh.go",
		line:   "if !errors.Is(err, ErrSignInRequired) {",
		broken: "if false {",
		tests:  "Promise5",
	},
	{
		name: "P6 being signed out is not remembered",
		file: "session.go",
		line: `	case s.out != nil && now < s.out.nextLook:
		return nil, s.out.err
`,
		broken: "",
		tests:  "Promise6",
	},
	{
		name:   "P6 the token is not deleted",
		file:   "refresh.go",
		line:   "return struct{}{}, s.owner.store.Delete(ctx, s.name)",
		broken: "return struct{}{}, nil",
		tests:  "Promise6",
	},
	{
		name:   "P6 a token that was turned down is taken again",
		file:   "session.go",
		line:   "return !ok || slices.ContainsFunc(o.given, tok.same)",
		broken: "return !ok",
		tests:  "Promise6",
	},
	{
		name: "P7 what a void flight brings is kept",
		file: "refresh.go",
		line: `	if s.flight != f {
		s.mu.Unlock()
		return false
	}
	s.flight = nil
	s.settle(g)`,
		broken: `	s.flight = nil
	s.settle(g)`,
		tests: "Promise7",
	},
	{
		name: "P7 what a void flight brings is saved",
		file: "refresh.go",
		line: `		if f.superseded() {
			return struct{}{}, errSuperseded
		}
		return struct{}{}, s.owner.store.Save`,
		broken: "		return struct{}{}, s.owner.store.Save",
		tests:  "Promise7",
	},
	{
		name: "P7 a refusal from before a sign-in is replayed under it",
		file: "session.go",
		line: `	case g.epoch != s.epoch:
		return verdict{handOver: true}
`,
		broken: "",
		tests:  "RefusedFromBefore",
	},
	{
		name:   "P8 any origin gets the token",
		file:   "transport.go",
		line:   "!t.origins.allow(req, t.hasOwn)",
		broken: "false",
		tests:  "Promise8",
	},
	{
		name:   "P8 the chain of redirects is not followed back",
		file:   "origin.go",
		line:   "for hop := req; hop.Response != nil; {",
		broken: "for hop := req; false; {",
		tests:  "Redirect",
	},
	{
		name: "P9 a refused replay is replayed",
		file: "transport.go",
		line: `	if next != nil {
		s.judge(next, t.isRefused(again))
	}`,
		broken: `	if next != nil && t.isRefused(again) {
		again, err = t.send(req, next, nil)
	}`,
		tests: "Promise9",
	},
	{
		name:   "P10 errors are not scrubbed",
		file:   "errors.go",
		line:   `text = strings.ReplaceAll(text, s, "[redacted]")`,
		broken: "",
		tests:  "Promise10",
	},
	{
		name: "P10 resp.Request carries the token",
		file: "transport.go",
		line: `	resp.Request = req
`,
		broken: `	resp.Request = clone
`,
		tests: "Promise10",
	},
	{
		name:   "P10 a panic's value is shown",
		file:   "singleflight.go",
		line:   `panicked with a %T", what, v)`,
		broken: `panicked with %v", what, v)`,
		tests:  "Promise10",
	},
	{
		name:   "P10 a refresher that ignores its context is waited for",
		file:   "refresh.go",
		line:   "watch := time.AfterFunc(timeout+grace, func()",
		broken: "watch := time.AfterFunc(1000*time.Hour, func()",
		tests:  "Promise10",
	},
	{
		name:   "P11 a panic is not contained",
		file:   "singleflight.go",
		line:   "if v := recover(); v != nil {",
		broken: "if v := any(nil); v != nil {",
		tests:  "Promise11",
	},
	{
		name: "P11 Goexit is not noticed",
		file: "singleflight.go",
		line: `			f.land(value, err)
		}()`,
		broken: `			if err == nil { f.land(value, err) }
		}()`,
		tests: "Promise11",
	},
	{
		name:   "P12 a refresher's own requests are not let through",
		file:   "transport.go",
		line:   " || sc.refreshing(t)",
		broken: "",
		tests:  "Promise12",
	},
	{
		name: "P12 other Transports are bypassed too",
		file: "context.go",
		line: `if r.transport == t {
			return true`,
		broken: `if r.transport != nil {
			return true`,
		tests: "Promise12",
	},
	{
		name:   "a missing refresh token does not keep the old one",
		file:   "refresh.go",
		line:   "tok.RefreshToken = from.RefreshToken",
		broken: "_ = from",
		tests:  "ARefreshThat",
	},
	{
		name:   "no pause after a refresh",
		file:   "session.go",
		line:   "	case cur.fetched && now < cur.certain && now < cur.obtained+s.pause():",
		broken: "	case false:",
		tests:  "Refused|Endpoint",
	},
	{
		name:   "the pause after refreshes that do not help does not double",
		file:   "session.go",
		line:   "if base *= 2; base >= longest {",
		broken: "if base >= longest {",
		tests:  "Endpoint",
	},
	{
		name: "a refused answer is held during the wait",
		file: "transport.go",
		line: `	// A refused answer that is held keeps its connection, which the refresh may
	// need.
	drain(ctx, resp)`,
		broken: "",
		tests:  "AFlightGetsAConnection",
	},
	{
		name:   "two write to the store at once",
		file:   "signin.go",
		line:   "if s.writers--; s.writers == 0 {",
		broken: "if s.writers--; true {",
		tests:  "TheLine",
	},
	{
		name: "P1 a save under a lost lease counts as done",
		file: "refresh.go",
		line: `	err := f.save(lease, g.tok)
	if errors.Is(err, errSuperseded) {`,
		broken: `	err := f.save(lease, g.tok)
	if err != nil && lease.held.Err() != nil {
		err = nil
	}
	if errors.Is(err, errSuperseded) {`,
		tests: "LostLease|Owed",
	},
	{
		name:   "P1 a refresh is aborted by a lost lease",
		file:   "refresh.go",
		line:   `	tok, err := call(f, f.ctx, "the refresher"`,
		broken: `	tok, err := call(f, f.lease.held, "the refresher"`,
		tests:  "LostLease|Promise2",
	},
	{
		name: "P1 a lease is never given back",
		file: "lease.go",
		line: `	if last {
		s.giveBack(l)
	}`,
		broken: "",
		tests:  "Locker|Lock|Lease|TwoTransports",
	},
	{
		name: "P1 a flight does not lock",
		file: "lease.go",
		line: `	if locker == nil {
		return`,
		broken: `	if locker != nil {
		return`,
		tests: "Promise1[A-Z]|Lock|Lease",
	},
	{
		name: "P4 an owed save is forgotten",
		file: "session.go",
		line: `	if s.owed == owed {
		s.owe(owed.spent)
	}`,
		broken: "	s.owed = nil",
		tests:  "Owed",
	},
	{
		name: "P4 an owed save replaces what another process stored",
		file: "refresh.go",
		line: `			s.paid(owed) // what the store holds by now is not ours to replace
			owed = nil`,
		broken: "			owed.spent = append(owed.spent, stored)",
		tests:  "Owed",
	},
	{
		name:   "P6 a final answer deletes what another process stored meanwhile",
		file:   "refresh.go",
		line:   "		if !ok || after.same(stored) || after.same(from) {",
		broken: "		if true {",
		tests:  "FinalAnswer",
	},
	{
		name:   "P6 a final answer to an early refresh signs out at once",
		file:   "refresh.go",
		line:   "if g != nil && f.needed == nil && !signedOut && s.owner.now() < g.expires {",
		broken: "if false && g != nil && !signedOut {",
		tests:  "FinalAnswer",
	},
	{
		name: "P7 a sign-in does not end the flight that is up",
		file: "signin.go",
		line: `	s.epoch++
	s.flight = nil`,
		broken: "	s.epoch++",
		tests:  "Promise7|SignIn",
	},
	{
		name:   "P7 a failed sign-out is not out",
		file:   "signin.go",
		line:   "before, owed := s.giveUp(waiting)",
		broken: "before, owed := s.current.Load(), s.owed",
		tests:  "SignOut",
	},
	{
		name:   "P4 a spent token whose save seemed to fail is spent again",
		file:   "session.go",
		line:   "return slices.ContainsFunc(o.spent, tok.same)",
		broken: "return len(o.spent) > 0 && o.spent[0].same(tok)",
		tests:  "Owed|Spent",
	},
	{
		name: "P4 a refresh is begun under a lock that was lost",
		file: "refresh.go",
		line: `	case lease.held.Err() != nil:
		return Token{}, errLockLost
`,
		broken: "",
		tests:  "HasBecomeWrong",
	},
	{
		name: "P7 a flight that is void asks for a refresh",
		file: "refresh.go",
		line: `	case f.superseded():
		return Token{}, errSuperseded
	case lease`,
		broken: "	case lease",
		tests:  "HasBecomeWrong",
	},
	{
		name:   "P7 a sign-out forgets what another that is under way gives up",
		file:   "signin.go",
		line:   "o.give(s.out.given...)",
		broken: "",
		tests:  "SignOut",
	},
	{
		name:   "P7 what comes after another sign-in is revoked",
		file:   "signin.go",
		line:   "gone := s.out != nil && errors.Is(s.out.err, errSignedOut)",
		broken: "gone := s.current.Load() == nil",
		tests:  "Revoked",
	},
	{
		name:   "P6 a flight that is up to save refreshes in the pause after a failure",
		file:   "session.go",
		line:   "case (s.flight == nil || !s.flight.refreshes) && s.failure != nil",
		broken: "case s.flight == nil && s.failure != nil",
		tests:  "UpToSave",
	},
	{
		name: "P2 a caller does not leave when its own context ends",
		file: "singleflight.go",
		line: `	case <-ctx.Done():
		var zero T
		return zero, context.Cause(ctx)
	}`,
		broken: "	}",
		tests:  "Promise2",
	},
	{
		name:   "P5 a flight that was up only to save, and asks, is not taken for a refresh",
		file:   "refresh.go",
		line:   "f.refreshes, f.from = true, from",
		broken: "f.from = from",
		tests:  "UpToSave",
	},
	{
		name: "the session stays locked while handlers hear of a refresh",
		file: "refresh.go",
		line: `	f.leave()
	for _, e := range events {`,
		broken: "	for _, e := range events {",
		tests:  "Handlers",
	},
	{
		name:   "the session stays locked while handlers hear of a sign-in",
		file:   "signin.go",
		line:   "	s.drop(lease)\n	if errors.Is(err, errSuperseded) {",
		broken: "	defer s.drop(lease)\n	if errors.Is(err, errSuperseded) {",
		tests:  "Handlers",
	},
	{
		name:   "P6 the news that a sign-in is required follows a sign-in",
		file:   "refresh.go",
		line:   "!(e.Kind == EventSignInRequired && f.isPast())",
		broken: "!(e.Kind == EventSignInRequired && false)",
		tests:  "ASignInIsNotFollowed",
	},
	{
		name:   "P6 a final answer does not give up a spent token that the store may hold",
		file:   "refresh.go",
		line:   "	if s.owed != nil {\n		o.give(s.owed.spent...)\n	}\n	s.settle(nil)",
		broken: "	s.settle(nil)",
		tests:  "FinalAnswer",
	},
	{
		name:   "P6 a sign-in elsewhere is forgotten when the store fails",
		file:   "refresh.go",
		line:   "s.isBack(gone)",
		broken: "_ = gone",
		tests:  "ASignInElsewhere",
	},
	{
		name:   "P6 a sign-in elsewhere that has gone again leaves no sign-out",
		file:   "refresh.go",
		line:   "s.out = gone // it",
		broken: "_ = gone // it",
		tests:  "ASignInElsewhere",
	},
	{
		name:   "P7 a replay under an earlier sign-in counts for this one",
		file:   "session.go",
		line:   "	case g.epoch != s.epoch: // it says nothing about this sign-in\n",
		broken: "",
		tests:  "ARefusalUnderAnEarlierSignIn",
	},
	{
		name: "P2 a caller that has gone gets the refusal of a body that cannot be replayed",
		file: "transport.go",
		line: `		if ctx.Err() != nil {
			drain(ctx, resp)
			return nil, context.Cause(ctx)
		}
`,
		broken: "",
		tests:  "ACallerWhoGoes",
	},
	{
		name:   "P5 a failed early refresh gives up the good token",
		file:   "refresh.go",
		line:   "		pause := firstFailurePause\n",
		broken: "		s.current.Store(nil)\n		pause := firstFailurePause\n",
		tests:  "Promise5AFailedEarlyRefresh",
	},
	{
		name:   "P5 who waits for an early refresh fails with it",
		file:   "session.go",
		line:   "case g != nil && ctx.Err() == nil && s.owner.now() < g.expires:",
		broken: "case false:",
		tests:  "PatientRequest",
	},
	{
		name:   "P7 a request that was not sent yet fails with the flight that is void",
		file:   "session.go",
		line:   "		case errors.Is(err, errSuperseded):\n			continue",
		broken: "		case errors.Is(err, errSuperseded) && false:\n			continue",
		tests:  "Promise7",
	},
	{
		name:   "P8 http counts as https",
		file:   "origin.go",
		line:   "a.port == b.port && equalFold(a.scheme, b.scheme) && equalFold(a.host, b.host)",
		broken: "equalFold(a.host, b.host)",
		tests:  "HTTPSToHTTP",
	},
	{
		name:   "P8 a step down from https to http is no step to another origin",
		file:   "origin.go",
		line:   "if !from.is(at) && (!named || !o.names(from)) {",
		broken: "if from.host != at.host && (!named || !o.names(from)) {",
		tests:  "HTTPSToHTTP",
	},
	{
		name:   "P8 a refresh request follows a redirect to another origin",
		file:   "origin.go",
		line:   "if sameOrigin(via[0].URL, req.URL) {",
		broken: "if true {",
		tests:  "ATokenRequest",
	},
	{
		name: "P10 the late answer of an abandoned refresh is thrown away",
		file: "refresh.go",
		line: `	if f.isAbandoned() { // the lease is gone: `,
		broken: `	if f.isAbandoned() {
		f.fail(errUnfinished)
		return
	}
	if f.isAbandoned() { // the lease is gone: `,
		tests: "Promise10",
	},
	{
		name: "P10 the late answer of an abandoned refresh is not saved of its own accord",
		file: "refresh.go",
		line: `			if s.owed != nil && s.flight == nil {
				s.depart(f.ctx, false, nil)
			}
			s.mu.Unlock()
			return
`,
		broken: `			s.mu.Unlock()
			return
`,
		tests: "Promise10",
	},
	{
		name:   "P10 a refused answer is read to its end however long",
		file:   "drain.go",
		line:   "io.CopyN(io.Discard, resp.Body, drainBytes)",
		broken: "io.Copy(io.Discard, resp.Body)",
		tests:  "Drain",
	},
	{
		name:   "P10 a refused answer is waited for however long",
		file:   "drain.go",
		line:   "context.WithTimeout(ctx, drainTime)",
		broken: "context.WithTimeout(ctx, 1000*drainTime)",
		tests:  "Drain",
	},
	{
		name:   "P10 a refused answer is waited for beyond the request's context",
		file:   "drain.go",
		line:   "context.WithTimeout(ctx, drainTime)",
		broken: "context.WithTimeout(context.WithoutCancel(ctx), drainTime)",
		tests:  "Drain",
	},
	{
		name:   "a sign-out does not revoke",
		file:   "signin.go",
		line:   "err = errors.Join(err, s.revoke(ctx, last))",
		broken: "_ = last",
		tests:  "SignOutRevokes",
	},
	{
		name: "a session that is in use is evicted",
		file: "session.go",
		line: `	if s.users.Load() != 0 {
		return false
	}
`,
		broken: "",
		tests:  "Cache|Eviction",
	},
	{
		name:   "a session with a flight up is evicted",
		file:   "session.go",
		line:   "case s.flight != nil, s.lease != nil, s.owed != nil, s.writers != 0:",
		broken: "case s.lease != nil, s.owed != nil, s.writers != 0:",
		tests:  "Cache",
	},
	{
		name:   "a session with a save owed is evicted",
		file:   "session.go",
		line:   "case s.flight != nil, s.lease != nil, s.owed != nil, s.writers != 0:",
		broken: "case s.flight != nil, s.lease != nil, s.writers != 0:",
		tests:  "Cache",
	},
	{
		name:   "what was kept of a body is not sent again",
		file:   "body.go",
		line:   "second := &secondBody{first: b, kept: b.kept, err: b.err}",
		broken: "second := &secondBody{first: b, err: b.err}",
		tests:  "Body|ReplayIsWhatWasKept",
	},
	{
		name:   "what was still unread of a body is not sent again",
		file:   "body.go",
		line:   "n, err := s.first.source.Read(p)",
		broken: "n, err := 0, io.EOF",
		tests:  "Body|ReplayIsWhatWasKept",
	},
	{
		name:   "a body is replayed though more was read than was kept",
		file:   "body.go",
		line:   "	if int64(len(read)) > left {\n		return false\n	}\n",
		broken: "	if int64(len(read)) > left {\n		return true\n	}\n",
		tests:  "OverTheLimit|ReplayBufferLimit",
	},
	{
		name: "a body is replayed while the first attempt still reads it",
		file: "body.go",
		line: `	case !b.reading:
		b.owner`,
		broken: `	case true:
		b.owner`,
		tests: "ReadInProgress|RandomSchedules",
	},
	{
		name:   "P4 a sign-in with the token that is being refreshed is one like any other",
		file:   "signin.go",
		line:   "return s.flight != nil && s.flight.from.same(tok)",
		broken: "return false && s.flight.from.same(tok)",
		tests:  "ASignInWithThe",
	},
	{
		name:   "P7 a sign-in with the current token does nothing while a flight waits",
		file:   "signin.go",
		line:   "return s.flight != nil && s.flight.from.same(tok)",
		broken: "return s.flight != nil && (s.flight.from.same(tok) || s.current.Load() != nil && s.current.Load().tok.same(tok))",
		tests:  "ASignInOfTheToken",
	},
	{
		name:   "P7 a sign-in with the token that a flight has loaded does nothing while that waits",
		file:   "signin.go",
		line:   "return s.flight != nil && s.flight.from.same(tok)",
		broken: "return s.flight != nil && (s.flight.from.same(tok) || s.flight.seen.same(tok))",
		tests:  "ASignInOfTheToken",
	},
	{
		name:   "P7 a sign-out does not give up what a flight has loaded",
		file:   "signin.go",
		line:   "o.give(s.flight.seen, s.flight.from, s.flight.brought)",
		broken: "o.give(s.flight.brought)",
		tests:  "ASignOut",
	},
	{
		name:   "P7 a sign-out does not give up what a flight is storing",
		file:   "signin.go",
		line:   "o.give(s.flight.seen, s.flight.from, s.flight.brought)",
		broken: "o.give(s.flight.seen, s.flight.from)",
		tests:  "ASignOut",
	},
	{
		name: "P7 a token that could not be saved during a sign-out is not revoked",
		file: "refresh.go",
		line: `	if !f.arrive(g, spent, events...) && err != nil {
		f.leave()
		s.discard(f.ctx, tok)
	}
`,
		broken: `	f.arrive(g, spent, events...)
`,
		tests: "Revoked",
	},
	{
		name:   "P7 a token that was saved during a sign-out is revoked twice",
		file:   "refresh.go",
		line:   "	if !f.arrive(g, spent, events...) && err != nil {\n",
		broken: "	if !f.arrive(g, spent, events...) {\n",
		tests:  "Revoked",
	},
	{
		name: "the session stays locked while a token that came too late is revoked",
		file: "refresh.go",
		line: `	if errors.Is(err, errSuperseded) {
		f.leave()
`,
		broken: `	if errors.Is(err, errSuperseded) {
`,
		tests: "TheLockIsFree",
	},
	{
		name:   "P5 a flight that was up only to save asks in the pause after a failure",
		file:   "refresh.go",
		line:   "case !f.refreshes && s.failure != nil && s.owner.now() < s.failure.until:",
		broken: "case false:",
		tests:  "UpToSave",
	},
	{
		name:   "a save that hangs counts as a failed refresh",
		file:   "refresh.go",
		line:   "tell := f.refreshes && !superseded",
		broken: "tell := !superseded",
		tests:  "ASaveThatHangs",
	},
	{
		name:   "a refresh that failed after its waiters were let go is told of twice",
		file:   "refresh.go",
		line:   "f.told = f.told || tell",
		broken: "",
		tests:  "LetGo",
	},
	{
		name:   "P6 a store that must itself sign in signs the session out",
		file:   "refresh.go",
		line:   "return Token{}, false, elsewhere(err)",
		broken: "return Token{}, false, err",
		tests:  "AStoreThatMustSignIn",
	},
	{
		name:   "P6 a store whose lock must itself sign in signs the session out",
		file:   "lease.go",
		line:   `fmt.Errorf("lock: %w", elsewhere(err))`,
		broken: `fmt.Errorf("lock: %w", err)`,
		tests:  "AStoreThatMustSignIn",
	},
	{
		name:   "more is kept of a body than may be",
		file:   "body.go",
		line:   "		left -= int64(n)\n",
		broken: "",
		tests:  "ReplayBuffer",
	},
	{
		name:   "one refresh that does not help counts for each of its replays",
		file:   "session.go",
		line:   "case s.judged != g.number && g.fetched:",
		broken: "case g.fetched:",
		tests:  "OneRefreshThatDoesNotHelp",
	},
	{
		name:   "Refresh knows the refused token only by its refresh token too",
		file:   "transport.go",
		line:   `if refused.AccessToken != "" && refused.AccessToken == cur.tok.AccessToken {`,
		broken: "if cur.tok.same(refused) {",
		tests:  "RefreshKnowsTheRefusedToken",
	},
}

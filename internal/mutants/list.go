package main

// A mutant is one broken line.
type mutant struct {
	name   string // begins with the promise's number, if it is one's
	file   string
	line   string // what stands there
	broken string // what stands there instead
	tests  string // the tests that are to notice, as for -run
}

var mutants = []mutant{
	{
		name: "P1 a late refusal is not compared with the current token",
		file: "session.go",
		line: `case cur != g && now < cur.expires:
		return verdict{replay: cur}`,
		broken: `case false:
		return verdict{replay: cur}`,
		tests: "Promise1|RefusedAfterRotation",
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
		tests: "Promise1",
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
		tests: "Promise1",
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
		tests:  "Starv|Connection",
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
	if errors.Is(err, errSuperseded) {
		s.discard`,
		broken: `	err := f.save(lease, g.tok)
	if err != nil && lease.held.Err() != nil {
		err = nil
	}
	if errors.Is(err, errSuperseded) {
		s.discard`,
		tests: "LostLease|Owed",
	},
	{
		name:   "P1 a refresh is aborted by a lost lease",
		file:   "refresh.go",
		line:   `	tok, err := call(f, f.ctx, "the refresher"`,
		broken: `	tok, err := call(f, f.lease.held, "the refresher"`,
		tests:  "LostLease|Promise",
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
		tests: "Promise1|Lock|Lease",
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
	}, {
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
		name:   "P7 a sign-out does not give up what a flight has seen",
		file:   "signin.go",
		line:   "o.give(s.flight.from)",
		broken: "",
		tests:  "SignOut",
	},
	{
		name:   "P6 a flight that is up to save refreshes in the pause after a failure",
		file:   "session.go",
		line:   "case (s.flight == nil || !s.flight.refreshes) && s.failure != nil",
		broken: "case s.flight == nil && s.failure != nil",
		tests:  "UpToSave",
	},
}

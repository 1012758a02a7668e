package simulator

import "time"

// An excuse is why a refresh token may be presented twice all the same, or something fail
// for want of a nonce. Each is for one token and one use of it, or for one request, not for
// the session or the run.
type excuse int

const (
	excuseAnswerLost   excuse = iota // the first use was never answered, so its maker cannot know of it
	excuseTimedOut                   // one of the two requests outlasted RefreshTimeout, and the lock was given up
	excuseDied                       // its maker died before the next token was stored
	excuseLeaseLost                  // its maker lost its lease before the next token was stored
	excuseOwnLeaseLost               // the maker of the second use had lost its lease, and could not know that
	excuseForgotten                  // the store has forgotten the next token, which another process had stored
	excuseStuck                      // a write of its maker ignored its context, so nothing else could be saved there

	// Why a demand for a nonce may be the last answer, though another proof was sent before.
	excuseNonceEnded   // the nonce has ended since the first proof of the request was sent
	excuseNonceOld     // an answer that came since then has brought it, and it had ended before
	excuseProofRefused // the other proof was sent because one had been invalid, and not for a nonce

	excuseKinds
)

var excuseNames = [excuseKinds]string{
	excuseAnswerLost:   "the answer to the first use was lost",
	excuseTimedOut:     "a use outlasted RefreshTimeout",
	excuseDied:         "the process died before it had stored the next token",
	excuseLeaseLost:    "the lease was lost before the next token was stored",
	excuseOwnLeaseLost: "the second use was under a lease that had been lost unnoticed",
	excuseForgotten:    "the store has forgotten the next token",
	excuseStuck:        "a write that did not return kept the next token from being stored",
	excuseNonceEnded:   "the nonce has ended since the first proof was sent",
	excuseNonceOld:     "a late answer has brought a nonce that had ended",
	excuseProofRefused: "a proof was refused as invalid before the nonce was",
}

func (e excuse) String() string { return excuseNames[e] }

// excuse finds out why a visit presents what was spent before. w.mu is held.
func (w *world) excuse(v *visit, sp *spend) (excuse, bool) {
	next, same := sp.next, v.p == sp.by
	stored := !next.saved.IsZero()
	ended := sp.ended
	if sp.fate == underWay {
		ended = time.Now()
	}
	lostLease := func(leases []*lease) bool {
		for _, l := range leases {
			if l.lost {
				return true
			}
		}
		return false
	}
	switch {
	case sp.fate == lost:
		return excuseAnswerLost, true
	case sp.by.dead && !stored:
		return excuseDied, true
	case same:
		return 0, false // it knows what it has spent
	case next.forgotten, v.t.forgotten && !stored: // by a sign-out it is stored only in place of what was loaded
		return excuseForgotten, true
	case lostLease(v.leases) && !v.knew:
		return excuseOwnLeaseLost, true
	case time.Since(v.asked) >= w.plan.timeout:
		return excuseTimedOut, true
	case stored:
		return 0, false
	case lostLease(sp.leases):
		return excuseLeaseLost, true
	case ended.Sub(sp.asked) >= w.plan.timeout:
		return excuseTimedOut, true
	case sp.by.know(v.session).stuck.After(sp.asked):
		return excuseStuck, true
	}
	return 0, false
}

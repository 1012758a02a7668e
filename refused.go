package reauth

import (
	"net/http"
	"slices"
	"time"

	"github.com/reauth-go/reauth/internal/ascii"
	"github.com/reauth-go/reauth/internal/challenge"
	"github.com/reauth-go/reauth/internal/evidence"
)

// DefaultRefused reports whether a response means that the access token is not valid any
// more: its status is 401, and no Bearer or DPoP challenge in it says insufficient_scope
// (RFC 6750 section 3.1), insufficient_user_authentication (RFC 9470 section 3),
// use_dpop_nonce or invalid_dpop_proof (RFC 9449 section 7.1). The first two are about the
// user's permissions and how the user signed in, the others about the proof beside the
// token, and don't count if a challenge beside them says invalid_token. A refresh changes
// none of that. A 403 never means refused.
//
// It looks only at the status and the header.
func DefaultRefused(resp *http.Response) bool {
	return resp.StatusCode == http.StatusUnauthorized && !beyondRefresh(resp.Header)
}

// RefusedStatus returns a function for Config.Refused that reports whether a response has
// one of the given statuses, for an API that answers an expired token with another status
// than 401:
//
//	Refused: reauth.RefusedStatus(http.StatusUnauthorized, http.StatusForbidden),
//
// As in [DefaultRefused], a response with a challenge that a refresh can't cure does not
// count, whatever its status: RFC 6750 section 3.1 sends insufficient_scope with a 403.
// Without codes no response counts.
func RefusedStatus(codes ...int) func(*http.Response) bool {
	codes = slices.Clone(codes)
	return func(resp *http.Response) bool {
		return slices.Contains(codes, resp.StatusCode) && !beyondRefresh(resp.Header)
	}
}

// beyondRefresh reports whether a challenge says that a new access token would be refused
// like the old one.
func beyondRefresh(h http.Header) bool {
	if challenged(h, "insufficient_scope", "insufficient_user_authentication") {
		return true
	}
	// An API that takes both schemes may challenge for a proof beside the answer to a Bearer
	// token, or to the token of a proof.
	return challenged(h, "use_dpop_nonce", "invalid_dpop_proof") && !challenged(h, "invalid_token")
}

// challenged reports whether a Bearer or DPoP challenge has one of these error codes.
func challenged(h http.Header, codes ...string) bool {
	return slices.ContainsFunc(challenge.Parse(h), func(c challenge.Challenge) bool {
		ours := ascii.EqualFold(c.Scheme, "Bearer") || ascii.EqualFold(c.Scheme, "DPoP")
		return ours && slices.Contains(codes, c.Params["error"])
	})
}

// shows reports whether a response that does not mean refused shows that the API has
// accepted the token. A server that is overloaded or out of order may not have looked, nor
// may one that refuses the proof beside the token.
func shows(resp *http.Response) bool {
	switch resp.StatusCode {
	case http.StatusRequestTimeout, http.StatusTooEarly, http.StatusTooManyRequests:
		return false
	case http.StatusBadRequest, http.StatusUnauthorized:
		return !challenged(resp.Header, "use_dpop_nonce", "invalid_dpop_proof")
	}
	return resp.StatusCode < 500
}

// An attempt is a request that was sent with a token.
type attempt struct {
	gen      *generation
	place    evidence.Place // zero: not known
	claims   string         // that the refusal asks for
	fallback bool           // gen was the generation before the current one
}

const (
	errOtherSignIn  keptError = "the request was sent under another sign-in"
	errPermission   keptError = "the refused token is itself the result of a refresh just now"
	errStillRefused keptError = "a refresh just now did not help at this endpoint"
	errNotRenewable keptError = "the session has nothing to refresh with"
	errSameToken    keptError = "the refresher returned the token that was refused"
	errBodyGone     keptError = "the request's body can't be sent again"
	errNotListed    keptError = "the request went without a token, because its origin, or one before a redirect, is not in Config.Origins"
)

// A keptError is why a refusal is handed to the caller. It matches ErrRefusalKept.
type keptError string

func (e keptError) Error() string        { return string(e) }
func (e keptError) Is(target error) bool { return target == ErrRefusalKept }

// refused returns what a request does whose attempt was refused. pause is
// Config.RefreshPause.
func (st *state) refused(now time.Duration, a attempt, pause time.Duration) step {
	cur, g := st.current, a.gen
	if g == st.previous {
		st.previous = nil
	}
	// A token that was made without claims is refused for want of them, however new it is.
	lacking := cur != nil && a.claims != "" && !cur.claimed
	if cur != nil && cur.epoch == g.epoch && g.tok.sendsSame(cur.tok) {
		g = cur // an Update has kept the access token, or a refresh brought none
	}
	switch {
	case g.epoch != st.epoch, cur != nil && !g.tok.sameSignIn(cur.tok):
		return step{own: errOtherSignIn}
	case cur == nil:
		return st.find(now)
	case cur != g && now < cur.expires && !lacking:
		return step{use: cur}
	case cur != g || st.isRefreshing():
		return st.replace(now)
	case st.backoff.active(now):
		return step{err: st.backoff.err}
	case st.rejected != nil && st.rejected.kept && now < min(cur.expires, st.rejected.look):
		return step{own: errNotRenewable, held: st.rejected.look - now}
	}
	if prev := st.previous; prev != nil && !lacking && a.place.Origin != 0 && now < min(prev.expires, cur.obtained+pause) &&
		!st.evidence.Accepted(a.place.Origin, cur.number, 0) {
		return step{use: prev, fallback: true} // the API may not know the new token yet
	}
	known := st.evidence.Accepted(a.place.At, cur.number, 1)
	if left := st.pauses.Left(now, a.place, known); left > 0 && now < cur.certain {
		return step{own: errStillRefused, held: left}
	}
	// A token this new has not been revoked, so the refusal is about permission. But where
	// it was accepted before, or the one before, the refusal is about the token.
	fresh := cur.obtained + max(st.pauses.Stretch(a.place, pause), st.stretch(pause))
	if cur.fetched && !lacking && now < min(cur.certain, fresh) && !known {
		return step{own: errPermission, held: fresh - now}
	}
	return st.replace(now)
}

// judge takes note of how the API answered a replay. An endpoint that refuses every token
// says nothing about the others.
func (st *state) judge(now time.Duration, a attempt, refused bool, pause time.Duration) step {
	g := a.gen
	switch {
	case g.epoch != st.epoch: // it says nothing about this sign-in
	case !refused:
		st.futile = 0
		delete(st.pauses, a.place.At)
	case a.fallback:
		if st.previous != g {
			break // the current generation is not the one that it stood in for
		}
		st.previous = nil
		if st.current != nil && st.flight == nil && !st.backoff.active(now) {
			return step{start: startRefreshing, needed: st.current}
		}
	case g.fetched:
		// If the evidence has gone, g has been accepted since, if not here.
		known := st.evidence == nil || st.evidence.Accepted(a.place.At, g.number, 1)
		st.pauses.Set(now, a.place, g.number, pause, known)
	}
	return step{}
}

// pauseIsOver reports whether no refusal of g would be handed over because g is new, so
// that it need not be known who accepts it.
func (st *state) pauseIsOver(now time.Duration, g *generation, pause time.Duration) bool {
	return !st.pauses.Matter(now, g.obtained, pause) && now >= g.obtained+st.stretch(pause)
}

package oauth

import (
	"net/http"
	"sync"
	"time"

	"github.com/reauth-go/reauth/internal/challenge"
)

// servers is what is known of the servers that proofs are sent to, by origin: the token
// server's nonces are not those of the APIs (RFC 9449 section 9). The zero value knows
// nothing.
type servers struct {
	mu    sync.Mutex
	known map[place]server
}

// A place is an origin, as requests spell it.
type place struct{ scheme, host string }

type server struct {
	nonce string        // for the next proof
	skew  time.Duration // what its clock is ahead of the local one
}

const (
	// mostServers bounds what is remembered where Config.Origins does not.
	mostServers = 256

	// longestNonce is more than a header can hold beside everything else, with most
	// servers.
	longestNonce = 2 << 10

	// leastSkew is the least difference of clocks that is believed. Date has whole
	// seconds, and servers allow a few.
	leastSkew = 5 * time.Second
)

// placeOf returns the origin that the server sees: that of the Host header.
func placeOf(req *http.Request) place {
	host := req.Host
	if host == "" {
		host = req.URL.Host
	}
	return place{req.URL.Scheme, host}
}

// of returns the nonce for the next proof and what the clock of the server is ahead.
func (s *servers) of(at place) (nonce string, skew time.Duration) {
	s.mu.Lock()
	defer s.mu.Unlock()
	known := s.known[at]
	return known.nonce, known.skew
}

// after is of for the proof that follows a refused one. The nonce of a refusal belongs to the
// request that was refused, which is then reported as own.
func (s *servers) after(at place, a answer) (nonce, own string, skew time.Duration) {
	nonce, skew = s.of(at)
	if own = nonceOf(a.header); own != "" || a.code == errorInvalidProof {
		nonce = own
	}
	return nonce, own, skew
}

func (s *servers) set(at place, change func(*server)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	known, ok := s.known[at]
	change(&known)
	if !ok && len(s.known) >= mostServers {
		for other := range s.known {
			delete(s.known, other)
			break
		}
	}
	if s.known == nil {
		s.known = make(map[place]server)
	}
	s.known[at] = known
}

// offer makes nonce the one for the next proof.
func (s *servers) offer(at place, nonce string) {
	if known, _ := s.of(at); nonce != "" && nonce != known {
		s.set(at, func(k *server) { k.nonce = nonce })
	}
}

// A sending is what is known of a proof that was sent.
type sending struct {
	nonce func() string    // the nonce in it
	made  func() time.Time // the time in it
	own   string           // that nonce, if nobody else has it: it came with the response before
	last  bool             // it was made because another was refused, or can't be sent again, so no other follows
}

// An answer is how a server has answered a proof.
type answer struct {
	status int
	header http.Header
	code   string // errorUseNonce, errorInvalidProof or ""
}

// answered learns from an answer, and reports whether another proof may be accepted.
//
// The nonce of a refusal is for the request that was refused, which will use it next. If
// others had it too, a server whose nonces are good for one proof each would refuse all but
// one of them, for the second time. Once it has been answered, the newest nonce is for all.
func (s *servers) answered(at place, sent sending, a answer) bool {
	nonce := nonceOf(a.header)
	switch {
	case a.code == errorUseNonce:
		if sent.last {
			s.offer(at, nonce)
		}
		return nonce != "" && nonce != sent.nonce()
	case a.code == errorInvalidProof:
		s.learnClock(at, sent.made(), a.header, sent.last)
		used := sent.nonce()
		switch {
		case nonce != "":
			if sent.last {
				s.offer(at, nonce)
			}
		case used != "": // a server that has no nonces any more refuses each
			s.set(at, func(k *server) {
				if k.nonce == used {
					k.nonce = ""
				}
			})
		}
		// Whatever was wrong with this proof, another has a jti that nobody has seen:
		// net/http may have sent this one twice.
		return true
	case nonce == "":
		s.offer(at, sent.own) // it was good, so it stays
	case a.status != http.StatusUnauthorized:
		s.offer(at, nonce)
	}
	return false
}

// learnClock believes the clock of a server that has refused a proof, and reports whether
// another proof may have a better time. A proof that had that time already was refused for
// something else, or the Date is that of a proxy: then the next attempt, unless this was the
// last, goes by the local clock again. That the clock is known already does not count:
// requests that were sent at once all have the time from before.
func (s *servers) learnClock(at place, made time.Time, h http.Header, last bool) bool {
	date, err := http.ParseTime(h.Get("Date"))
	if err != nil {
		return false
	}
	skew := time.Until(date)
	_, known := s.of(at)
	if date.Sub(made).Abs() < leastSkew {
		if known == 0 || last {
			return false
		}
		s.set(at, func(k *server) { k.skew = 0 })
		return true
	}
	if (skew - known).Abs() >= leastSkew {
		if skew.Abs() < leastSkew {
			skew = 0
		}
		s.set(at, func(k *server) { k.skew = skew })
	}
	return true
}

// nonceOf returns the nonce that a response gives, or "" (RFC 9449 section 8.1).
func nonceOf(h http.Header) string {
	values := h["Dpop-Nonce"]
	if len(values) == 0 || len(values[0]) > longestNonce || !isPlain([]byte(values[0])) {
		return ""
	}
	return values[0]
}

// proofError returns the error code of a challenge that is about the proof, or "" (RFC 9449
// section 7.1). A nonce alone is no reason to send anything again.
func proofError(resp *http.Response) string {
	if resp.StatusCode < 400 || resp.StatusCode >= 500 {
		return ""
	}
	for _, c := range challenge.Parse(resp.Header) {
		if code := c.Params["error"]; code == errorUseNonce || code == errorInvalidProof {
			return code
		}
	}
	return ""
}

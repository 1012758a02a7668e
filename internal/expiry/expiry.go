// Package expiry finds out when an access token expires: from the answer that brought
// it, from the token itself if it is a JWT, or from the time that was stored with it.
// The zero time means that this is not known.
//
// The lifetime of a new token counts from the moment its request was sent, on the
// monotonic clock, so that it does not matter whether the local wall clock is right.
package expiry

import (
	"encoding/json"
	"math"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/golang-jwt/jwt/v5"
)

const (
	// MaxLifetime is what absurd times are clamped to: an exp in nanoseconds
	// must neither overflow nor reach the caller.
	MaxLifetime = 10 * 365 * 24 * time.Hour

	maxEarlyWindow = 30 * time.Minute
)

// FromAnswer returns when an access token expires that a token server has just
// answered with. in is what the answer states as its lifetime, at as the time at which
// it expires; either may be nil. date is the answer's Date header, or zero, and sent the
// time at which the request was sent.
func FromAnswer(accessToken string, in, at json.RawMessage, date, sent time.Time) time.Time {
	ofJWT := FromJWT(accessToken, date, sent)
	lifetime := statedLifetime(in, date, sent)
	if lifetime == 0 {
		lifetime = untilPoint(unquoted(at), date, sent)
	}
	switch {
	case lifetime == 0:
		return ofJWT
	case inMilliseconds(lifetime, ofJWT.Sub(sent)):
		lifetime /= 1000
	}
	return sent.Add(lifetime)
}

// inMilliseconds reports whether a stated lifetime was read in the wrong unit, as the
// lifetime of the JWT shows. That counts whole seconds, so one of less shows nothing.
func inMilliseconds(stated, ofJWT time.Duration) bool {
	return ofJWT >= time.Second && (stated/1000-ofJWT).Abs() <= ofJWT/10
}

// Stated returns the time that an answer states by a lifetime, such as that of a refresh
// token, or zero.
func Stated(in json.RawMessage, date, sent time.Time) time.Time {
	lifetime := statedLifetime(in, date, sent)
	if lifetime == 0 {
		return time.Time{}
	}
	return sent.Add(lifetime)
}

// Refreshed returns when a token expires that a Refresher has just returned. stated is
// the Expiry in it, which may be zero, and sent the time at which the refresher was
// called. The result has a monotonic reading if sent has one.
func Refreshed(accessToken string, stated, sent time.Time) time.Time {
	if stated.IsZero() {
		return FromJWT(accessToken, time.Time{}, sent)
	}
	// If a new token has already expired, a clock is off or a unit wrong. Believing it
	// would cause a refresh for every request.
	lifetime := stated.Sub(sent)
	if lifetime <= 0 {
		return time.Time{}
	}
	return sent.Add(min(lifetime, MaxLifetime))
}

// Stored returns when a token expires that came from SignIn or a store. Its age is
// unknown, so what counts is an absolute time: stated, the Expiry in it, or if that is
// zero the exp of a JWT.
func Stored(accessToken string, stated, now time.Time) time.Time {
	if stated.IsZero() {
		stated, _ = jwtTimes(accessToken)
	}
	if limit := now.Add(MaxLifetime); stated.After(limit) {
		return limit
	}
	return stated
}

// EarlyWindow returns how long before its expiry a token is refreshed. setting is
// Config.EarlyRefresh.
func EarlyWindow(lifetime, setting time.Duration) time.Duration {
	switch {
	case lifetime <= 0 || setting < 0:
		return 0
	case setting == 0:
		return min(lifetime/4, maxEarlyWindow)
	default:
		return min(setting, lifetime-lifetime/4)
	}
}

// FromJWT returns when a new token expires by the times that it carries. date is the
// time by the server's clock, or zero if that is not known.
func FromJWT(accessToken string, date, sent time.Time) time.Time {
	exp, iat := jwtTimes(accessToken)
	if exp.IsZero() {
		return time.Time{}
	}
	// exp - iat needs no clock, but is wrong where iat is that of another token:
	// simplejwt copies it from the refresh token.
	var stated time.Duration
	if !iat.IsZero() {
		stated = exp.Sub(iat)
	}
	var lifetime time.Duration
	if date.IsZero() {
		lifetime = exp.Sub(sent)
		if stated > 0 && (lifetime <= 0 || stated < lifetime) {
			lifetime = stated
		}
	} else {
		lifetime = exp.Sub(date)
		if lifetime <= 0 {
			lifetime = stated
		}
	}
	if lifetime <= 0 {
		return time.Time{}
	}
	return sent.Add(min(lifetime, MaxLifetime))
}

// Numbers are kept as text, so that one which does not fit a float64 does not
// spoil the others.
var jwtParser = jwt.NewParser(jwt.WithJSONNumber(), jwt.WithPaddingAllowed())

// jwtTimes reads the times of an access token that is a JWT (RFC 7519 sections
// 4.1.4 and 4.1.6). Each is zero if it is absent or not a time. The signature is not
// verified, which is the task of the API: here the times decide only when to refresh.
func jwtTimes(accessToken string) (exp, iat time.Time) {
	claims := jwt.MapClaims{}
	// The error does not matter. An unknown alg is one, and the claims are filled in
	// all the same. They stay empty if this is not a JWT.
	_, _, _ = jwtParser.ParseUnverified(accessToken, claims)
	return claimTime(claims["exp"]), claimTime(claims["iat"])
}

// claimTime returns the time that a NumericDate stands for. Some servers write 0 or a
// negative number where there is none.
func claimTime(claim any) time.Time {
	var seconds float64
	switch c := claim.(type) {
	case json.Number:
		seconds = ParseSeconds(c.String())
	case string:
		seconds = ParseSeconds(c)
	}
	if seconds <= 0 {
		return time.Time{}
	}
	return epoch(seconds)
}

// epoch returns the time that is so many seconds after the beginning of 1970.
func epoch(seconds float64) time.Time {
	const endOfYear9999 = 253402300799 // the last that RFC 3339 can write
	whole, fraction := math.Modf(min(seconds, endOfYear9999))
	return time.Unix(int64(whole), int64(math.Round(fraction*1e9)))
}

// statedLifetime returns the lifetime that an expires_in states (RFC 6749 section 5.1),
// or 0. Servers also write it as a fraction or a string, in milliseconds, or as the time at
// which it is over. A number is one of those if it can't be a lifetime in seconds.
func statedLifetime(raw json.RawMessage, date, sent time.Time) time.Duration {
	text := unquoted(raw)
	n := ParseSeconds(text)
	switch {
	case n <= 0:
		return untilPoint(text, date, sent)
	case n <= MaxLifetime.Seconds() && !looksLikeMilliseconds(n):
		return Seconds(n)
	}
	lifetime := untilPoint(text, date, sent)
	if ms := n / 1000; lifetime == 0 && ms <= MaxLifetime.Seconds() && looksLikeMilliseconds(n) {
		lifetime = Seconds(ms)
	}
	return lifetime
}

// looksLikeMilliseconds reports whether a large number is whole minutes if it counts
// milliseconds, and not whole days if it counts seconds. Whole hours in milliseconds are
// whole days in seconds only at multiples of 125 days, which nobody chooses.
func looksLikeMilliseconds(n float64) bool {
	const minute, hour, dayInSeconds = 60_000, 3_600_000, 86_400
	switch {
	case n < 15*minute:
		return false
	case math.Mod(n, hour) == 0:
		return true
	}
	return math.Mod(n, minute) == 0 && math.Mod(n, dayInSeconds) != 0
}

// dates are layouts in upper case: RFC 3339, ISO 8601 of Java and Python, HTTP, JavaScript.
var dates = []string{
	time.RFC3339, "2006-01-02T15:04:05Z0700", "2006-01-02 15:04:05Z07:00", "2006-01-02 15:04:05Z0700",
	http.TimeFormat, "Mon Jan 02 2006 15:04:05 GMT-0700",
}

// untilPoint returns how long it is until a point in time, as text or in seconds or
// milliseconds since 1970, or 0 if it is neither, past, or absurdly far off.
func untilPoint(text string, date, sent time.Time) time.Duration {
	now := date // by the server's clock, if it is known
	if now.IsZero() {
		now = sent
	}
	plausible := func(at time.Time) time.Duration {
		if d := at.Sub(now); d > 0 && d <= MaxLifetime {
			return d
		}
		return 0
	}
	if n := ParseSeconds(text); n > 0 {
		if d := plausible(epoch(n)); d > 0 {
			return d
		}
		return plausible(epoch(n / 1000))
	}
	text, _, _ = strings.Cut(strings.ToUpper(strings.TrimSpace(text)), " (") // the name of a zone, in JavaScript
	for _, layout := range dates {
		if at, err := time.Parse(layout, text); err == nil {
			return plausible(at)
		}
	}
	return 0
}

// unquoted returns the text of a JSON string, or the JSON itself of anything else.
func unquoted(raw json.RawMessage) string {
	var text string
	if json.Unmarshal(raw, &text) == nil {
		return text
	}
	return string(raw)
}

// Seconds converts a number of seconds. The result is at least 0 and at most MaxLifetime.
func Seconds(seconds float64) time.Duration {
	seconds = max(0, min(seconds, MaxLifetime.Seconds()))
	return time.Duration(math.Round(seconds * 1e9))
}

// ParseSeconds returns the finite decimal number that text is, or 0.
func ParseSeconds(text string) float64 {
	text = strings.TrimSpace(text)
	// ParseFloat would also take hexadecimal numbers, "Inf" and "NaN".
	if strings.Trim(text, "0123456789+-.eE") != "" {
		return 0
	}
	seconds, err := strconv.ParseFloat(text, 64)
	if err != nil {
		return 0
	}
	return seconds
}

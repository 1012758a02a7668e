package reauth

import (
	"encoding/json"
	"math"
	"strconv"
	"strings"
	"time"

	"github.com/golang-jwt/jwt/v5"
)

const (
	// maxLifetime is what absurd times are clamped to: an exp in nanoseconds
	// must neither overflow nor reach the caller.
	maxLifetime = 10 * 365 * 24 * time.Hour

	maxEarlyWindow = 5 * time.Minute
)

// expiryFromAnswer returns when the access token ends that a token server has
// just answered with, or the zero time if that is unknown. expiresIn is the
// answer's expires_in, date its Date header, sent when the request was sent.
func expiryFromAnswer(accessToken string, expiresIn json.RawMessage, date, sent time.Time) time.Time {
	if lifetime := lifetimeFromSeconds(expiresIn); lifetime > 0 {
		return sent.Add(lifetime)
	}
	return expiryFromJWT(accessToken, date, sent)
}

// expiryRefreshed returns when a token ends that any Refresher has just brought,
// or the zero time if that is unknown. sent, when the refresher was asked, has a
// monotonic reading, and so has the result.
func expiryRefreshed(tok Token, sent time.Time) time.Time {
	if tok.Expiry.IsZero() {
		return expiryFromJWT(tok.AccessToken, time.Time{}, sent)
	}
	// A new token that has already ended is a clock that is off, or a unit that
	// is wrong; to believe it would be to refresh for every request.
	lifetime := tok.Expiry.Sub(sent)
	if lifetime <= 0 {
		return time.Time{}
	}
	return sent.Add(min(lifetime, maxLifetime))
}

// expiryStored returns when a token ends that was not just refreshed but came
// from SignIn or a store, or the zero time if that is unknown. Nothing tells how
// old it is, so it is judged by the absolute time it names.
func expiryStored(tok Token, now time.Time) time.Time {
	expiry := tok.Expiry
	if expiry.IsZero() {
		expiry, _ = jwtTimes(tok.AccessToken)
	}
	if limit := now.Add(maxLifetime); expiry.After(limit) {
		return limit
	}
	return expiry
}

// earlyWindow returns how long before its end a token is refreshed. setting is
// Config.EarlyRefresh.
func earlyWindow(lifetime, setting time.Duration) time.Duration {
	switch {
	case lifetime <= 0 || setting < 0:
		return 0
	case setting == 0:
		return min(lifetime/10, maxEarlyWindow)
	default:
		return min(setting, lifetime-lifetime/4)
	}
}

// expiryFromJWT judges a new token by the times it carries itself. date is the
// server's clock where it is known.
func expiryFromJWT(accessToken string, date, sent time.Time) time.Time {
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
	return sent.Add(min(lifetime, maxLifetime))
}

// Numbers are kept as text, so that one which does not fit a float64 does not
// spoil the others.
var jwtParser = jwt.NewParser(jwt.WithJSONNumber(), jwt.WithPaddingAllowed())

// jwtTimes reads the times of an access token that is a JWT (RFC 7519 sections
// 4.1.4 and 4.1.6); each is zero where it is absent or no time. The signature is
// not verified: the token is for the API, which does that, and the times decide
// only when to refresh.
func jwtTimes(accessToken string) (exp, iat time.Time) {
	claims := jwt.MapClaims{}
	// The error is no reason to stop: an unknown alg is one, and the claims are
	// filled in all the same. For what is no JWT they stay empty.
	_, _, _ = jwtParser.ParseUnverified(accessToken, claims)
	return claimTime(claims["exp"]), claimTime(claims["iat"])
}

// claimTime returns the time that a NumericDate stands for. Not being positive,
// 0 included, is how some servers say that there is none.
func claimTime(claim any) time.Time {
	var seconds float64
	switch c := claim.(type) {
	case json.Number:
		seconds = parseSeconds(c.String())
	case string:
		seconds = parseSeconds(c)
	}
	if seconds <= 0 {
		return time.Time{}
	}
	const endOfYear9999 = 253402300799 // the last that RFC 3339 can write
	whole, fraction := math.Modf(min(seconds, endOfYear9999))
	return time.Unix(int64(whole), int64(math.Round(fraction*1e9)))
}

// lifetimeFromSeconds returns the lifetime that an expires_in states (RFC 6749
// section 5.1), at most maxLifetime. Servers also write it as a fraction or a
// string; 0 for whatever else.
func lifetimeFromSeconds(raw json.RawMessage) time.Duration {
	text := string(raw)
	if strings.HasPrefix(text, `"`) {
		if json.Unmarshal(raw, &text) != nil {
			return 0
		}
	}
	return secondsDuration(parseSeconds(text))
}

func secondsDuration(seconds float64) time.Duration {
	seconds = max(0, min(seconds, maxLifetime.Seconds()))
	return time.Duration(math.Round(seconds * 1e9))
}

// parseSeconds returns the finite decimal number that text is, or 0.
func parseSeconds(text string) float64 {
	text = strings.TrimSpace(text)
	// What ParseFloat takes beyond that: hexadecimal, "Inf", "NaN".
	if strings.Trim(text, "0123456789+-.eE") != "" {
		return 0
	}
	seconds, err := strconv.ParseFloat(text, 64)
	if err != nil {
		return 0
	}
	return seconds
}

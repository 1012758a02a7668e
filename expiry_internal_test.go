package reauth

import (
	"encoding/base64"
	"encoding/json"
	"math"
	"strconv"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func unsignedJWT(header, claims string) string {
	enc := base64.RawURLEncoding.EncodeToString
	return enc([]byte(header)) + "." + enc([]byte(claims)) + "." + enc([]byte("signature"))
}

func jwtWith(claims string) string { return unsignedJWT(`{"alg":"HS256","typ":"JWT"}`, claims) }

func TestLifetimeIsExpiresIn(t *testing.T) {
	sent := time.Now()
	for _, tc := range []struct {
		expiresIn string
		want      time.Duration // 0: unknown
	}{
		{`1`, time.Second},
		{`2`, 2 * time.Second},
		{`3600`, time.Hour},
		{`3600.0`, time.Hour},
		{`36e2`, time.Hour},
		{`0.25`, 250 * time.Millisecond},
		{`1.1`, 1100 * time.Millisecond},
		{`"3600"`, time.Hour},
		{`" 3600 "`, time.Hour},
		{`"1.5"`, 1500 * time.Millisecond},
		{`"\u0031"`, time.Second},
		{`1e300`, maxLifetime},
		{`9223372036854775807`, maxLifetime},
		{`1799999999000000000`, maxLifetime},
		{`0.1e-12`, 0},
		{`0`, 0},
		{`-1`, 0},
		{`-3600`, 0},
		{`-1e300`, 0},
		{`"-5"`, 0},
		{`1e999`, 0},
		{`"Inf"`, 0},
		{`"+Infinity"`, 0},
		{`"NaN"`, 0},
		{`"0x10"`, 0},
		{`"1_000"`, 0},
		{`"abc"`, 0},
		{`"1h"`, 0},
		{`""`, 0},
		{`"`, 0},
		{`null`, 0},
		{`true`, 0},
		{`{}`, 0},
		{`{"seconds":5}`, 0},
		{`[5]`, 0},
		{``, 0},
	} {
		got := expiryFromAnswer("opaque", json.RawMessage(tc.expiresIn), time.Time{}, sent)
		if tc.want == 0 {
			assert.Zero(t, got, "expires_in %s", tc.expiresIn)
			continue
		}
		// ==: sent has a monotonic reading, and so must the result.
		assert.True(t, got == sent.Add(tc.want), "expires_in %s: %v after it was sent", tc.expiresIn, got.Sub(sent))
	}
}

func TestLifetimeOfJWT(t *testing.T) {
	sent := time.Now().Truncate(time.Second) // which drops the monotonic reading
	at := func(d time.Duration) string { return strconv.FormatInt(sent.Add(d).Unix(), 10) }
	const unknown = 0
	for _, tc := range []struct {
		name     string
		claims   string
		date     time.Duration // the server's clock less the local one
		withDate time.Duration // wanted
		noDate   time.Duration // wanted where the answer has no Date
	}{
		{"good clocks", `{"exp":` + at(time.Hour) + `,"iat":` + at(0) + `}`, 0, time.Hour, time.Hour},
		{"two seconds", `{"exp":` + at(2*time.Second) + `}`, 0, 2 * time.Second, 2 * time.Second},
		{"no iat", `{"exp":` + at(time.Hour) + `}`, 0, time.Hour, time.Hour},
		{"no exp", `{"iat":` + at(0) + `}`, 0, unknown, unknown},
		{"server an hour ahead", `{"exp":` + at(61*time.Minute) + `,"iat":` + at(time.Hour) + `}`, time.Hour, time.Minute, time.Minute},
		{"server an hour behind", `{"exp":` + at(-59*time.Minute) + `,"iat":` + at(-time.Hour) + `}`, -time.Hour, time.Minute, time.Minute},
		{"server an hour behind, no iat", `{"exp":` + at(-59*time.Minute) + `}`, -time.Hour, time.Minute, unknown},
		{"iat of the refresh token", `{"exp":` + at(5*time.Minute) + `,"iat":` + at(-24*time.Hour) + `}`, 0, 5 * time.Minute, 5 * time.Minute},
		{"that, and server ahead", `{"exp":` + at(65*time.Minute) + `,"iat":` + at(-23*time.Hour) + `}`, time.Hour, 5 * time.Minute, 65 * time.Minute},
		{"Date of a cache", `{"exp":` + at(time.Minute) + `,"iat":` + at(0) + `}`, time.Hour, time.Minute, time.Minute},
		{"Date of a cache, no iat", `{"exp":` + at(time.Minute) + `}`, time.Hour, unknown, time.Minute},
		{"iat after exp", `{"exp":` + at(time.Minute) + `,"iat":` + at(time.Hour) + `}`, 0, time.Minute, time.Minute},
		{"positive nowhere", `{"exp":` + at(-time.Minute) + `,"iat":` + at(time.Hour) + `}`, 0, unknown, unknown},
		{"exp in milliseconds", `{"exp":` + at(time.Hour) + `000,"iat":` + at(0) + `000}`, 0, maxLifetime, maxLifetime},
		{"exp in nanoseconds", `{"exp":` + at(time.Hour) + `000000000}`, 0, maxLifetime, maxLifetime},
		{"fractions", `{"exp":` + at(2*time.Second) + `.5}`, 0, 2500 * time.Millisecond, 2500 * time.Millisecond},
		{"strings", `{"exp":"` + at(time.Hour) + `","iat":"` + at(0) + `"}`, 0, time.Hour, time.Hour},
		{"exp 0 for never", `{"exp":0,"iat":` + at(0) + `}`, 0, unknown, unknown},
	} {
		t.Run(tc.name, func(t *testing.T) {
			for how, got := range map[string]struct {
				expiry time.Time
				want   time.Duration
			}{
				"Date":                        {expiryFromAnswer(jwtWith(tc.claims), nil, sent.Add(tc.date), sent), tc.withDate},
				"no Date":                     {expiryFromAnswer(jwtWith(tc.claims), json.RawMessage(`"soon"`), time.Time{}, sent), tc.noDate},
				"refresher of the user's own": {expiryRefreshed(Token{AccessToken: jwtWith(tc.claims)}, sent), tc.noDate},
			} {
				if got.want == unknown {
					assert.Zero(t, got.expiry, how)
				} else {
					assert.Equal(t, got.want, got.expiry.Sub(sent), how)
				}
			}
		})
	}
}

func TestExpiresInCountsMoreThanTheJWT(t *testing.T) {
	sent := time.Now()
	tok := jwtWith(`{"exp":` + strconv.FormatInt(sent.Add(time.Hour).Unix(), 10) + `}`)
	assert.True(t, sent.Add(time.Minute) == expiryFromAnswer(tok, json.RawMessage(`60`), sent, sent))
}

func TestLifetimeOfJWTRunsOnTheMonotonicClock(t *testing.T) {
	sent := time.Now()
	tok := jwtWith(`{"exp":1700000060}`)
	assert.True(t, sent.Add(time.Minute) == expiryFromAnswer(tok, nil, time.Unix(1700000000, 0), sent))
}

func TestExpiryThatARefresherStates(t *testing.T) {
	sent := time.Now()
	jwt := jwtWith(`{"exp":` + strconv.FormatInt(sent.Add(time.Hour).Unix(), 10) + `}`)
	for _, tc := range []struct {
		name   string
		expiry time.Time
		want   time.Time
	}{
		{"with monotonic reading", sent.Add(time.Minute), sent.Add(time.Minute)},
		{"without", sent.Add(time.Minute).Round(0), sent.Add(time.Minute)},
		{"half a second", sent.Add(500 * time.Millisecond), sent.Add(500 * time.Millisecond)},
		{"absurdly late", sent.AddDate(5000, 0, 0), sent.Add(maxLifetime)},
		{"at birth", sent, time.Time{}},
		{"before birth", sent.Add(-time.Hour), time.Time{}},
		{"in 1970", time.Unix(3600, 0), time.Time{}},
	} {
		got := expiryRefreshed(Token{AccessToken: jwt, Expiry: tc.expiry}, sent)
		assert.True(t, tc.want == got, "%s: %v", tc.name, got)
	}
	assert.Zero(t, expiryRefreshed(Token{AccessToken: "opaque"}, sent))
}

func TestStoredTokenIsJudgedByTheTimeItNames(t *testing.T) {
	now := time.Unix(1700000000, 0)
	for _, tc := range []struct {
		name string
		tok  Token
		want time.Time
	}{
		{"stated", Token{AccessToken: jwtWith(`{"exp":1700000060}`), Expiry: now.Add(time.Hour)}, now.Add(time.Hour)},
		{"stated and past", Token{AccessToken: "opaque", Expiry: now.Add(-time.Hour)}, now.Add(-time.Hour)},
		{"JWT", Token{AccessToken: jwtWith(`{"exp":1700000060,"iat":1699999999}`)}, now.Add(time.Minute)},
		{"JWT that is past", Token{AccessToken: jwtWith(`{"exp":1699999940,"iat":1600000000}`)}, now.Add(-time.Minute)},
		{"JWT in nanoseconds", Token{AccessToken: jwtWith(`{"exp":1700000060000000000}`)}, now.Add(maxLifetime)},
		{"absurdly late", Token{AccessToken: "opaque", Expiry: now.AddDate(9000, 0, 0)}, now.Add(maxLifetime)},
		{"unknown", Token{AccessToken: "opaque"}, time.Time{}},
		{"JWT without exp", Token{AccessToken: jwtWith(`{"iat":1700000000}`)}, time.Time{}},
	} {
		got := expiryStored(tc.tok, now)
		assert.True(t, tc.want.Equal(got), "%s: %v", tc.name, got)
	}
}

func TestEarlyWindow(t *testing.T) {
	for _, tc := range []struct{ lifetime, setting, want time.Duration }{
		{time.Hour, 0, 5 * time.Minute},
		{50 * time.Minute, 0, 5 * time.Minute},
		{10 * time.Minute, 0, time.Minute},
		{2 * time.Second, 0, 200 * time.Millisecond},
		{time.Second, 0, 100 * time.Millisecond},
		{maxLifetime, 0, 5 * time.Minute},
		{math.MaxInt64, 0, 5 * time.Minute},
		{time.Hour, time.Second, time.Second},
		{time.Hour, 45 * time.Minute, 45 * time.Minute},
		{time.Hour, 50 * time.Minute, 45 * time.Minute},
		{time.Second, time.Hour, 750 * time.Millisecond},
		{math.MaxInt64, math.MaxInt64, math.MaxInt64 - math.MaxInt64/4},
		{time.Hour, -1, 0},
		{time.Hour, math.MinInt64, 0},
		{0, 0, 0},
		{0, time.Minute, 0},
		{-time.Hour, 0, 0},
		{-time.Hour, time.Minute, 0},
	} {
		assert.Equal(t, tc.want, earlyWindow(tc.lifetime, tc.setting), "lifetime %v, setting %v", tc.lifetime, tc.setting)
	}
}

func TestJWTTimes(t *testing.T) {
	at := time.Unix(1700000000, 0)
	for _, tc := range []struct {
		name, token string
		exp, iat    time.Time
	}{
		{"usual", jwtWith(`{"exp":1700000000,"iat":1700000000}`), at, at},
		{"unknown alg", unsignedJWT(`{"alg":"XY999"}`, `{"exp":1700000000,"iat":1700000000}`), at, at},
		{"no alg", unsignedJWT(`{}`, `{"exp":1700000000}`), at, time.Time{}},
		{"alg none, no signature", unsignedJWT(`{"alg":"none"}`, `{"exp":1700000000}`), at, time.Time{}},
		{"signature that is no base64", jwtWith(`{"exp":1700000000}`) + "!", at, time.Time{}},
		{"padded", padded(`{"exp":1700000000 }`), at, time.Time{}},
		{"fraction", jwtWith(`{"exp":1700000000.5}`), at.Add(500 * time.Millisecond), time.Time{}},
		{"exponent", jwtWith(`{"exp":1.7e9}`), at, time.Time{}},
		{"string", jwtWith(`{"exp":"1700000000"}`), at, time.Time{}},
		{"one that does not fit beside one that does", jwtWith(`{"exp":1700000000,"iat":1e999,"x":-1e999}`), at, time.Time{}},
		{"huge", jwtWith(`{"exp":1e300}`), time.Unix(253402300799, 0), time.Time{}},
		{"zero and negative", jwtWith(`{"exp":0,"iat":-5}`), time.Time{}, time.Time{}},
		{"not numbers", jwtWith(`{"exp":"NaN","iat":"Inf"}`), time.Time{}, time.Time{}},
		{"other types", jwtWith(`{"exp":{},"iat":[1700000000]}`), time.Time{}, time.Time{}},
		{"null", jwtWith(`{"exp":null,"iat":true}`), time.Time{}, time.Time{}},
		{"names in another case", jwtWith(`{"EXP":1700000000,"Iat":1700000000}`), time.Time{}, time.Time{}},
		{"claims null", jwtWith(`null`), time.Time{}, time.Time{}},
		{"claims no object", jwtWith(`[1]`), time.Time{}, time.Time{}},
		{"claims no JSON", jwtWith(`exp`), time.Time{}, time.Time{}},
		{"opaque", "opaque", time.Time{}, time.Time{}},
		{"two dots", "a.b.c", time.Time{}, time.Time{}},
		{"encrypted", "a.b.c.d.e", time.Time{}, time.Time{}},
		{"empty", "", time.Time{}, time.Time{}},
	} {
		exp, iat := jwtTimes(tc.token)
		assert.True(t, tc.exp.Equal(exp), "%s: exp %v", tc.name, exp)
		assert.True(t, tc.iat.Equal(iat), "%s: iat %v", tc.name, iat)
	}
}

func padded(claims string) string {
	enc := base64.URLEncoding.EncodeToString
	return enc([]byte(`{"alg":"HS256"}`)) + "." + enc([]byte(claims)) + "." + enc([]byte("signature"))
}

func FuzzJWTTimes(f *testing.F) {
	for _, claims := range []string{
		`{"exp":1700000000,"iat":1700000000}`, `{"exp":1.7e9}`, `{"exp":"1700000000.25"}`,
		`{"exp":1e999,"iat":-1e999}`, `{"exp":17000000000000000000000}`, `{"exp":0}`, `null`, `{"exp":`,
	} {
		f.Add(`{"alg":"HS256"}`, claims, int64(1700000000), "3600")
	}
	f.Add(`{"alg":"?"}`, `{"exp":1}`, int64(-1<<40), `"1e3"`)
	f.Add(`{`, `{}`, int64(1<<40), `-0.1e-5`)
	f.Fuzz(func(t *testing.T, header, claims string, date int64, expiresIn string) {
		token := unsignedJWT(header, claims)
		exp, iat := jwtTimes(token)
		for _, at := range []time.Time{exp, iat} {
			_, err := at.MarshalJSON() // stores write it
			require.NoError(t, err)
			require.True(t, at.IsZero() || at.Unix() >= 0)
		}
		sent := time.Now()
		for _, expiry := range []time.Time{
			expiryFromAnswer(token, json.RawMessage(expiresIn), time.Unix(date, 0), sent),
			expiryFromAnswer(token, nil, time.Time{}, sent),
			expiryRefreshed(Token{AccessToken: token}, sent),
			expiryRefreshed(Token{AccessToken: token, Expiry: time.Unix(date, 0)}, sent),
		} {
			lifetime := expiry.Sub(sent)
			require.True(t, expiry.IsZero() || lifetime > 0 && lifetime <= maxLifetime, "%v", lifetime)
		}
		require.False(t, expiryStored(Token{AccessToken: token}, sent).After(sent.Add(maxLifetime)))
	})
}

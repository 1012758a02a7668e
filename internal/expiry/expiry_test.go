package expiry_test

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"math"
	"strconv"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/reauth-go/reauth/internal/expiry"
)

func jwt(header, claims string) string {
	enc := base64.RawURLEncoding.EncodeToString
	return enc([]byte(header)) + "." + enc([]byte(claims)) + "." + enc([]byte("signature"))
}

func jwtWith(claims string) string { return jwt(`{"alg":"HS256","typ":"JWT"}`, claims) }

func TestLifetimeIsExpiresIn(t *testing.T) {
	sent := time.Now()
	for _, tc := range []struct {
		want      time.Duration // 0: unknown
		expiresIn []string
	}{
		{time.Second, []string{`1`, `"\u0031"`}},
		{time.Hour, []string{`3600`, `3600.0`, `36e2`, `"3600"`, `" 3600 "`}},
		{250 * time.Millisecond, []string{`0.25`}},
		{1100 * time.Millisecond, []string{`1.1`, `"1.1"`}},
		{0, []string{`1e300`, `9223372036854775807`, `1799999999000000000`}},
		{0, []string{`0`, `-1`, `-3600`, `-1e300`, `"-5"`, `0.1e-12`, `1e999`}},
		{0, []string{`"Inf"`, `"+Infinity"`, `"NaN"`, `"0x10"`, `"1_000"`, `"abc"`, `"1h"`, `""`, `"`}},
		{0, []string{``, `null`, `true`, `{}`, `{"seconds":5}`, `[5]`}},
	} {
		for _, expiresIn := range tc.expiresIn {
			got := expiry.FromAnswer("opaque", json.RawMessage(expiresIn), nil, time.Time{}, sent)
			if tc.want == 0 {
				assert.Zero(t, got, "expires_in %s", expiresIn)
			} else { // ==: sent has a monotonic reading, and so must the result
				assert.True(t, got == sent.Add(tc.want), "expires_in %s: %v", expiresIn, got.Sub(sent))
			}
		}
	}
}

func TestLifetimeOfAJWT(t *testing.T) {
	sent := time.Now().Truncate(time.Second) // which drops the monotonic reading
	// Claims are written as offsets from sent, in minutes.
	at := func(minutes float64) string {
		return strconv.FormatInt(sent.Add(time.Duration(minutes*float64(time.Minute))).Unix(), 10)
	}
	const (
		unknown = 0
		hour    = 60 * time.Minute
	)
	for name, tc := range map[string]struct {
		claims   string
		date     time.Duration // the server's clock less the local one
		withDate time.Duration // wanted
		noDate   time.Duration // wanted if the answer has no Date
	}{
		"good clocks":                    {`{"exp":` + at(60) + `,"iat":` + at(0) + `}`, 0, hour, hour},
		"six seconds":                    {`{"exp":` + at(0.1) + `}`, 0, 6 * time.Second, 6 * time.Second},
		"no iat":                         {`{"exp":` + at(60) + `}`, 0, hour, hour},
		"no exp":                         {`{"iat":` + at(0) + `}`, 0, unknown, unknown},
		"server an hour ahead":           {`{"exp":` + at(61) + `,"iat":` + at(60) + `}`, hour, time.Minute, time.Minute},
		"server an hour behind":          {`{"exp":` + at(-59) + `,"iat":` + at(-60) + `}`, -hour, time.Minute, time.Minute},
		"server an hour behind, no iat":  {`{"exp":` + at(-59) + `}`, -hour, time.Minute, unknown},
		"iat of the refresh token":       {`{"exp":` + at(5) + `,"iat":` + at(-24*60) + `}`, 0, 5 * time.Minute, 5 * time.Minute},
		"the same, server an hour ahead": {`{"exp":` + at(65) + `,"iat":` + at(-23*60) + `}`, hour, 5 * time.Minute, 65 * time.Minute},
		"Date of a cache":                {`{"exp":` + at(1) + `,"iat":` + at(0) + `}`, hour, time.Minute, time.Minute},
		"Date of a cache, no iat":        {`{"exp":` + at(1) + `}`, hour, unknown, time.Minute},
		"iat after exp":                  {`{"exp":` + at(1) + `,"iat":` + at(60) + `}`, 0, time.Minute, time.Minute},
		"positive nowhere":               {`{"exp":` + at(-1) + `,"iat":` + at(60) + `}`, 0, unknown, unknown},
		"exp in milliseconds":            {`{"exp":` + at(60) + `000,"iat":` + at(0) + `000}`, 0, expiry.MaxLifetime, expiry.MaxLifetime},
		"exp in nanoseconds":             {`{"exp":` + at(60) + `000000000}`, 0, expiry.MaxLifetime, expiry.MaxLifetime},
		"fractions":                      {`{"exp":` + at(1) + `.5}`, 0, 60500 * time.Millisecond, 60500 * time.Millisecond},
		"strings":                        {`{"exp":"` + at(60) + `","iat":"` + at(0) + `"}`, 0, hour, hour},
		"exp 0 for never":                {`{"exp":0,"iat":` + at(0) + `}`, 0, unknown, unknown},
	} {
		for how, got := range map[string]struct {
			expiry time.Time
			want   time.Duration
		}{
			"Date":             {expiry.FromAnswer(jwtWith(tc.claims), nil, nil, sent.Add(tc.date), sent), tc.withDate},
			"no Date":          {expiry.FromAnswer(jwtWith(tc.claims), json.RawMessage(`"soon"`), nil, time.Time{}, sent), tc.noDate},
			"user's refresher": {expiry.Refreshed(jwtWith(tc.claims), time.Time{}, sent), tc.noDate},
		} {
			if got.want == unknown {
				assert.Zero(t, got.expiry, "%s, %s", name, how)
			} else {
				assert.Equal(t, got.want, got.expiry.Sub(sent), "%s, %s", name, how)
			}
		}
	}
}

func TestExpiresInCountsMoreThanTheJWT(t *testing.T) {
	sent := time.Now()
	token := jwtWith(fmt.Sprintf(`{"exp":%d}`, sent.Add(time.Hour).Unix()))
	assert.True(t, sent.Add(time.Minute) == expiry.FromAnswer(token, json.RawMessage(`60`), nil, sent, sent))
}

func TestLifetimeOfAJWTRunsOnTheMonotonicClock(t *testing.T) {
	sent := time.Now()
	got := expiry.FromAnswer(jwtWith(`{"exp":1700000060}`), nil, nil, time.Unix(1700000000, 0), sent)
	assert.True(t, sent.Add(time.Minute) == got)
}

func TestExpiryThatARefresherStates(t *testing.T) {
	sent := time.Now()
	token := jwtWith(fmt.Sprintf(`{"exp":%d}`, sent.Add(time.Hour).Unix()))
	for name, tc := range map[string]struct{ stated, want time.Time }{
		"with monotonic reading": {sent.Add(time.Minute), sent.Add(time.Minute)},
		"without":                {sent.Add(time.Minute).Round(0), sent.Add(time.Minute)},
		"half a second":          {sent.Add(500 * time.Millisecond), sent.Add(500 * time.Millisecond)},
		"absurdly late":          {sent.AddDate(5000, 0, 0), sent.Add(expiry.MaxLifetime)},
		"at birth":               {sent, time.Time{}},
		"before birth":           {sent.Add(-time.Hour), time.Time{}},
		"in 1970":                {time.Unix(3600, 0), time.Time{}},
	} {
		got := expiry.Refreshed(token, tc.stated, sent)
		assert.True(t, tc.want == got, "%s: %v", name, got)
	}
	assert.Zero(t, expiry.Refreshed("opaque", time.Time{}, sent))
}

func TestStoredTokenIsJudgedByTheTimeItNames(t *testing.T) {
	now := time.Unix(1700000000, 0)
	for name, tc := range map[string]struct {
		token        string
		stated, want time.Time
	}{
		"stated":              {jwtWith(`{"exp":1700000060}`), now.Add(time.Hour), now.Add(time.Hour)},
		"stated and past":     {"opaque", now.Add(-time.Hour), now.Add(-time.Hour)},
		"absurdly late":       {"opaque", now.AddDate(9000, 0, 0), now.Add(expiry.MaxLifetime)},
		"unknown":             {"opaque", time.Time{}, time.Time{}},
		"JWT":                 {jwtWith(`{"exp":1700000060,"iat":1699999999}`), time.Time{}, now.Add(time.Minute)},
		"JWT that is past":    {jwtWith(`{"exp":1699999940,"iat":1600000000}`), time.Time{}, now.Add(-time.Minute)},
		"JWT in nanoseconds":  {jwtWith(`{"exp":1700000060000000000}`), time.Time{}, now.Add(expiry.MaxLifetime)},
		"JWT without exp":     {jwtWith(`{"iat":1700000000}`), time.Time{}, time.Time{}},
		"JWT, another stated": {jwtWith(`{"exp":1700000060}`), now.Add(-time.Hour), now.Add(-time.Hour)},
	} {
		got := expiry.Stored(tc.token, tc.stated, now)
		assert.True(t, tc.want.Equal(got), "%s: %v", name, got)
	}
}

func TestExpOfAJWT(t *testing.T) {
	at := time.Unix(1700000000, 0)
	for name, tc := range map[string]struct {
		token string
		want  time.Time
	}{
		"usual":                        {jwtWith(`{"exp":1700000000,"iat":1700000000}`), at},
		"unknown alg":                  {jwt(`{"alg":"XY999"}`, `{"exp":1700000000}`), at},
		"no alg":                       {jwt(`{}`, `{"exp":1700000000}`), at},
		"alg none, no signature":       {jwt(`{"alg":"none"}`, `{"exp":1700000000}`), at},
		"signature that is not base64": {jwtWith(`{"exp":1700000000}`) + "!", at},
		"padded":                       {padded(`{"exp":1700000000 }`), at},
		"fraction":                     {jwtWith(`{"exp":1700000000.5}`), at.Add(500 * time.Millisecond)},
		"exponent":                     {jwtWith(`{"exp":1.7e9}`), at},
		"string":                       {jwtWith(`{"exp":"1700000000"}`), at},
		"beside an overflow":           {jwtWith(`{"exp":1700000000,"iat":1e999,"x":-1e999}`), at},
		"huge":                         {jwtWith(`{"exp":1e300}`), time.Unix(253402300799, 0)},
		"zero":                         {jwtWith(`{"exp":0}`), time.Time{}},
		"negative":                     {jwtWith(`{"exp":-5}`), time.Time{}},
		"not a number":                 {jwtWith(`{"exp":"NaN"}`), time.Time{}},
		"infinite":                     {jwtWith(`{"exp":"Inf"}`), time.Time{}},
		"object":                       {jwtWith(`{"exp":{}}`), time.Time{}},
		"array":                        {jwtWith(`{"exp":[1700000000]}`), time.Time{}},
		"null":                         {jwtWith(`{"exp":null}`), time.Time{}},
		"true":                         {jwtWith(`{"exp":true}`), time.Time{}},
		"name in another case":         {jwtWith(`{"EXP":1700000000,"Exp":1700000000}`), time.Time{}},
		"claims null":                  {jwtWith(`null`), time.Time{}},
		"claims that are an array":     {jwtWith(`[1]`), time.Time{}},
		"claims that are not JSON":     {jwtWith(`exp`), time.Time{}},
		"opaque":                       {"opaque", time.Time{}},
		"two dots":                     {"a.b.c", time.Time{}},
		"encrypted":                    {"a.b.c.d.e", time.Time{}},
		"empty":                        {"", time.Time{}},
	} {
		got := expiry.Stored(tc.token, time.Time{}, time.Unix(253402300799, 0)) // nothing is clamped
		assert.True(t, tc.want.Equal(got), "%s: %v", name, got)
	}
}

func padded(claims string) string {
	enc := base64.URLEncoding.EncodeToString
	return enc([]byte(`{"alg":"HS256"}`)) + "." + enc([]byte(claims)) + "." + enc([]byte("signature"))
}

func TestEarlyWindow(t *testing.T) {
	for _, tc := range []struct{ lifetime, setting, want time.Duration }{
		{3 * time.Hour, 0, 30 * time.Minute},
		{2 * time.Hour, 0, 30 * time.Minute},
		{time.Hour, 0, 15 * time.Minute},
		{2 * time.Second, 0, 500 * time.Millisecond},
		{time.Second, 0, 250 * time.Millisecond},
		{expiry.MaxLifetime, 0, 30 * time.Minute},
		{math.MaxInt64, 0, 30 * time.Minute},
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
		assert.Equal(t, tc.want, expiry.EarlyWindow(tc.lifetime, tc.setting), "lifetime %v, setting %v", tc.lifetime, tc.setting)
	}
}

func TestSeconds(t *testing.T) {
	for seconds, want := range map[float64]time.Duration{
		0: 0, -1: 0, math.Inf(-1): 0, 1.1: 1100 * time.Millisecond, 60: time.Minute,
		1e300: expiry.MaxLifetime, math.Inf(1): expiry.MaxLifetime,
	} {
		assert.Equal(t, want, expiry.Seconds(seconds), "%v", seconds)
	}
}

func FuzzExpiry(f *testing.F) {
	for _, claims := range []string{
		`{"exp":1700000000,"iat":1700000000}`, `{"exp":1.7e9}`, `{"exp":"1700000000.25"}`,
		`{"exp":1e999,"iat":-1e999}`, `{"exp":17000000000000000000000}`, `{"exp":0}`, `null`, `{"exp":`,
	} {
		f.Add(`{"alg":"HS256"}`, claims, int64(1700000000), "3600")
	}
	f.Add(`{"alg":"?"}`, `{"exp":1}`, int64(-1<<40), `"1e3"`)
	f.Add(`{`, `{}`, int64(1<<40), `-0.1e-5`)
	f.Fuzz(func(t *testing.T, header, claims string, date int64, expiresIn string) {
		token, sent := jwt(header, claims), time.Now()
		for _, at := range []time.Time{
			expiry.FromAnswer(token, json.RawMessage(expiresIn), nil, time.Unix(date, 0), sent),
			expiry.FromAnswer(token, nil, json.RawMessage(expiresIn), time.Unix(date, 0), sent),
			expiry.Stated(json.RawMessage(expiresIn), time.Unix(date, 0), sent),
			expiry.FromAnswer(token, nil, nil, time.Time{}, sent),
			expiry.Refreshed(token, time.Time{}, sent),
			expiry.Refreshed(token, time.Unix(date, 0), sent),
		} {
			lifetime := at.Sub(sent)
			require.True(t, at.IsZero() || lifetime > 0 && lifetime <= expiry.MaxLifetime, "%v", lifetime)
		}
		exp := expiry.Stored(token, time.Time{}, time.Unix(253402300799, 0))
		require.True(t, exp.IsZero() || exp.Unix() >= 0)
		_, err := exp.MarshalJSON() // stores write it
		require.NoError(t, err)
		require.False(t, expiry.Stored(token, time.Time{}, sent).After(sent.Add(expiry.MaxLifetime)))
	})
}

func TestLifetimeThatIsNotInSeconds(t *testing.T) {
	sent := time.Date(2031, 5, 1, 12, 0, 0, 0, time.UTC)
	inAnHour := sent.Add(time.Hour)
	const day = 24 * time.Hour
	unix, millis := strconv.FormatInt(inAnHour.Unix(), 10), strconv.FormatInt(inAnHour.UnixMilli(), 10)
	for _, tc := range []struct {
		want   time.Duration // 0: unknown
		stated []string
	}{
		{time.Hour, []string{unix, `"` + unix + `"`, unix + ".0", millis, `"` + millis + `"`}},
		{time.Hour, []string{`"2031-05-01T13:00:00Z"`, `"2031-05-01t13:00:00.000z"`, `" 2031-05-01T15:00:00+02:00"`, `"2031-05-01T13:00:00+0000"`}},
		{time.Hour, []string{`"2031-05-01 13:00:00Z"`, `"2031-05-01 13:00:00.000+00:00"`, `"2031-05-01 13:00:00+0000"`, `"Thu, 01 May 2031 13:00:00 GMT"`}},
		{time.Hour, []string{`"Thu May 01 2031 15:00:00 GMT+0200 (Central European Summer Time)"`, `"Thu May 01 2031 13:00:00 GMT+0000"`}},
		{0, []string{`"2031-05-01T11:00:00Z"`, `"2031-05-01"`, `"2031-05-01 13:00:00"`, `"2131-05-01T13:00:00Z"`, `"0000-00-00T00:00:00Z"`, `"tomorrow"`}},
		{0, []string{`1299999999`, `1299999999999`, `9223372036854775807`, `1e300`, unix + `000000`, unix + `000000000`}},
		// Milliseconds.
		{time.Hour, []string{`3600000`, `"3600000"`, `3.6e6`}},
		{15 * time.Minute, []string{`900000`}},
		{90 * time.Minute, []string{`5400000`}},
		{3 * time.Hour, []string{`10800000`}},
		{day, []string{`86400000`}},
		{30 * day, []string{`2592000000`}},
		// Lifetimes that servers do state in seconds.
		{299940 * time.Second, []string{`299940`}},
		{14 * day, []string{`1209600`}},
		{30 * day, []string{`2592000`}},
		{60 * day, []string{`5184000`}},
		{101 * day, []string{`8726400`}},
		{184 * day, []string{`15897600`}},
		{365 * day, []string{`31536000`}},
		{5 * 365 * day, []string{`157680000`}},
		{157679999 * time.Second, []string{`157679999`}},
		{5011271 * time.Second, []string{`5011271`}},
		{5183944 * time.Second, []string{`5183944`}},
		{expiry.MaxLifetime, []string{`315360000`}},
	} {
		for _, stated := range tc.stated {
			for _, off := range []time.Duration{0, 5 * time.Hour} { // the server's clock, if it says so
				date, local := time.Time{}, sent
				if off != 0 {
					date, local = sent, sent.Add(off)
				}
				got := expiry.Stated(json.RawMessage(stated), date, local)
				if tc.want == 0 {
					assert.Zero(t, got, stated)
					assert.Zero(t, expiry.FromAnswer("opaque", json.RawMessage(stated), nil, date, local), stated)
					continue
				}
				assert.Equal(t, tc.want, got.Sub(local), "%s: %v", stated, got.Sub(local))
				assert.Equal(t, got, expiry.FromAnswer("opaque", json.RawMessage(stated), nil, date, local))
			}
		}
	}
}

func TestTimeOfExpiryCountsIfThereIsNoLifetime(t *testing.T) {
	sent := time.Date(2031, 5, 1, 12, 0, 0, 0, time.UTC)
	at := json.RawMessage(`"2031-05-01T13:00:00Z"`)
	assert.Equal(t, time.Hour, expiry.FromAnswer("opaque", nil, at, time.Time{}, sent).Sub(sent))
	assert.Equal(t, time.Minute, expiry.FromAnswer("opaque", json.RawMessage(`60`), at, time.Time{}, sent).Sub(sent))
	assert.Zero(t, expiry.FromAnswer("opaque", nil, json.RawMessage(`3600`), time.Time{}, sent), "a time is no lifetime")
	assert.Zero(t, expiry.FromAnswer("opaque", nil, json.RawMessage(`{}`), time.Time{}, sent))
}

func TestJWTShowsThatALifetimeIsInMilliseconds(t *testing.T) {
	sent := time.Date(2031, 5, 1, 12, 0, 0, 0, time.UTC)
	token := jwtWith(fmt.Sprintf(`{"exp":%d}`, sent.Add(5*time.Minute).Unix()))
	for stated, want := range map[string]time.Duration{
		"300000": 5 * time.Minute, "299123": 299123 * time.Millisecond, "600": 10 * time.Minute, "3600": time.Hour, "500000": 500000 * time.Second,
	} {
		assert.Equal(t, want, expiry.FromAnswer(token, json.RawMessage(stated), nil, sent, sent).Sub(sent), stated)
	}
}

func TestAJWTOfLessThanASecondDoesNotShowTheUnit(t *testing.T) {
	ends := time.Date(2031, 5, 1, 12, 0, 0, 0, time.UTC)
	sent := ends.Add(-200 * time.Microsecond)
	token := jwtWith(fmt.Sprintf(`{"exp":%d}`, ends.Unix())) // in truth 0.2 s later
	assert.Equal(t, 200*time.Millisecond, expiry.FromAnswer(token, json.RawMessage(`0.2`), nil, sent, sent).Sub(sent))
}

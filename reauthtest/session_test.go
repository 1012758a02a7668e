package reauthtest_test

import (
	"net/http"
	"testing"
	"testing/synctest"
	"time"

	"github.com/golang-jwt/jwt/v5"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/reauth-go/reauth/reauthtest"
)

func TestSignInGivesTokensThatWork(t *testing.T) {
	s := reauthtest.NewPipeServer(t, reauthtest.Options{})
	issued := s.SignIn("ann")
	assert.Equal(t, "Bearer", issued.TokenType)
	got := call(t, s, "/orders", issued.AccessToken)
	assert.Equal(t, http.StatusOK, got.status)
	assert.Equal(t, map[string]any{"user": "ann", "path": "/orders", "token": 1.0}, got.json)
}

func TestRefreshRotates(t *testing.T) {
	s := reauthtest.NewPipeServer(t, reauthtest.Options{})
	first := s.SignIn("ann")

	second := refresh(t, s, first.RefreshToken)
	require.Equal(t, http.StatusOK, second.status)
	assert.Equal(t, "no-store", second.header.Get("Cache-Control"))
	assert.Equal(t, "Bearer", second.string("token_type"))
	assert.Equal(t, 3600.0, second.json["expires_in"])
	assert.NotEqual(t, first.RefreshToken, second.string("refresh_token"))
	assert.NotEqual(t, first.AccessToken, second.string("access_token"))
	assert.Equal(t, 2.0, call(t, s, "/", second.string("access_token")).json["token"])
	assert.Equal(t, http.StatusOK, call(t, s, "/", first.AccessToken).status, "the first access token has not expired")

	third := refresh(t, s, second.string("refresh_token"))
	require.Equal(t, http.StatusOK, third.status)
	assert.Equal(t, 3.0, call(t, s, "/", third.string("access_token")).json["token"])
	assert.Equal(t, 1, s.Counts().MaxUsesOfOneRefreshToken)
}

func TestReuseRevokesTheSession(t *testing.T) {
	s := reauthtest.NewPipeServer(t, reauthtest.Options{})
	first, other := s.SignIn("ann"), s.SignIn("ann")
	second := refresh(t, s, first.RefreshToken)

	reused := refresh(t, s, first.RefreshToken)
	assert.Equal(t, http.StatusBadRequest, reused.status)
	assert.Equal(t, "invalid_grant", reused.string("error"))

	assert.Equal(t, "invalid_grant", refresh(t, s, second.string("refresh_token")).string("error"))
	assert.Equal(t, http.StatusUnauthorized, call(t, s, "/", second.string("access_token")).status)
	assert.Equal(t, http.StatusOK, call(t, s, "/", other.AccessToken).status, "another session of the user lives")

	counts := s.Counts()
	assert.Equal(t, 1, counts.ReusesDetected)
	assert.Equal(t, 1, counts.SessionsRevoked)
	assert.Equal(t, 2, counts.MaxUsesOfOneRefreshToken)
	assert.Equal(t, 3, counts.Refreshes)
	assert.Equal(t, 1, counts.RefreshesGranted)
	assert.Equal(t, 2, counts.RefreshesRefused)
}

func TestTolerateReuse(t *testing.T) {
	s := reauthtest.NewPipeServer(t, reauthtest.Options{TolerateReuse: true})
	first := s.SignIn("ann")
	second := refresh(t, s, first.RefreshToken)
	assert.Equal(t, "invalid_grant", refresh(t, s, first.RefreshToken).string("error"))
	assert.Equal(t, http.StatusOK, refresh(t, s, second.string("refresh_token")).status)
	assert.Equal(t, 1, s.Counts().ReusesDetected)
	assert.Zero(t, s.Counts().SessionsRevoked)
}

func TestReuseInterval(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := reauthtest.NewPipeServer(t, reauthtest.Options{ReuseInterval: 10 * time.Second})
		first := s.SignIn("ann")
		second := refresh(t, s, first.RefreshToken)

		time.Sleep(10*time.Second - 1)
		again := refresh(t, s, first.RefreshToken)
		require.Equal(t, http.StatusOK, again.status)
		assert.Equal(t, second.string("access_token"), again.string("access_token"))
		assert.Equal(t, second.string("refresh_token"), again.string("refresh_token"))
		assert.Equal(t, 3591.0, again.json["expires_in"], "what is left of its lifetime")
		assert.Zero(t, s.Counts().ReusesDetected)

		time.Sleep(time.Nanosecond)
		assert.Equal(t, "invalid_grant", refresh(t, s, first.RefreshToken).string("error"))
		assert.Equal(t, 1, s.Counts().ReusesDetected)
	})
}

func TestKeepRefreshToken(t *testing.T) {
	s := reauthtest.NewPipeServer(t, reauthtest.Options{KeepRefreshToken: true})
	first := s.SignIn("ann")
	for range 3 {
		got := refresh(t, s, first.RefreshToken)
		require.Equal(t, http.StatusOK, got.status)
		assert.NotContains(t, got.json, "refresh_token")
	}
	assert.Equal(t, 3, s.Counts().MaxUsesOfOneRefreshToken)
	assert.Zero(t, s.Counts().ReusesDetected)
}

func TestRefreshEndsAccess(t *testing.T) {
	s := reauthtest.NewPipeServer(t, reauthtest.Options{RefreshEndsAccess: true})
	first := s.SignIn("ann")
	second := refresh(t, s, first.RefreshToken)
	assert.Equal(t, http.StatusUnauthorized, call(t, s, "/", first.AccessToken).status)
	assert.Equal(t, http.StatusOK, call(t, s, "/", second.string("access_token")).status)
}

func TestAccessExpiresWhenItSays(t *testing.T) {
	for name, opts := range map[string]reauthtest.Options{
		"JWT":    {AccessLifetime: time.Minute},
		"opaque": {AccessLifetime: time.Minute, Opaque: true},
		"skewed": {AccessLifetime: time.Minute, ClockSkew: -time.Hour},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := reauthtest.NewPipeServer(t, opts)
				issued := s.SignIn("ann")
				assert.Equal(t, time.Minute, time.Until(issued.Expiry))
				time.Sleep(time.Minute - 1)
				assert.Equal(t, http.StatusOK, call(t, s, "/", issued.AccessToken).status)
				time.Sleep(time.Nanosecond)
				got := call(t, s, "/", issued.AccessToken)
				assert.Equal(t, http.StatusUnauthorized, got.status)
				assert.Equal(t, `Bearer error="invalid_token"`, got.header.Get("WWW-Authenticate"))
			})
		})
	}
}

func TestNegativeLifetimeNeverExpires(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := reauthtest.NewPipeServer(t, reauthtest.Options{AccessLifetime: -1})
		issued := s.SignIn("ann")
		assert.Zero(t, issued.Expiry)
		assert.NotContains(t, claims(t, issued.AccessToken), "exp")
		assert.NotContains(t, refresh(t, s, issued.RefreshToken).json, "expires_in")
		time.Sleep(100 * 365 * 24 * time.Hour)
		assert.Equal(t, http.StatusOK, call(t, s, "/", issued.AccessToken).status)
	})
}

func TestStatedLifetime(t *testing.T) {
	for name, test := range map[string]struct {
		lifetime time.Duration
		expires  float64 // what expires_in says
		exp      float64 // what the JWT says, in seconds after the bubble's start
	}{
		"whole seconds":    {2 * time.Second, 2, 2},
		"rounded down":     {2900 * time.Millisecond, 2, 3}, // issued at 0.5
		"below one second": {250 * time.Millisecond, 0.25, 0.75},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				start := time.Now()
				s := reauthtest.NewPipeServer(t, reauthtest.Options{AccessLifetime: test.lifetime})
				time.Sleep(500 * time.Millisecond)
				got := refresh(t, s, s.SignIn("ann").RefreshToken)
				assert.Equal(t, test.expires, got.json["expires_in"])
				exp := claims(t, got.string("access_token"))["exp"].(float64)
				assert.Equal(t, test.exp, exp-float64(start.Unix()))
			})
		})
	}
}

func TestClockSkewShows(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := reauthtest.NewPipeServer(t, reauthtest.Options{ClockSkew: time.Hour})
		now := time.Now()
		got := refresh(t, s, s.SignIn("ann").RefreshToken)
		skewed := now.Add(time.Hour)
		assert.Equal(t, skewed.UTC().Format(http.TimeFormat), got.header.Get("Date"))
		held := claims(t, got.string("access_token"))
		assert.Equal(t, float64(skewed.Unix()), held["iat"])
		assert.Equal(t, float64(skewed.Add(time.Hour).Unix()), held["exp"])
		assert.Equal(t, 3600.0, got.json["expires_in"])
		assert.Equal(t, skewed.UTC().Format(http.TimeFormat), call(t, s, "/", "").header.Get("Date"))
	})
}

func TestAccessTokensAreSignedAndUnlike(t *testing.T) {
	synctest.Test(t, func(t *testing.T) { // the time stands still
		s := reauthtest.NewPipeServer(t, reauthtest.Options{})
		seen := make(map[string]bool)
		for range 20 {
			token := s.SignIn("ann").AccessToken
			assert.False(t, seen[token])
			seen[token] = true
			assert.Equal(t, "ann", claims(t, token)["sub"])
		}
	})
}

func TestOpaque(t *testing.T) {
	s := reauthtest.NewPipeServer(t, reauthtest.Options{Opaque: true})
	issued := s.SignIn("ann")
	assert.NotContains(t, issued.AccessToken, ".")
	assert.Equal(t, http.StatusOK, call(t, s, "/", issued.AccessToken).status)
}

func TestExpireAccess(t *testing.T) {
	s := reauthtest.NewPipeServer(t, reauthtest.Options{})
	ann, bob := s.SignIn("ann"), s.SignIn("bob")

	s.ExpireAccess("ann")
	assert.Equal(t, http.StatusUnauthorized, call(t, s, "/", ann.AccessToken).status)
	assert.Equal(t, http.StatusOK, call(t, s, "/", bob.AccessToken).status)

	renewed := refresh(t, s, ann.RefreshToken)
	require.Equal(t, http.StatusOK, renewed.status, "the refresh token lives")
	assert.Equal(t, http.StatusOK, call(t, s, "/", renewed.string("access_token")).status)

	s.ExpireAccess()
	assert.Equal(t, http.StatusUnauthorized, call(t, s, "/", renewed.string("access_token")).status)
	assert.Equal(t, http.StatusUnauthorized, call(t, s, "/", bob.AccessToken).status)
	assert.Zero(t, s.Counts().SessionsRevoked)
}

func TestRevoke(t *testing.T) {
	s := reauthtest.NewPipeServer(t, reauthtest.Options{})
	ann, bob := s.SignIn("ann"), s.SignIn("bob")

	s.Revoke("ann")
	assert.Equal(t, "invalid_grant", refresh(t, s, ann.RefreshToken).string("error"))
	assert.Equal(t, http.StatusUnauthorized, call(t, s, "/", ann.AccessToken).status)
	assert.Equal(t, http.StatusOK, call(t, s, "/", bob.AccessToken).status)
	assert.Equal(t, 1, s.Counts().SessionsRevoked)

	s.Revoke()
	assert.Equal(t, http.StatusUnauthorized, call(t, s, "/", bob.AccessToken).status)
	assert.Equal(t, 2, s.Counts().SessionsRevoked, "a session is revoked once")
	assert.Equal(t, http.StatusOK, call(t, s, "/", s.SignIn("ann").AccessToken).status)
}

func TestRefreshMethodFollowsTheSameRules(t *testing.T) {
	s := reauthtest.NewPipeServer(t, reauthtest.Options{})
	first := s.SignIn("ann")
	second, err := s.Refresh(first.RefreshToken)
	require.NoError(t, err)
	assert.Equal(t, http.StatusOK, call(t, s, "/", second.AccessToken).status)

	_, err = s.Refresh(first.RefreshToken)
	require.ErrorContains(t, err, "invalid_grant")
	assert.NotContains(t, err.Error(), first.RefreshToken)
	counts := s.Counts()
	assert.Equal(t, 0, counts.Refreshes)
	assert.Equal(t, 1, counts.RefreshesGranted)
	assert.Equal(t, 1, counts.RefreshesRefused)
	assert.Equal(t, 1, counts.SessionsRevoked)
}

// claims reads a JWT as a client does, without the key.
func claims(t *testing.T, token string) jwt.MapClaims {
	t.Helper()
	held := make(jwt.MapClaims)
	parsed, _, err := jwt.NewParser().ParseUnverified(token, held)
	require.NoError(t, err)
	assert.Equal(t, "HS256", parsed.Method.Alg())
	assert.NotEmpty(t, held["jti"])
	return held
}

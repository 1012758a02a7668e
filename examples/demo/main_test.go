package main

import (
	"bytes"
	"fmt"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/reauth-go/reauth/internal/memnet"
	"github.com/reauth-go/reauth/reauthtest"
)

const clientSecret = "the-secret-of-the-client"

func demo(args ...string) (code int, stdout, stderr string) {
	var out, err bytes.Buffer
	code = run(args, &out, &err)
	return code, out.String(), err.String()
}

// own returns the flags for the storm against s, and the token they hold.
func own(s *reauthtest.Server, more ...string) (args []string, refreshToken string) {
	refreshToken = s.SignIn("ann").RefreshToken
	return append([]string{
		"-url", s.APIURL("/me?key=a-key-in-the-address"), "-token-url", s.TokenURL(),
		"-client-id", "demo", "-client-secret", clientSecret, "-refresh-token", refreshToken,
	}, more...), refreshToken
}

func newServer(t *testing.T, opts reauthtest.Options) *reauthtest.Server {
	opts.ClientID, opts.ClientSecret = "demo", clientSecret
	return reauthtest.NewServer(t, opts)
}

func assertNoSecret(t *testing.T, output string, secrets ...string) {
	t.Helper()
	for _, secret := range append(secrets, clientSecret, "a-key-in-the-address", "not-a-valid-token") {
		require.NotEmpty(t, secret)
		assert.NotContains(t, output, secret)
	}
}

// In virtual time, because a machine that is busy for longer than a token of the third act
// lives may lose requests.
func TestPlayNeedsOneRefreshAndLosesNothing(t *testing.T) {
	t.Parallel()
	for _, n := range []int{50, 2000} {
		t.Run(fmt.Sprint(n), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var stdout strings.Builder
				inMemory := func() (net.Listener, dialer, error) {
					l := memnet.Listen("127.0.0.1:80")
					return l, l.DialContext, nil
				}

				require.NoError(t, play(t.Context(), stage{n, &page{out: &stdout}, inMemory}))

				got := stdout.String()
				assert.Contains(t, got, fmt.Sprintf("%d requests: %[1]d answered, 0 lost. 1 refresh, 0 wasted.", n))
				assert.Contains(t, got, "2 requests: 2 answered, 0 lost. 1 refresh, 0 wasted.") // the straggler
				assert.Contains(t, got, "Requests that waited for a token: 0.")
				assert.Equal(t, 4, strings.Count(got, "0 lost."))
				assert.Equal(t, 4, strings.Count(got, "0 wasted."))
				assert.NotContains(t, got, "\x1b")
				assert.Less(t, strings.Count(got, "\n"), 75, "a summary, however many requests")
			})
		})
	}
}

func TestPlayOnAPortOfThisMachine(t *testing.T) {
	t.Parallel()
	api, err := stage{listen: onLoopback}.serve(reauthtest.Options{})
	require.NoError(t, err)
	defer api.close()
	to := api.target()
	api.ExpireAccess()
	w := newWatch(api.base(), 20, refused)

	require.NoError(t, storm(t.Context(), to, 20, w))

	assert.Equal(t, tally{requests: 20, answered: 20, refreshes: 1}, w.tally(1))
}

func TestOwnAPIIsServedByOneRefresh(t *testing.T) {
	t.Parallel()
	s := newServer(t, reauthtest.Options{})
	save := filepath.Join(t.TempDir(), "token")
	args, refreshToken := own(s, "-n", "20", "-save", save)

	code, stdout, stderr := demo(args...)

	assert.Equal(t, exitOK, code)
	assert.Contains(t, stdout, "20 requests: 20 answered, 0 lost. 1 refresh, 0 wasted.")
	assert.Equal(t, 20, s.Counts().APIRefused)
	assert.Equal(t, 1, s.Counts().Refreshes)

	assert.Contains(t, stderr, "is spent")
	assert.Contains(t, stderr, save)
	kept, err := os.ReadFile(save)
	require.NoError(t, err)
	next := strings.TrimSpace(string(kept))
	assertNoSecret(t, stdout+stderr, refreshToken, next)
	_, err = s.Refresh(next)
	assert.NoError(t, err, "the token that was kept must be valid")
	if runtime.GOOS != "windows" {
		info, err := os.Stat(save)
		require.NoError(t, err)
		assert.Equal(t, os.FileMode(0o600), info.Mode().Perm())
	}
}

func TestRotatedTokenReplacesAllOfAFile(t *testing.T) {
	t.Parallel()
	s := newServer(t, reauthtest.Options{})
	save := filepath.Join(t.TempDir(), "token")
	require.NoError(t, os.WriteFile(save, bytes.Repeat([]byte("an older one\n"), 100), 0o644))
	args, _ := own(s, "-n", "1", "-save", save)

	code, _, _ := demo(args...)

	assert.Equal(t, exitOK, code)
	kept, err := os.ReadFile(save)
	require.NoError(t, err)
	_, err = s.Refresh(strings.TrimSpace(string(kept)))
	assert.NoError(t, err)
	if runtime.GOOS != "windows" {
		info, err := os.Stat(save)
		require.NoError(t, err)
		assert.Equal(t, os.FileMode(0o600), info.Mode().Perm())
	}
}

func TestSecretsFromTheEnvironment(t *testing.T) {
	dir := t.TempDir()
	t.Setenv("TMPDIR", dir)
	t.Setenv("TMP", dir)
	s := newServer(t, reauthtest.Options{KeepRefreshToken: true})
	t.Setenv(envRefreshToken, s.SignIn("ann").RefreshToken)
	t.Setenv(envClientSecret, clientSecret)

	code, stdout, stderr := demo("-url", s.APIURL("/me"), "-token-url", s.TokenURL(), "-client-id", "demo")

	assert.Equal(t, exitOK, code)
	assert.Contains(t, stdout, "50 requests: 50 answered")
	assert.Empty(t, stderr, "the refresh token is still valid")
	left, err := os.ReadDir(dir)
	require.NoError(t, err)
	assert.Empty(t, left)
}

func TestErrorsSayWhatToLookAt(t *testing.T) {
	always := func(status int) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(status) })
	}
	tests := map[string]struct {
		prepare func(*reauthtest.Server)
		args    []string
		want    []string
	}{
		"token server down": {
			prepare: func(s *reauthtest.Server) { s.FailRefresh(reauthtest.Failure{}, -1) },
			want:    []string{"10 requests lost", "token server answered 503"},
		},
		"refresh token spent": {
			prepare: func(s *reauthtest.Server) { s.Revoke() },
			want:    []string{"10 requests lost", "invalid_grant", "-refresh-token"},
		},
		"wrong secret": {
			prepare: func(*reauthtest.Server) {},
			args:    []string{"-client-secret", "another-secret"},
			want:    []string{"10 requests lost", "invalid_client", "-client-secret"},
		},
		"API refuses every token": {
			prepare: func(s *reauthtest.Server) { s.HandlePublic("/me", always(http.StatusUnauthorized)) },
			want:    []string{"10 requests lost", "refused the new token too"},
		},
		"no token needed": {
			prepare: func(s *reauthtest.Server) { s.HandlePublic("/me", always(http.StatusNoContent)) },
			want:    []string{"refused no request", "10 × 204"},
		},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newServer(t, reauthtest.Options{})
			save := filepath.Join(t.TempDir(), "token")
			args, refreshToken := own(s, append([]string{"-n", "10", "-save", save}, test.args...)...)
			test.prepare(s)

			code, stdout, stderr := demo(args...)

			assert.Equal(t, exitFailed, code)
			for _, want := range test.want {
				assert.Contains(t, stderr, want)
			}
			assertNoSecret(t, stdout+stderr, refreshToken, "another-secret")
			assert.LessOrEqual(t, s.Counts().Refreshes, 1)
		})
	}
}

func TestOtherStatusMeansRefused(t *testing.T) {
	t.Parallel()
	s := newServer(t, reauthtest.Options{
		KeepRefreshToken: true,
		Refusal:          reauthtest.Failure{Status: http.StatusForbidden},
	})
	args, _ := own(s, "-refused", "401, 403")

	code, stdout, _ := demo(args...)

	assert.Equal(t, exitOK, code)
	assert.Contains(t, stdout, "50 requests: 50 answered, 0 lost. 1 refresh, 0 wasted.")
}

func TestBadFlags(t *testing.T) {
	t.Parallel()
	tests := []struct {
		args string
		want string
	}{
		{"-n 0", "-n 0"},
		{"-n 100001", "-n 100001"},
		{"-n many", "-n"},
		{"-nonsense", "-nonsense"},
		{"a-secret-without-a-flag", "1 argument"},
		{"-token-url https://id.example.com/token", "-url is missing"},
		{"-url api.example.com/with-a-key -token-url https://id.example.com -refresh-token r", "-url must start"},
		{"-url https:///with-a-key -token-url https://id.example.com -refresh-token r", "-url must start"},
		{"-url http://%zz-with-a-key -token-url https://id.example.com -refresh-token r", "-url is not a valid address"},
		{"-url https://api.example.com -refresh-token r", "-token-url is missing"},
		{"-url https://api.example.com -token-url ftp://id.example.com -refresh-token r", "-token-url must start"},
		{"-url https://api.example.com -token-url https://id.example.com", "-refresh-token is missing"},
		{"-url https://api.example.com -token-url https://id.example.com -refresh-token r -auth-style tls", `-auth-style "tls"`},
		{"-url https://api.example.com -refused 200", "-refused"},
	}
	for _, test := range tests {
		code, stdout, stderr := demo(strings.Fields(test.args)...)
		assert.Equal(t, exitUsage, code, test.args)
		assert.Empty(t, stdout, test.args)
		assert.Contains(t, stderr, test.want, test.args)
		assert.Contains(t, stderr, "Try -help.", test.args)
		assert.NotContains(t, stderr, "with-a", test.args)
	}
}

func TestAllBadFlagsAreReportedAtOnce(t *testing.T) {
	t.Parallel()
	_, _, stderr := demo("-url", "nowhere", "-n", "-1")
	for _, want := range []string{"-n -1", "-url must", "-token-url is missing", "-refresh-token is missing"} {
		assert.Contains(t, stderr, want)
	}
}

func TestNoTokenIsSpentIfTheNewOneCannotBeKept(t *testing.T) {
	t.Parallel()
	s := newServer(t, reauthtest.Options{})
	args, _ := own(s, "-save", filepath.Join(t.TempDir(), "no", "such", "directory"))

	code, _, stderr := demo(args...)

	assert.Equal(t, exitFailed, code)
	assert.Contains(t, stderr, "cannot keep a rotated refresh token")
	assert.Zero(t, s.Counts().Refreshes)
}

func TestHelp(t *testing.T) {
	t.Setenv(envRefreshToken, "a-refresh-token-in-the-environment")
	code, stdout, stderr := demo("-help")
	assert.Equal(t, exitOK, code)
	assert.Empty(t, stderr)
	assert.Contains(t, stdout, "invalid on purpose")
	assert.NotContains(t, stdout, "a-refresh-token-in-the-environment")
}

func TestSecondRefreshIsAFailure(t *testing.T) {
	t.Parallel()
	w := newWatch(new(http.Transport), 1, refused)
	w.calls = []*call{{status: http.StatusOK, attempts: make([]attempt, 1)}}
	w.refreshes = make([]attempt, 2)
	verdict := w.tally(1)
	assert.ErrorContains(t, verdict.verdict(), "1 refresh too many")
	verdict = w.tally(2)
	assert.NoError(t, verdict.verdict())
}

func TestTimelineDoesNotMergeRowsAcrossARefresh(t *testing.T) {
	t.Parallel()
	at := func(ms int) time.Time { return time.Unix(0, 0).Add(time.Duration(ms) * time.Millisecond) }
	var lines []string
	for _, r := range summarise([]row{
		{at: at(0), what: "sent"}, {at: at(1), what: "refused"}, {at: at(2), what: "sent"},
		{at: at(3), what: "refresh", watershed: true},
		{at: at(4), what: "refused"}, {at: at(7), what: "refused"},
	}) {
		lines = append(lines, fmt.Sprint(r.what, " ", r.count, " ", r.note))
	}
	assert.Equal(t, []string{"sent 2 over 2 ms", "refused 1 ", "refresh 1 ", "refused 2 over 3 ms"}, lines)
}

func TestColourOnlyOnATerminal(t *testing.T) {
	t.Setenv("NO_COLOR", "")
	t.Setenv("TERM", "xterm")
	device, err := os.OpenFile(os.DevNull, os.O_WRONLY, 0)
	require.NoError(t, err)
	defer device.Close()
	file, err := os.Create(filepath.Join(t.TempDir(), "file"))
	require.NoError(t, err)
	defer file.Close()

	assert.True(t, newPage(device).colour, "a character device counts as a terminal")
	assert.False(t, newPage(file).colour)
	assert.False(t, newPage(new(bytes.Buffer)).colour)

	t.Setenv("NO_COLOR", "1")
	assert.False(t, newPage(device).colour)
}

package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/base64"
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/oauth2"

	"github.com/reauth-go/reauth"
	"github.com/reauth-go/reauth/internal/needs"
)

// patience is how long tests wait for anything.
const patience = 30 * time.Second

// newIssuer starts a provider.
func newIssuer(t *testing.T) string {
	t.Helper()
	needs.Program(t, "node", "install Node.js 20 or later")
	if _, err := installed(); err != nil {
		needs.Skip(t, err.Error())
	}
	issuer, stop, err := startProvider(t.Context())
	require.NoError(t, err)
	t.Cleanup(stop)
	return issuer
}

// A program is a run of this one.
type program struct {
	shown     chan string // addresses to sign in at
	interrupt func()
	ended     chan struct{}

	// From here on, once it has ended.
	code           int
	stdout, stderr string
}

var addressRE = regexp.MustCompile(`^ +(http\S+)$`)

func start(t *testing.T, args ...string) *program {
	t.Helper()
	ctx, interrupt := context.WithCancel(t.Context())
	p := &program{shown: make(chan string, 10), interrupt: interrupt, ended: make(chan struct{})}
	out, in := io.Pipe()
	var read sync.WaitGroup
	read.Go(func() {
		lines := bufio.NewScanner(out)
		for lines.Scan() {
			p.stdout += lines.Text() + "\n"
			if m := addressRE.FindStringSubmatch(lines.Text()); m != nil {
				p.shown <- m[1]
			}
		}
		close(p.shown)
	})
	go func() {
		defer close(p.ended)
		var stderr bytes.Buffer
		p.code = run(ctx, args, in, &stderr)
		_ = in.Close()
		read.Wait()
		p.stderr = stderr.String()
	}()
	t.Cleanup(func() { interrupt(); <-p.ended })
	return p
}

// address is where the program wants its user to sign in next.
func (p *program) address(t *testing.T) string {
	t.Helper()
	address, ok := <-p.shown
	if !ok {
		<-p.ended
		require.Fail(t, "no address", "the program has ended with %d: %s", p.code, p.stderr)
	}
	return address
}

// wait returns once the program has ended.
func (p *program) wait(t *testing.T, code int) {
	t.Helper()
	<-p.ended
	require.Equal(t, code, p.code, "%s", p.stderr)
}

func TestASignInLastsOverManyTokens(t *testing.T) {
	t.Parallel()
	issuer := newIssuer(t)
	for name, args := range map[string][]string{
		"found out": {"-issuer", issuer},
		"told": {"-auth-url", issuer + "/auth", "-token-url", issuer + "/token",
			"-revocation-url", issuer + "/token/revocation", "-api-url", issuer + "/me"},
	} {
		t.Run(name, func(t *testing.T) {
			before := countsOf(t, issuer)
			p := start(t, append(args, "-renewals", "3")...)
			status, text := newBrowser(t).visit(t, p.address(t), "allow")
			assert.Equal(t, http.StatusOK, status)
			assert.Contains(t, text, "go back to the program")
			p.wait(t, exitOK)
			after := countsOf(t, issuer)

			assert.Contains(t, p.stdout, `The API says: {"sub":"ann"}`)
			assert.Contains(t, p.stdout, "renewed for the 3rd time")
			assert.Contains(t, p.stdout, "0 lost. Renewals: 3. Sign-ins: 1.")
			sum := regexp.MustCompile(`(\d+) requests: (\d+) answered`).FindStringSubmatch(p.stdout)
			require.NotNil(t, sum)
			answered, err := strconv.Atoi(sum[2])
			require.NoError(t, err)
			assert.Equal(t, sum[1], sum[2])
			assert.Equal(t, after.Asked-before.Asked, answered+after.Refused-before.Refused)
			assert.Equal(t, 1, after.Exchanges-before.Exchanges)
			assert.Equal(t, 3, after.Refreshed-before.Refreshed)
			assert.Equal(t, 1, after.MostSpent)
			assert.Equal(t, 1, after.Revocations-before.Revocations, "signed out at the end")
			assert.Empty(t, p.stderr)
		})
	}
}

// signedIn goes through the sign-in and returns the session it has begun.
func signedIn(t *testing.T, issuer string) (*session, *oauth2.Token) {
	t.Helper()
	to := target{issuer: issuer, clientID: "oauth2login", scopes: []string{"openid", "offline_access"}}
	require.NoError(t, to.complete(t.Context()))
	s, err := newSession(to, nil)
	require.NoError(t, err)
	t.Cleanup(func() { assert.NoError(t, s.end(context.Background())) })
	visitor := newBrowser(t)
	var visit sync.WaitGroup
	ctx, cancel := context.WithTimeout(t.Context(), patience) // if the visit fails
	defer cancel()
	tok, err := signIn(ctx, to.oauth2(), to.issuer, "127.0.0.1:0", func(url string) {
		visit.Go(func() { visitor.visit(t, url, "allow") })
	})
	visit.Wait()
	require.NoError(t, err)
	require.NoError(t, s.begin(t.Context(), tok))
	return s, tok
}

func TestRolloversLoseNoRequest(t *testing.T) {
	t.Parallel()
	issuer := newIssuer(t)
	s, _ := signedIn(t, issuer)
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	var workers sync.WaitGroup
	for range 8 {
		workers.Go(func() {
			pause := time.NewTicker(pace / 10)
			defer pause.Stop()
			for ; countsOf(t, issuer).Refreshes < 3; <-pause.C {
				text, err := s.ask(ctx)
				if !assert.NoError(t, err) || !assert.Equal(t, `{"sub":"ann"}`, text) {
					return
				}
			}
		})
	}
	workers.Wait()
	c := countsOf(t, issuer)
	assert.Equal(t, c.Refreshes, c.Refreshed, "every refresh succeeds")
	assert.Equal(t, 1, c.MostSpent, "no refresh token is spent twice")
	t.Logf("%d requests, %d of them refused and sent again; %d refreshes", c.Asked, c.Refused, c.Refreshes)
}

func TestTheIDTokenIsKept(t *testing.T) {
	t.Parallel()
	issuer := newIssuer(t)
	s, first := signedIn(t, issuer)
	subject := func(tok reauth.Token) string {
		parts := strings.Split(tok.Extra["id_token"], ".")
		require.Len(t, parts, 3, "no ID token")
		text, err := base64.RawURLEncoding.DecodeString(parts[1])
		require.NoError(t, err)
		var claims struct{ Sub string }
		require.NoError(t, json.Unmarshal(text, &claims))
		return claims.Sub
	}
	tok, err := s.transport.Token(t.Context())
	require.NoError(t, err)
	assert.Equal(t, "ann", subject(tok))
	assert.True(t, first.Extra("id_token") == tok.Extra["id_token"], "the one of the sign-in")
	assert.Equal(t, "openid offline_access", tok.Extra["scope"])

	renewed, err := s.transport.Refresh(t.Context(), tok)
	require.NoError(t, err)
	assert.False(t, renewed.AccessToken == tok.AccessToken, "renewed")
	assert.Equal(t, "ann", subject(renewed))
}

func TestWhenTheSessionEndsTheUserSignsInAgain(t *testing.T) {
	t.Parallel()
	issuer := newIssuer(t)
	p := start(t, "-issuer", issuer, "-renewals", "1")
	newBrowser(t).visit(t, p.address(t), "allow")
	awaitCount(t, issuer, func(c counts) bool { return c.Asked >= 1 }) // else the code is taken back, not the session
	revoke(t, issuer)
	newBrowser(t).visit(t, p.address(t), "allow")
	p.wait(t, exitOK)
	assert.Contains(t, p.stdout, "the session has ended")
	assert.Contains(t, p.stdout, "Sign-ins: 2.")
	assert.Equal(t, 2, countsOf(t, issuer).Exchanges)
}

func TestAnAnswerWithAnotherStateIsRefused(t *testing.T) {
	t.Parallel()
	issuer := newIssuer(t)
	p := start(t, "-issuer", issuer, "-renewals", "1")
	address := p.address(t)
	for _, query := range []url.Values{
		{"code": {"somebody-elses"}, "state": {"somebody-elses"}},
		{"code": {"somebody-elses"}, "state": {""}},
		{"code": {"somebody-elses"}},
		{"error": {"access_denied"}, "state": {"somebody-elses"}},
	} {
		resp, err := http.Get(callbackOf(t, address, query))
		require.NoError(t, err)
		body(t, resp)
		assert.Equal(t, http.StatusBadRequest, resp.StatusCode)
	}
	assert.Zero(t, countsOf(t, issuer).Exchanges, "the code is not tried")

	newBrowser(t).visit(t, address, "allow") // the program has gone on waiting
	p.wait(t, exitOK)
}

func TestADenialIsShown(t *testing.T) {
	t.Parallel()
	issuer := newIssuer(t)
	p := start(t, "-issuer", issuer)
	status, text := newBrowser(t).visit(t, p.address(t), "deny")
	assert.Equal(t, http.StatusOK, status)
	assert.Contains(t, text, "You are not signed in")
	p.wait(t, exitFailed)
	assert.Contains(t, p.stderr, `refused: "access_denied", "the user said no"`)
	assert.Zero(t, countsOf(t, issuer).Exchanges)
}

func TestARefusedCodeIsReported(t *testing.T) {
	t.Parallel()
	issuer := newIssuer(t)
	for code, want := range map[string]string{"made-up": "invalid_grant", "": "neither a code nor an error"} {
		p := start(t, "-issuer", issuer)
		address := p.address(t)
		resp, err := http.Get(callbackOf(t, address, url.Values{"code": {code}, "state": {stateOf(t, address)}}))
		require.NoError(t, err)
		body(t, resp)
		p.wait(t, exitFailed)
		assert.Contains(t, p.stderr, want)
	}
}

// Another program on this machine may see the code: it comes in an address.
func TestACodeWithoutTheVerifierIsWorthNothing(t *testing.T) {
	t.Parallel()
	issuer := newIssuer(t)
	p := start(t, "-issuer", issuer)
	address := p.address(t)
	thief := newBrowser(t)
	var code string
	thief.client.CheckRedirect = func(req *http.Request, _ []*http.Request) error {
		if req.URL.Path == callbackPath {
			code = req.URL.Query().Get("code")
			return http.ErrUseLastResponse
		}
		return nil
	}
	thief.visit(t, address, "allow")
	require.NotEmpty(t, code)
	back, err := url.Parse(callbackOf(t, address, nil))
	require.NoError(t, err)
	back.RawQuery = ""
	conf := target{authURL: issuer + "/auth", tokenURL: issuer + "/token", clientID: "oauth2login"}.oauth2()
	conf.RedirectURL = back.String()
	for _, opts := range [][]oauth2.AuthCodeOption{nil, {oauth2.VerifierOption(oauth2.GenerateVerifier())}} {
		_, err = conf.Exchange(t.Context(), code, opts...)
		assert.ErrorContains(t, err, "invalid_grant")
	}
	assert.Equal(t, 2, countsOf(t, issuer).Exchanges)
}

// awaitCount waits until the provider has counted what it is to.
func awaitCount(t *testing.T, issuer string, done func(counts) bool) {
	t.Helper()
	pause, late := time.NewTicker(pace/10), time.After(patience)
	defer pause.Stop()
	for !done(countsOf(t, issuer)) {
		select {
		case <-pause.C:
		case <-late:
			require.Fail(t, "the provider has not counted that")
		}
	}
}

func TestAnInterruptEndsTheSessionInOrder(t *testing.T) {
	t.Parallel()
	issuer := newIssuer(t)
	p := start(t, "-issuer", issuer, "-renewals", "1000000")
	newBrowser(t).visit(t, p.address(t), "allow")
	awaitCount(t, issuer, func(c counts) bool { return c.Refreshes >= 1 })
	p.interrupt()
	p.wait(t, exitOK)
	assert.Contains(t, p.stdout, "0 lost")
	c := countsOf(t, issuer)
	assert.Contains(t, []int{1, 2}, c.Revocations, "two, if it was refreshing: what that brought is given up as well")
	assert.Equal(t, c.Refreshes, c.Refreshed, "none is cut off")
}

func TestAnInterruptEndsTheWaitForASignIn(t *testing.T) {
	t.Parallel()
	p := start(t, "-auth-url", "https://id.test/auth", "-token-url", "https://id.test/token", "-api-url", "https://api.test")
	assert.Contains(t, p.address(t), "https://id.test/auth?")
	p.interrupt()
	p.wait(t, exitFailed)
	assert.Contains(t, p.stderr, "nobody has signed in")
}

func TestWithoutAnIssuerItBringsAProviderAlong(t *testing.T) {
	t.Parallel()
	newIssuer(t) // or skip
	p := start(t, "-renewals", "1")
	newBrowser(t).visit(t, p.address(t), "allow")
	p.wait(t, exitOK)
	assert.Contains(t, p.stdout, "0 lost")
}

func TestMissingProgramsAreReported(t *testing.T) {
	dir := t.TempDir()
	t.Run("Node.js", func(t *testing.T) {
		t.Setenv("PATH", dir)
		p := start(t)
		p.wait(t, exitFailed)
		assert.Contains(t, p.stderr, "Node.js 20")
		assert.Contains(t, p.stderr, "-issuer")
	})
	node := filepath.Join(dir, "node")
	require.NoError(t, os.WriteFile(node, nil, 0o700))
	require.NoError(t, os.WriteFile(node+".exe", nil, 0o700))
	t.Setenv("PATH", dir)
	t.Chdir(dir)
	t.Run("the example", func(t *testing.T) {
		p := start(t)
		p.wait(t, exitFailed)
		assert.Contains(t, p.stderr, "from its own folder")
	})
	t.Run("its packages", func(t *testing.T) {
		require.NoError(t, os.Mkdir("provider", 0o700))
		require.NoError(t, os.WriteFile(filepath.Join("provider", "server.mjs"), nil, 0o600))
		p := start(t)
		p.wait(t, exitFailed)
		assert.Contains(t, p.stderr, "npm ci --prefix provider")
	})
}

func TestAnIssuerThatIsNoneIsSaid(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		document string
		status   int
		want     string
	}{
		"no document":          {`{}`, http.StatusNotFound, "no discovery document: it answers 404"},
		"no JSON":              {`<html>`, http.StatusOK, "cannot be read"},
		"somebody else":        {`{"issuer":"https://id.example.com"}`, http.StatusOK, `calls itself "https://id.example.com"`},
		"no authorization":     {`{"issuer":"ISSUER","token_endpoint":"https://x.example"}`, http.StatusOK, "-auth-url is missing"},
		"no token endpoint":    {`{"issuer":"ISSUER","authorization_endpoint":"https://x.example"}`, http.StatusOK, "-token-url is missing"},
		"no userinfo endpoint": {`{"issuer":"ISSUER","authorization_endpoint":"https://x.example","token_endpoint":"https://x.example"}`, http.StatusOK, "-api-url is missing"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := httptest.NewUnstartedServer(nil)
			s.Config.Handler = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				assert.Equal(t, "/.well-known/openid-configuration", r.URL.Path)
				w.WriteHeader(c.status)
				_, _ = io.WriteString(w, strings.ReplaceAll(c.document, "ISSUER", s.URL))
			})
			s.Start()
			defer s.Close()
			p := start(t, "-issuer", s.URL)
			p.wait(t, exitFailed)
			assert.Contains(t, p.stderr, c.want)
		})
	}
}

func TestBadFlags(t *testing.T) {
	t.Parallel()
	for args, want := range map[string]string{
		"-nonsense":                                 "-nonsense",
		"word":                                      "words without a flag",
		"-renewals 0":                               "-renewals 0",
		"-listen localhost:8400":                    `-listen "localhost:8400" must be 127.0.0.1`,
		"-listen 0.0.0.0:8400":                      `-listen "0.0.0.0:8400" must be 127.0.0.1`,
		"-issuer id.example.com":                    "-issuer must start",
		"-token-url https://id.example.com":         "-auth-url is missing",
		"-auth-url https://id.example.com":          "-token-url is missing",
		"-auth-url https://a.example -token-url x":  "-token-url must start",
		"-api-url ftp://api.example.com -issuer 1!": "-api-url must start",
	} {
		p := start(t, strings.Fields(args)...)
		p.wait(t, exitUsage)
		assert.Contains(t, p.stderr, want, args)
		assert.Contains(t, p.stderr, "Try -help.", args)
	}
}

func TestHelp(t *testing.T) {
	t.Setenv(envClientSecret, "a-secret-in-the-environment")
	p := start(t, "-help")
	p.wait(t, exitOK)
	assert.Contains(t, p.stdout, "-issuer")
	assert.NotContains(t, p.stdout, "a-secret-in-the-environment")
}

func TestPage(t *testing.T) {
	t.Parallel()
	assert.Equal(t, []string{"1st time", "2nd time", "3rd time", "4th time", "11th time", "21st time", "112th time"},
		[]string{times(1), times(2), times(3), times(4), times(11), times(21), times(112)})
	assert.Equal(t, "a [31mb  c", printable("a\x1b[31mb\r\nc\n"))
	assert.Len(t, printable(strings.Repeat("x", 10000)), 203)
}

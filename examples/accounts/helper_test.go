package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"net/http/cookiejar"
	"net/http/httptest"
	"net/url"
	"os"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/reauth-go/reauth"
	"github.com/reauth-go/reauth/reauthtest"
)

// patience is how long tests wait for anything.
const patience = 30 * time.Second

// TestMain lets the test binary be the program, for the tests with several processes.
func TestMain(m *testing.M) {
	if os.Getenv("ACCOUNTS_TEST_PROGRAM") == "1" {
		main()
		os.Exit(0)
	}
	os.Exit(m.Run())
}

// A world is a third party, a web process and the database.
type world struct {
	t     *testing.T
	opts  options
	party *party
	web   *process
}

// newWorld starts what ends with the test. Tokens live for an hour.
func newWorld(t *testing.T, database string) *world {
	t.Helper()
	w := &world{t: t}
	web, third := httptest.NewUnstartedServer(nil), httptest.NewUnstartedServer(nil)
	w.opts = options{
		database: database, keys: strings.Repeat("0f", 32),
		url: "http://" + web.Listener.Addr().String(), provider: "http://" + third.Listener.Addr().String(),
	}
	w.party = &party{provider: newProvider(w.opts.provider, w.opts.url+"/callback", time.Hour)}
	third.Config.Handler = w.party
	third.Start()
	t.Cleanup(func() { third.Close(); w.party.Close() })
	w.web = w.open()
	web.Config.Handler = w.web.handler()
	web.Start()
	t.Cleanup(web.Close)
	return w
}

// A process has a store and a Transport of its own, as each process of the service has.
type process struct {
	*backend
	told chan string // the accounts of which Watch has told, when the Transport knows it
}

// open opens a process, which ends with the test. Its Watch has begun.
func (w *world) open() *process {
	w.t.Helper()
	b, err := openBackend(w.t.Context(), w.opts, slog.New(slog.DiscardHandler))
	require.NoError(w.t, err)
	p := &process{b, make(chan string, 1000)}
	begun, ended := make(chan struct{}), make(chan struct{})
	ctx, unwatch := context.WithCancel(context.Background())
	go func() { // ends with unwatch
		defer close(ended)
		var once sync.Once
		_ = b.store.Watch(ctx, func(id string) {
			b.transport.Forget(id)
			p.told <- id
		}, func() {
			b.transport.ForgetAll()
			once.Do(func() { close(begun) })
		})
	}()
	w.t.Cleanup(func() {
		unwatch()
		<-ended
		assert.NoError(w.t, b.close())
	})
	<-begun
	return p
}

// awaitNews waits until Watch has told of an account.
func (p *process) awaitNews(t *testing.T, id string) {
	t.Helper()
	for late := time.After(patience); ; {
		select {
		case got := <-p.told:
			if got == id {
				return
			}
		case <-late:
			require.FailNow(t, "Watch has not told")
		}
	}
}

// forgetNews empties what Watch has told so far.
func (p *process) forgetNews() {
	for {
		select {
		case <-p.told:
		default:
			return
		}
	}
}

// read returns the account of a person at the third party, as it is in the database now.
func (w *world) read(subject string) (account, bool) {
	w.t.Helper()
	rows, err := w.web.db.QueryContext(w.t.Context(), "SELECT "+columns+" FROM accounts WHERE subject = $1", subject)
	require.NoError(w.t, err)
	defer rows.Close()
	if !rows.Next() {
		require.NoError(w.t, rows.Err())
		return account{}, false
	}
	a, err := scan(rows)
	require.NoError(w.t, err)
	require.False(w.t, rows.Next(), "there are two")
	return a, true
}

func (w *world) mustRead(subject string) account {
	w.t.Helper()
	a, ok := w.read(subject)
	require.True(w.t, ok, "no account of %s", subject)
	return a
}

// stored returns the token of an account.
func (w *world) stored(id string) (reauth.Token, bool) {
	w.t.Helper()
	b, err := openBackend(w.t.Context(), w.opts, slog.New(slog.DiscardHandler))
	require.NoError(w.t, err)
	defer func() { require.NoError(w.t, b.close()) }()
	ok, err := b.transport.Session(id).SignedIn(w.t.Context())
	require.NoError(w.t, err)
	if !ok {
		return reauth.Token{}, false
	}
	tok, err := b.transport.Session(id).Token(w.t.Context())
	require.NoError(w.t, err)
	return tok, true
}

// assertNoSessions checks that no token is stored.
func (w *world) assertNoSessions() {
	w.t.Helper()
	for s, err := range w.web.store.Sessions(w.t.Context()) {
		require.NoError(w.t, err)
		assert.Fail(w.t, "a token is stored", s.Name)
	}
}

// assertRevoked checks that neither part of a token is of any more use.
func (w *world) assertRevoked(tok reauth.Token) {
	w.t.Helper()
	req, err := http.NewRequestWithContext(w.t.Context(), http.MethodGet, w.opts.provider+"/v1/me", nil)
	require.NoError(w.t, err)
	req.Header.Set("Authorization", "Bearer "+tok.AccessToken)
	resp, err := http.DefaultClient.Do(req)
	require.NoError(w.t, err)
	require.NoError(w.t, resp.Body.Close())
	assert.Equal(w.t, http.StatusUnauthorized, resp.StatusCode)
	_, err = w.party.Refresh(tok.RefreshToken)
	assert.ErrorContains(w.t, err, "invalid_grant")
}

// A party is the third party, which tests can break.
type party struct {
	*provider

	mu      sync.Mutex
	down    map[string]bool   // paths that are answered with 503
	away    map[string]string // paths that redirect
	asked   func(*http.Request)
	endless bool     // there is always another page of contacts
	tokens  []string // that it has issued
}

func (p *party) set(change func()) {
	p.mu.Lock()
	defer p.mu.Unlock()
	change()
}

func (p *party) breakPath(path string, broken bool) {
	p.set(func() { p.down = map[string]bool{path: broken} })
}

func (p *party) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	var down, endless bool
	var to string
	var asked func(*http.Request)
	p.set(func() { down, endless, to, asked = p.down[r.URL.Path], p.endless, p.away[r.URL.Path], p.asked })
	if asked != nil {
		asked(r)
	}
	if to != "" {
		http.Redirect(w, r, to, http.StatusFound)
		return
	}
	if down {
		w.WriteHeader(http.StatusServiceUnavailable)
		return
	}
	if r.URL.Path != "/token" && r.URL.Path != "/v1/contacts" {
		p.provider.ServeHTTP(w, r)
		return
	}
	answer := httptest.NewRecorder()
	p.provider.ServeHTTP(answer, r)
	body := answer.Body.Bytes()
	if r.URL.Path == "/token" {
		var tok struct {
			Access  string `json:"access_token"`
			Refresh string `json:"refresh_token"`
		}
		if json.Unmarshal(body, &tok) == nil && tok.Access != "" {
			p.set(func() { p.tokens = append(p.tokens, tok.Access, tok.Refresh) })
		}
	} else if endless {
		body = bytes.Replace(body, []byte(`"next":""`), []byte(`"next":"start"`), 1)
	}
	for name, values := range answer.Header() {
		if name != "Content-Length" {
			w.Header()[name] = values
		}
	}
	w.WriteHeader(answer.Code)
	_, _ = w.Write(body)
}

// A browser is a client that keeps cookies, and follows no redirect.
type browser struct {
	w      *world
	client *http.Client
}

func (w *world) browser() *browser {
	jar, err := cookiejar.New(nil)
	require.NoError(w.t, err)
	transport := &http.Transport{}
	w.t.Cleanup(transport.CloseIdleConnections)
	return &browser{w, &http.Client{
		Jar: jar, Transport: transport, Timeout: patience,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}}
}

// An answer is what came back, with its body read.
type answer struct {
	status   int
	location string
	body     string
	header   http.Header
}

func (b *browser) get(address string) answer {
	b.w.t.Helper()
	return b.send(http.MethodGet, address, nil)
}

// post sends a form as the page's own forms are sent.
func (b *browser) post(address string, form url.Values) answer {
	b.w.t.Helper()
	return b.send(http.MethodPost, address, form, "Sec-Fetch-Site", "same-origin")
}

func (b *browser) send(method, address string, form url.Values, header ...string) answer {
	b.w.t.Helper()
	got, err := b.try(method, address, form, header...)
	require.NoError(b.w.t, err)
	return got
}

// try is for goroutines. An address may be a path of the web process.
func (b *browser) try(method, address string, form url.Values, header ...string) (answer, error) {
	if strings.HasPrefix(address, "/") {
		address = b.w.opts.url + address
	}
	req, err := http.NewRequestWithContext(b.w.t.Context(), method, address, strings.NewReader(form.Encode()))
	if err != nil {
		return answer{}, err
	}
	if form != nil {
		req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	}
	for i := 0; i < len(header); i += 2 {
		req.Header.Set(header[i], header[i+1])
	}
	resp, err := b.client.Do(req)
	if err != nil {
		return answer{}, err
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	return answer{resp.StatusCode, resp.Header.Get("Location"), string(text), resp.Header}, err
}

// begin clicks on connect, and returns where that leads.
func (b *browser) begin() *url.URL {
	b.w.t.Helper()
	got := b.post("/connect", nil)
	require.Equal(b.w.t, http.StatusSeeOther, got.status)
	to, err := url.Parse(got.location)
	require.NoError(b.w.t, err)
	return to
}

// allow allows the access at the third party, and returns where that leads.
func (b *browser) allow(asked *url.URL, user string) (callback string) {
	b.w.t.Helper()
	require.Equal(b.w.t, http.StatusOK, b.get(asked.String()).status)
	query := asked.Query()
	got := b.post(b.w.opts.provider+"/authorize", url.Values{
		"state": query["state"], "challenge": query["code_challenge"], "user": {user}, "decision": {"allow"},
	})
	require.Equal(b.w.t, http.StatusSeeOther, got.status)
	return got.location
}

// connect connects an account, and returns it.
func (b *browser) connect(user string) account {
	b.w.t.Helper()
	got := b.get(b.allow(b.begin(), user))
	require.Equal(b.w.t, "/?notice=connected", got.location)
	owner := b.w.owner(b)
	var id string
	require.NoError(b.w.t, b.w.web.db.QueryRowContext(b.w.t.Context(),
		"SELECT id FROM accounts WHERE owner = $1 AND subject = $2", owner, user).Scan(&id))
	a, err := b.w.web.accountOf(b.w.t.Context(), owner, id)
	require.NoError(b.w.t, err)
	return a
}

func (b *browser) disconnect(a account) answer {
	b.w.t.Helper()
	return b.post("/accounts/"+a.ID+"/disconnect", nil)
}

// owner is the name of a browser's user in the database.
func (w *world) owner(b *browser) string {
	w.t.Helper()
	req, err := http.NewRequest(http.MethodGet, w.opts.url, nil)
	require.NoError(w.t, err)
	for _, cookie := range b.client.Jar.Cookies(req.URL) {
		req.AddCookie(cookie)
	}
	return w.web.owner(httptest.NewRecorder(), req)
}

var chipRE = regexp.MustCompile(`class="chip \w+">([^<]+)<`)

// chips are the states that the page shows.
func (b *browser) chips() (all []string) {
	b.w.t.Helper()
	for _, m := range chipRE.FindAllStringSubmatch(b.get("/").body, -1) {
		all = append(all, m[1])
	}
	return all
}

// call makes one call of the API for an account.
func (p *process) call(ctx context.Context, id string) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, p.api+"/v1/me", nil)
	if err != nil {
		return err
	}
	var me struct{ ID string }
	if err := getJSON(p.client(id), req, &me); err != nil {
		return err
	}
	if me.ID == "" {
		return errors.New("no answer")
	}
	return nil
}

func await(t *testing.T, s *reauthtest.Server, reached func(reauthtest.Counts) bool) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	require.NoError(t, s.Await(ctx, reached))
}

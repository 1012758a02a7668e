// Package fleet tests a store with several real processes that share a session:
// re-executions of the test binary, each with a Transport of its own.
//
// A test binary that uses it has
//
//	func TestMain(m *testing.M) { fleet.Main(m, open) }
//
// where open opens the store, in whichever process, from a string of the test's
// own choosing: a folder, an address.
package fleet

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/reauth-go/reauth"
	"github.com/reauth-go/reauth/oauth"
	"github.com/reauth-go/reauth/reauthtest"
)

const (
	variable = "REAUTH_FLEET" // holds the orders of a member, as JSON
	session  = "fleet"
	clientID = "a member of the fleet"
)

var open func(dsn string) (reauth.Store, error)

// Main runs the tests, or is one member of a fleet where the process was started
// as that.
func Main(m *testing.M, openStore func(dsn string) (reauth.Store, error)) {
	open = openStore
	text, ok := os.LookupEnv(variable)
	if !ok {
		os.Exit(m.Run())
	}
	var o orders
	if err := json.Unmarshal([]byte(text), &o); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(2)
	}
	var r report
	if err := serve(o, &r); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	os.Exit(0)
}

// orders are what a member is told.
type orders struct {
	DSN      string
	TokenURL string
	Origin   string
	APIURL   string
	Callers  int
	For      time.Duration
	Pace     time.Duration // between two requests of one caller; 0: each makes one
	Timeout  time.Duration // RefreshTimeout
	Watch    bool          // watches the store, if that can be watched
	Task     string        // in place of the callers' requests; see tasks
}

// report is what a member has to say.
type report struct {
	Requests int
	Lost     map[string]int // by what came instead of an answer
	At       time.Time      // when the task was done
}

// serve is the life of a member: it gets ready, waits for the word, lets its callers
// make their requests, reports, and ends once what it knows is saved.
func serve(o orders, r *report) error {
	store, transport, err := newTransport(o)
	if err != nil {
		return err
	}
	if store, ok := store.(watched); ok && o.Watch {
		watch(store, transport)
	}
	in := bufio.NewReader(os.Stdin)
	fmt.Println("ready")
	if _, err := in.ReadString('\n'); err != nil {
		return err
	}
	go func() { // a member does not outlive the test
		_, _ = io.Copy(io.Discard, in)
		os.Exit(3)
	}()
	if o.Task != "" {
		err = tasks[o.Task](o, transport, r)
	} else {
		request(o, transport, r)
	}
	if err != nil {
		return err
	}
	if err := json.NewEncoder(os.Stdout).Encode(r); err != nil {
		return err
	}
	return transport.Wait(context.Background())
}

// request lets callers make their requests.
func request(o orders, transport *reauth.Transport, r *report) {
	client := &http.Client{Transport: transport.Session(session)}
	r.Lost = make(map[string]int)
	var mu sync.Mutex
	var wg sync.WaitGroup
	end := time.Now().Add(o.For)
	for range o.Callers {
		wg.Go(func() {
			for {
				lost := get(context.Background(), client, o.APIURL)
				mu.Lock()
				r.Requests++
				if lost != "" {
					r.Lost[lost]++
				}
				mu.Unlock()
				if o.Pace == 0 || time.Now().After(end) {
					return
				}
				time.Sleep(o.Pace)
			}
		})
	}
	wg.Wait()
}

func newTransport(o orders) (reauth.Store, *reauth.Transport, error) {
	store, err := open(o.DSN)
	if err != nil {
		return nil, nil, err
	}
	transport, err := reauth.New(reauth.Config{
		Refresher:      &oauth.Refresher{TokenURL: o.TokenURL, ClientID: clientID},
		Origins:        []string{o.Origin},
		Base:           &http.Transport{MaxIdleConnsPerHost: o.Callers},
		Store:          store,
		RefreshTimeout: o.Timeout,
	})
	return store, transport, err
}

// get makes a request, and returns what came instead of the answer, if anything.
func get(ctx context.Context, client *http.Client, url string) string {
	if err := do(ctx, client, url); err != nil {
		return err.Error()
	}
	return ""
}

// do makes a request.
func do(ctx context.Context, client *http.Client, url string) error {
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return err
	}
	resp, err := client.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if _, err := io.Copy(io.Discard, resp.Body); err != nil {
		return err
	}
	if resp.StatusCode != http.StatusOK {
		return errors.New(resp.Status)
	}
	return nil
}

// A member is one process, seen from the test.
type member struct {
	cmd    *exec.Cmd
	stdin  io.WriteCloser
	stdout *bufio.Reader
}

// start starts a member and waits until it is ready.
func start(t *testing.T, o orders) *member {
	t.Helper()
	text, err := json.Marshal(o)
	require.NoError(t, err)
	self, err := os.Executable()
	require.NoError(t, err)
	m := &member{cmd: exec.Command(self)}
	m.cmd.Env = append(os.Environ(), variable+"="+string(text))
	m.cmd.Stderr = os.Stderr
	m.stdin, err = m.cmd.StdinPipe()
	require.NoError(t, err)
	stdout, err := m.cmd.StdoutPipe()
	require.NoError(t, err)
	m.stdout = bufio.NewReader(stdout)
	require.NoError(t, m.cmd.Start())
	t.Cleanup(func() {
		if m.cmd.ProcessState == nil {
			_ = m.cmd.Process.Kill()
			_ = m.cmd.Wait()
		}
	})
	line, err := m.stdout.ReadString('\n')
	require.NoError(t, err)
	require.Equal(t, "ready\n", line)
	return m
}

// begin gives the word.
func (m *member) begin(t *testing.T) {
	t.Helper()
	_, err := io.WriteString(m.stdin, "\n")
	require.NoError(t, err)
}

// report waits for what the member has to say, and until it has ended.
func (m *member) report(t *testing.T) report {
	t.Helper()
	r, err := m.read()
	require.NoError(t, m.cmd.Wait())
	require.NoError(t, err)
	return r
}

// read is report without the end.
func (m *member) read() (r report, err error) {
	err = json.NewDecoder(m.stdout).Decode(&r)
	return r, err
}

// Soak lets eight processes of ten callers each share a session for six seconds (three
// with -short), or as long as the environment variable REAUTH_SOAK says ("20s"). Every
// other one watches the store, if that can be watched. Its tokens live one second, the
// refresh token rotates, and the server ends the session if it ever sees one twice. No
// request may be lost, and there may be no more refreshes than the tokens' lifetime asks
// for.
func Soak(t *testing.T, dsn string) {
	const processes, callers, lifetime = 8, 10, time.Second
	const early = lifetime / 4 // what EarlyRefresh is by default
	duration := 6 * time.Second
	if testing.Short() {
		duration = 3 * time.Second
	}
	if s := os.Getenv("REAUTH_SOAK"); s != "" {
		var err error
		duration, err = time.ParseDuration(s)
		require.NoError(t, err, "REAUTH_SOAK")
	}
	server := reauthtest.NewServer(t, reauthtest.Options{AccessLifetime: lifetime, RefreshLatency: 20 * time.Millisecond})
	o := orders{
		DSN: dsn, TokenURL: server.TokenURL(), Origin: server.URL, APIURL: server.APIURL("/"),
		Callers: callers, For: duration, Pace: 50 * time.Millisecond,
	}
	signIn(t, o, reauth.Token(server.SignIn("ann")))
	members := make([]*member, processes)
	for i := range members {
		o.Watch = i%2 == 0
		members[i] = start(t, o)
	}
	began := time.Now()
	for _, m := range members {
		m.begin(t)
	}
	var total report
	total.Lost = make(map[string]int)
	for _, m := range members {
		r := m.report(t)
		total.Requests += r.Requests
		for what, n := range r.Lost {
			total.Lost[what] += n
		}
	}
	elapsed := time.Since(began)
	counts := server.Counts()
	bound := int((elapsed+lifetime-early-1)/(lifetime-early)) + 2
	t.Logf("%d requests of %d processes in %v, %d refreshes (at most %d), %d refresh tokens used twice",
		total.Requests, processes, elapsed.Round(time.Millisecond), counts.Refreshes, bound, counts.ReusesDetected)
	assert.Empty(t, total.Lost, "requests lost")
	assert.Zero(t, counts.ReusesDetected, "refresh tokens that were used twice")
	assert.LessOrEqual(t, counts.Refreshes, bound)
	assert.Greater(t, counts.Refreshes, int(duration/lifetime)/2, "tokens did not roll over")
	assert.GreaterOrEqual(t, total.Requests, processes*callers)
}

// signIn stores tok as a process would that has signed the user in.
func signIn(t *testing.T, o orders, tok reauth.Token) {
	t.Helper()
	_, transport, err := newTransport(o)
	require.NoError(t, err)
	require.NoError(t, transport.Session(session).SignIn(t.Context(), tok))
}

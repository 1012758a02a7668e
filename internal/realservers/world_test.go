package realservers_test

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/reauth-go/reauth"
)

// A world is a server, and a Transport between it and the test.
type world struct {
	server
	*program
	renewal
	tr     *reauth.Transport
	client *http.Client // with tr
	plain  *http.Client // without

	mu     sync.Mutex
	events map[reauth.EventKind]int
}

func (w *world) event(_ context.Context, e reauth.Event) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.events == nil {
		w.events = make(map[reauth.EventKind]int)
	}
	w.events[e.Kind]++
}

func (w *world) heard(kind reauth.EventKind) int {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.events[kind]
}

// mustSignIn signs in and returns the token that the server gave.
func (w *world) mustSignIn(t *testing.T) reauth.Token {
	t.Helper()
	tok, err := w.signIn(t.Context())
	require.NoError(t, err)
	require.NoError(t, w.tr.SignIn(t.Context(), tok))
	return tok
}

// mustSignInWithAWrongClock signs in with a token that the Transport takes for valid
// long after the server refuses it.
func (w *world) mustSignInWithAWrongClock(t *testing.T) reauth.Token {
	t.Helper()
	tok, err := w.signIn(t.Context())
	require.NoError(t, err)
	late := tok
	late.Expiry = time.Now().Add(time.Hour)
	require.NoError(t, w.tr.SignIn(t.Context(), late))
	return tok
}

// untilExpired returns once the server refuses tok and the lifetime that it has
// stated is over, which may be up to a second later.
func (w *world) untilExpired(t *testing.T, tok reauth.Token) {
	t.Helper()
	look := time.NewTicker(20 * time.Millisecond)
	defer look.Stop()
	for began := time.Now(); time.Since(began) < lifetime+10*time.Second; <-look.C {
		req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, w.url+w.me, nil)
		require.NoError(t, err)
		var credential reauth.Credential = reauth.HeaderCredential{}
		if w.credential != nil {
			credential = w.credential
		}
		require.NoError(t, credential.Apply(req, tok))
		resp, err := w.plain.Do(req)
		require.NoError(t, err)
		_, _ = io.Copy(io.Discard, resp.Body)
		resp.Body.Close()
		if resp.StatusCode == http.StatusUnauthorized && !time.Now().Before(tok.Expiry) {
			return
		}
	}
	t.Fatal("the token does not expire")
}

// get asks who is signed in. Any other answer than the user's name is an error.
func (w *world) get(ctx context.Context) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, w.url+w.me, nil)
	if err != nil {
		return err
	}
	var answer struct{ Username string }
	if err := w.ask(req, &answer); err != nil {
		return err
	}
	if answer.Username != "ann" {
		return fmt.Errorf("GET %s: the user is %q", w.me, answer.Username)
	}
	return nil
}

// post sends a body and compares its SHA-256 with what the server received. The
// request has a GetBody unless piped.
func (w *world) post(ctx context.Context, body []byte, piped bool) error {
	var reader io.Reader = bytes.NewReader(body)
	if piped {
		reader = io.MultiReader(reader)
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, w.url+w.sha256, reader)
	if err != nil {
		return err
	}
	req.Header.Set("Content-Type", "application/octet-stream")
	var answer struct{ SHA256 string }
	if err := w.ask(req, &answer); err != nil {
		return err
	}
	sum := sha256.Sum256(body)
	if want := hex.EncodeToString(sum[:]); answer.SHA256 != want {
		return fmt.Errorf("POST %s: the server received %s, and %s was sent", w.sha256, answer.SHA256, want)
	}
	return nil
}

func (w *world) ask(req *http.Request, into any) error {
	resp, err := w.client.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		return err
	}
	if resp.StatusCode != http.StatusOK {
		return fmt.Errorf("%s %s: %s %s", req.Method, req.URL.Path, resp.Status, resp.Header.Get("Www-Authenticate"))
	}
	return json.Unmarshal(text, into)
}

// soak has eight workers send a request each pace for so long, and returns how many that
// were. Each must be answered.
func (w *world) soak(t *testing.T, duration, pace time.Duration) int {
	t.Helper()
	const workers = 8
	var sent atomic.Int64
	var wg sync.WaitGroup
	began := time.Now()
	for worker := range workers {
		wg.Go(func() {
			ticks := time.NewTicker(pace)
			defer ticks.Stop()
			for i := worker; time.Since(began) < duration; i++ {
				sent.Add(1)
				if i%2 == 0 {
					assert.NoError(t, w.get(t.Context()), "%s after the start", time.Since(began))
				} else {
					assert.NoError(t, w.post(t.Context(), []byte("a small body"), false), "%s after the start", time.Since(began))
				}
				<-ticks.C
			}
		})
	}
	wg.Wait()
	return int(sent.Load())
}

// storm calls send n times at once and returns the errors.
func storm(n int, send func(i int) error) []error {
	var wg sync.WaitGroup
	var mu sync.Mutex
	var failed []error
	ready := make(chan struct{})
	for i := range n {
		wg.Go(func() {
			<-ready
			if err := send(i); err != nil {
				mu.Lock()
				defer mu.Unlock()
				failed = append(failed, fmt.Errorf("request %d of %d: %w", i, n, err))
			}
		})
	}
	close(ready)
	wg.Wait()
	return failed
}

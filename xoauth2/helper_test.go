package xoauth2_test

import (
	"context"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"sync"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/reauth-go/reauth"
)

// An authority is a token server and an API. The API accepts the token that was issued last.
type authority struct {
	*httptest.Server
	mu        sync.Mutex
	issued    int
	refused   bool // the one that was issued last
	forms     []url.Values
	answers   []http.HandlerFunc // the next ones
	challenge string             // of the sign-in
	accepted  int
}

func newAuthority(t *testing.T) *authority {
	a := new(authority)
	mux := http.NewServeMux()
	mux.HandleFunc("POST /token", a.token)
	mux.HandleFunc("GET /api", a.api)
	a.Server = httptest.NewServer(mux)
	t.Cleanup(a.Close)
	return a
}

func (a *authority) token(w http.ResponseWriter, r *http.Request) {
	_ = r.ParseForm()
	form := r.PostForm
	if id, secret, ok := r.BasicAuth(); ok {
		form.Set("basic", id+":"+secret)
	}
	a.mu.Lock()
	a.forms = append(a.forms, form)
	var answer http.HandlerFunc
	if len(a.answers) > 0 {
		answer, a.answers = a.answers[0], a.answers[1:]
	}
	challenge := a.challenge
	a.mu.Unlock()
	sum := sha256.Sum256([]byte(form.Get("code_verifier")))
	switch {
	case answer != nil:
		answer(w, r)
	case form.Get("grant_type") == "authorization_code" && challenge != base64.RawURLEncoding.EncodeToString(sum[:]):
		answering(400, `{"error":"invalid_grant","error_description":"code code-SECRET, verifier `+form.Get("code_verifier")+`"}`)(w, r)
	default:
		a.mu.Lock()
		defer a.mu.Unlock()
		a.issued++
		a.refused = false
		w.Header().Set("Content-Type", "application/json")
		out := map[string]any{
			"access_token": a.current(), "token_type": "Bearer", "expires_in": 3600,
			"refresh_token": fmt.Sprint("refresh-", a.issued), "scope": "all",
		}
		if challenge != "" { // somebody signs in
			out["id_token"] = "ey.J.x"
		}
		_ = json.NewEncoder(w).Encode(out)
	}
}

func (a *authority) current() string { return fmt.Sprint("access-", a.issued) }

func (a *authority) api(w http.ResponseWriter, r *http.Request) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.refused || r.Header.Get("Authorization") != "Bearer "+a.current() {
		w.WriteHeader(http.StatusUnauthorized)
		return
	}
	a.accepted++
}

// refuse makes the API refuse the present token.
func (a *authority) refuse() {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.refused = true
}

// answer makes the token server answer the next requests with these.
func (a *authority) answer(answers ...http.HandlerFunc) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.answers = append(a.answers, answers...)
}

func (a *authority) requests() []url.Values {
	a.mu.Lock()
	defer a.mu.Unlock()
	return append([]url.Values(nil), a.forms...)
}

func answering(status int, body string, header ...string) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		for i := 0; i < len(header); i += 2 {
			w.Header().Set(header[i], header[i+1])
		}
		w.WriteHeader(status)
		_, _ = io.WriteString(w, body)
	}
}

// transport returns a Transport for the API. The tokens here are revoked at once, so that no
// refusal is taken to be about permission.
func (a *authority) transport(t *testing.T, r reauth.Refresher, with ...func(*reauth.Config)) *reauth.Transport {
	t.Helper()
	cfg := reauth.Config{Refresher: r, Origins: []string{a.URL}, RefreshPause: -1}
	for _, f := range with {
		f(&cfg)
	}
	tr, err := reauth.New(cfg)
	require.NoError(t, err)
	t.Cleanup(func() { assert.NoError(t, tr.Wait(context.Background())) })
	return tr
}

// get sends a request and returns its status.
func (a *authority) get(t *testing.T, rt http.RoundTripper) (int, error) {
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, a.URL+"/api", nil)
	if err != nil {
		return 0, err
	}
	resp, err := (&http.Client{Transport: rt}).Do(req)
	if err != nil {
		return 0, err
	}
	defer resp.Body.Close()
	_, err = io.Copy(io.Discard, resp.Body)
	return resp.StatusCode, err
}

func (a *authority) mustGet(t *testing.T, rt http.RoundTripper) {
	t.Helper()
	status, err := a.get(t, rt)
	require.NoError(t, err)
	assert.Equal(t, http.StatusOK, status)
}

const many = 50

// storm sends many requests at once. All must be answered.
func (a *authority) storm(t *testing.T, rt http.RoundTripper) {
	t.Helper()
	var wg sync.WaitGroup
	for range many {
		wg.Go(func() {
			status, err := a.get(t, rt)
			assert.NoError(t, err)
			assert.Equal(t, http.StatusOK, status)
		})
	}
	wg.Wait()
}

var privateKey = sync.OnceValue(func() string {
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		panic(err)
	}
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		panic(err)
	}
	return string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}))
})

// keyFile returns a credentials file of Google's whose token server is the authority.
func (a *authority) keyFile(t *testing.T, typ string) []byte {
	t.Helper()
	members := map[string]any{
		"type": typ, "client_email": "robot@example.com", "private_key_id": "1", "private_key": privateKey(), "token_uri": a.URL + "/token",
		"client_id": "id", "client_secret": "client-SECRET", "refresh_token": "adc-SECRET",
	}
	text, err := json.Marshal(members)
	require.NoError(t, err)
	return text
}

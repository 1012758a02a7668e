package registry_test

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-containerregistry/pkg/authn"
	"github.com/google/go-containerregistry/pkg/name"
	server "github.com/google/go-containerregistry/pkg/registry"
	"github.com/google/go-containerregistry/pkg/v1/random"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/remote/transport"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/reauth-go/reauth"
	"github.com/reauth-go/reauth/examples/integrations/registry"
)

// A guarded is a registry that wants a token, and its token server.
type guarded struct {
	*httptest.Server
	registry http.Handler
	answer   func(token string) map[string]any
	patch    func() // called when a blob arrives, before its token is looked at

	mu      sync.Mutex
	valid   map[string]string // scopes by token
	issued  map[string]int    // number of tokens by scopes
	refused int
	last    string // the token that was accepted last
}

func newGuarded(t *testing.T) *guarded {
	g := &guarded{
		registry: server.New(server.Logger(log.New(io.Discard, "", 0))),
		answer:   func(token string) map[string]any { return map[string]any{"token": token, "expires_in": 300} },
		patch:    func() {},
		valid:    map[string]string{}, issued: map[string]int{},
	}
	g.Server = httptest.NewServer(g)
	t.Cleanup(g.Close)
	return g
}

func (g *guarded) revoke() {
	g.mu.Lock()
	defer g.mu.Unlock()
	clear(g.valid)
}

func (g *guarded) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if r.URL.Path == "/token" {
		g.token(w, r)
		return
	}
	if r.Method == http.MethodPatch { // a registry may look at the token when all is there
		body, err := io.ReadAll(r.Body)
		if err != nil {
			panic(http.ErrAbortHandler)
		}
		r.Body = io.NopCloser(bytes.NewReader(body))
		g.patch()
	}
	tok := strings.TrimPrefix(r.Header.Get("Authorization"), "Bearer ")
	g.mu.Lock()
	scopes, ok := g.valid[tok]
	ok = ok && (r.URL.Path == "/v2/" || r.Method == http.MethodGet || r.Method == http.MethodHead || strings.Contains(scopes, "push"))
	if ok {
		g.last = tok
	} else if tok != "" {
		g.refused++
	}
	g.mu.Unlock()
	if !ok {
		w.Header().Set("WWW-Authenticate", fmt.Sprintf(`Bearer realm="%s/token",service="shop"`, g.URL))
		w.WriteHeader(http.StatusUnauthorized)
		_, _ = io.WriteString(w, `{"errors":[{"code":"UNAUTHORIZED","message":"authentication required"}]}`)
		return
	}
	g.registry.ServeHTTP(w, r)
}

// token answers as https://distribution.github.io/distribution/spec/auth/token/ has it.
func (g *guarded) token(w http.ResponseWriter, r *http.Request) {
	user, password, _ := r.BasicAuth()
	if user != "ann" || password != "secret" || r.URL.Query().Get("service") != "shop" {
		w.WriteHeader(http.StatusUnauthorized)
		return
	}
	scopes := strings.Join(r.URL.Query()["scope"], " ")
	g.mu.Lock()
	defer g.mu.Unlock()
	g.issued[scopes]++
	tok := fmt.Sprintf("%s#%d", scopes, g.issued[scopes])
	g.valid[tok] = scopes
	_ = json.NewEncoder(w).Encode(g.answer(tok))
}

func (g *guarded) transport(t *testing.T, password string) *reauth.Transport {
	t.Helper()
	reg, err := name.NewRegistry(strings.TrimPrefix(g.URL, "http://"))
	require.NoError(t, err)
	base := g.Client().Transport
	tokens, err := registry.Tokens(t.Context(), reg, &authn.Basic{Username: "ann", Password: password}, base)
	require.NoError(t, err)
	tr, err := reauth.New(reauth.Config{
		Refresher: tokens, Origins: []string{g.URL}, Base: base, RequireSession: true,
		RefreshPause: -1, // the registry here revokes a token right after it was issued
	})
	require.NoError(t, err)
	t.Cleanup(func() { assert.NoError(t, tr.Wait(context.Background())) })
	return tr
}

func (g *guarded) tag(t *testing.T, text string) name.Tag {
	t.Helper()
	tag, err := name.NewTag(strings.TrimPrefix(g.URL, "http://") + "/" + text)
	require.NoError(t, err)
	return tag
}

func TestLayersThatAreRefusedAfterTheirUploadArePushedWithOneNewToken(t *testing.T) {
	t.Parallel()
	const layers = 4
	g := newGuarded(t)
	tr := g.transport(t, "secret")
	image, err := random.Image(1<<20, layers)
	require.NoError(t, err)
	tag := g.tag(t, "ann/shop:1")
	push, pull := tag.Scope(transport.PushScope), tag.Scope(transport.PullScope)

	var all sync.WaitGroup // the first time that each layer has arrived
	all.Add(layers)
	var once sync.Once
	arrived := make(chan struct{}, layers)
	for range layers {
		arrived <- struct{}{}
	}
	g.patch = func() {
		select {
		case <-arrived:
			all.Done()
			all.Wait()
			once.Do(g.revoke)
		default:
		}
	}
	require.NoError(t, remote.Write(tag, image, remote.WithContext(t.Context()), remote.WithTransport(tr.Session(push)), remote.WithJobs(layers)))
	assert.Equal(t, map[string]int{push: 2}, g.issued, "one to begin with, and one after the revocation")
	assert.Equal(t, layers, g.refused)
	assert.Equal(t, push+"#2", g.last)

	got, err := remote.Image(tag, remote.WithContext(t.Context()), remote.WithTransport(tr.Session(pull)))
	require.NoError(t, err)
	want, err := image.Digest()
	require.NoError(t, err)
	digest, err := got.Digest()
	require.NoError(t, err)
	assert.Equal(t, want, digest)
	read, err := got.Layers()
	require.NoError(t, err)
	for _, layer := range read {
		content, err := layer.Compressed()
		require.NoError(t, err)
		_, err = io.Copy(io.Discard, content) // checks the digest
		assert.NoError(t, err)
	}
	assert.Equal(t, map[string]int{push: 2, pull: 1}, g.issued, "each scope has a token of its own")
}

func TestTheLifetimeOfATokenIsKnown(t *testing.T) {
	t.Parallel()
	g := newGuarded(t)
	tok, err := g.transport(t, "secret").Session("repository:ann/shop:pull").Token(t.Context())
	require.NoError(t, err)
	assert.InDelta(t, 300, time.Until(tok.Expiry).Seconds(), 60)
}

// google/go-containerregistry#54: some token servers say access_token, as Azure's does.
func TestATokenHasOneNameOrTheOther(t *testing.T) {
	t.Parallel()
	for _, names := range [][]string{{"token"}, {"access_token"}, {"token", "access_token"}} {
		g := newGuarded(t)
		g.answer = func(token string) map[string]any {
			all := map[string]any{}
			for _, name := range names {
				all[name] = token
			}
			return all
		}
		tok, err := g.transport(t, "secret").Session("repository:ann/shop:pull").Token(t.Context())
		if assert.NoError(t, err, names) {
			assert.Equal(t, "repository:ann/shop:pull#1", tok.AccessToken, names)
		}
	}
}

func TestAnAnswerWithoutATokenIsNotShown(t *testing.T) {
	t.Parallel()
	g := newGuarded(t)
	g.answer = func(token string) map[string]any { return map[string]any{"accessToken": token} }
	_, err := g.transport(t, "secret").Session("repository:ann/shop:pull").Token(t.Context())
	require.ErrorContains(t, err, "no token in bearer response")
	assert.NotContains(t, err.Error(), "repository:ann/shop:pull#1")
}

func TestAWrongPasswordIsSaid(t *testing.T) {
	t.Parallel()
	g := newGuarded(t)
	tr := g.transport(t, "wrong")
	tag := g.tag(t, "ann/shop:1")
	_, err := remote.Image(tag, remote.WithContext(t.Context()), remote.WithTransport(tr.Session(tag.Scope(transport.PullScope))))
	assert.ErrorIs(t, err, reauth.ErrSignInRequired)
}

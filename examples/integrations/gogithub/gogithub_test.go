package gogithub_test

import (
	"context"
	"crypto/rand"
	"crypto/rsa"
	"encoding/json"
	"io"
	"net/http"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/golang-jwt/jwt/v5"
	"github.com/google/go-github/v89/github"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/reauth-go/reauth"
	"github.com/reauth-go/reauth/examples/integrations/gogithub"
	"github.com/reauth-go/reauth/examples/integrations/internal/world"
	"github.com/reauth-go/reauth/reauthtest"
)

const clientID = "Iv23abc"

var newKey = sync.OnceValue(func() *rsa.PrivateKey {
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		panic(err)
	}
	return key
})

// verify reads the App's JWT as GitHub does.
func verify(authorization string, key *rsa.PublicKey) error {
	var claims jwt.RegisteredClaims
	_, err := jwt.ParseWithClaims(strings.TrimPrefix(authorization, "Bearer "), &claims,
		func(*jwt.Token) (any, error) { return key, nil },
		jwt.WithValidMethods([]string{"RS256"}), jwt.WithIssuer(clientID), jwt.WithIssuedAt(), jwt.WithExpirationRequired())
	if err == nil && time.Until(claims.ExpiresAt.Time) > 10*time.Minute {
		return jwt.ErrTokenInvalidClaims
	}
	return err
}

// newGitHub returns an API like GitHub's, and a client that is installation 42 of an App.
func newGitHub(t *testing.T) (*world.World, *github.Client) {
	t.Helper()
	s := reauthtest.NewServer(t, reauthtest.Options{Opaque: true, Refusal: reauthtest.Failure{
		Header: http.Header{"Www-Authenticate": nil}, Body: `{"message":"Bad credentials","status":"401"}`,
	}})
	var mu sync.Mutex
	var issued reauthtest.Issued
	s.HandleRefresh("POST /app/installations/42/access_tokens", http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if body, err := io.ReadAll(r.Body); err != nil || len(body) > 0 || verify(r.Header.Get("Authorization"), &newKey().PublicKey) != nil {
			w.WriteHeader(http.StatusUnauthorized)
			_, _ = io.WriteString(w, `{"message":"A JSON web token could not be decoded"}`)
			return
		}
		mu.Lock()
		defer mu.Unlock()
		if issued.RefreshToken == "" {
			issued = s.SignIn("installation 42")
		} else if next, err := s.Refresh(issued.RefreshToken); err == nil {
			issued = next
		}
		w.WriteHeader(http.StatusCreated)
		_ = json.NewEncoder(w).Encode(map[string]any{
			"token": issued.AccessToken, "expires_at": issued.Expiry.UTC().Format(time.RFC3339), "permissions": map[string]string{"issues": "write"},
		})
	}))
	s.Handle("GET /repos/ann/shop", http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_ = json.NewEncoder(w).Encode(map[string]string{"full_name": "ann/shop", "description": reauthtest.UserFromRequest(r)})
	}))
	tr, err := reauth.New(reauth.Config{
		Refresher: gogithub.Installation(s.URL, clientID, 42, newKey()),
		Origins:   []string{s.URL},
		Base:      world.Base(t, s),
	})
	require.NoError(t, err)
	t.Cleanup(func() { assert.NoError(t, tr.Wait(context.Background())) })
	url := s.URL + "/"
	client, err := github.NewClient(github.WithTransport(tr), github.WithURLs(&url, nil))
	require.NoError(t, err)
	return &world.World{Server: s, Transport: tr}, client
}

func repository(ctx context.Context, client *github.Client) error {
	repo, _, err := client.Repositories.Get(ctx, "ann", "shop")
	if err == nil && repo.GetDescription() != "installation 42" {
		return assert.AnError
	}
	return err
}

func TestCallsThatAreRefusedShareOneInstallationToken(t *testing.T) {
	t.Parallel()
	w, client := newGitHub(t)
	require.NoError(t, repository(t.Context(), client)) // with a token that it fetches
	assert.Equal(t, 1, w.Counts().Refreshes)
	w.RevokeUnderWay(t, func(ctx context.Context) error { return repository(ctx, client) })
}

func TestTheExpiryIsKnown(t *testing.T) {
	t.Parallel()
	w, _ := newGitHub(t)
	tok, err := w.Transport.Token(t.Context())
	require.NoError(t, err)
	assert.InDelta(t, time.Hour.Seconds(), time.Until(tok.Expiry).Seconds(), 60)
}

func TestAnInstallationThatIsGoneNeedsSomebodyToInstallTheAppAgain(t *testing.T) {
	t.Parallel()
	w, client := newGitHub(t)
	w.FailRefresh(reauthtest.Failure{Status: http.StatusNotFound, Body: `{"message":"Not Found"}`}, -1)
	assert.ErrorIs(t, repository(t.Context(), client), reauth.ErrSignInRequired)
}

func TestABadKeyEndsNoSession(t *testing.T) {
	t.Parallel()
	w, client := newGitHub(t)
	w.FailRefresh(reauthtest.Failure{Status: http.StatusUnauthorized, Body: `{"message":"'Expiration time' claim ('exp') is too far in the future"}`}, -1)
	err := repository(t.Context(), client)
	assert.Error(t, err)
	assert.NotErrorIs(t, err, reauth.ErrSignInRequired)
}

// The App's JWT is valid for minutes, the endpoint is used for months.
func TestEachRequestHasAJWTOfItsOwn(t *testing.T) {
	key := newKey()
	synctest.Test(t, func(t *testing.T) {
		endpoint := gogithub.Installation("https://api.github.com", clientID, 42, key)
		for range 2 {
			req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, endpoint.URL, nil)
			require.NoError(t, err)
			_, err = endpoint.Body(req, reauth.Token{})
			require.NoError(t, err)
			assert.NoError(t, verify(req.Header.Get("Authorization"), &key.PublicKey))
			time.Sleep(time.Hour)
		}
	})
}

package oauth_test

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/reauth-go/reauth"
	"github.com/reauth-go/reauth/internal/testworld"
	"github.com/reauth-go/reauth/oauth"
)

// returning returns a source of one text.
func returning(text string) func(context.Context) (string, error) {
	return func(context.Context) (string, error) { return text, nil }
}

// counting returns a source of texts of which no two are alike.
func counting(prefix string) func(context.Context) (string, error) {
	var n atomic.Int64
	return func(context.Context) (string, error) { return fmt.Sprint(prefix, n.Add(1)), nil }
}

func failing(err error) func(context.Context) (string, error) {
	return func(context.Context) (string, error) { return "", err }
}

func TestAssertionIsAskedAnewForEachRequest(t *testing.T) {
	for _, id := range []string{"", "client"} {
		server := testworld.Answering(200, `{"access_token":"access-2"}`)
		r := &oauth.Refresher{
			TokenURL: testworld.TokenURL, RevocationURL: "https://id.example.com/revoke", ClientID: id,
			Assertion: counting("assertion-"), Client: server.Client(),
		}
		program := *r
		program.Grant, program.AuthStyle = oauth.ClientCredentials{}, oauth.AuthStylePrivateKeyJWT
		refreshes(t, r, oldToken)
		refreshes(t, &program, reauth.Token{})
		require.NoError(t, r.Revoke(t.Context(), oldToken))
		refreshes(t, r, oldToken)
		require.Len(t, server.Requests(), 4)
		for i, req := range server.Requests() {
			form := req.Form(t)
			assert.Equal(t, fmt.Sprint("assertion-", i+1), form.Get("client_assertion"))
			assert.Equal(t, "urn:ietf:params:oauth:client-assertion-type:jwt-bearer", form.Get("client_assertion_type"))
			assert.Equal(t, id, form.Get("client_id"))
			assert.Equal(t, id != "", form.Has("client_id"), "the assertion's sub says who the client is")
			assert.Empty(t, req.Header["Authorization"])
		}
	}
}

func TestAssertionThatCannotBeHadIsATemporaryFailure(t *testing.T) {
	server := testworld.Answering(200, `{"access_token":"access-2"}`)
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	for _, tc := range []struct {
		ctx      context.Context
		source   func(context.Context) (string, error)
		want     string
		canceled bool
	}{
		{t.Context(), failing(errors.New("no network")), "no network", false},
		{t.Context(), failing(fmt.Errorf("signed out of the KMS: %w", reauth.ErrSignInRequired)), "signed out of the KMS: sign-in required", false},
		{t.Context(), failing(context.Canceled), "context canceled", false},
		{ended, failing(context.Canceled), "context canceled", true},
		{t.Context(), returning(""), "returned an empty text", false},
	} {
		for _, grant := range []oauth.Grant{nil, oauth.ClientCredentials{}} {
			r := &oauth.Refresher{TokenURL: testworld.TokenURL, Grant: grant, Assertion: tc.source, Client: server.Client()}
			_, err := r.Refresh(tc.ctx, oldToken)
			require.ErrorContains(t, err, "oauth: Refresher.Assertion")
			assert.ErrorContains(t, err, tc.want)
			assert.NotErrorIs(t, err, reauth.ErrSignInRequired)
			assert.Equal(t, tc.canceled, errors.Is(err, context.Canceled))
		}
	}
	assert.Empty(t, server.Requests())
}

func TestEveryBadAssertionIsNamed(t *testing.T) {
	for _, tc := range []struct {
		refresher oauth.Refresher
		want      []string
	}{
		{oauth.Refresher{Assertion: returning("x")}, nil},
		{oauth.Refresher{Assertion: returning("x"), AuthStyle: oauth.AuthStylePrivateKeyJWT}, nil},
		{oauth.Refresher{Assertion: returning("x"), Grant: oauth.ClientCredentials{}}, nil},
		{oauth.Refresher{Assertion: returning("x"), ClientID: "c", ClientKey: oauth.ClientKey{Signer: ecKey}}, []string{`ClientKey [redacted]: is set but not used, because Assertion is set`}},
		{oauth.Refresher{Assertion: returning("x"), ClientID: "c", ClientSecret: "hidden"}, []string{`ClientSecret [redacted]: is set but not sent with AuthStylePrivateKeyJWT`}},
		{oauth.Refresher{Assertion: returning("x"), ClientID: "c", AuthStyle: oauth.AuthStyleForm}, []string{`Assertion [func]: is set but not used with AuthStyleForm`}},
	} {
		tc.refresher.TokenURL = testworld.TokenURL
		testworld.AssertFaults(t, tc.want, tc.refresher.Validate())
	}
}

// Answers of fosite and oidc-provider to client assertions that they do not take.
func TestRefusedClientAssertionSignsNobodyOut(t *testing.T) {
	for _, tc := range []struct {
		reason        string
		status        int
		body, code    string
		misconfigured bool
	}{
		{"another audience", 401, `{"error":"invalid_client","error_description":"client authentication failed"}`, "invalid_client", true},
		{"used twice", 400, `{"error":"jti_known","error_description":"The jti was already used."}`, "jti_known", false},
		{"unknown kid", 400, `{"error":"invalid_request"}`, "invalid_request", false},
		{"issued in the server's future, or expired", 500, `{"error":"error"}`, "error", false},
	} {
		r := &oauth.Refresher{
			TokenURL: testworld.TokenURL, ClientID: "client", ClientKey: oauth.ClientKey{Signer: ecKey}, Client: testworld.Answering(tc.status, tc.body).Client(),
		}
		failure := testworld.AssertRefused(t, r, oldToken, tc.status, tc.code, false)
		assert.Equal(t, tc.misconfigured, strings.Contains(failure.Error(), "misconfigured"), tc.reason)
	}
}

// write puts a file into the test's folder.
func write(t *testing.T, path, text string) string {
	t.Helper()
	require.NoError(t, os.WriteFile(path, []byte(text), 0o600))
	return path
}

func TestAssertionFileIsReadAgainWhenItChanges(t *testing.T) {
	path := write(t, filepath.Join(t.TempDir(), "token"), "one")
	read := oauth.AssertionFile(path)
	changed := time.Now().Add(-time.Hour)
	for _, text := range []string{"one", "two", "six"} { // as long, and with the same time
		write(t, path, text)
		require.NoError(t, os.Chtimes(path, changed, changed))
		got, err := read(t.Context())
		require.NoError(t, err)
		assert.Equal(t, text, got)
	}
}

func TestAssertionFileFollowsALinkThatIsSwapped(t *testing.T) {
	p := testworld.NewProjection(t, "one")
	read := oauth.AssertionFile(p.Path())
	for _, next := range []string{"two", "three"} {
		got, err := read(t.Context())
		require.NoError(t, err)
		assert.Equal(t, p.Content, got)
		p.Replace(next)
		got, err = read(t.Context())
		require.NoError(t, err)
		assert.Equal(t, next, got)
	}
}

func TestAssertionFileIsReadWhileTheLinkIsSwapped(t *testing.T) {
	testworld.AssertReadWhileSwapped(t, oauth.AssertionFile)
}

func TestAssertionFileThatIsReplacedInTwoStepsIsReadAgain(t *testing.T) {
	for _, step := range []string{"absent", "empty"} {
		t.Run(step, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "token")
			synctest.Test(t, func(t *testing.T) {
				if step == "empty" {
					write(t, path, "")
				}
				go func() { // ends at once
					time.Sleep(50 * time.Millisecond)
					_ = os.WriteFile(path, []byte("new"), 0o600)
				}()
				got, err := oauth.AssertionFile(path)(t.Context())
				require.NoError(t, err)
				assert.Equal(t, "new", got)
			})
		})
	}
}

func TestAssertionFileIsTrimmed(t *testing.T) {
	path := filepath.Join(t.TempDir(), "token")
	for _, text := range []string{"eyJ.x.y", "eyJ.x.y\n", "eyJ.x.y\r\n", " eyJ.x.y \n\n", "\ufeffeyJ.x.y\n"} {
		got, err := oauth.AssertionFile(write(t, path, text))(t.Context())
		require.NoError(t, err)
		assert.Equal(t, "eyJ.x.y", got, "%q", text)
	}
}

func TestAssertionFileErrorsNameThePathAndShowNothing(t *testing.T) {
	dir := t.TempDir()
	wants := map[string]string{"absent": "no such file"}
	for name, no := range testworld.NoTokens {
		write(t, filepath.Join(dir, name), no.Text)
		wants[name] = no.Want
	}
	for name, want := range wants {
		t.Run(name, func(t *testing.T) {
			path := filepath.Join(dir, name)
			synctest.Test(t, func(t *testing.T) {
				began := time.Now()
				got, err := oauth.AssertionFile(path)(t.Context())
				assert.Empty(t, got)
				require.ErrorContains(t, err, want)
				assert.ErrorContains(t, err, fmt.Sprintf("oauth: assertion file %q: ", path))
				assert.Equal(t, 1, strings.Count(err.Error(), dir), "it names the path once")
				assert.NotContains(t, err.Error(), "SECRET")
				assert.NotErrorIs(t, err, reauth.ErrSignInRequired)
				assert.Equal(t, name == "absent", errors.Is(err, fs.ErrNotExist))
				assert.LessOrEqual(t, time.Since(began), 80*time.Millisecond) // in virtual time
			})
		})
	}
	_, err := oauth.AssertionFile(dir)(t.Context())
	assert.EqualError(t, err, fmt.Sprintf("oauth: assertion file %q: not a regular file", dir))

	ended, cancel := context.WithCancel(t.Context())
	cancel()
	_, err = oauth.AssertionFile(filepath.Join(dir, "absent"))(ended)
	assert.ErrorIs(t, err, context.Canceled)
}

// A program whose pod has just started: the first request is not lost for good.
func TestAssertionFileThatComesLaterEndsTheFailure(t *testing.T) {
	path := filepath.Join(t.TempDir(), "token")
	synctest.Test(t, func(t *testing.T) {
		server := testworld.Answering(200, `{"access_token":"access-1"}`)
		tr, err := reauth.New(reauth.Config{
			Refresher: &oauth.Refresher{
				TokenURL: testworld.TokenURL, ClientID: "id", Grant: oauth.ClientCredentials{}, Assertion: oauth.AssertionFile(path), Client: server.Client(),
			},
			Origins: []string{"https://api.example.com"},
			Base:    roundTripper(func(req *http.Request) (*http.Response, error) { return testworld.Respond(req, 200, ""), nil }),
		})
		require.NoError(t, err)
		_, err = tr.Token(t.Context())
		require.ErrorContains(t, err, "assertion file")
		assert.NotErrorIs(t, err, reauth.ErrSignInRequired)
		write(t, path, "eyJ\n")
		time.Sleep(time.Minute) // the pause after the failure
		tok, err := tr.Token(t.Context())
		require.NoError(t, err)
		assert.Equal(t, "access-1", tok.AccessToken)
		assert.Equal(t, "eyJ", server.Last().Form(t).Get("client_assertion"))
	})
}

package otelreauth_test

import (
	"context"
	"errors"
	"net/http"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/reauth-go/reauth"
	"github.com/reauth-go/reauth/cookieauth"
	"github.com/reauth-go/reauth/oauth"
	"github.com/reauth-go/reauth/otelreauth"
	"github.com/reauth-go/reauth/reauthtest"
)

// whole is a Refresher with all optional methods, which is a Credential too.
type whole struct {
	reauth.HeaderCredential
	fault     error
	validated atomic.Int32
	revoked   atomic.Int32
	asked     atomic.Int32
}

func (w *whole) Refresh(context.Context, reauth.Token) (reauth.Token, error) {
	w.asked.Add(1)
	return reauth.Token{AccessToken: "next", RefreshToken: "r"}, nil
}
func (w *whole) Revoke(context.Context, reauth.Token) error { w.revoked.Add(1); return nil }
func (w *whole) NeedsToken() bool                           { return true }
func (w *whole) Validate() error                            { w.validated.Add(1); return w.fault }

func TestTheOptionalMethodsOfARefresherKeepTheirEffect(t *testing.T) {
	tel, server := newTelemetry(t), reauthtest.NewServer(t, reauthtest.Options{})
	w := &whole{HeaderCredential: reauth.HeaderCredential{Name: "X-Token"}}
	tr := tel.transport(server, reauth.Config{Refresher: w})
	assert.Equal(t, int32(1), w.validated.Load())

	_, err := tr.Token(t.Context())
	require.ErrorIs(t, err, reauth.ErrSignInRequired)
	assert.Zero(t, w.asked.Load(), "NeedsToken")

	var header http.Header
	server.HandlePublic("/mirror", http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { header = r.Header }))
	require.NoError(t, tr.SignIn(t.Context(), reauth.Token{AccessToken: "first", RefreshToken: "r"}))
	_, _, err = get(t.Context(), &http.Client{Transport: tr}, server.APIURL("/mirror"), "")
	require.NoError(t, err)
	assert.Equal(t, []string{"Bearer first"}, header["X-Token"], "it is the credential")

	require.NoError(t, tr.SignOut(t.Context()))
	assert.Equal(t, int32(1), w.revoked.Load())
}

func TestACredentialOfTheProgramsOwnStays(t *testing.T) {
	own := reauth.HeaderCredential{Name: "X-Own"}
	cfg := newTelemetry(t).instrument(reauth.Config{Refresher: &whole{}, Credential: own})
	assert.Equal(t, own, cfg.Credential)
}

func TestARefresherWithoutOptionalMethodsGetsNone(t *testing.T) {
	tel, server := newTelemetry(t), reauthtest.NewServer(t, reauthtest.Options{})
	asked := 0
	alone := reauth.RefresherFunc(func(context.Context, reauth.Token) (reauth.Token, error) {
		asked++
		return reauth.Token{AccessToken: "a"}, nil
	})
	tr := tel.transport(server, reauth.Config{Refresher: alone})
	tok, err := tr.Token(t.Context())
	require.NoError(t, err)
	assert.Equal(t, "a", tok.AccessToken)
	assert.Equal(t, 1, asked, "it can answer without a token")
	require.NoError(t, tr.SignOut(t.Context()))

	cfg := tel.instrument(reauth.Config{Refresher: alone})
	_, revokes := cfg.Refresher.(reauth.Revoker)
	assert.False(t, revokes)
	assert.Nil(t, cfg.Credential)
}

func TestARefresherThatIsRevokerAloneCanRevoke(t *testing.T) {
	tel, server := newTelemetry(t), reauthtest.NewServer(t, reauthtest.Options{})
	tr := tel.transport(server, reauth.Config{Refresher: &oauth.Refresher{
		TokenURL: server.TokenURL(), RevocationURL: server.RevocationURL(), ClientID: "test", Client: server.Client(),
	}})
	signIn(t, tr, server)
	require.NoError(t, tr.Session("ann").SignOut(t.Context()))
	assert.Equal(t, 1, server.Counts().Revocations)
}

func TestNewReportsTheFaultsOfTheRefresherOnce(t *testing.T) {
	tel := newTelemetry(t)
	w := &whole{fault: errors.New("it has no URL")}
	for name, cfg := range map[string]reauth.Config{
		"both, by default": {Refresher: w, Origins: []string{"https://a.test"}},
		"both, by name":    {Refresher: w, Credential: w, Origins: []string{"https://a.test"}},
		"refresher alone":  {Refresher: w, Credential: reauth.HeaderCredential{}, Origins: []string{"https://a.test"}},
	} {
		_, err := reauth.New(tel.instrument(cfg))
		assert.EqualError(t, err, "it has no URL", name)
	}
}

func TestNewSaysThatTheRefresherIsMissing(t *testing.T) {
	tel := newTelemetry(t)
	for _, r := range []reauth.Refresher{nil, reauth.RefresherFunc(nil), (*oauth.Refresher)(nil), (*cookieauth.Cookies)(nil)} {
		cfg := reauth.Config{Refresher: r, Origins: []string{"https://a.test"}}
		_, want := reauth.New(cfg)
		_, err := reauth.New(tel.instrument(cfg))
		assert.EqualError(t, err, want.Error())
	}
}

func TestTheProgramsOwnOnEventIsCalledToo(t *testing.T) {
	tel := newTelemetry(t)
	var got []reauth.Event
	cfg := tel.instrument(reauth.Config{OnEvent: func(_ context.Context, e reauth.Event) { got = append(got, e) }})
	e := reauth.Event{Kind: reauth.EventAdopted, Session: "ann", Took: time.Second}
	cfg.OnEvent(t.Context(), e)
	assert.Equal(t, []reauth.Event{e}, got)
	assert.Equal(t, int64(1), tel.counts()["reauth.adoptions"])
}

// A token that comes with an error is worth keeping; see reauth.Refresher.
func TestATokenBesideAnErrorIsPassedOn(t *testing.T) {
	tel := newTelemetry(t)
	want, failed := reauth.Token{RefreshToken: "r2"}, errors.New("failed")
	cfg := tel.instrument(reauth.Config{Refresher: reauth.RefresherFunc(func(context.Context, reauth.Token) (reauth.Token, error) { return want, failed })})
	tok, err := cfg.Refresher.Refresh(t.Context(), reauth.Token{})
	assert.Equal(t, want, tok)
	assert.Equal(t, failed, err)
	assert.Contains(t, attributesOf(tel.span("reauth.refresh").Attributes()), "error.type=_OTHER")
}

func TestAConfigThatIsInstrumentedAlreadyIsAnError(t *testing.T) {
	tel := newTelemetry(t)
	alone := reauth.RefresherFunc(func(context.Context, reauth.Token) (reauth.Token, error) { return reauth.Token{}, nil })
	for _, r := range []reauth.Refresher{&whole{}, alone} {
		_, err := otelreauth.Instrument(tel.instrument(reauth.Config{Refresher: r}))
		assert.EqualError(t, err, "otelreauth: the Config is instrumented already")
	}
}

func TestANilProviderIsTheGlobalOne(t *testing.T) {
	cfg, err := otelreauth.Instrument(reauth.Config{Refresher: &whole{}}, otelreauth.WithMeterProvider(nil), otelreauth.WithTracerProvider(nil))
	require.NoError(t, err)
	cfg.OnEvent(t.Context(), reauth.Event{Kind: reauth.EventAdopted})
	_, err = cfg.Refresher.Refresh(t.Context(), reauth.Token{})
	require.NoError(t, err)
}

// Without an SDK, OpenTelemetry's API does nothing.
func TestTheGlobalProvidersAreTheDefault(t *testing.T) {
	cfg, err := otelreauth.Instrument(reauth.Config{Refresher: &whole{}, Origins: []string{"https://a.test"}})
	require.NoError(t, err)
	tr, err := reauth.New(cfg)
	require.NoError(t, err)
	require.NoError(t, tr.SignIn(t.Context(), reauth.Token{AccessToken: "a", RefreshToken: "r"}))
	tok, err := tr.Refresh(t.Context(), reauth.Token{AccessToken: "a"})
	require.NoError(t, err)
	assert.Equal(t, "next", tok.AccessToken)
}

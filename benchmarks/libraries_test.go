package benchmarks_test

import (
	"context"
	"errors"
	"net/http"
	"sync/atomic"
	"testing"
	"time"

	"cloud.google.com/go/auth"
	"cloud.google.com/go/auth/httptransport"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/policy"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/runtime"
	"github.com/acronis/go-appkit/httpclient"
	"github.com/stretchr/testify/require"
	"golang.org/x/oauth2"

	"github.com/reauth-go/reauth"
	"github.com/reauth-go/reauth/benchmarks"
)

const (
	apiOrigin = "https://api.example.com"
	apiURL    = apiOrigin + "/me"
)

// A token has what all the libraries know of one.
type token struct {
	access string
	expiry time.Time // zero: not known
}

// A setup configures a library.
type setup struct {
	base    http.RoundTripper
	first   token // the library starts with it, and does not check it before it is used
	refresh func(context.Context) (token, error)
	early   time.Duration // how long before it expires a token is refreshed; 0: the library's default

	// bubble is set in a synctest bubble, in which a goroutine that waits for a mutex
	// stops the clock. A library that holds one while it refreshes gets a turnstile.
	bubble bool
}

var errNoRefresh = errors.New("nothing needs a refresh here")

func noRefresh(context.Context) (token, error) { return token{}, errNoRefresh }

// A library makes a RoundTripper that puts tokens on requests.
type library struct {
	name string
	new  func(testing.TB, setup) http.RoundTripper
}

// These are what the libraries are compared with.
var (
	base = library{"base", func(_ testing.TB, s setup) http.RoundTripper { return s.base }}

	floor = library{"floor", func(_ testing.TB, s setup) http.RoundTripper {
		return &benchmarks.Floor{Base: s.base, Value: []string{"Bearer " + s.first.access}}
	}}
)

var libraries = []library{
	{"reauth", newReauth},
	{"oauth2", newOAuth2},
	{"azcore", newAzcore},
	{"appkit", newAppkit},
	{"cloudauth", newCloudAuth},
}

func newReauth(tb testing.TB, s setup) http.RoundTripper {
	tr := newTransport(tb, s, nil)
	require.NoError(tb, tr.SignIn(tb.Context(), reauthToken(s.first)))
	return tr
}

func newTransport(tb testing.TB, s setup, store reauth.Store) *reauth.Transport {
	tr, err := reauth.New(reauth.Config{
		Refresher: reauth.RefresherFunc(func(ctx context.Context, _ reauth.Token) (reauth.Token, error) {
			next, err := s.refresh(ctx)
			return reauthToken(next), err
		}),
		Origins:      []string{apiOrigin},
		Base:         s.base,
		Store:        store,
		EarlyRefresh: s.early,
	})
	require.NoError(tb, err)
	return tr
}

func reauthToken(t token) reauth.Token {
	return reauth.Token{AccessToken: t.access, RefreshToken: "refresh", Expiry: t.expiry}
}

// newOAuth2 is golang.org/x/oauth2. Its sources get no context.
func newOAuth2(_ testing.TB, s setup) http.RoundTripper {
	var source oauth2.TokenSource = tokenSource(func() (*oauth2.Token, error) {
		next, err := s.refresh(context.Background())
		if err != nil {
			return nil, err
		}
		return &oauth2.Token{AccessToken: next.access, Expiry: next.expiry}, nil
	})
	source = oauth2.ReuseTokenSourceWithExpiry(&oauth2.Token{AccessToken: s.first.access, Expiry: s.first.expiry}, source, s.early)
	if s.bubble {
		enter, inner := newTurnstile(), source
		source = tokenSource(func() (*oauth2.Token, error) {
			defer enter()()
			return inner.Token()
		})
	}
	return &oauth2.Transport{Base: s.base, Source: source}
}

type tokenSource func() (*oauth2.Token, error)

func (f tokenSource) Token() (*oauth2.Token, error) { return f() }

// newTurnstile returns a function that lets one caller through at a time, until the
// function it returns is called. In front of a library that holds a mutex while it
// refreshes, it changes only what the other callers wait on.
func newTurnstile() (enter func() (leave func())) {
	slot := make(chan struct{}, 1)
	return func() func() {
		slot <- struct{}{}
		return func() { <-slot }
	}
}

// newAzcore is azcore's bearer token policy. A policy needs a pipeline. Everything
// that can be turned off in it is off.
func newAzcore(tb testing.TB, s setup) http.RoundTripper {
	// The only way to give it a token is to let it ask for one.
	given := s
	given.refresh = func(context.Context) (token, error) { return s.first, nil }
	c := &azCredential{setup: given}
	bearer := runtime.NewBearerTokenPolicy(c, []string{"scope"}, nil)
	req, err := http.NewRequestWithContext(tb.Context(), http.MethodGet, apiURL, nil)
	require.NoError(tb, err)
	_, err = newAzPipeline(bearer, nowhere{}).RoundTrip(req)
	require.NoError(tb, err)

	c.setup = s
	return newAzPipeline(bearer, s.base)
}

type azCredential struct{ setup }

func (c *azCredential) GetToken(ctx context.Context, _ policy.TokenRequestOptions) (azcore.AccessToken, error) {
	next, err := c.refresh(ctx)
	if err != nil {
		return azcore.AccessToken{}, err
	}
	tok := azcore.AccessToken{Token: next.access, ExpiresOn: next.expiry}
	if tok.ExpiresOn.IsZero() {
		tok.ExpiresOn = time.Now().Add(24 * time.Hour) // it requires one
	}
	if c.early != 0 {
		tok.RefreshOn = tok.ExpiresOn.Add(-c.early)
	}
	return tok, nil
}

type azPipeline struct{ runtime.Pipeline }

func newAzPipeline(bearer policy.Policy, base http.RoundTripper) azPipeline {
	return azPipeline{runtime.NewPipeline("benchmarks", "v1.0.0",
		runtime.PipelineOptions{PerRetry: []policy.Policy{bearer}},
		&policy.ClientOptions{
			Retry:     policy.RetryOptions{MaxRetries: -1},
			Telemetry: policy.TelemetryOptions{Disabled: true},
			Transport: transporter{base},
		})}
}

func (p azPipeline) RoundTrip(req *http.Request) (*http.Response, error) {
	r, err := runtime.NewRequestFromRequest(req)
	if err != nil {
		return nil, err
	}
	return p.Do(r)
}

type transporter struct{ base http.RoundTripper }

func (t transporter) Do(req *http.Request) (*http.Response, error) { return t.base.RoundTrip(req) }

// nowhere is a base that sends nothing.
type nowhere struct{}

func (nowhere) RoundTrip(*http.Request) (*http.Response, error) {
	return &http.Response{StatusCode: http.StatusOK, Body: http.NoBody}, nil
}

// newAppkit is go-appkit's bearer round tripper. It leaves the source of tokens to its
// user.
func newAppkit(_ testing.TB, s setup) http.RoundTripper {
	p := &appkitProvider{setup: s, slot: make(chan struct{}, 1)}
	p.current.Store(&s.first)
	return httpclient.NewAuthBearerRoundTripper(s.base, p)
}

// An appkitProvider is the least that go-appkit's user has to write. It keeps a token,
// fetches another when that has expired or been invalidated, and allows one fetch at a
// time. No caller waits longer than its context allows.
type appkitProvider struct {
	setup
	current atomic.Pointer[token]
	slot    chan struct{}
}

func (p *appkitProvider) GetToken(ctx context.Context, _ ...string) (string, error) {
	if t := p.fresh(); t != nil {
		return t.access, nil
	}
	select {
	case p.slot <- struct{}{}:
		defer func() { <-p.slot }()
	case <-ctx.Done():
		return "", context.Cause(ctx)
	}
	if t := p.fresh(); t != nil {
		return t.access, nil
	}
	next, err := p.refresh(ctx)
	if err != nil {
		return "", err
	}
	p.current.Store(&next)
	return next.access, nil
}

func (p *appkitProvider) fresh() *token {
	t := p.current.Load()
	if t == nil || !t.expiry.IsZero() && time.Until(t.expiry) <= p.early {
		return nil
	}
	return t
}

func (p *appkitProvider) Invalidate() { p.current.Store(nil) }

// newCloudAuth is cloud.google.com/go/auth/httptransport, with the least code.
func newCloudAuth(tb testing.TB, s setup) http.RoundTripper {
	// The only way to give it a token is to let it ask for one.
	refresh := func(context.Context) (token, error) { return s.first, nil }
	provider := auth.NewCachedTokenProvider(tokenProvider(func(ctx context.Context) (*auth.Token, error) {
		next, err := refresh(ctx)
		if err != nil {
			return nil, err
		}
		return &auth.Token{Value: next.access, Expiry: next.expiry}, nil
	}), &auth.CachedTokenProviderOptions{ExpireEarly: s.early})
	_, err := provider.Token(tb.Context())
	require.NoError(tb, err)

	refresh = s.refresh
	if s.bubble {
		enter, inner := newTurnstile(), provider
		provider = tokenProvider(func(ctx context.Context) (*auth.Token, error) {
			defer enter()()
			return inner.Token(ctx)
		})
	}
	client := &http.Client{Transport: s.base}
	credentials := auth.NewCredentials(&auth.CredentialsOptions{TokenProvider: provider})
	require.NoError(tb, httptransport.AddAuthorizationMiddleware(client, credentials))
	return client.Transport
}

type tokenProvider func(context.Context) (*auth.Token, error)

func (f tokenProvider) Token(ctx context.Context) (*auth.Token, error) { return f(ctx) }

package main

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"log/slog"
	"net/http"
	"net/url"
	"time"

	"github.com/reauth-go/reauth"
	"github.com/reauth-go/reauth/oauth"
)

// A config configures a backend.
type config struct {
	api                     *url.URL // the target of paths below /api/
	tokenURL, revocationURL string
	clientID, clientSecret  string
	store                   reauth.Store
	secure                  bool          // the browser uses HTTPS
	clientTime              time.Duration // see withBodyDeadline; 0 means the default
	log                     *slog.Logger
}

// replayBuffer is how much of an upload is kept in case it has to be sent again. A longer
// one asks the API first; see newProxy.
const replayBuffer = 256 << 10

// newTransport returns the Transport for the sessions of all users.
func newTransport(cfg config, live *live) (*reauth.Transport, error) {
	base := http.DefaultTransport.(*http.Transport).Clone()
	base.MaxIdleConnsPerHost = 100 // all calls go to one host
	logEvent := reauth.LogEvents(cfg.log)
	return reauth.New(reauth.Config{
		Refresher: &oauth.Refresher{
			TokenURL:      cfg.tokenURL,
			RevocationURL: cfg.revocationURL,
			ClientID:      cfg.clientID,
			ClientSecret:  cfg.clientSecret,
		},
		Origins:        []string{cfg.api.Scheme + "://" + cfg.api.Host},
		Base:           base,
		Store:          cfg.store,
		RequireSession: true, // a handler that forgets to pick one fails
		ReplayBuffer:   replayBuffer,
		// The demo's API revokes tokens on demand, also those that a refresh has just
		// brought. Leave this out for other APIs.
		RefreshPause: -1,
		OnEvent: func(ctx context.Context, e reauth.Event) {
			logEvent(ctx, e)
			live.publish(e)
		},
	})
}

// sessionName returns the session of a cookie. A name that is read in the store or in a
// log cannot be turned into a cookie.
func sessionName(cookie string) string {
	sum := sha256.Sum256([]byte(cookie))
	return hex.EncodeToString(sum[:])
}

// withSession returns r with the session of its browser, if it has one.
func (b *backend) withSession(r *http.Request) (_ *http.Request, ok bool) {
	cookie, err := r.Cookie(b.cookie("").Name)
	if err != nil || cookie.Value == "" {
		return r, false
	}
	return r.WithContext(reauth.WithSession(r.Context(), sessionName(cookie.Value))), true
}

// cookie returns the cookie for the browser. No script can read it, and no other site can
// make the browser send it with a POST.
func (b *backend) cookie(value string) *http.Cookie {
	c := &http.Cookie{
		Name: "bff", Value: value, Path: "/",
		HttpOnly: true, SameSite: http.SameSiteLaxMode, Secure: b.secure,
	}
	if b.secure {
		c.Name = "__Host-bff" // which no other host of the domain can set
	}
	return c
}

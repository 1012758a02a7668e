package oauth

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"runtime"
	"sync"
	"time"
	"weak"

	"github.com/reauth-go/reauth"
	"github.com/reauth-go/reauth/internal/redact"
)

const (
	// How long discovered endpoints are used before they are looked up again.
	discoveryLifetime = time.Hour

	// Looking them up again must not use up the time of the refresh, which can do with
	// the ones known so far.
	rediscoveryTimeout = 5 * time.Second

	// After an attempt to look them up again that failed.
	rediscoveryPause = time.Minute
)

// endpoints returns the URLs of the token endpoint, and of the revocation endpoint if one
// was discovered.
func (r *Refresher) endpoints(ctx context.Context) (token, revocation string, err error) {
	if !r.discovers() {
		return r.TokenURL, "", nil
	}
	m, err := r.discovery().metadata(ctx, r.Issuer, r.Client)
	if err != nil {
		if answer, ok := errors.AsType[*answerError](err); ok {
			err = &reauth.RefreshError{StatusCode: answer.status, RetryAfter: answer.retryAfter, Err: err}
		}
		return "", "", err
	}
	if m.TokenEndpoint == "" {
		return "", "", fmt.Errorf("oauth: discovering %s: the server names no token endpoint", redact.URL(r.Issuer))
	}
	return m.TokenEndpoint, m.RevocationEndpoint, nil
}

func (r *Refresher) discovers() bool { return r.TokenURL == "" && r.Issuer != "" }

// unanswered notes that an endpoint gave no answer, or is not there, because it may have
// moved. status is 0 if there was no answer.
func (r *Refresher) unanswered(status int) {
	switch status {
	case 0, http.StatusNotFound, http.StatusMethodNotAllowed, http.StatusGone:
		if r.discovers() {
			r.discovery().outdate()
		}
	}
}

// discoveries has a *discovery for each *Refresher that has had one, by its weak.Pointer.
// It is no field of the Refresher, because a Refresher is copied, also when it is printed,
// while others use it.
var discoveries sync.Map

func (r *Refresher) discovery() *discovery {
	if d, ok := discoveries.Load(weak.Make(r)); ok {
		return d.(*discovery)
	}
	return r.keepDiscovery(&discovery{turn: make(chan struct{}, 1)})
}

// shareDiscovery makes r, which is new, discover together with another Refresher.
func (r *Refresher) shareDiscovery(with *Refresher) {
	if r.discovers() {
		r.keepDiscovery(with.discovery())
	}
}

// keepDiscovery keeps a discovery for as long as r is used, and returns the one that is
// kept.
func (r *Refresher) keepDiscovery(d *discovery) *discovery {
	key := weak.Make(r)
	kept, loaded := discoveries.LoadOrStore(key, d)
	if !loaded {
		runtime.AddCleanup(r, func(key weak.Pointer[Refresher]) { discoveries.Delete(key) }, key)
	}
	return kept.(*discovery)
}

// A discovery is the Metadata that the callers of a Refresher share.
type discovery struct {
	turn chan struct{} // held by the one caller that looks it up

	mu     sync.Mutex
	known  *Metadata // nil if it was never found
	until  time.Time // when known is to be looked up again
	rounds int       // how often it was looked up
	failed error     // of the last round
}

// metadata returns what is known, or looks it up. Callers that come meanwhile wait for the
// same answer, each on its own context, and get its error too, unless that is about
// the context of the caller that looked.
func (d *discovery) metadata(ctx context.Context, issuer string, client *http.Client) (*Metadata, error) {
	m, came, _ := d.current(-1)
	if m != nil {
		return m, nil
	}
	select {
	case d.turn <- struct{}{}:
		defer func() { <-d.turn }()
	case <-ctx.Done():
		return nil, fmt.Errorf("oauth: discovering %s: %w", redact.URL(issuer), ctx.Err())
	}
	m, _, err := d.current(came)
	if m != nil || err != nil {
		return m, err
	}
	d.mu.Lock()
	old := d.known
	d.mu.Unlock()
	within := ctx
	if old != nil {
		var cancel context.CancelFunc
		within, cancel = context.WithTimeout(ctx, rediscoveryTimeout)
		defer cancel()
	}
	m, err = Discover(within, issuer, client)
	return d.land(ctx, m, err)
}

// current returns what is known and need not be looked up, or the error of a round that
// has ended since the caller came.
func (d *discovery) current(came int) (m *Metadata, rounds int, err error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	switch {
	case d.known != nil && time.Now().Before(d.until):
		return d.known, d.rounds, nil
	case came >= 0 && d.rounds > came:
		return nil, d.rounds, d.failed
	}
	return nil, d.rounds, nil
}

// land keeps what a round has brought.
func (d *discovery) land(ctx context.Context, m *Metadata, err error) (*Metadata, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	switch {
	case err == nil:
		d.known, d.until = m, time.Now().Add(discoveryLifetime)
	case ctx.Err() != nil: // of this caller alone
		return nil, err
	case d.known != nil: // an endpoint outlives the document that names it
		d.until = time.Now().Add(rediscoveryPause)
		m, err = d.known, nil
	}
	d.rounds++
	d.failed = err
	return m, err
}

// outdate makes the next caller look again.
func (d *discovery) outdate() {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.until = time.Time{}
}

package main

import (
	"encoding/json"
	"fmt"
	"net/http"
	"sync"
	"time"

	"github.com/reauth-go/reauth"
)

// A live tells pages what happens to their own session, as it happens.
type live struct {
	closed chan struct{}
	close  func()

	mu    sync.Mutex
	views map[string]map[chan reauth.Event]bool // by session
}

func newLive() *live {
	l := &live{closed: make(chan struct{}), views: make(map[string]map[chan reauth.Event]bool)}
	l.close = sync.OnceFunc(func() { close(l.closed) })
	return l
}

// publish is called by the Transport and must not wait: a page that does not keep
// up misses something.
func (l *live) publish(e reauth.Event) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for view := range l.views[e.Session] {
		select {
		case view <- e:
		default:
		}
	}
}

// watch returns the events of a session from now on.
func (l *live) watch(session string) (events <-chan reauth.Event, leave func()) {
	view := make(chan reauth.Event, 256)
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.views[session] == nil {
		l.views[session] = make(map[chan reauth.Event]bool)
	}
	l.views[session][view] = true
	return view, func() {
		l.mu.Lock()
		defer l.mu.Unlock()
		delete(l.views[session], view)
		if len(l.views[session]) == 0 {
			delete(l.views, session)
		}
	}
}

// serveEvents streams the events of the browser's session, as server-sent events.
func (b *backend) serveEvents(w http.ResponseWriter, r *http.Request) {
	r, _ = b.withSession(r)
	signedIn, err := b.signedIn(r)
	switch {
	case err != nil:
		writeFailure(w, r, err, b.log)
		return
	case !signedIn:
		writeError(w, http.StatusUnauthorized, "sign_in_required")
		return
	}
	events, leave := b.live.watch(reauth.SessionFromContext(r.Context()))
	defer leave()
	w.Header().Set("Content-Type", "text/event-stream")
	out := http.NewResponseController(w)
	// A comment from time to time shows whether the browser is still there.
	pulse := time.NewTicker(15 * time.Second)
	defer pulse.Stop()
	_, err = fmt.Fprint(w, "retry: 1000\n\n")
	for err == nil {
		if err = out.Flush(); err != nil {
			return
		}
		select {
		case e := <-events:
			err = writeEvent(w, e)
			for range len(events) { // a storm comes in one piece
				if err == nil {
					err = writeEvent(w, <-events)
				}
			}
		case <-pulse.C:
			_, err = fmt.Fprint(w, ":\n\n")
		case <-r.Context().Done():
			return
		case <-b.live.closed:
			return
		}
	}
}

// writeEvent writes what happened and how long it took. Why something failed is
// for the log.
func writeEvent(w http.ResponseWriter, e reauth.Event) error {
	text, err := json.Marshal(struct {
		Kind string  `json:"kind"`
		Took float64 `json:"took"` // ms
	}{e.Kind.String(), float64(e.Took) / float64(time.Millisecond)})
	if err != nil {
		return err
	}
	_, err = fmt.Fprintf(w, "data: %s\n\n", text)
	return err
}

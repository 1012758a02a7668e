package main

import (
	"encoding/json"
	"fmt"
	"net/http"
	"sync"
	"time"

	"github.com/reauth-go/reauth"
)

// A live reports events to the pages of their session.
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

// publish is called by the Transport and must not wait. A page that is too slow misses
// events.
func (l *live) publish(e reauth.Event) {
	l.mu.Lock()
	defer l.mu.Unlock()
	ended := e.Kind == reauth.EventSignedOut || e.Kind == reauth.EventSignInRequired
	for view := range l.views[e.Session] {
		select {
		case view <- e:
		default:
		}
		if ended {
			close(view)
		}
	}
	if ended {
		delete(l.views, e.Session)
	}
}

// mostViews is the number of views that a session may have at once. Each takes a
// connection and a goroutine.
const mostViews = 16

// watch returns the events of a session from now on until it ends, unless the session has
// too many views.
func (l *live) watch(session string) (events <-chan reauth.Event, leave func(), ok bool) {
	view := make(chan reauth.Event, 256)
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(l.views[session]) >= mostViews {
		return nil, nil, false
	}
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
	}, true
}

// serveEvents streams the events of the browser's session, as server-sent events.
func (b *backend) serveEvents(w http.ResponseWriter, r *http.Request) {
	events, leave, ok := b.live.watch(reauth.SessionFromContext(r.Context()))
	if !ok {
		writeError(w, http.StatusTooManyRequests, "too_many_views")
		return
	}
	defer leave()
	w.Header().Set("Content-Type", "text/event-stream")
	out := http.NewResponseController(w)
	// A comment from time to time shows whether the browser is still connected.
	pulse := time.NewTicker(15 * time.Second)
	defer pulse.Stop()
	_, err := fmt.Fprint(w, "retry: 1000\n\n")
	for err == nil {
		if err = out.Flush(); err != nil {
			return
		}
		select {
		case e, ok := <-events:
			if !ok {
				return
			}
			err = writeEvent(w, e)
			for range len(events) { // events of a storm are sent together
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

// writeEvent writes the kind of an event and how long it took. The error goes to the log
// only.
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

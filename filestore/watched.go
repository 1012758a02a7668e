package filestore

import (
	"crypto/sha256"
	"maps"
	"slices"
	"sync"
)

// content tells the contents of token files apart.
type content string

const (
	absent     content = "absent"
	unreadable content = "unreadable"
	unknown    content = "unknown"
)

func contentOf(data []byte) content {
	sum := sha256.Sum256(data)
	return content(sum[:])
}

// mostWatched is how many sessions a Store keeps for its Watches. They take a few hundred
// bytes each.
const mostWatched = 1 << 15

// watches are the calls of Watch that are in progress on a Store, and what they need to know
// about its other calls. Without a Watch nothing is kept.
type watches struct {
	mu       sync.Mutex
	running  map[*watch]struct{}
	sessions map[string]*watched // by the name of their files
	most     int                 // of sessions; 0 means mostWatched
}

// watched is a session that the Store was asked about. Those who are asked compare the
// pointer, which is another one if the session was forgotten meanwhile.
type watched struct {
	session string
	// own is what this Store has written last. It has more than one while it is being
	// written, and none if the Store has found what somebody else has written.
	own []content
}

func (ws *watches) join(w *watch) {
	ws.mu.Lock()
	defer ws.mu.Unlock()
	if ws.running == nil {
		ws.running = make(map[*watch]struct{})
		ws.sessions = make(map[string]*watched)
	}
	ws.running[w] = struct{}{}
}

func (ws *watches) leave(w *watch) {
	ws.mu.Lock()
	defer ws.mu.Unlock()
	if delete(ws.running, w); len(ws.running) == 0 {
		ws.running, ws.sessions = nil, nil
	}
}

// ask notes that the Store is asked about a session, before it looks at the files.
func (ws *watches) ask(session, name string) *watched {
	ws.mu.Lock()
	defer ws.mu.Unlock()
	if len(ws.running) == 0 {
		return nil
	}
	return ws.add(session, name)
}

// add is ask. ws.mu is held.
func (ws *watches) add(session, name string) *watched {
	if s := ws.sessions[name]; s != nil {
		return s
	}
	most := ws.most
	if most == 0 {
		most = mostWatched
	}
	if len(ws.sessions) >= most {
		// Whoever uses one of them again after missed asks about it again.
		clear(ws.sessions)
		for w := range ws.running {
			w.lost = true
			w.rouse()
		}
	}
	s := &watched{session: session}
	ws.sessions[name] = s
	return s
}

// found notes what a call of the Store has found or left, which began with ask.
func (ws *watches) found(session, name string, asked *watched, c content) {
	ws.mu.Lock()
	defer ws.mu.Unlock()
	if len(ws.running) == 0 {
		return
	}
	s := ws.add(session, name)
	foreign := !s.isOwn(c)
	if s != asked || foreign && len(s.own) > 0 {
		// What came after that which the call has found may have gone unheard: the session was
		// not noted, or its token was taken for one that this Store has written.
		ws.suspect(name, c)
	}
	if foreign {
		s.own = nil
	}
	for w := range ws.running {
		switch k := w.known[name]; {
		case k == nil:
			if w.known == nil {
				w.known = make(map[string]*known)
			}
			w.known[name] = &known{content: c}
		case k.content != c:
			k.stirred = true
		}
	}
}

// writing notes what the Store is about to write, so that nobody is told of it.
func (ws *watches) writing(name string, c content) {
	ws.mu.Lock()
	defer ws.mu.Unlock()
	if s := ws.sessions[name]; s != nil {
		// Those before may still be in the file.
		s.own = append(s.own[max(0, len(s.own)-2):], c)
	}
}

// notDeleted takes back writing: the Store may not have removed the file, so somebody else has
// if it is gone.
func (ws *watches) notDeleted(name string) {
	ws.mu.Lock()
	defer ws.mu.Unlock()
	if s := ws.sessions[name]; s != nil {
		s.own = slices.DeleteFunc(s.own, func(c content) bool { return c == absent })
		ws.suspect(name, unknown)
	}
}

// suspect makes each Watch look at a token file, and tell if it is not as it was found. ws.mu
// is held.
func (ws *watches) suspect(name string, found content) {
	for w := range ws.running {
		if w.suspects == nil {
			w.suspects = make(map[string]content)
		}
		if before, ok := w.suspects[name]; ok && before != found {
			w.suspects[name] = unknown
		} else {
			w.suspects[name] = found
		}
		w.rouse()
	}
}

// wrote is found after writing.
func (ws *watches) wrote(session, name string, asked *watched, c content) {
	ws.mu.Lock()
	if s := ws.sessions[name]; s != nil && s == asked {
		s.own = append(s.own[:0], c)
	}
	ws.mu.Unlock()
	ws.found(session, name, asked, c)
}

func (s *watched) isOwn(c content) bool { return slices.Contains(s.own, c) }

func (ws *watches) isOwn(name string, c content) bool {
	ws.mu.Lock()
	defer ws.mu.Unlock()
	s := ws.sessions[name]
	return s != nil && s.isOwn(c)
}

// session returns the session whose files have the name.
func (ws *watches) session(name string) (session string, ok bool) {
	ws.mu.Lock()
	defer ws.mu.Unlock()
	s := ws.sessions[name]
	if s == nil {
		return "", false
	}
	return s.session, true
}

// names returns the names of the files of all sessions.
func (ws *watches) names() []string {
	ws.mu.Lock()
	defer ws.mu.Unlock()
	return slices.Collect(maps.Keys(ws.sessions))
}

// rouse makes w catch up. ws.mu is held.
func (w *watch) rouse() {
	select {
	case w.wake <- struct{}{}:
	default:
	}
}

// take returns what w has to catch up with.
func (ws *watches) take(w *watch) (suspects map[string]content, lost bool) {
	ws.mu.Lock()
	defer ws.mu.Unlock()
	suspects, lost = w.suspects, w.lost
	w.suspects, w.lost = nil, false
	return suspects, lost
}

// forget makes w forget what it knows, because all sessions will be asked about anew.
func (ws *watches) forget(w *watch) {
	ws.mu.Lock()
	defer ws.mu.Unlock()
	w.known = nil
}

// learn notes what w has seen.
func (ws *watches) learn(w *watch, name string, c content) {
	ws.mu.Lock()
	defer ws.mu.Unlock()
	if k := w.known[name]; k != nil {
		*k = known{content: c}
	}
}

// glance returns what w knows of a token file. From then on it is noted anew whether the Store
// finds another content.
func (ws *watches) glance(w *watch, name string) (known, bool) {
	ws.mu.Lock()
	defer ws.mu.Unlock()
	k := w.known[name]
	if k == nil {
		return known{}, false
	}
	before := *k
	k.stirred = false
	return before, true
}

// record notes what w knows of a token file from now on. It returns the session.
func (ws *watches) record(w *watch, name string, is known) (session string, ok bool) {
	ws.mu.Lock()
	defer ws.mu.Unlock()
	k, s := w.known[name], ws.sessions[name]
	if k == nil || s == nil {
		return "", false
	}
	is.stirred = k.stirred
	*k = is
	return s.session, true
}

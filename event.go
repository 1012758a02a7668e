package reauth

import (
	"context"
	"log/slog"
	"strconv"
	"time"
)

// An Event tells what happened to a session. It holds no secret.
type Event struct {
	Kind    EventKind
	Session string

	// Err is why, for EventRefreshFailed, EventSaveOwed and EventSignInRequired;
	// for EventSignedOut it is what SignOut returned. Otherwise it is nil.
	Err error

	// Took is how long it took, for events that end something: the refresh for
	// EventRefreshed and EventRefreshFailed, and from the refusal to the second
	// answer for EventReplayed.
	Took time.Duration
}

// An EventKind is what an [Event] is about. The zero value is no event.
type EventKind int

// The events of a session. A refresh that ends in EventSignInRequired is
// reported by EventRefreshFailed first.
const (
	EventRefreshStarted EventKind = iota + 1 // the refresher is about to be asked
	EventRefreshed                           // a refresh brought a new token
	EventRefreshFailed                       // a refresh, or the way to it, failed
	EventAdopted                             // a token that another process stored was taken instead
	EventReplayed                            // a refused request was sent again and answered
	EventSaveOwed                            // a new token is in use, but the store could not be given it yet
	EventSignedIn                            // SignIn
	EventSignedOut                           // SignOut
	EventSignInRequired                      // the session has lost its token for good; once per loss
)

var eventNames = [...]string{
	EventRefreshStarted: "refresh started",
	EventRefreshed:      "refreshed",
	EventRefreshFailed:  "refresh failed",
	EventAdopted:        "adopted",
	EventReplayed:       "replayed",
	EventSaveOwed:       "save owed",
	EventSignedIn:       "signed in",
	EventSignedOut:      "signed out",
	EventSignInRequired: "sign-in required",
}

// String returns the kind in words.
func (k EventKind) String() string {
	if k > 0 && int(k) < len(eventNames) {
		return eventNames[k]
	}
	return "EventKind(" + strconv.Itoa(int(k)) + ")"
}

// LogEvents returns an OnEvent that writes each event to l: at level Debug what
// happens all day, Info sign-ins and sign-outs, Warn what failed or is owed. A
// nil l means [slog.Default], as it is when the event happens.
func LogEvents(l *slog.Logger) func(context.Context, Event) {
	return func(ctx context.Context, e Event) {
		level := slog.LevelDebug
		switch e.Kind {
		case EventSignedIn, EventSignedOut, EventSignInRequired:
			level = slog.LevelInfo
		case EventRefreshFailed, EventSaveOwed:
			level = slog.LevelWarn
		}
		logger := l
		if logger == nil {
			logger = slog.Default()
		}
		attrs := make([]slog.Attr, 0, 3)
		attrs = append(attrs, slog.String("session", e.Session))
		if e.Took != 0 {
			attrs = append(attrs, slog.Duration("took", e.Took))
		}
		if e.Err != nil {
			attrs = append(attrs, slog.String("error", e.Err.Error()))
		}
		logger.LogAttrs(ctx, level, "reauth: "+e.Kind.String(), attrs...)
	}
}

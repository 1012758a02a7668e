package reauth

import (
	"context"
	"log/slog"
	"strconv"
	"time"
)

// An Event reports what happened to a session. It contains no secret.
type Event struct {
	Kind    EventKind
	Session string

	// Err is the cause of EventRefreshFailed, EventRefusalKept (it matches ErrRefusalKept),
	// EventSaveFailed and EventSignInRequired. For EventSignedOut it is what SignOut returned. Otherwise it is
	// nil.
	Err error

	// Took is a duration, for events that end something: of the refresh for EventRefreshed
	// and EventRefreshFailed, from the refusal to the second response for EventReplayed,
	// of the wait for EventWaited and EventLocked, and since the save first failed for
	// EventSavedLate. Of an EventRefreshFailed it is 0 exactly if the refresher was not
	// called.
	Took time.Duration
}

// An EventKind is what an [Event] is about. The zero value is not an event.
type EventKind int

// The events of a session. A refresh that ends in EventSignInRequired is first reported
// by EventRefreshFailed.
const (
	EventRefreshStarted EventKind = iota + 1 // the refresher, or the function of an Update, is about to be called
	EventRefreshed                           // a refresh brought a new token
	EventRefreshFailed                       // a refresh, or what comes before it, failed
	EventAdopted                             // a token that another process stored replaced the old one
	EventReplayed                            // a refused request was sent again and answered
	EventWaited                              // a request or call waited for a refresh
	EventRefusalKept                         // a refusal was handed to the caller without a refresh; Err says why
	EventSaveFailed                          // a new token is in use, but its save is pending; repeated every quarter of an hour
	EventSavedLate                           // a pending save was done
	EventLocked                              // the session was locked in the store
	EventSignedIn                            // SignIn
	EventSignedOut                           // SignOut
	EventSignInRequired                      // the session has lost its token for good; once per loss
)

var eventNames = [...]string{
	EventRefreshStarted: "refresh_started",
	EventRefreshed:      "refreshed",
	EventRefreshFailed:  "refresh_failed",
	EventAdopted:        "adopted",
	EventReplayed:       "replayed",
	EventWaited:         "waited",
	EventRefusalKept:    "refusal_kept",
	EventSaveFailed:     "save_failed",
	EventSavedLate:      "saved_late",
	EventLocked:         "locked",
	EventSignedIn:       "signed_in",
	EventSignedOut:      "signed_out",
	EventSignInRequired: "sign_in_required",
}

// String returns the kind's name, such as "refresh_started".
func (k EventKind) String() string {
	if k > 0 && int(k) < len(eventNames) {
		return eventNames[k]
	}
	return "EventKind(" + strconv.Itoa(int(k)) + ")"
}

// LogEvents returns an OnEvent that writes each event to l: routine events at level Debug,
// sign-ins and sign-outs at Info, and failures at Warn. If l is nil it writes to
// [slog.Default], as it is when the event happens.
func LogEvents(l *slog.Logger) func(context.Context, Event) {
	return func(ctx context.Context, e Event) {
		level := slog.LevelDebug
		switch e.Kind {
		case EventSignedIn, EventSignedOut, EventSignInRequired:
			level = slog.LevelInfo
		case EventRefreshFailed, EventSaveFailed:
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

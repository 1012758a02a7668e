package reauth_test

import (
	"bytes"
	"context"
	"errors"
	"log"
	"log/slog"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"

	"github.com/reauth-go/reauth"
)

func TestEventKindsPrintAsTheirNames(t *testing.T) {
	for kind, want := range map[reauth.EventKind]string{
		reauth.EventRefreshStarted: "refresh_started",
		reauth.EventRefreshed:      "refreshed",
		reauth.EventRefreshFailed:  "refresh_failed",
		reauth.EventAdopted:        "adopted",
		reauth.EventReplayed:       "replayed",
		reauth.EventWaited:         "waited",
		reauth.EventRefusalKept:    "refusal_kept",
		reauth.EventSaveFailed:     "save_failed",
		reauth.EventSavedLate:      "saved_late",
		reauth.EventLocked:         "locked",
		reauth.EventSignedIn:       "signed_in",
		reauth.EventSignedOut:      "signed_out",
		reauth.EventSignInRequired: "sign_in_required",
		0:                          "EventKind(0)",
		-1:                         "EventKind(-1)",
		99:                         "EventKind(99)",
	} {
		assert.Equal(t, want, kind.String())
	}
	assert.Equal(t, "EventKind(14)", (reauth.EventSignInRequired + 1).String(), "the last one has a name above")
}

func TestLogEvents(t *testing.T) {
	failed := errors.New("it failed")
	for want, event := range map[string]reauth.Event{
		`level=DEBUG msg="reauth: refresh_started" session=ann`:                         {Kind: reauth.EventRefreshStarted, Session: "ann"},
		`level=DEBUG msg="reauth: refreshed" session="" took=1s`:                        {Kind: reauth.EventRefreshed, Took: time.Second},
		`level=DEBUG msg="reauth: adopted" session=ann`:                                 {Kind: reauth.EventAdopted, Session: "ann"},
		`level=DEBUG msg="reauth: replayed" session=ann took=2ms`:                       {Kind: reauth.EventReplayed, Session: "ann", Took: 2 * time.Millisecond},
		`level=WARN msg="reauth: refresh_failed" session=ann took=1s error="it failed"`: {Kind: reauth.EventRefreshFailed, Session: "ann", Took: time.Second, Err: failed},
		`level=WARN msg="reauth: save_failed" session=ann error="it failed"`:            {Kind: reauth.EventSaveFailed, Session: "ann", Err: failed},
		`level=DEBUG msg="reauth: waited" session=ann took=1s`:                          {Kind: reauth.EventWaited, Session: "ann", Took: time.Second},
		`level=DEBUG msg="reauth: refusal_kept" session=ann error="it failed"`:          {Kind: reauth.EventRefusalKept, Session: "ann", Err: failed},
		`level=DEBUG msg="reauth: saved_late" session=ann took=1m0s`:                    {Kind: reauth.EventSavedLate, Session: "ann", Took: time.Minute},
		`level=DEBUG msg="reauth: locked" session=ann took=2s`:                          {Kind: reauth.EventLocked, Session: "ann", Took: 2 * time.Second},
		`level=INFO msg="reauth: signed_in" session=ann`:                                {Kind: reauth.EventSignedIn, Session: "ann"},
		`level=INFO msg="reauth: signed_out" session=ann error="it failed"`:             {Kind: reauth.EventSignedOut, Session: "ann", Err: failed},
		`level=INFO msg="reauth: sign_in_required" session=ann error="it failed"`:       {Kind: reauth.EventSignInRequired, Session: "ann", Err: failed},
	} {
		var out bytes.Buffer
		logger := slog.New(slog.NewTextHandler(&out, &slog.HandlerOptions{Level: slog.LevelDebug, ReplaceAttr: func(_ []string, a slog.Attr) slog.Attr {
			if a.Key == slog.TimeKey {
				return slog.Attr{}
			}
			return a
		}}))
		reauth.LogEvents(logger)(context.Background(), event)
		assert.Equal(t, want+"\n", out.String())
	}
}

func TestLogEventsWithoutALoggerUsesTheDefaultOfTheMoment(t *testing.T) {
	handle := reauth.LogEvents(nil)
	defer slog.SetDefault(slog.Default())
	defer log.SetFlags(log.Flags()) // which SetDefault changes, and does not restore
	defer log.SetOutput(log.Writer())
	var out bytes.Buffer
	slog.SetDefault(slog.New(slog.NewTextHandler(&out, nil)))
	handle(t.Context(), reauth.Event{Kind: reauth.EventSignedIn})
	assert.Contains(t, out.String(), "signed_in")
}

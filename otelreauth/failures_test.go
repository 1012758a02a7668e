package otelreauth_test

import (
	"cmp"
	"context"
	"errors"
	"net"
	"net/http"
	"path/filepath"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/reauth-go/reauth"
	"github.com/reauth-go/reauth/oauth"
	"github.com/reauth-go/reauth/reauthtest"
)

// fullStore is a store that can be full, or out of reach.
type fullStore struct {
	reauth.MemoryStore
	isFull, isAway atomic.Bool
}

func (s *fullStore) Save(ctx context.Context, session string, tok reauth.Token) error {
	if s.isFull.Load() {
		return errors.New("the disk is full")
	}
	return s.MemoryStore.Save(ctx, session, tok)
}

func (s *fullStore) Lock(ctx context.Context, session string) (context.Context, func(), error) {
	if s.isAway.Load() {
		return nil, nil, errors.New("no connection")
	}
	return s.MemoryStore.Lock(ctx, session)
}

func TestFailuresAreToldApart(t *testing.T) {
	closed := func(t *testing.T) string {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		require.NoError(t, err)
		require.NoError(t, l.Close())
		return "http://" + l.Addr().String()
	}
	refresher := func(f func(context.Context) (reauth.Token, error)) reauth.Refresher {
		return reauth.RefresherFunc(func(ctx context.Context, _ reauth.Token) (reauth.Token, error) { return f(ctx) })
	}
	for name, in := range map[string]struct {
		want      string // if not the name
		failure   *reauthtest.Failure
		refresher reauth.Refresher
		away      bool
		inSpan    string // if another one, or none
	}{
		"invalid_grant":    {failure: &reauthtest.Failure{Code: "invalid_grant"}},
		"invalid_client":   {failure: &reauthtest.Failure{Code: "invalid_client"}},
		"503":              {failure: &reauthtest.Failure{}},
		"418":              {failure: &reauthtest.Failure{Status: 418, Code: "i_am_a_teapot_42"}},
		"timeout":          {failure: &reauthtest.Hang},
		"no_response":      {refresher: &oauth.Refresher{TokenURL: closed(t), ClientID: "test"}},
		"sign_in_required": {refresher: refresher(func(context.Context) (reauth.Token, error) { return reauth.Token{}, reauth.ErrSignInRequired })},
		"_OTHER":           {refresher: refresher(func(context.Context) (reauth.Token, error) { panic("with a secret") }), inSpan: "panic"},
		"not_asked":        {away: true, inSpan: "none"},
		"no file":          {want: "_OTHER", refresher: reauth.TokenFile(filepath.Join(t.TempDir(), "token"))},
	} {
		t.Run(name, func(t *testing.T) {
			want := cmp.Or(in.want, name)
			tel, server := newTelemetry(t), reauthtest.NewServer(t, reauthtest.Options{})
			store := &fullStore{}
			timeout := time.Minute
			if want == "timeout" {
				timeout = time.Second
			}
			tr := tel.transport(server, reauth.Config{Refresher: in.refresher, Store: store, RefreshTimeout: timeout})
			signIn(t, tr, server)
			server.ExpireAccess()
			if in.failure != nil {
				server.FailRefresh(*in.failure, -1)
			}
			store.isAway.Store(in.away)
			_, _, err := get(t.Context(), &http.Client{Transport: tr.Session("ann")}, server.APIURL("/orders"), "")
			require.Error(t, err)
			require.NoError(t, tr.Wait(t.Context()))

			counts := tel.counts()
			labels := "{error.type=" + want + ",reauth.refresh.trigger=refusal}"
			assert.Equal(t, int64(1), counts["reauth.refreshes"+labels], counts)
			inSpan := want
			if in.inSpan != "" {
				inSpan = in.inSpan
			}
			if inSpan == "none" {
				assert.Zero(t, counts["reauth.refresh.duration"+labels], "it took no time of the token server's")
				assert.Empty(t, tel.spans("reauth.refresh"))
				return
			}
			assert.Equal(t, int64(1), counts["reauth.refresh.duration"+labels])
			span := tel.span("reauth.refresh")
			assert.Contains(t, attributesOf(span.Attributes()), "error.type="+inSpan)
			assert.Equal(t, "Error", span.Status().Code.String())
			assert.Empty(t, span.Status().Description)
		})
	}
}

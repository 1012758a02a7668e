package otelreauth_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.opentelemetry.io/otel/sdk/trace/tracetest"

	"github.com/reauth-go/reauth"
	"github.com/reauth-go/reauth/reauthtest"
)

func TestNoSecretNameOrAddressIsReported(t *testing.T) {
	tel, server := newTelemetry(t), reauthtest.NewServer(t, reauthtest.Options{})
	tok := reauth.Token(server.SignIn("the-name-of-ann"))
	session := "the-name-of-ann@example.com"
	hidden := map[string]string{
		"access token": tok.AccessToken, "refresh token": tok.RefreshToken, "session": "the-name-of-ann",
		"path": "path-of-the-api", "query": "query-of-the-api", "server": strings.TrimPrefix(server.URL, "http://"), "text": "text-of-the-error",
	}
	fault := "text-of-the-error " + tok.RefreshToken + " " + session + " " + server.TokenURL()
	ctx, span := tel.tracers.Tracer("test").Start(t.Context(), "caller")
	for name, refresh := range map[string]func() (reauth.Token, error){
		"error": func() (reauth.Token, error) { return reauth.Token{}, errors.New(fault) },
		"panic": func() (reauth.Token, error) { panic(fault) },
		"its code": func() (reauth.Token, error) {
			return reauth.Token{}, &reauth.RefreshError{Code: fault, StatusCode: 400, Err: errors.New(fault)}
		},
		"final": func() (reauth.Token, error) {
			return reauth.Token{}, fmt.Errorf("%s: %w", fault, reauth.ErrSignInRequired)
		},
		"none":     func() (reauth.Token, error) { return reauth.Token{}, nil },
		"the same": func() (reauth.Token, error) { return tok, nil },
		"another": func() (reauth.Token, error) {
			return reauth.Token{AccessToken: "text-of-the-error", RefreshToken: fault}, nil
		},
	} {
		store := &fullStore{}
		tr := tel.transport(server, reauth.Config{Store: store, Refresher: reauth.RefresherFunc(
			func(context.Context, reauth.Token) (reauth.Token, error) { return refresh() })})
		require.NoError(t, tr.Session(session).SignIn(ctx, tok), name)
		server.ExpireAccess()
		store.isFull.Store(true)
		_, _, _ = get(ctx, &http.Client{Transport: tr.Session(session)}, server.APIURL("/path-of-the-api?query-of-the-api"), "")
		_ = tr.Session(session).SignOut(ctx)
	}
	span.End()

	metrics, err := json.Marshal(tel.collect())
	require.NoError(t, err)
	tel.span("caller")
	spans, err := json.Marshal(tracetest.SpanStubsFromReadOnlySpans(tel.ended))
	require.NoError(t, err)
	for _, kind := range []string{"refresh_failed", "sign_in_required", "refusal_kept", "save_failed", "signed_out"} {
		assert.Contains(t, string(spans), "reauth."+kind, "what could show something happened")
	}
	for what, text := range hidden {
		require.NotEmpty(t, text)
		assert.False(t, strings.Contains(string(metrics), text), "metrics show the %s", what)
		assert.False(t, strings.Contains(string(spans), text), "spans show the %s", what)
	}
}

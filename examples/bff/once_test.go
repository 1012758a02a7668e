package main

import (
	"bytes"
	"fmt"
	"io"
	"net/http"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/reauth-go/reauth/reauthtest"
)

func TestOnceIsAWholeVisit(t *testing.T) {
	for _, tls := range []string{"-tls=false", "-tls"} {
		var stdout, stderr bytes.Buffer
		require.Equal(t, exitOK, run(t.Context(), []string{"-once", "-lifetime", "1s", tls}, &stdout, &stderr), "%s", &stderr)
		for _, said := range []string{"Signed in as ann.", "all answered, under the tokens no. 1 to ", "it arrived whole", "leads to the sign-in page"} {
			assert.Contains(t, stdout.String(), said)
		}
	}
}

func TestOnceReportsErrors(t *testing.T) {
	// Calls whose tokens roll over at once, and which need no session.
	rollOver := func(a *app) {
		var token atomic.Int64
		a.demo.HandlePublic("GET /v1/orders/1", http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			fmt.Fprintf(w, `{"token":%d}`, token.Add(1))
		}))
	}
	for name, test := range map[string]struct {
		breakIt func(*app)
		says    string
	}{
		"nobody signs in": {
			func(a *app) { a.backend.password.Endpoint.TokenURL = "http://127.0.0.1:1/token" },
			"POST /sign-in: status 503 in place of 303",
		},
		"a call fails": {
			func(a *app) { a.demo.FailAPI(reauthtest.Failure{Status: http.StatusTeapot}, 1) },
			"status 418 in place of 200",
		},
		"an upload is lost on the way": {
			func(a *app) {
				a.demo.Handle("PUT /v1/uploads", http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}))
			},
			"the upload did not arrive as it was sent",
		},
		"a revoked session goes on": {
			func(*app) {},
			"GET /api/orders/1: status 200 in place of 401",
		},
	} {
		t.Run(name, func(t *testing.T) {
			a := startApp(t, nil)
			rollOver(a)
			test.breakIt(a)
			assert.ErrorContains(t, once(t.Context(), a, io.Discard), test.says)
		})
	}
}

package main

import (
	"bytes"
	"net/http"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/reauth-go/reauth/reauthtest"
)

func TestOneRefreshServesAllRequests(t *testing.T) {
	var out bytes.Buffer
	err := run(t.Context(), reauthtest.NewServer(t, reauthtest.Options{}), &out)
	assert.NoError(t, err)
	assert.Equal(t, "100 requests, 100 refused, 100 answered, 0 lost, 1 refresh\n", out.String())
}

func TestFailsWhenARequestIsLost(t *testing.T) {
	tests := map[string]struct {
		prepare func(*reauthtest.Server)
		totals  string
	}{
		"token server down": {
			prepare: func(s *reauthtest.Server) { s.FailRefresh(reauthtest.Failure{}, -1) },
			totals:  "100 requests, 100 refused, 0 answered, 100 lost, 1 refresh\n",
		},
		"API forbids": {
			prepare: func(s *reauthtest.Server) { s.FailAPI(reauthtest.Failure{Status: http.StatusForbidden}, -1) },
			totals:  "100 requests, 0 refused, 0 answered, 100 lost, 0 refresh\n",
		},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			s := reauthtest.NewServer(t, reauthtest.Options{})
			test.prepare(s)
			var out bytes.Buffer
			assert.Error(t, run(t.Context(), s, &out))
			assert.Equal(t, test.totals, out.String())
		})
	}
}

func TestFailsWhenThereIsASecondRefresh(t *testing.T) {
	s := reauthtest.NewServer(t, reauthtest.Options{})
	resp, err := http.PostForm(s.TokenURL(), nil) // counts as a refresh
	require.NoError(t, err)
	require.NoError(t, resp.Body.Close())
	var out bytes.Buffer
	assert.Error(t, run(t.Context(), s, &out))
	assert.Equal(t, "100 requests, 100 refused, 100 answered, 0 lost, 2 refresh\n", out.String())
}

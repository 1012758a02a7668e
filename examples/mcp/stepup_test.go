package main

import (
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestCallsThatNeedMoreShareOneWindow(t *testing.T) {
	w := newWorld(t)
	session := w.connected(options{})
	w.together(many)
	answered, err := w.callAll(session, "write", many)
	require.NoError(t, err)
	assert.Equal(t, many, answered)
	require.Len(t, w.opened(), 2)
	assert.Equal(t, "tools", w.opened()[0].Get("scope"))
	assert.Equal(t, "tools write", w.opened()[1].Get("scope"), "what it had, and what it needs")
	assert.Equal(t, 1, w.registrations)
}

// The second waits for the turn while the first signs in, so that the token of that has not
// been sent yet.
func TestCallsThatNeedMoreThanEachOtherHaveOneWindowEach(t *testing.T) {
	w := newWorld(t)
	c := w.client(options{})
	session, err := c.connect(t.Context())
	require.NoError(t, err)
	defer session.Close()
	for _, scope := range []string{"write", "delete"} {
		challenge := http.Header{"Www-Authenticate": {`Bearer error="insufficient_scope", scope="` + scope + `", resource_metadata="` + w.url + `/about"`}}
		assert.True(t, c.stepUp(t.Context(), challenge, []string{scope}), scope)
	}
	require.Len(t, w.opened(), 3)
	assert.Equal(t, "tools write delete", w.opened()[2].Get("scope"))
}

func TestUserWhoDeclinesMoreKeepsTheSessionAndIsNotAskedAgain(t *testing.T) {
	w := newWorld(t)
	session := w.connected(options{})
	w.decline = true
	w.together(many)
	answered, err := w.callAll(session, "write", many)
	require.Error(t, err)
	assert.Zero(t, answered)
	assert.Len(t, w.opened(), 2)
}

func TestSessionOutlivesADeclinedStepUp(t *testing.T) {
	w := newWorld(t)
	c := w.client(options{})
	session, err := c.connect(t.Context())
	require.NoError(t, err)
	defer session.Close()
	before, err := c.session.Token(t.Context())
	require.NoError(t, err)
	w.decline = true
	_, err = w.callAll(session, "write", 1)
	require.Error(t, err)
	after, err := c.session.Token(t.Context())
	require.NoError(t, err)
	assert.Equal(t, before.AccessToken, after.AccessToken)
	assert.Len(t, w.opened(), 2)
}

// A server that is never content opens one window, not one after the other.
func TestStepUpThatDoesNotHelpIsNotRepeated(t *testing.T) {
	w := newWorld(t)
	c := w.client(options{})
	w.grants = func(scope string) string { return strings.Replace(scope, "write", "", 1) }
	for range 3 {
		session, err := c.connect(t.Context()) // the SDK closes it after a 403
		require.NoError(t, err)
		defer session.Close()
		_, err = w.callAll(session, "write", 1)
		require.ErrorContains(t, err, "Forbidden")
	}
	assert.Len(t, w.opened(), 2)
}

// The authorization server has a bad moment, so nobody was asked.
func TestStepUpThatAskedNobodyIsTriedAgain(t *testing.T) {
	w := newWorld(t)
	c := w.client(options{})
	session, err := c.connect(t.Context())
	require.NoError(t, err)
	defer session.Close()
	w.withoutPKCE = true
	w.together(many)
	answered, err := w.callAll(session, "write", many)
	require.Error(t, err)
	assert.Zero(t, answered)
	assert.Equal(t, 2, w.discoveries, "the calls share the failure")
	assert.Len(t, w.opened(), 1)

	w.withoutPKCE = false
	for key, until := range c.steps.asked {
		assert.False(t, until.IsZero(), "not for ever")
		c.steps.asked[key] = time.Now() // the pause is over
	}
	session, err = c.connect(t.Context()) // the SDK has closed it after the 403
	require.NoError(t, err)
	defer session.Close()
	answered, err = w.callAll(session, "write", 1)
	require.NoError(t, err)
	assert.Equal(t, 1, answered)
	assert.Len(t, w.opened(), 2)
}

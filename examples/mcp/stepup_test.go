package main

import (
	"strings"
	"testing"

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
	session := w.connected(options{})
	w.grants = func(scope string) string { return strings.Replace(scope, "write", "", 1) }
	for range 3 {
		_, err := w.callAll(session, "write", 1)
		require.Error(t, err)
	}
	assert.Len(t, w.opened(), 2)
}

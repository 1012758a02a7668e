//go:build unix

package keyringstore_test

import (
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestAStoppedProcessKeepsItsLock(t *testing.T) {
	dir := lockDir(t)
	store := openOn(t, new(memoryKeychain), dir)
	holder := startProcess(t, "hold", dir)
	holder.expect(t, "locked")
	require.NoError(t, holder.cmd.Process.Signal(syscall.SIGSTOP))
	isBusy(t, store, session)
	require.NoError(t, holder.cmd.Process.Kill())
	_, unlock := lock(t, store, session)
	unlock()
}

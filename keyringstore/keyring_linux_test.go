package keyringstore_test

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"os/user"
	"path/filepath"
	"sync"
	"testing"

	"github.com/godbus/dbus/v5"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/reauth-go/reauth"
	"github.com/reauth-go/reauth/internal/fleet"
	"github.com/reauth-go/reauth/keyringstore"
	"github.com/reauth-go/reauth/reauthtest"
	"github.com/reauth-go/reauth/reauthtest/storetest"
)

func openReal(tb testing.TB, lockDir string) *keyringstore.Store {
	tb.Helper()
	store, err := keyringstore.New(service, &keyringstore.Options{LockDir: lockDir})
	require.NoError(tb, err)
	return store
}

func TestStore(t *testing.T) {
	s := startSecretService(t)
	dir := lockDir(t)
	storetest.Run(t, storetest.Storage{Open: func(tb testing.TB) reauth.Store { return openReal(tb, dir) }, TellsChanges: true})
	assert.Empty(t, s.accounts(), "what is left once all is deleted")
}

func BenchmarkStore(b *testing.B) {
	startSecretService(b)
	dir := lockDir(b)
	storetest.Benchmark(b, storetest.Storage{Open: func(tb testing.TB) reauth.Store { return openReal(tb, dir) }})
}

// BenchmarkSize measures the cost of splitting a token.
func BenchmarkSize(b *testing.B) {
	startSecretService(b)
	store := openReal(b, lockDir(b))
	for _, size := range []int{1 << 10, 8 << 10, 32 << 10} {
		b.Run(fmt.Sprintf("op=save/size=%d", size), func(b *testing.B) {
			for b.Loop() {
				require.NoError(b, store.Save(b.Context(), session, ofSize(size)))
			}
		})
		b.Run(fmt.Sprintf("op=load/size=%d", size), func(b *testing.B) {
			for b.Loop() {
				_, _, err := store.Load(b.Context(), session)
				require.NoError(b, err)
			}
		})
	}
}

func TestManyProcessesShareASession(t *testing.T) {
	s := startSecretService(t)
	fleet.Soak(t, dsn{Bus: s.address, LockDir: lockDir(t)}.String())
}

func TestTwentyProcessesAtOnceRefreshOnce(t *testing.T) {
	s := startSecretService(t)
	server := reauthtest.NewServer(t, reauthtest.Options{})
	e := errand{
		DSN:      dsn{Bus: s.address, LockDir: lockDir(t)}.String(),
		TokenURL: server.TokenURL(), Origin: server.URL, APIURL: server.APIURL("/"),
	}
	transport, err := newTransport(e)
	require.NoError(t, err)
	require.NoError(t, transport.Session(session).SignIn(t.Context(), reauth.Token(server.SignIn("ann"))))
	server.ExpireAccess()

	told, err := json.Marshal(e)
	require.NoError(t, err)
	processes := make([]*process, 20)
	for i := range processes {
		processes[i] = startProcess(t, "request", string(told))
		processes[i].expect(t, "ready")
	}
	for _, p := range processes {
		_, err := io.WriteString(p.stdin, "\n")
		require.NoError(t, err)
	}
	for _, p := range processes {
		p.expect(t, "200 OK")
	}
	assert.Equal(t, 1, server.Counts().Refreshes)
	assert.Zero(t, server.Counts().ReusesDetected)
}

func TestPartsOfAReplacedTokenAreRemoved(t *testing.T) {
	s := startSecretService(t)
	store := openReal(t, lockDir(t))
	for _, c := range []struct {
		parts int
		want  []string
	}{
		{1, []string{"session/ann"}},
		{3, []string{"session/ann", "session/ann/a/1", "session/ann/a/2", "session/ann/a/3"}},
		{2, []string{"session/ann", "session/ann/b/1", "session/ann/b/2"}},
		{1, []string{"session/ann"}},
	} {
		tok := ofSize(c.parts * keyringstore.EntryLimit)
		require.NoError(t, store.Save(t.Context(), session, tok))
		require.ElementsMatch(t, c.want, s.accounts())
		got, _, err := store.Load(t.Context(), session)
		require.NoError(t, err)
		same(t, tok, got)
	}
}

// fails checks that every method fails and none reports the token as absent.
func fails(t *testing.T, store *keyringstore.Store, want string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	_, ok, err := store.Load(ctx, session)
	require.ErrorContains(t, err, want)
	require.False(t, ok)
	require.ErrorContains(t, store.Save(ctx, session, ofSize(200)), want)
	require.ErrorContains(t, store.Delete(ctx, session), want)
	require.NoError(t, ctx.Err())
}

func works(t *testing.T, store *keyringstore.Store) {
	t.Helper()
	got, ok, err := store.Load(t.Context(), session)
	require.NoError(t, err)
	require.True(t, ok)
	same(t, ofSize(100), got)
	require.NoError(t, store.Save(t.Context(), session, ofSize(100)))
}

func TestALockedKeyringIsAnError(t *testing.T) {
	s := startSecretService(t)
	store := openReal(t, lockDir(t))
	require.NoError(t, store.Save(t.Context(), session, ofSize(100)))
	s.lock()
	fails(t, store, "the keyring is locked, or there is none: ")
	s.killDaemon()
	s.startDaemon() // which unlocks it
	works(t, store)
}

func TestAPromptThatNobodyAnswersDoesNotOutlastTheContext(t *testing.T) {
	s := startSecretService(t)
	dir := lockDir(t)
	store := openReal(t, dir)
	require.NoError(t, store.Save(t.Context(), session, ofSize(100)))
	s.lock()
	asked := s.prompter()
	abandon(t, asked, t.Context(), func(ctx context.Context) error {
		_, _, err := store.Load(ctx, session)
		return err
	})
	_, _, err := store.Load(short(t, t.Context()), session)
	require.ErrorIs(t, err, context.DeadlineExceeded)
	assert.Empty(t, asked, "the user is asked again")

	// The bus disappears, and go-keyring panics.
	s.killBus()
	s.killDaemon()
	s.startBus()
	s.startDaemon()
	works(t, store)
}

func TestAKeyringServiceThatDiesIsAnErrorUntilItIsBack(t *testing.T) {
	s := startSecretService(t)
	store := openReal(t, lockDir(t))
	require.NoError(t, store.Save(t.Context(), session, ofSize(100)))
	s.killDaemon()
	fails(t, store, "no Secret Service is running (GNOME Keyring, KWallet, KeePassXC): ")
	s.startDaemon()
	works(t, store)
}

func TestADBusSessionThatDiesIsAnErrorUntilItIsBack(t *testing.T) {
	s := startSecretService(t)
	store := openReal(t, lockDir(t))
	require.NoError(t, store.Save(t.Context(), session, ofSize(100)))
	s.killBus()
	s.killDaemon()
	fails(t, store, "keyringstore: ")
	s.startBus()
	s.startDaemon()
	works(t, store)
}

func TestNoDBusSessionIsAnError(t *testing.T) {
	me, err := user.Current()
	require.NoError(t, err)
	for _, name := range []string{"bus", "dbus-session"} {
		if _, err := os.Stat(filepath.Join("/run/user", me.Uid, name)); err == nil {
			t.Skip("the user's own session would be found")
		}
	}
	t.Setenv("DBUS_SESSION_BUS_ADDRESS", "")
	t.Setenv("PATH", t.TempDir()) // there is no dbus-launch
	if shared, err := dbus.SessionBus(); err == nil {
		_ = shared.Close()
	}
	fails(t, openReal(t, lockDir(t)), "there is no D-Bus session (DBUS_SESSION_BUS_ADDRESS): ")
}

// go-keyring asks the Secret Service for a list of items first, and then for one of them.
func TestALoadBesideADeleteIsNotAnError(t *testing.T) {
	startSecretService(t)
	dir := lockDir(t)
	ctx, stop := context.WithCancel(t.Context())
	var loads, writes sync.WaitGroup
	for range 4 {
		store := openReal(t, dir)
		loads.Go(func() {
			for range 200 {
				if _, _, err := store.Load(t.Context(), session); !assert.NoError(t, err) {
					return
				}
			}
		})
	}
	for range 2 {
		store := openReal(t, dir)
		writes.Go(func() {
			for ctx.Err() == nil {
				assert.NoError(t, store.Save(t.Context(), session, ofSize(100)))
				assert.NoError(t, store.Delete(t.Context(), session))
			}
		})
	}
	loads.Wait()
	stop()
	writes.Wait()
}

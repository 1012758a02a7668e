package fleet

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/reauth-go/reauth"
	"github.com/reauth-go/reauth/reauthtest"
)

// A watched store can tell what other processes do.
type watched interface {
	Watch(ctx context.Context, changed func(session string), missed func()) error
}

// watch watches a store for as long as the process lives. It returns once the store is heard.
func watch(store watched, transport *reauth.Transport) {
	heard := make(chan struct{})
	once := sync.OnceFunc(func() { close(heard) })
	go func() {
		err := store.Watch(context.Background(), transport.Forget, func() { transport.ForgetAll(); once() })
		panic(fmt.Sprint("the watch has ended: ", err))
	}()
	<-heard
}

const (
	taskRequests = "requests until one is refused"
	taskSignOut  = "a sign-out"
)

// tasks are what a member can do once. Each begins with a request that must succeed.
var tasks = map[string]func(orders, *reauth.Transport, *report) error{
	taskRequests: func(o orders, transport *reauth.Transport, r *report) error {
		client := &http.Client{Transport: transport.Session(session)}
		for end := time.Now().Add(o.For); time.Now().Before(end); {
			err := do(context.Background(), client, o.APIURL)
			switch {
			case errors.Is(err, reauth.ErrSignInRequired) && r.Requests > 0:
				r.At = time.Now()
				return nil
			case err != nil:
				return err
			}
			if r.Requests++; r.Requests == 1 {
				fmt.Println("under way")
			}
			time.Sleep(o.Pace)
		}
		return errors.New("no request was refused")
	},
	taskSignOut: func(o orders, transport *reauth.Transport, r *report) error {
		if err := do(context.Background(), &http.Client{Transport: transport.Session(session)}, o.APIURL); err != nil {
			return err
		}
		if err := transport.Session(session).SignOut(context.Background()); err != nil {
			return err
		}
		r.At = time.Now()
		return nil
	},
}

// SignOutReachesAll signs out in one of four processes that watch the store. The API goes on
// accepting the access token. The other three must refuse to send it, at once or after the
// time for which the store is polled, if it is.
func SignOutReachesAll(t *testing.T, dsn string, polled time.Duration) {
	store, err := open(dsn)
	require.NoError(t, err)
	require.Implements(t, (*watched)(nil), store)
	server := reauthtest.NewServer(t, reauthtest.Options{})
	o := orders{
		DSN: dsn, TokenURL: server.TokenURL(), Origin: server.URL, APIURL: server.APIURL("/"),
		Callers: 1, For: time.Minute + 10*polled, Pace: 5 * time.Millisecond, Watch: true, Task: taskRequests,
	}
	signIn(t, o, reauth.Token(server.SignIn("ann")))
	others := make([]*member, 3)
	for i := range others {
		others[i] = start(t, o)
		others[i].begin(t)
		line, err := others[i].stdout.ReadString('\n')
		require.NoError(t, err)
		require.Equal(t, "under way\n", line)
	}
	o.Task = taskSignOut
	one := start(t, o)
	one.begin(t)
	out := one.report(t).At
	for _, m := range others {
		took := m.report(t).At.Sub(out)
		t.Logf("a sign-out holds in another process after %v", took.Round(10*time.Microsecond))
	}
	assert.Zero(t, server.Counts().APIRefused, "what the API refuses is found out without a watch")
}

package clientgo_test

import (
	"context"
	"net/http"
	"os"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/cache"
	"k8s.io/client-go/tools/clientcmd/api"

	"github.com/reauth-go/reauth"
	"github.com/reauth-go/reauth/examples/integrations/clientgo"
	"github.com/reauth-go/reauth/examples/integrations/internal/world"
	"github.com/reauth-go/reauth/reauthtest"
)

func TestRequestsThatAreRefusedShareOneLookAtTheFile(t *testing.T) {
	t.Parallel()
	c, cfg := newCluster(t)
	maps := c.use(t, cfg)
	release := c.BlockAPI()
	defer release()
	var all sync.WaitGroup
	for range world.Many {
		all.Go(func() {
			got, err := maps.Get(t.Context(), "prices", metav1.GetOptions{})
			if assert.NoError(t, err) {
				assert.Equal(t, "prices", got.GetName())
			}
		})
	}
	require.NoError(t, c.Await(t.Context(), func(n reauthtest.Counts) bool { return n.APIRequests >= world.Many }))
	c.rollOver(t)
	release()
	all.Wait()
	assert.Equal(t, world.Many, c.Counts().APIRefused)
	assert.Equal(t, world.Many, c.Counts().APISucceeded)
	assert.Equal(t, 2, c.events(reauth.EventRefreshed), "one to begin with, and one after the revocation")
	for _, r := range c.Requests() {
		if r.Status != http.StatusUnauthorized {
			assert.Equal(t, 2, r.Generation, "the token of %s", r)
		}
	}
}

func TestAnInformerGoesOnAcrossARollover(t *testing.T) {
	t.Parallel()
	c, cfg := newCluster(t)
	maps := c.use(t, cfg)
	c.add("prices")

	informer := cache.NewSharedInformer(&cache.ListWatch{
		ListWithContextFunc: func(ctx context.Context, o metav1.ListOptions) (runtime.Object, error) { return maps.List(ctx, o) },
		WatchFuncWithContext: func(ctx context.Context, o metav1.ListOptions) (watch.Interface, error) {
			return maps.Watch(ctx, o)
		},
	}, &unstructured.Unstructured{}, 0)
	ctx, stop := context.WithCancel(t.Context())
	require.NoError(t, informer.SetWatchErrorHandler(func(_ *cache.Reflector, err error) {
		assert.Error(t, ctx.Err(), "%v", err)
	}))
	seen := make(chan string, 10)
	_, err := informer.AddEventHandler(cache.ResourceEventHandlerFuncs{AddFunc: func(v any) { seen <- v.(*unstructured.Unstructured).GetName() }})
	require.NoError(t, err)
	var running sync.WaitGroup
	running.Go(func() { informer.RunWithContext(ctx) })
	defer running.Wait()
	defer stop()
	require.Equal(t, "prices", next(t, seen))

	c.rollOver(t)
	c.add("stock") // by the watch that has begun with the old token
	require.Equal(t, "stock", next(t, seen))
	assert.Zero(t, c.Counts().APIRefused)

	begun := c.Counts().APISucceeded
	c.endWatches() // as an API server does every few minutes
	require.NoError(t, c.Await(t.Context(), func(n reauthtest.Counts) bool { return n.APISucceeded >= begun+1 }))
	c.add("orders")
	require.Equal(t, "orders", next(t, seen))
	assert.Equal(t, 1, c.Counts().APIRefused)
	assert.Equal(t, 2, c.events(reauth.EventRefreshed), "one to begin with, and one after the rollover")
	last := c.Requests()[len(c.Requests())-1]
	assert.Equal(t, 2, last.Generation, "the new token")
}

func next(t *testing.T, seen <-chan string) string {
	t.Helper()
	select {
	case name := <-seen:
		return name
	case <-time.After(time.Minute):
		return "nothing within a minute"
	}
}

func TestAFileThatIsNotReplacedLeavesTheRefusal(t *testing.T) {
	t.Parallel()
	c, cfg := newCluster(t)
	maps := c.use(t, cfg)
	c.ExpireAccess()
	_, err := maps.Get(t.Context(), "prices", metav1.GetOptions{})
	assert.ErrorContains(t, err, "Unauthorized")
	c.rollOver(t)
	_, err = maps.Get(t.Context(), "prices", metav1.GetOptions{})
	assert.NoError(t, err)
}

// As rest.InClusterConfig sets both.
func TestTheTokenInTheConfigIsNotUsed(t *testing.T) {
	t.Parallel()
	c, cfg := newCluster(t)
	cfg.BearerToken = "the token at the start"
	_, err := c.use(t, cfg).Get(t.Context(), "prices", metav1.GetOptions{})
	assert.NoError(t, err)
	assert.Zero(t, c.Counts().APIRefused)
}

// kubernetes-sigs/headlamp#7482: client-go hands over the 401 that tells it to run its plugin
// again. Whatever authenticates a request above reauth leaves reauth nothing to do.
func TestWhatElseTheConfigAuthenticatesWithIsNotUsed(t *testing.T) {
	t.Parallel()
	for name, set := range map[string]func(*rest.Config){
		"user and password": func(cfg *rest.Config) { cfg.Username, cfg.Password = "ann", "secret" },
		"plugin": func(cfg *rest.Config) {
			cfg.ExecProvider = &api.ExecConfig{
				APIVersion: "client.authentication.k8s.io/v1", InteractiveMode: api.NeverExecInteractiveMode,
				Command: "echo", Args: []string{`{"apiVersion":"client.authentication.k8s.io/v1","kind":"ExecCredential","status":{"token":"of the plugin"}}`},
			}
		},
		"provider": func(cfg *rest.Config) { cfg.AuthProvider = &api.AuthProviderConfig{Name: "a cloud's"} },
	} {
		c, cfg := newCluster(t)
		set(cfg)
		_, err := c.use(t, cfg).Get(t.Context(), "prices", metav1.GetOptions{})
		assert.NoError(t, err, name)
		assert.Zero(t, c.Counts().APIRefused, name)
	}
}

func TestWithoutAFileThereIsAnError(t *testing.T) {
	t.Parallel()
	cfg := &rest.Config{Host: "https://10.0.0.1", BearerTokenFile: os.DevNull + "/absent"}
	tr, err := clientgo.Use(cfg, reauth.Config{})
	require.NoError(t, err)
	_, err = tr.Token(t.Context())
	_, ok := err.(*reauth.RefreshError)
	assert.True(t, ok, "%v", err)
}

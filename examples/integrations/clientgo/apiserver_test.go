package clientgo_test

import (
	"context"
	"encoding/json"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"sync"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/rest"

	"github.com/reauth-go/reauth"
	"github.com/reauth-go/reauth/examples/integrations/clientgo"
	"github.com/reauth-go/reauth/reauthtest"
)

type object = map[string]any

func configMap(name, version string, annotations object) object {
	return object{"apiVersion": "v1", "kind": "ConfigMap", "metadata": object{
		"name": name, "namespace": "shop", "resourceVersion": version, "annotations": annotations,
	}}
}

// A cluster is an API server with the config maps of one namespace, and the kubelet that
// replaces a pod's token.
type cluster struct {
	*reauthtest.Server
	events func(kind reauth.EventKind) int // since the start

	path  string
	token reauthtest.Issued

	mu      sync.Mutex
	changed chan struct{} // closed at the next change
	names   []string      // of the config maps; the version of each is its number
	watches int           // that have begun
	closed  int           // number of watches that may not go on
}

func newCluster(t *testing.T) (*cluster, *rest.Config) {
	t.Helper()
	c := &cluster{
		Server: reauthtest.NewServer(t, reauthtest.Options{Refusal: reauthtest.Failure{
			Header: http.Header{"Www-Authenticate": nil, "Content-Type": {"application/json"}},
			Body:   `{"kind":"Status","apiVersion":"v1","status":"Failure","message":"Unauthorized","reason":"Unauthorized","code":401}`,
		}}),
		path:    filepath.Join(t.TempDir(), "token"),
		changed: make(chan struct{}),
	}
	c.Handle("GET /api/v1/namespaces/shop/configmaps/{name}", http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		answer(w, configMap(r.PathValue("name"), "1", nil))
	}))
	c.Handle("GET /api/v1/namespaces/shop/configmaps", http.HandlerFunc(c.list))
	c.token = c.SignIn("pod")
	c.project(t)
	return c, &rest.Config{Host: c.URL, BearerTokenFile: c.path, QPS: -1}
}

// use makes cfg authenticate with reauth.
func (c *cluster) use(t *testing.T, cfg *rest.Config) dynamic.ResourceInterface {
	t.Helper()
	var mu sync.Mutex
	counts := map[reauth.EventKind]int{}
	c.events = func(kind reauth.EventKind) int {
		mu.Lock()
		defer mu.Unlock()
		return counts[kind]
	}
	tr, err := clientgo.Use(cfg, reauth.Config{
		RefreshPause: -1, // the API server here revokes tokens that are new
		OnEvent: func(_ context.Context, e reauth.Event) {
			mu.Lock()
			defer mu.Unlock()
			counts[e.Kind]++
		},
	})
	require.NoError(t, err)
	t.Cleanup(func() { assert.NoError(t, tr.Wait(context.Background())) })
	return configMaps(t, cfg)
}

func configMaps(t *testing.T, cfg *rest.Config) dynamic.ResourceInterface {
	t.Helper()
	client, err := dynamic.NewForConfig(cfg)
	require.NoError(t, err)
	return client.Resource(schema.GroupVersionResource{Version: "v1", Resource: "configmaps"}).Namespace("shop")
}

// project writes the token as the kubelet does, in one step.
func (c *cluster) project(t *testing.T) {
	t.Helper()
	require.NoError(t, os.WriteFile(c.path+".new", []byte(c.token.AccessToken+"\n"), 0o600))
	require.NoError(t, os.Rename(c.path+".new", c.path))
}

// rollOver revokes the token in the file, and replaces it.
func (c *cluster) rollOver(t *testing.T) {
	t.Helper()
	c.ExpireAccess()
	var err error
	c.token, err = c.Refresh(c.token.RefreshToken)
	require.NoError(t, err)
	c.project(t)
}

// change changes what the watches see.
func (c *cluster) change(f func()) {
	c.mu.Lock()
	defer c.mu.Unlock()
	f()
	close(c.changed)
	c.changed = make(chan struct{})
}

func (c *cluster) add(name string) { c.change(func() { c.names = append(c.names, name) }) }
func (c *cluster) endWatches()     { c.change(func() { c.closed = c.watches }) }

func (c *cluster) list(w http.ResponseWriter, r *http.Request) {
	query := r.URL.Query()
	if query.Get("watch") != "" {
		c.watch(w, r)
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	items := []object{}
	for i, name := range c.names {
		items = append(items, configMap(name, strconv.Itoa(i+1), nil))
	}
	answer(w, object{"apiVersion": "v1", "kind": "ConfigMapList", "metadata": object{"resourceVersion": strconv.Itoa(len(c.names))}, "items": items})
}

func (c *cluster) watch(w http.ResponseWriter, r *http.Request) {
	sent, _ := strconv.Atoi(r.URL.Query().Get("resourceVersion"))
	initial := r.URL.Query().Get("sendInitialEvents") == "true"
	if initial {
		sent = 0
	}
	c.mu.Lock()
	c.watches++
	number := c.watches
	c.mu.Unlock()
	w.Header().Set("Content-Type", "application/json")
	for {
		c.mu.Lock()
		events := []object{}
		for ; sent < len(c.names); sent++ {
			events = append(events, object{"type": "ADDED", "object": configMap(c.names[sent], strconv.Itoa(sent+1), nil)})
		}
		changed, over := c.changed, number <= c.closed
		c.mu.Unlock()
		if initial {
			initial = false
			events = append(events, object{"type": "BOOKMARK", "object": configMap("", strconv.Itoa(sent), object{"k8s.io/initial-events-end": "true"})})
		}
		for _, e := range events {
			_ = json.NewEncoder(w).Encode(e)
		}
		_ = http.NewResponseController(w).Flush()
		if over {
			return
		}
		select {
		case <-changed:
		case <-r.Context().Done():
			return
		}
	}
}

func answer(w http.ResponseWriter, v object) {
	w.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(w).Encode(v)
}

package realservers_test

import (
	"context"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/reauth-go/reauth"
)

// lifetime is how long the servers' access tokens live. They all count in whole
// seconds: a token issued in the middle of one is refused half a second early.
const lifetime = 2 * time.Second

// A renewal is how a session with one of the servers is signed in, renewed, and
// put on a request.
type renewal struct {
	refresher  reauth.Refresher
	credential reauth.Credential // nil: the default
	signIn     func(context.Context) (reauth.Token, error)
	csrf       func(reauth.Token) string // nil: there is none
}

// A server is a kind of server.
type server struct {
	name   string
	start  func(*testing.T) *program
	me     string // answers GET with the user's name
	sha256 string // answers POST with the SHA-256 of the body
	renews func(*program) renewal
}

var (
	oidcProvider = server{"oidc-provider", startOIDC, "/api/me", "/api/sha256", renewOIDC}
	simpleJWT    = server{"simplejwt", startDjango, "/v1/auth/users/me/", "/v1/sha256/", renewDjango}
	flaskJWT     = server{"flask-jwt-extended", startFlask, "/me", "/sha256", renewFlask}
)

func startOIDC(t *testing.T) *program { return startOIDCWith(t) }

// startOIDCWith starts the provider with further arguments.
func startOIDCWith(t *testing.T, args ...string) *program {
	t.Helper()
	return startNode(t, "oidc/server.mjs", append([]string{seconds()}, args...)...)
}

// startNode starts a program that needs the packages in the folder oidc.
func startNode(t *testing.T, script string, args ...string) *program {
	t.Helper()
	const install = "npm ci, in internal/realservers/oidc"
	node, err := exec.LookPath("node")
	if err != nil {
		missing(t, "node is not installed", "Node.js 20 or later, then "+install)
	}
	if _, err := os.Stat("oidc/node_modules/oidc-provider/package.json"); err != nil {
		missing(t, "the npm package oidc-provider is not installed", install)
	}
	return start(t, node, append([]string{script}, args...)...)
}

func startDjango(t *testing.T) *program {
	if err := djangoIsInstalled(); err != nil {
		missing(t, err.Error(), "apt-get install python3-djangorestframework python3-djangorestframework-simplejwt python3-djoser python3-waitress")
	}
	return start(t, python, "django/server.py", seconds(), filepath.Join(t.TempDir(), "db.sqlite3"))
}

func startFlask(t *testing.T) *program {
	if err := flaskIsInstalled(); err != nil {
		missing(t, err.Error(), "apt-get install python3-python-flask-jwt-extended python3-waitress")
	}
	return start(t, python, "flask/server.py", seconds())
}

// python is the one that sees the distribution's packages.
const python = "/usr/bin/python3"

var (
	djangoIsInstalled = sync.OnceValue(func() error { return pythonHas("rest_framework_simplejwt, djoser, waitress") })
	flaskIsInstalled  = sync.OnceValue(func() error { return pythonHas("flask_jwt_extended, waitress") })
)

func pythonHas(modules string) error {
	out, err := exec.Command(python, "-c", "import importlib.util as u\n"+
		"gone = [m for m in '"+modules+"'.split(', ') if not u.find_spec(m)]\n"+
		"assert not gone, 'not installed: ' + ', '.join(gone)").CombinedOutput()
	if err != nil {
		lines := strings.Split(strings.TrimSpace(string(out)), "\n")
		return fmt.Errorf("%s: %w: %s", python, err, lines[len(lines)-1])
	}
	return nil
}

func seconds() string { return strconv.Itoa(int(lifetime / time.Second)) }

// eachServer runs test against a new server of each kind.
func eachServer(t *testing.T, test func(*testing.T, *world)) {
	t.Parallel()
	for _, s := range []server{oidcProvider, simpleJWT, flaskJWT} {
		t.Run(s.name, func(t *testing.T) {
			t.Parallel()
			test(t, newWorld(t, s))
		})
	}
}

func newWorld(t *testing.T, s server) *world {
	t.Helper()
	return newWorldOn(t, s, s.start(t), nil)
}

// newWorldOn is newWorld for a program that runs, and a store; nil means one of its own.
func newWorldOn(t *testing.T, s server, p *program, store reauth.Store) *world {
	t.Helper()
	w := &world{server: s, program: p, renewal: s.renews(p)}
	base := http.DefaultTransport.(*http.Transport).Clone()
	base.MaxIdleConnsPerHost = 100
	w.plain = &http.Client{Transport: base}
	cfg := reauth.Config{
		Refresher:  w.refresher,
		Origins:    []string{p.url},
		Base:       base,
		Credential: w.credential,
		Store:      store,
		OnEvent:    w.event,
	}
	var err error
	w.tr, err = reauth.New(cfg)
	require.NoError(t, err)
	w.client = &http.Client{Transport: w.tr}
	t.Cleanup(func() {
		require.NoError(t, w.tr.Wait(context.Background()))
		base.CloseIdleConnections()
	})
	return w
}

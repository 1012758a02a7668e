package main

import (
	"bytes"
	"cmp"
	"embed"
	"html/template"
	"io/fs"
	"net/http"
	"strings"

	"golang.org/x/oauth2"

	"github.com/reauth-go/reauth"
)

// A backend is one replica of the web application.
type backend struct {
	config
	transport *reauth.Transport
	password  *oauth2.Config
	live      *live
}

func newBackend(cfg config) (*backend, error) {
	live := newLive()
	transport, err := newTransport(cfg, live)
	if err != nil {
		return nil, err
	}
	return &backend{
		config:    cfg,
		transport: transport,
		password: &oauth2.Config{
			ClientID:     cfg.clientID,
			ClientSecret: cfg.clientSecret,
			Endpoint:     oauth2.Endpoint{TokenURL: cfg.tokenURL, AuthStyle: oauth2.AuthStyleInHeader},
		},
		live: live,
	}, nil
}

// apiPath is where the API is, for browsers.
const apiPath = "/api"

func (b *backend) handler() http.Handler {
	all := http.NewServeMux()
	all.HandleFunc("GET /{$}", b.showPage)
	all.HandleFunc("GET /sign-in", b.showSignIn)
	all.HandleFunc("POST /sign-in", b.signIn)
	all.HandleFunc("POST /sign-out", b.signOut)
	all.Handle("GET /events", b.requireSession(http.HandlerFunc(b.serveEvents)))
	all.Handle("GET /static/", http.StripPrefix("/static/", http.FileServerFS(filesOnly{static})))
	all.Handle(apiPath+"/", http.StripPrefix(apiPath, b.requireSession(newProxy(b.api, b.transport, b.log))))
	// A POST that another site makes a browser send is refused, including a sign-in.
	own := http.NewCrossOriginProtection().Handler(all)
	return withBodyDeadline(cmp.Or(b.clientTime, clientTime), withHeaders(own))
}

// requireSession passes only requests of browsers that are signed in. A forged cookie
// costs one read of the store, but no lock and no line in the log.
func (b *backend) requireSession(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		signedIn, err := b.signedIn(r)
		switch {
		case err != nil:
			b.log.WarnContext(r.Context(), "the store gave no answer", "error", err)
			w.Header().Set("Retry-After", "1")
			writeError(w, http.StatusServiceUnavailable, "try_again")
		case !signedIn:
			writeError(w, http.StatusUnauthorized, "sign_in_required")
		default:
			r, _ = b.withSession(r)
			next.ServeHTTP(w, r)
		}
	})
}

// withHeaders restricts the pages to content from this server.
func withHeaders(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		policy := pagePolicy
		if strings.HasPrefix(r.URL.Path, apiPath+"/") {
			policy = dataPolicy
		}
		secure(w.Header(), policy)
		next.ServeHTTP(w, r)
	})
}

//go:embed web
var web embed.FS

var (
	pages     = template.Must(template.ParseFS(web, "web/*.html"))
	static, _ = fs.Sub(web, "web/static") // fails only if the name is not a valid path
)

// A filesOnly has no folders, which an http.FileServer would list.
type filesOnly struct{ fs.FS }

func (f filesOnly) Open(name string) (fs.File, error) {
	if info, err := fs.Stat(f.FS, name); err != nil || info.IsDir() {
		return nil, fs.ErrNotExist
	}
	return f.FS.Open(name)
}

// showPage shows the page of a signed-in user.
func (b *backend) showPage(w http.ResponseWriter, r *http.Request) {
	signedIn, err := b.signedIn(r)
	switch {
	case err != nil:
		b.log.WarnContext(r.Context(), "the store gave no answer", "error", err)
		w.Header().Set("Retry-After", "1")
		http.Error(w, "This does not work just now. Please try again in a moment.", http.StatusServiceUnavailable)
	case !signedIn:
		http.Redirect(w, r, "/sign-in", http.StatusSeeOther)
	default:
		b.write(w, r, http.StatusOK, "page.html", nil)
	}
}

func (b *backend) signedIn(r *http.Request) (bool, error) {
	r, ok := b.withSession(r)
	if !ok {
		return false, nil
	}
	return b.transport.SignedIn(r.Context())
}

// write writes a page.
func (b *backend) write(w http.ResponseWriter, r *http.Request, status int, name string, data any) {
	var page bytes.Buffer
	if err := pages.ExecuteTemplate(&page, name, data); err != nil {
		b.log.ErrorContext(r.Context(), "a page cannot be made", "page", name, "error", err)
		http.Error(w, "This page is broken.", http.StatusInternalServerError)
		return
	}
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	w.WriteHeader(status)
	_, _ = page.WriteTo(w) // fails only if the browser has gone
}

package main

import (
	"bytes"
	"embed"
	"html/template"
	"io/fs"
	"net/http"

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

func (b *backend) handler() http.Handler {
	own := http.NewServeMux()
	own.HandleFunc("GET /{$}", b.showPage)
	own.HandleFunc("GET /sign-in", b.showSignIn)
	own.HandleFunc("POST /sign-in", b.signIn)
	own.HandleFunc("POST /sign-out", b.signOut)
	own.Handle("GET /events", b.requireSession(http.HandlerFunc(b.serveEvents)))
	own.Handle("GET /static/", http.FileServerFS(assets))

	all := http.NewServeMux()
	all.Handle("/", withHeaders(own))
	all.Handle("/api/", http.StripPrefix("/api", b.requireSession(newProxy(b.api, b.transport, b.log))))
	// A POST that another site makes a browser send is refused, including a sign-in.
	return http.NewCrossOriginProtection().Handler(all)
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
		h := w.Header()
		h.Set("Content-Security-Policy", "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; "+
			"connect-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'")
		h.Set("X-Content-Type-Options", "nosniff")
		h.Set("Referrer-Policy", "same-origin")
		h.Set("Cross-Origin-Resource-Policy", "same-origin")
		h.Set("Cache-Control", "no-store")
		next.ServeHTTP(w, r)
	})
}

//go:embed web
var web embed.FS

var (
	pages     = template.Must(template.ParseFS(web, "web/*.html"))
	assets, _ = fs.Sub(web, "web") // fails only if the name is not a valid path
)

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

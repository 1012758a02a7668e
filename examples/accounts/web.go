package main

import (
	"bytes"
	"crypto/rand"
	"crypto/sha256"
	"database/sql"
	"embed"
	"encoding/hex"
	"errors"
	"html/template"
	"io/fs"
	"net/http"
	"strings"
	"time"

	"github.com/reauth-go/reauth"
)

//go:embed web
var web embed.FS

var (
	pages = template.Must(template.New("").Funcs(template.FuncMap{
		"machine": func(t time.Time) string { return t.UTC().Format(time.RFC3339) },
		"day":     func(t time.Time) string { return t.UTC().Format("2 Jan 2006") },
		"minute":  func(t time.Time) string { return t.UTC().Format("2 Jan, 15:04 UTC") },
	}).ParseFS(web, "web/*.html"))
	static, _ = fs.Sub(web, "web/static") // fails only if the name is not a valid path

	// assets is for paths below /static/.
	assets = http.StripPrefix("/static/", http.FileServerFS(filesOnly{static}))
)

// A filesOnly has no folders, which an http.FileServer would list.
type filesOnly struct{ fs.FS }

func (f filesOnly) Open(name string) (fs.File, error) {
	if info, err := fs.Stat(f.FS, name); err != nil || info.IsDir() {
		return nil, fs.ErrNotExist
	}
	return f.FS.Open(name)
}

// A notice says what came of the last click. The address names it, so it says nothing that
// must not be made up.
type notice struct {
	Text string
	Bad  bool
}

var notices = map[string]notice{
	"connected":    {"The account is connected.", false},
	"disconnected": {"The account is disconnected. Its access has been revoked.", false},
	"refused":      {"Nothing was connected, because you did not allow it.", true},
	"failed":       {"The account could not be connected. Please try again.", true},
	"meanwhile":    {"Nothing was connected, because the account was just being disconnected. Once it is gone from the table, you can connect it again.", true},
	"half":         {"The account is not used any more, but the third party could not be told yet. Please try again in a moment.", true},
	"foreign":      {"This answer does not belong to a sign-in that this browser has begun, or it was used before. Please connect the account again.", true},
	"synced":       {"The account is up to date.", false},
	"not-synced":   {"The account could not be synced.", true},
}

func (b *backend) handler() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /{$}", func(w http.ResponseWriter, r *http.Request) {
		b.show(w, r, http.StatusOK, r.URL.Query().Get("notice"))
	})
	mux.HandleFunc("POST /connect", b.connect)
	mux.HandleFunc("GET /callback", b.callback)
	mux.HandleFunc("POST /accounts/{id}/sync", b.syncNow)
	mux.HandleFunc("POST /accounts/{id}/disconnect", b.disconnect)
	mux.Handle("GET /static/", assets)
	// A POST that another site makes a browser send is refused (Sec-Fetch-Site, Origin).
	return withHeaders(b.api, http.NewCrossOriginProtection().Handler(mux))
}

// withHeaders restricts pages to what comes from their own server. elsewhere is where a form
// may lead, because browsers also ask form-action about the redirect that answers a form.
func withHeaders(elsewhere string, next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		h := w.Header()
		h.Set("Content-Security-Policy", "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; "+
			"form-action 'self' "+elsewhere+"; base-uri 'none'; frame-ancestors 'none'")
		h.Set("X-Content-Type-Options", "nosniff")
		h.Set("Referrer-Policy", "same-origin")
		h.Set("Cache-Control", "no-store")
		r.Body = http.MaxBytesReader(w, r.Body, 64<<10)
		next.ServeHTTP(w, r)
	})
}

// owner returns the user of this service. A real one has its own sign-in. Here each browser
// is a user, whom it recognizes by a cookie that no script can read. The database has a
// hash, so nobody who reads it can be the user.
func (b *backend) owner(w http.ResponseWriter, r *http.Request) string {
	secure := strings.HasPrefix(b.url, "https://")
	cookie := &http.Cookie{
		Name: "accounts", Path: "/", MaxAge: 400 * 24 * 60 * 60,
		HttpOnly: true, SameSite: http.SameSiteLaxMode, Secure: secure, // Lax: the callback comes from another site
	}
	if secure {
		cookie.Name = "__Host-accounts" // which no other host of the domain can set
	}
	if known, err := r.Cookie(cookie.Name); err == nil && len(known.Value) >= 26 {
		cookie = known
	} else {
		cookie.Value = rand.Text()
		http.SetCookie(w, cookie)
		r.AddCookie(cookie) // for the next call
	}
	sum := sha256.Sum256([]byte(cookie.Value))
	return hex.EncodeToString(sum[:])
}

// show writes the page, with the accounts of the browser's user.
func (b *backend) show(w http.ResponseWriter, r *http.Request, status int, noticed string) {
	accounts, err := b.accountsOf(r.Context(), b.owner(w, r))
	if err != nil {
		b.fail(w, r, err)
		return
	}
	writePage(w, status, "accounts.html", struct {
		Notice   notice
		Accounts []account
	}{notices[noticed], accounts})
}

func writePage(w http.ResponseWriter, status int, name string, data any) {
	var page bytes.Buffer
	if err := pages.ExecuteTemplate(&page, name, data); err != nil {
		http.Error(w, "This page is broken.", http.StatusInternalServerError)
		return
	}
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	w.WriteHeader(status)
	_, _ = page.WriteTo(w) // fails only if the browser has gone
}

// ownAccount returns the account that the path names, if it is one of the browser's user.
// Otherwise the answer is written.
func (b *backend) ownAccount(w http.ResponseWriter, r *http.Request) (account, bool) {
	a, err := b.accountOf(r.Context(), b.owner(w, r), r.PathValue("id"))
	switch {
	case errors.Is(err, sql.ErrNoRows): // a second click, or an account of somebody else
		http.Redirect(w, r, "/", http.StatusSeeOther)
	case err != nil:
		b.fail(w, r, err)
	}
	return a, err == nil
}

// syncNow does at once, in the web process, what the worker does when the account is due.
func (b *backend) syncNow(w http.ResponseWriter, r *http.Request) {
	a, ok := b.ownAccount(w, r)
	if !ok {
		return
	}
	notice := "synced"
	if err := b.sync(r.Context(), a); err != nil {
		if !errors.Is(err, reauth.ErrSignInRequired) {
			b.log.WarnContext(r.Context(), "a sync failed", "account", a.ID, "error", err)
		}
		notice = "not-synced"
	}
	http.Redirect(w, r, "/?notice="+notice, http.StatusSeeOther)
}

// fail answers while the database is away.
func (b *backend) fail(w http.ResponseWriter, r *http.Request, err error) {
	b.log.WarnContext(r.Context(), "the database gave no answer", "error", err)
	w.Header().Set("Retry-After", "1")
	http.Error(w, "This does not work just now. Please try again in a moment.", http.StatusServiceUnavailable)
}

package main

import (
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"sync"
	"time"

	"github.com/reauth-go/reauth/reauthtest"
)

// A provider is the third party: a token server that rotates refresh tokens and revokes
// them, an API, and the page on which users allow the access. Only the authorization code
// grant is here. The rest is a reauthtest.Server.
type provider struct {
	*reauthtest.Server
	redirectURL string // the only one that it sends a code to

	mu    sync.Mutex
	codes map[string]grant
}

// A grant is what a code stands for.
type grant struct {
	user, challenge string
	until           time.Time
}

// people are the users of the third party.
var people = map[string]string{"ann": "Ann's Bakery", "bob": "Bob's Bikes", "eve": "Eve & Daughters, Piano Tuning and Repair"}

func newProvider(address, redirectURL string, lifetime time.Duration) *provider {
	p := &provider{
		Server:      reauthtest.New(reauthtest.Options{AccessLifetime: lifetime, ClientID: clientID, ClientSecret: clientSecret}),
		redirectURL: redirectURL,
		codes:       map[string]grant{},
	}
	p.URL = address
	p.Handle("GET /v1/me", http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		user := reauthtest.UserFromRequest(r)
		writeJSON(w, http.StatusOK, map[string]any{"id": user, "name": people[user]})
	}))
	p.Handle("GET /v1/contacts", http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		next := map[string]string{"start": "2", "2": "3"}[r.FormValue("cursor")]
		user := reauthtest.UserFromRequest(r)
		writeJSON(w, http.StatusOK, map[string]any{"account": user, "contacts": []string{"Zoe", "Yan", "Xenia"}, "next": next})
	}))
	return p
}

func (p *provider) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	mux := http.NewServeMux()
	mux.Handle("/", p.Server)
	mux.HandleFunc("POST /token", p.token)
	own := http.NewServeMux()
	own.HandleFunc("GET /{$}", func(w http.ResponseWriter, _ *http.Request) { writePage(w, http.StatusOK, "provider.html", people) })
	own.HandleFunc("POST /people/{user}/revoke", func(w http.ResponseWriter, r *http.Request) {
		p.Revoke(r.PathValue("user"))
		http.Redirect(w, r, "/", http.StatusSeeOther)
	})
	own.HandleFunc("GET /authorize", p.ask)
	own.HandleFunc("POST /authorize", p.allow)
	own.Handle("GET /static/", assets)
	pages := withHeaders(p.redirectURL, http.NewCrossOriginProtection().Handler(own))
	for _, pattern := range []string{"/{$}", "/people/", "/authorize", "/static/"} {
		mux.Handle(pattern, pages)
	}
	mux.ServeHTTP(w, r)
}

// ask is the authorization endpoint (RFC 6749 section 3.1). It asks who is there, in place
// of a sign-in, and for permission.
func (p *provider) ask(w http.ResponseWriter, r *http.Request) {
	query := r.URL.Query()
	switch {
	case query.Get("client_id") != clientID || query.Get("redirect_uri") != p.redirectURL:
		http.Error(w, "This program is not known here.", http.StatusBadRequest) // and nobody is redirected
	case query.Get("response_type") != "code" || query.Get("code_challenge_method") != "S256" || query.Get("code_challenge") == "":
		p.answer(w, r, url.Values{"error": {"invalid_request"}, "state": query["state"]})
	default:
		writePage(w, http.StatusOK, "allow.html", map[string]any{
			"People": people, "State": query.Get("state"), "Challenge": query.Get("code_challenge"),
		})
	}
}

func (p *provider) allow(w http.ResponseWriter, r *http.Request) {
	state, user := r.PostFormValue("state"), r.PostFormValue("user")
	if _, known := people[user]; !known || r.PostFormValue("decision") != "allow" {
		p.answer(w, r, url.Values{"error": {"access_denied"}, "state": {state}})
		return
	}
	code := rand.Text()
	p.mu.Lock()
	p.codes[code] = grant{user, r.PostFormValue("challenge"), time.Now().Add(time.Minute)}
	p.mu.Unlock()
	p.answer(w, r, url.Values{"code": {code}, "state": {state}})
}

func (p *provider) answer(w http.ResponseWriter, r *http.Request, params url.Values) {
	http.Redirect(w, r, p.redirectURL+"?"+params.Encode(), http.StatusSeeOther)
}

// token exchanges a code once, for the client that asked and only with its verifier (RFC
// 7636 section 4.6).
func (p *provider) token(w http.ResponseWriter, r *http.Request) {
	if r.PostFormValue("grant_type") != "authorization_code" {
		p.Server.ServeHTTP(w, r)
		return
	}
	id, secret, _ := r.BasicAuth()
	if id != clientID || secret != url.QueryEscape(clientSecret) {
		writeJSON(w, http.StatusUnauthorized, map[string]any{"error": "invalid_client"})
		return
	}
	code := r.PostFormValue("code")
	p.mu.Lock()
	g, known := p.codes[code]
	delete(p.codes, code)
	p.mu.Unlock()
	sum := sha256.Sum256([]byte(r.PostFormValue("code_verifier")))
	challenge := base64.RawURLEncoding.EncodeToString(sum[:])
	if !known || time.Now().After(g.until) || r.PostFormValue("redirect_uri") != p.redirectURL ||
		subtle.ConstantTimeCompare([]byte(challenge), []byte(g.challenge)) != 1 {
		writeJSON(w, http.StatusBadRequest, map[string]any{"error": "invalid_grant"})
		return
	}
	tok := p.SignIn(g.user)
	writeJSON(w, http.StatusOK, map[string]any{
		"access_token": tok.AccessToken, "token_type": "Bearer", "refresh_token": tok.RefreshToken,
		"expires_in": int(time.Until(tok.Expiry).Seconds()),
	})
}

func writeJSON(w http.ResponseWriter, status int, v any) {
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Cache-Control", "no-store")
	w.WriteHeader(status)
	if err := json.NewEncoder(w).Encode(v); err != nil {
		fmt.Fprintln(w) // the client has gone
	}
}

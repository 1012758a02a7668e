package reauthtest

import (
	"encoding/json"
	"mime"
	"net/http"
	"net/url"
)

// An oauthError is an error answer of RFC 6749 section 5.2.
type oauthError struct {
	status      int
	code        string
	description string
}

func (e *oauthError) Error() string { return "reauthtest: " + e.code + ": " + e.description }

func invalidGrant(why string) *oauthError {
	return &oauthError{http.StatusBadRequest, "invalid_grant", why}
}

func invalidRequest(why string) *oauthError {
	return &oauthError{http.StatusBadRequest, "invalid_request", why}
}

// serveToken is the token endpoint (RFC 6749 section 3.2).
func (s *Server) serveToken(w http.ResponseWriter, r *http.Request) {
	// Read the form before anything else, because net/http notices that a client has
	// gone only after the request has been read.
	client, err := s.readForm(w, r)
	if err == nil && r.PostForm.Get("grant_type") == "password" {
		s.servePassword(w, r)
		return
	}
	s.refreshEndpoint(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		var out issued
		switch grant := r.PostForm.Get("grant_type"); {
		case err != nil:
		case grant == "client_credentials":
			out = s.issuer.clientToken(client)
		case grant == "refresh_token" && r.PostForm.Has("refresh_token"):
			if out, err = s.issuer.exchange(r.PostForm.Get("refresh_token")); err != nil {
				err.write(w)
				return
			}
		case grant == "refresh_token":
			err = invalidRequest("refresh_token is missing")
		case grant == "":
			err = invalidRequest("grant_type is missing")
		default:
			err = &oauthError{http.StatusBadRequest, "unsupported_grant_type", "this grant type is not supported"}
		}
		if err != nil {
			s.counter.update(func(c *Counts) { c.RefreshesRefused++ })
			err.write(w)
			return
		}
		s.writeIssued(w, out)
	})).ServeHTTP(w, r)
}

// servePassword is the password grant (RFC 6749 section 4.3).
func (s *Server) servePassword(w http.ResponseWriter, r *http.Request) {
	if r.PostForm.Get("username") == "" || r.PostForm.Get("password") == "" {
		invalidGrant("username and password must not be empty").write(w)
		return
	}
	out := s.issuer.signIn(r.PostForm.Get("username"))
	s.writeIssued(w, out)
}

// serveRevoke is the revocation endpoint (RFC 7009). An unknown token counts as revoked.
func (s *Server) serveRevoke(w http.ResponseWriter, r *http.Request) {
	_, err := s.readForm(w, r)
	if err == nil && !r.PostForm.Has("token") {
		err = invalidRequest("token is missing")
	}
	if err != nil {
		err.write(w)
		return
	}
	s.issuer.revokeToken(r.PostForm.Get("token"))
	noStore(w)
	w.WriteHeader(http.StatusOK)
}

// refreshEndpoint counts the requests for h, and delays, blocks and fails them.
func (s *Server) refreshEndpoint(h http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		s.counter.update(func(c *Counts) { c.Refreshes++ })
		failure, failing := s.admit(s.refreshes, r)
		switch {
		case !failing:
			h.ServeHTTP(w, r)
		case failure.mode == loseAnswer:
			h.ServeHTTP(newLost(), r)
			drop(w)
		default:
			s.counter.update(func(c *Counts) { c.RefreshesFailed++ })
			failure.writeOAuth(w)
		}
	})
}

// readForm parses the request into r.PostForm and authenticates the client.
func (s *Server) readForm(w http.ResponseWriter, r *http.Request) (client string, _ *oauthError) {
	if r.Method != http.MethodPost {
		w.Header().Set("Allow", http.MethodPost)
		return "", &oauthError{http.StatusMethodNotAllowed, "invalid_request", "only POST is allowed"}
	}
	kind, _, _ := mime.ParseMediaType(r.Header.Get("Content-Type"))
	if kind != "application/x-www-form-urlencoded" {
		return "", invalidRequest("the body must be a form")
	}
	r.Body = http.MaxBytesReader(w, r.Body, 1<<20)
	if r.ParseForm() != nil {
		return "", invalidRequest("the form cannot be read")
	}
	for _, values := range r.PostForm {
		if len(values) > 1 {
			return "", invalidRequest("a parameter is repeated")
		}
	}
	return s.authenticateClient(w, r)
}

func (s *Server) authenticateClient(w http.ResponseWriter, r *http.Request) (client string, _ *oauthError) {
	id, secret := r.PostForm.Get("client_id"), r.PostForm.Get("client_secret")
	basicID, basicSecret, basic := r.BasicAuth()
	if basic {
		if secret != "" {
			return "", invalidRequest("the client authenticates in two ways")
		}
		// Both are form-encoded inside Basic (RFC 6749 section 2.3.1).
		var errID, errSecret error
		id, errID = url.QueryUnescape(basicID)
		secret, errSecret = url.QueryUnescape(basicSecret)
		if errID != nil || errSecret != nil {
			return "", invalidRequest("the client's credentials are not form-encoded")
		}
	}
	want := s.issuer.opts
	if want.ClientID != "" && (id != want.ClientID || secret != want.ClientSecret) {
		if basic {
			w.Header().Set("WWW-Authenticate", `Basic realm="reauthtest"`)
		}
		return "", &oauthError{http.StatusUnauthorized, "invalid_client", "the client is unknown or its secret is wrong"}
	}
	return id, nil
}

func (s *Server) writeIssued(w http.ResponseWriter, out issued) {
	answer := map[string]any{"access_token": out.AccessToken, "token_type": out.TokenType}
	if out.RefreshToken != "" {
		answer["refresh_token"] = out.RefreshToken
	}
	if life := s.issuer.opts.AccessLifetime; life > 0 && !s.issuer.opts.OmitExpiresIn {
		answer["expires_in"] = out.expiresIn(life)
	}
	noStore(w)
	writeJSON(w, http.StatusOK, answer)
}

func (e *oauthError) write(w http.ResponseWriter) {
	noStore(w)
	writeJSON(w, e.status, map[string]any{"error": e.code, "error_description": e.description})
}

func noStore(w http.ResponseWriter) {
	w.Header().Set("Cache-Control", "no-store")
	w.Header().Set("Pragma", "no-cache")
}

func writeJSON(w http.ResponseWriter, status int, value map[string]any) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(value) // it fails only if the client has gone
}

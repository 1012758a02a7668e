package reauth

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"
)

// A tokenEndpoint makes the requests of the OAuth 2.0 refreshers and judges the
// answers.
type tokenEndpoint struct {
	name string // the type whose fields these are, for errors

	tokenURL, revocationURL string
	clientID, clientSecret  string
	clientKey               ClientKey
	authStyle               AuthStyle
	scopes                  []string
	params                  url.Values
	hasUser                 bool // there is someone who could sign in again
	finalCodes              []string
	client                  *http.Client
}

func (e *tokenEndpoint) check() error {
	f := faults{of: e.name}
	f.url("TokenURL", e.tokenURL)
	if e.revocationURL != "" {
		f.url("RevocationURL", e.revocationURL)
	}
	style := e.style()
	switch {
	case e.clientID != "":
	case e.clientSecret != "":
		f.add("ClientID", `""`, "must be set, since ClientSecret is")
	case e.clientKey.Signer != nil:
		f.add("ClientID", `""`, "must be set, since ClientKey is")
	case style == AuthStyleBasic, style == AuthStylePrivateKeyJWT:
		f.add("ClientID", `""`, "must be set for "+style.String())
	case !e.hasUser:
		f.add("ClientID", `""`, "must be set")
	}
	switch {
	case e.authStyle < 0 || e.authStyle > AuthStylePrivateKeyJWT:
		f.add("AuthStyle", fmt.Sprint(int(e.authStyle)), "is none of the constants")
	case e.clientSecret != "" && (style == AuthStyleNone || style == AuthStylePrivateKeyJWT):
		f.add("ClientSecret", "[redacted]", "is set, and is not sent with "+style.String())
	}
	switch {
	case style == AuthStylePrivateKeyJWT:
		e.clientKey.check(&f)
	case e.clientKey.Signer != nil:
		f.add("ClientKey", "[redacted]", "is set, and is not used with "+style.String())
	}
	for _, name := range slices.Sorted(maps.Keys(e.params)) {
		switch name {
		case "grant_type":
			f.add("Params", `"grant_type"`, "is sent by the refresher itself")
		case "refresh_token":
			if e.hasUser {
				f.add("Params", `"refresh_token"`, "is sent by the refresher itself")
			}
		case "client_id":
			f.add("Params", `"client_id"`, "belongs in ClientID")
		case "client_secret":
			f.add("Params", `"client_secret"`, "belongs in ClientSecret")
		case "client_assertion", "client_assertion_type":
			if style == AuthStylePrivateKeyJWT {
				f.add("Params", fmt.Sprintf("%q", name), "is sent by the refresher itself")
			}
		case "scope":
			f.add("Params", `"scope"`, "belongs in Scopes")
		}
	}
	return f.err()
}

// style is the style that the zero value stands for, or the one that is set.
func (e *tokenEndpoint) style() AuthStyle {
	switch {
	case e.authStyle != 0:
		return e.authStyle
	case e.clientKey.Signer != nil:
		return AuthStylePrivateKeyJWT
	case e.clientSecret != "":
		return AuthStyleBasic
	}
	return AuthStyleNone
}

// requestToken asks for the token that comes after old.
func (e *tokenEndpoint) requestToken(ctx context.Context, form url.Values, old Token) (Token, error) {
	if scopes := e.requestedScopes(old); len(scopes) > 0 {
		form.Set("scope", strings.Join(scopes, " "))
	}
	maps.Copy(form, e.params)
	sent := time.Now() // before the server starts to count
	a, err := e.post(ctx, e.tokenURL, form, old)
	if err != nil {
		return Token{}, err
	}
	if a.refused {
		return Token{}, a.failure(a.code, e.verdict(a.status, a.code))
	}
	tok, err := a.token(oauthShape, old, sent)
	if err != nil {
		return Token{}, a.failure(a.code, fmt.Errorf("the answer is no token: %w", err))
	}
	return tok, nil
}

// requestedScopes are those to ask for. A refresh must not ask for one that was
// never granted (RFC 6749 section 6); what was granted stands in the answer before.
// Where it lacks one of the settings none is sent, which asks for all there was: the
// server may call it by another name, and what is narrowed once stays narrow.
func (e *tokenEndpoint) requestedScopes(old Token) []string {
	granted := strings.Fields(old.Extra["scope"])
	if !e.hasUser || len(granted) == 0 {
		return e.scopes
	}
	if slices.ContainsFunc(e.scopes, func(s string) bool { return !slices.Contains(granted, s) }) {
		return nil
	}
	return e.scopes
}

// verdict says what a refusal means: with ErrSignInRequired in its chain it is
// final.
func (e *tokenEndpoint) verdict(status int, code string) error {
	ofGrant := isSuccess(status) || status == http.StatusBadRequest || status == http.StatusUnauthorized
	if e.hasUser && ofGrant && code != "" && (code == "invalid_grant" || slices.Contains(e.finalCodes, code)) {
		return refusal(true, status)
	}
	if status < 500 {
		switch code {
		case "invalid_client":
			return errors.New("the program is misconfigured: its ClientID, ClientSecret, ClientKey or AuthStyle is not accepted")
		case "unauthorized_client", "unsupported_grant_type":
			return errors.New("the program is misconfigured: its client may not use this grant")
		case "invalid_scope":
			return errors.New("the program is misconfigured: its Scopes are not granted")
		case "invalid_grant":
			if !e.hasUser {
				return errors.New("the program is misconfigured: its client is not granted a token")
			}
		}
	}
	return refusal(false, status)
}

// revoke gives back the token that the others came from (RFC 7009).
func (e *tokenEndpoint) revoke(ctx context.Context, tok Token) error {
	form := url.Values{}
	switch {
	case e.revocationURL == "" || tok.isZero():
		return nil
	case tok.RefreshToken != "":
		form.Set("token", tok.RefreshToken)
		form.Set("token_type_hint", "refresh_token")
	default:
		form.Set("token", tok.AccessToken)
		form.Set("token_type_hint", "access_token")
	}
	a, err := e.post(ctx, e.revocationURL, form, tok)
	switch {
	case err != nil:
		return err
	case isSuccess(a.status):
		// Also where the token was no good (section 2.2). The body says nothing.
		return nil
	case a.status == http.StatusBadRequest && a.code == "invalid_token":
		return nil // how Google says that
	case a.code != "":
		return fmt.Errorf("reauth: revoking the token: server answered %d %s", a.status, printable(a.code))
	default:
		return fmt.Errorf("reauth: revoking the token: server answered %d", a.status)
	}
}

// post sends form, and with it the client's authentication. An error means that
// there is no answer; tok is what the error must not show.
func (e *tokenEndpoint) post(ctx context.Context, target string, form url.Values, tok Token) (*tokenAnswer, error) {
	var secrets []string
	style := e.style()
	switch style {
	case AuthStyleForm:
		if e.clientSecret != "" {
			form.Set("client_secret", e.clientSecret)
		}
	case AuthStylePrivateKeyJWT:
		assertion, err := e.clientKey.assertion(e.clientID, e.tokenURL)
		if err != nil {
			return nil, err
		}
		form.Set("client_assertion_type", assertionType)
		form.Set("client_assertion", assertion)
		secrets = append(secrets, assertion)
	}
	if style != AuthStyleBasic && e.clientID != "" {
		form.Set("client_id", e.clientID)
	}
	req, err := newRequest(ctx, http.MethodPost, target, nil, form)
	if err != nil {
		return nil, err
	}
	if style == AuthStyleBasic {
		req.SetBasicAuth(url.QueryEscape(e.clientID), url.QueryEscape(e.clientSecret))
		_, encoded, _ := strings.Cut(req.Header.Get("Authorization"), " ")
		secrets = append(secrets, encoded)
	}
	secrets = append(secrets, requestSecrets(nil, e.params)...)
	secrets = append(secrets, secretForms(tok.RefreshToken, tok.AccessToken, e.clientSecret)...)
	got, err := exchange(clientWithinOrigin(e.client), req, secrets, true)
	if err != nil {
		return nil, err
	}
	a := readTokenAnswer(got)
	if !slices.Contains(e.finalCodes, a.code) {
		a.code = scrubCode(a.code, a.secrets)
	}
	return a, nil
}

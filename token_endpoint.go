package reauth

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"
)

// A tokenEndpoint makes the requests of the OAuth 2.0 refreshers and judges the
// answers.
type tokenEndpoint struct {
	name string // the type whose fields these are, for errors

	tokenURL, revocationURL string
	clientID, clientSecret  string
	authStyle               AuthStyle
	scopes                  []string
	params                  url.Values
	hasUser                 bool // there is someone who could sign in again
	finalCodes              []string
	client                  *http.Client
}

func (e *tokenEndpoint) check() error {
	var errs []error
	bad := func(field, value, why string) {
		errs = append(errs, fmt.Errorf("reauth: %s.%s %s: %s", e.name, field, value, why))
	}
	if why := endpointURLFault(e.tokenURL); why != "" {
		bad("TokenURL", redactedURL(e.tokenURL), why)
	}
	if e.revocationURL != "" {
		if why := endpointURLFault(e.revocationURL); why != "" {
			bad("RevocationURL", redactedURL(e.revocationURL), why)
		}
	}
	switch {
	case e.clientID != "":
	case e.clientSecret != "":
		bad("ClientID", `""`, "must be set, since ClientSecret is")
	case e.authStyle == AuthStyleBasic:
		bad("ClientID", `""`, "must be set for AuthStyleBasic")
	case !e.hasUser:
		bad("ClientID", `""`, "must be set")
	}
	if e.authStyle < 0 || e.authStyle > AuthStyleForm {
		bad("AuthStyle", fmt.Sprint(int(e.authStyle)), "is none of the constants")
	}
	for _, name := range slices.Sorted(maps.Keys(e.params)) {
		switch name {
		case "grant_type":
			bad("Params", `"grant_type"`, "is sent by the refresher itself")
		case "refresh_token":
			if e.hasUser {
				bad("Params", `"refresh_token"`, "is sent by the refresher itself")
			}
		case "client_id":
			bad("Params", `"client_id"`, "belongs in ClientID")
		case "client_secret":
			bad("Params", `"client_secret"`, "belongs in ClientSecret")
		case "scope":
			bad("Params", `"scope"`, "belongs in Scopes")
		}
	}
	return errors.Join(errs...)
}

// requestToken asks for the token that comes after old.
func (e *tokenEndpoint) requestToken(ctx context.Context, form url.Values, old Token) (Token, error) {
	if len(e.scopes) > 0 {
		form.Set("scope", strings.Join(e.scopes, " "))
	}
	maps.Copy(form, e.params)
	sent := time.Now() // before the server starts to count
	a, err := e.post(ctx, e.tokenURL, form, old)
	if err != nil {
		return Token{}, err
	}
	if a.refused {
		return Token{}, a.failure(e.verdict(a.status, a.code))
	}
	tok, err := a.token(old, sent)
	if err != nil {
		return Token{}, a.failure(fmt.Errorf("the answer is no token: %w", err))
	}
	return tok, nil
}

// verdict says what a refusal means: with ErrSignInRequired in its chain it is
// final.
func (e *tokenEndpoint) verdict(status int, code string) error {
	ofGrant := isSuccess(status) || status == http.StatusBadRequest || status == http.StatusUnauthorized
	if e.hasUser && ofGrant && code != "" && (code == "invalid_grant" || slices.Contains(e.finalCodes, code)) {
		return fmt.Errorf("the refresh token was turned down: %w", ErrSignInRequired)
	}
	if status < 500 {
		switch code {
		case "invalid_client":
			return errors.New("the program is misconfigured: its ClientID, ClientSecret or AuthStyle is not accepted")
		case "unauthorized_client", "unsupported_grant_type":
			return errors.New("the program is misconfigured: its client may not use this grant")
		case "invalid_scope":
			return errors.New("the program is misconfigured: its Scopes are not granted")
		case "invalid_grant":
			if !e.hasUser {
				return errors.New("the program is misconfigured: its client is not granted a token")
			}
		}
		if status >= 300 && status < 400 {
			return errors.New("a redirect that is not followed")
		}
	}
	return errors.New("taken for a passing fault")
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
	basic := e.authStyle == AuthStyleBasic || e.authStyle == 0 && e.clientSecret != ""
	if !basic {
		for name, value := range map[string]string{"client_id": e.clientID, "client_secret": e.clientSecret} {
			if value != "" {
				form.Set(name, value)
			}
		}
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, target, strings.NewReader(form.Encode()))
	if err != nil {
		return nil, fmt.Errorf("reauth: no request can be made to %s", redactedURL(target))
	}
	req.Header.Set("Accept", "application/json")
	req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	if basic {
		req.SetBasicAuth(url.QueryEscape(e.clientID), url.QueryEscape(e.clientSecret))
	}

	secrets := []string{req.URL.RawQuery, req.URL.User.String()}
	for _, s := range []string{tok.RefreshToken, tok.AccessToken, e.clientSecret} {
		quoted := strconv.Quote(s)
		secrets = append(secrets, s, url.QueryEscape(s), quoted[1:len(quoted)-1])
	}
	resp, err := clientWithinOrigin(e.client).Do(req)
	if err != nil {
		return nil, requestError(target, err, secrets)
	}
	defer resp.Body.Close()
	a := &tokenAnswer{status: resp.StatusCode}
	a.date, _ = http.ParseTime(resp.Header.Get("Date"))
	a.retryAfter = retryAfter(resp.Header, a.date)
	body, err := io.ReadAll(io.LimitReader(resp.Body, maxAnswer+1))
	switch {
	case err != nil && ctx.Err() != nil:
		return nil, requestError(target, err, secrets)
	case err != nil:
		a.fault = harmless(fmt.Errorf("the answer broke off: %w", err), secrets)
	case len(body) > maxAnswer:
		a.fault = errors.New("the answer is too long")
	case json.Unmarshal(body, &a.members) != nil || a.members == nil:
		a.members = nil
		a.fault = errors.New("the answer is no JSON object")
	}
	a.readCode()
	if !slices.Contains(e.finalCodes, a.code) {
		a.code = scrubCode(a.code, secrets)
	}
	return a, nil
}

// requestError is err, of a request that was not answered, without the URL that
// net/http puts in it: its query or user info may hold a secret.
func requestError(target string, err error, secrets []string) error {
	err = withoutURL(err)
	text := err.Error()
	clean := scrub(text, secrets)
	// A client that itself signs in, elsewhere, may say that this is required:
	// there, not here.
	if clean != text || errors.Is(err, ErrSignInRequired) {
		err = &textError{clean, contextError(err)}
	}
	return fmt.Errorf("reauth: POST %s: %w", redactedURL(target), err)
}

// contextError returns which context error err matches, or nil.
func contextError(err error) error {
	for _, end := range []error{context.Canceled, context.DeadlineExceeded} {
		if errors.Is(err, end) {
			return end
		}
	}
	return nil
}

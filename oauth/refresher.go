package oauth

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"net/http"
	"net/url"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/reauth-go/reauth"
	"github.com/reauth-go/reauth/internal/redact"
	"github.com/reauth-go/reauth/internal/settings"
	"github.com/reauth-go/reauth/internal/tokenserver"
)

// A Refresher renews a session at an OAuth 2.0 token endpoint. It is a
// [reauth.Refresher] and a [reauth.Revoker].
//
// Its methods may be called concurrently; its fields must not be changed after the
// first call. Printing it with package fmt (except %p and %w) or as an attribute of
// log/slog shows no secret.
type Refresher struct {
	// TokenURL is the token endpoint (RFC 6749 section 3.2): an absolute http or https
	// URL without a fragment. Required, unless Issuer is set. Secrets are sent there as
	// they are, so plain http is for local servers.
	TokenURL string

	// RevocationURL is where Revoke sends tokens (RFC 7009). Empty if the server has no
	// such endpoint.
	RevocationURL string

	// Issuer is what the server calls itself (RFC 8414 section 2), to the letter. It is
	// the audience of what ClientKey signs, as rfc7523bis requires. Without a TokenURL
	// the endpoints are found with [Discover] when they are first needed, once for all
	// callers, and again after an hour, after a failure, and when an endpoint does not
	// answer. Ones that were found before are used while the server can't be asked. A
	// failure is temporary. Optional.
	Issuer string

	// ClientID identifies the program to the server (RFC 6749 section 2.2). Empty if
	// the server does not need it.
	ClientID string

	// ClientSecret authenticates a confidential client. It is empty for a public one,
	// such as a desktop program, and where something else authenticates the client,
	// such as ClientKey, or a client certificate (RFC 8705) of Client.
	ClientSecret string

	// ClientKey authenticates the client by a private key instead of a secret; see
	// [AuthStylePrivateKeyJWT].
	ClientKey ClientKey

	// Assertion, in place of ClientKey, returns the assertion that authenticates the
	// client (RFC 7523 section 2.2): one from a key service, from a file ([AssertionFile])
	// or from the platform that the program runs on. It is called for each request that
	// is sent, concurrently, and should return one that has not been used. Whatever its
	// error is, the failure of the request is temporary.
	Assertion func(context.Context) (string, error)

	// AuthStyle says how the client authenticates; see there for the zero value.
	AuthStyle AuthStyle

	// Grant says what the next token is obtained with. Nil means the refresh token of
	// the session (RFC 6749 section 6).
	Grant Grant

	// Scopes limits what the new access token may do (RFC 6749 section 3.3). They are sent
	// with every token request, as they are. If empty, none is sent, and the server
	// decides; after a refresh the token may do what the one before it could. A refresh
	// must not ask for more than was granted (section 6).
	Scopes []string

	// Params are further form parameters of the token request, such as "resource" (RFC
	// 8707) or "audience". One that is sent anyway is an error.
	Params url.Values

	// DPoP sends a proof with each token request, which binds the session to a key. Nil means
	// that there is none. With it a refresh token counts as refused for good only once the
	// server has refused it beside two different proofs.
	DPoP *DPoP

	// CodePath is the path of the error code in an answer without a token, for a server
	// that does not put it where RFC 6749 section 5.2 does: "error.message" or
	// "errors.0.code". The code is a string or a number. Empty means error.
	CodePath string

	// FinalCodes are error codes that mean, as "invalid_grant" always does, that the
	// refresh token is not valid and the user must sign in again: dex says
	// "invalid_request", Slack "invalid_refresh_token". They count in answers with a
	// status from 400 to 499, except 408, 425 and 429, and in those with status 200.
	FinalCodes []string

	// Final, if set, is called with an answer that brings no token, and reports whether
	// it means that the user must sign in again, beyond what invalid_grant and FinalCodes
	// say. It is not called for the statuses 408, 425 and 429, nor for an answer that
	// broke off. It may be called concurrently, and must not keep body, of which it gets
	// at most one MiB.
	Final func(status int, body []byte) bool

	// Client sends the requests; nil means a plain http.Client. It never follows a
	// redirect to another origin, whatever its CheckRedirect returns.
	Client *http.Client
}

var (
	_ reauth.Refresher = (*Refresher)(nil)
	_ reauth.Revoker   = (*Refresher)(nil)
)

// Refresh implements [reauth.Refresher]. If the request carries the session's refresh
// token, the new token keeps the parts that the answer leaves out: the refresh token,
// the token type, and the entries of Extra.
//
// The error wraps [reauth.ErrSignInRequired] if the session has no refresh token where
// one is needed, or the server refuses it. Other refusals are a *[reauth.RefreshError]
// that does not. An error of the connection, of ctx or of the Grant is wrapped. Errors
// show no token, no secret, and no text of the server but its error code.
//
// With an error that is temporary the Token may have a RefreshToken: the server has
// answered with a new one, but not with a usable access token.
func (r *Refresher) Refresh(ctx context.Context, old reauth.Token) (reauth.Token, error) {
	if err := r.Validate(); err != nil {
		return reauth.Token{}, err
	}
	given := old
	form, secrets, err := r.form(ctx, given)
	if err != nil {
		return reauth.Token{}, err
	}
	key, sessionKey, err := r.proverFor(old)
	if err != nil {
		return reauth.Token{}, err
	}
	// Without the session's refresh token the request is for a new grant, of which the
	// old token says nothing.
	renews := old.RefreshToken != "" && slices.Contains(form["refresh_token"], old.RefreshToken)
	if !renews {
		old = reauth.Token{}
	}
	target, _, err := r.endpoints(ctx)
	if err != nil {
		return reauth.Token{}, err
	}
	sent := time.Now() // before the server starts to count
	a, err := r.postToken(ctx, target, form, secrets, key, retrying{
		isFinal: func(a *tokenserver.JSONAnswer) bool {
			return errors.Is(r.refusal(a, r.code(a), renews), reauth.ErrSignInRequired)
		},
		form: func() (url.Values, []string, error) { return r.form(ctx, given) },
	})
	if err != nil {
		return reauth.Token{}, err
	}
	shape := tokenserver.OAuthShape
	tok, err := a.Token(shape, old, sent)
	if err == nil && !a.Refused {
		return r.bound(a, tok, old, sent, renews, sessionKey)
	}
	var salvaged reauth.Token
	if renews {
		salvaged = r.keeping(a.Salvage(shape, old, sent), sessionKey)
	}
	if err := a.Late(); err != nil {
		return salvaged, err
	}
	code := r.code(a)
	if salvaged.RefreshToken == "" {
		if refusal := r.refusal(a, code, renews); a.Refused || errors.Is(refusal, reauth.ErrSignInRequired) {
			return reauth.Token{}, a.Failure(code, refusal)
		}
	}
	return salvaged, a.Failure(code, fmt.Errorf("no token in the answer: %w", err))
}

// form returns the parameters of a token request but for the client's authentication.
// secrets must not appear in errors.
func (r *Refresher) form(ctx context.Context, old reauth.Token) (form url.Values, secrets []string, err error) {
	if form, secrets, err = r.requestGrant(ctx, old); err != nil {
		return nil, nil, err
	}
	if len(r.Scopes) > 0 {
		form.Set("scope", strings.Join(r.Scopes, " "))
	}
	maps.Copy(form, r.Params)
	return form, append(secrets, tokenserver.RequestSecrets(nil, r.Params)...), nil
}

// requestGrant asks the Grant for its parameters. secrets must not appear in errors.
func (r *Refresher) requestGrant(ctx context.Context, old reauth.Token) (form url.Values, secrets []string, err error) {
	secrets = redact.Forms(old.RefreshToken, old.AccessToken)
	copied := old
	copied.Extra = maps.Clone(old.Extra)
	from, err := r.grant().Request(ctx, copied)
	switch {
	case err != nil && r.Grant == nil:
		return nil, nil, err
	case err != nil:
		keep := []error{reauth.ErrSignInRequired}
		if ctx.Err() != nil {
			keep = append(keep, redact.ContextErrors...)
		}
		return nil, nil, fmt.Errorf("oauth: Refresher.Grant: %w", redact.Harmless(err, tokenserver.TokenSecrets(old), keep...))
	case from.Get("grant_type") == "":
		return nil, nil, fmt.Errorf("oauth: Refresher.Grant, a %T, returned no grant_type", r.Grant)
	}
	form = url.Values{}
	for name, values := range from {
		if _, ok := r.Params[name]; ok {
			return nil, nil, fmt.Errorf("oauth: Refresher.Params %q: is sent by the Grant, a %T", name, r.Grant)
		}
		form[name] = values
		if name != "grant_type" {
			secrets = append(secrets, tokenserver.RequestSecrets(nil, url.Values{name: values})...)
		}
	}
	return form, secrets, nil
}

// code returns the error code of an answer.
func (r *Refresher) code(a *tokenserver.JSONAnswer) string {
	if r.CodePath == "" {
		return a.Code(r.FinalCodes)
	}
	return a.NamedCode(r.CodePath, r.FinalCodes)
}

// refusal says what an answer without a token means. What the server's error codes say is
// about the session only if the request carried its refresh token.
func (r *Refresher) refusal(a *tokenserver.JSONAnswer, code string, renews bool) error {
	final := tokenserver.Finality{Func: r.Final}
	if renews {
		final.Codes = append([]string{"invalid_grant"}, r.FinalCodes...)
	}
	if final.IsFinal(a, code) {
		return a.RefreshRefused(true)
	}
	if a.Status < 500 && !tokenserver.IsTemporary(a.Status) {
		switch code {
		case "invalid_client":
			return errors.New("the program is misconfigured: its ClientID, ClientSecret, ClientKey, Assertion or AuthStyle is not accepted")
		case "unauthorized_client", "unsupported_grant_type":
			return errors.New("the program is misconfigured: its client may not use this grant")
		case "invalid_scope":
			return errors.New("the program is misconfigured: its Scopes are not granted")
		case "invalid_target": // RFC 8707 section 2, RFC 8693 section 2.2.2
			return errors.New("the program is misconfigured: its resource or audience is not accepted")
		case "invalid_grant":
			if !renews {
				return errors.New("the program is misconfigured: its grant is not accepted")
			}
		}
	}
	return a.RefreshRefused(false)
}

// Revoke implements [reauth.Revoker]. It revokes the refresh token, and with it the
// access tokens issued for it, or the access token if there is no refresh token (RFC
// 7009 section 2.1). Without a RevocationURL, or one that was discovered, it does nothing
// and returns nil. Params are not sent.
func (r *Refresher) Revoke(ctx context.Context, tok reauth.Token) error {
	if err := r.Validate(); err != nil {
		return err
	}
	if tok.AccessToken == "" && tok.RefreshToken == "" {
		return nil
	}
	target := r.RevocationURL
	if target == "" {
		var err error
		if _, target, err = r.endpoints(ctx); err != nil || target == "" {
			return err
		}
	}
	form := url.Values{}
	switch {
	case tok.RefreshToken != "":
		form.Set("token", tok.RefreshToken)
		form.Set("token_type_hint", "refresh_token")
	default:
		form.Set("token", tok.AccessToken)
		form.Set("token_type_hint", "access_token")
	}
	a, err := r.post(ctx, r.Client, target, form, redact.Forms(tok.RefreshToken, tok.AccessToken))
	if err != nil {
		return err
	}
	code := r.code(a)
	switch {
	case a.IsSuccess():
		// Also for a token that was not valid (section 2.2). The body has no meaning.
		return nil
	case a.Status == http.StatusBadRequest && code == "invalid_token":
		return nil // how Google says that
	case code != "":
		return fmt.Errorf("reauth: revoking the token: server answered %d %s", a.Status, redact.Printable(code))
	default:
		return fmt.Errorf("reauth: revoking the token: server answered %d", a.Status)
	}
}

// post sends form together with the client's authentication. An error means that there
// was no answer.
func (r *Refresher) post(ctx context.Context, client *http.Client, target string, form url.Values, secrets []string) (*tokenserver.JSONAnswer, error) {
	header, own, err := r.authenticate(ctx, form)
	if err != nil {
		return nil, err
	}
	req, err := tokenserver.NewRequest(ctx, http.MethodPost, target, header, form)
	if err != nil {
		return nil, err
	}
	a, err := tokenserver.Send(tokenserver.WithinOrigin(client), req, append(secrets, own...))
	if err != nil {
		r.unanswered(0)
		return nil, err
	}
	r.unanswered(a.Status)
	return tokenserver.ReadJSON(a), nil
}

// NeedsToken reports whether the Grant needs a token to start from. Then a session
// without one must sign in, and Refresh need not be called.
func (r *Refresher) NeedsToken() bool {
	g, ok := r.grant().(interface{ NeedsToken() bool })
	return ok && g.NeedsToken()
}

// Validate reports every field that is wrong. [reauth.New] calls it.
func (r *Refresher) Validate() error {
	if r == nil {
		return errors.New("oauth: the Refresher is a nil pointer")
	}
	f := settings.Of("oauth: Refresher")
	if r.TokenURL != "" || r.Issuer == "" {
		f.URL("TokenURL", r.TokenURL)
	}
	if r.Issuer != "" {
		if _, why := parseIssuer(r.Issuer); why != "" {
			f.Add("Issuer", redact.URL(r.Issuer), why)
		}
	}
	if r.RevocationURL != "" {
		f.URL("RevocationURL", r.RevocationURL)
	}
	f.Path("CodePath", r.CodePath)
	r.validateGrant(f)
	r.validateClient(f)
	r.validateParams(f)
	return errors.Join(f.Err(), r.grantFault(), r.dpopFault())
}

// grantFault returns what a Grant says is wrong with itself.
func (r *Refresher) grantFault() error {
	g, ok := r.Grant.(interface{ Validate() error })
	if v := reflect.ValueOf(r.Grant); !ok || v.Kind() == reflect.Pointer && v.IsNil() {
		return nil
	}
	return g.Validate()
}

func (r *Refresher) dpopFault() error {
	if r.DPoP == nil {
		return nil
	}
	return r.DPoP.Validate()
}

func (r *Refresher) validateGrant(f *settings.Faults) {
	if v := reflect.ValueOf(r.Grant); v.Kind() == reflect.Pointer && v.IsNil() {
		f.Add("Grant", fmt.Sprintf("%T", r.Grant), "is a nil pointer")
		return
	}
	g, ok := r.Grant.(interface{ NeedsClient() bool })
	if ok && g.NeedsClient() && r.ClientID == "" && r.ClientSecret == "" && r.ClientKey.Signer == nil && r.Assertion == nil {
		f.Add("ClientID", `""`, fmt.Sprintf("must be set for the Grant, a %T", r.Grant))
	}
}

func (r *Refresher) validateParams(f *settings.Faults) {
	for _, name := range slices.Sorted(maps.Keys(r.Params)) {
		switch name {
		case "grant_type":
			f.Add("Params", `"grant_type"`, "is sent by the Grant")
		case "refresh_token":
			if r.Grant == nil {
				f.Add("Params", `"refresh_token"`, "is sent by the Grant")
			}
		case "client_id":
			f.Add("Params", `"client_id"`, "belongs in ClientID")
		case "client_secret":
			f.Add("Params", `"client_secret"`, "belongs in ClientSecret")
		case "client_assertion", "client_assertion_type":
			if r.style() == AuthStylePrivateKeyJWT {
				f.Add("Params", strconv.Quote(name), "is sent by the Refresher itself")
			}
		case "scope":
			f.Add("Params", `"scope"`, "belongs in Scopes")
		}
	}
}

// String describes the Refresher without its secrets.
func (r Refresher) String() string {
	return fmt.Sprintf("[oauth.Refresher %s]", redact.URL(settings.OrDefault(r.TokenURL, r.Issuer)))
}

// Format writes String whatever the verb, so that no verb reaches the fields.
func (r Refresher) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, r.String()) }

// LogValue returns String.
func (r Refresher) LogValue() slog.Value { return slog.StringValue(r.String()) }

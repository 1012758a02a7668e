package oauth

import (
	"context"
	"fmt"
	"net/http"
	"net/url"
	"strconv"
	"strings"

	"github.com/reauth-go/reauth/internal/redact"
	"github.com/reauth-go/reauth/internal/settings"
)

// An AuthStyle is how the client authenticates at the server's endpoints (RFC 6749
// section 2.3). The zero value means AuthStylePrivateKeyJWT if there is a ClientKey
// or an Assertion, AuthStyleBasic if there is a secret, and AuthStyleNone otherwise.
type AuthStyle int

const (
	// AuthStyleBasic sends id and secret in the Authorization header, each form-encoded
	// first, as RFC 6749 section 2.3.1 requires. It is also known as
	// client_secret_basic.
	AuthStyleBasic AuthStyle = iota + 1

	// AuthStyleBasicRaw sends id and secret in the Authorization header as they are, for
	// servers that don't decode them. The id must have no colon.
	AuthStyleBasicRaw

	// AuthStyleForm sends id and secret as form parameters, for servers that do not
	// support AuthStyleBasic. It is also known as client_secret_post.
	AuthStyleForm

	// AuthStyleNone sends the id, if there is one, as a form parameter (RFC 6749
	// section 3.2.1), and no secret: for public clients, and for those that a client
	// certificate authenticates (RFC 8705 section 2).
	AuthStyleNone

	// AuthStylePrivateKeyJWT sends an assertion about the client (RFC 7523 section 2.2),
	// another one with each request: what Assertion returns, or a JWT signed with
	// ClientKey, with a jti of its own, which says that it was made ten seconds ago and
	// expires within a minute. It is also known as private_key_jwt (OpenID Connect Core
	// section 9). A Client that repeats requests by itself repeats the assertion, which
	// servers may refuse.
	AuthStylePrivateKeyJWT
)

var authStyleNames = [...]string{"AuthStyle(0)", "AuthStyleBasic", "AuthStyleBasicRaw", "AuthStyleForm", "AuthStyleNone", "AuthStylePrivateKeyJWT"}

// String returns the name of the constant.
func (s AuthStyle) String() string {
	if s >= 0 && int(s) < len(authStyleNames) {
		return authStyleNames[s]
	}
	return fmt.Sprintf("AuthStyle(%d)", int(s))
}

// style returns AuthStyle, or the style that its zero value means.
func (r *Refresher) style() AuthStyle {
	switch {
	case r.AuthStyle != 0:
		return r.AuthStyle
	case r.ClientKey.Signer != nil, r.Assertion != nil:
		return AuthStylePrivateKeyJWT
	case r.ClientSecret != "":
		return AuthStyleBasic
	}
	return AuthStyleNone
}

// authenticate adds the client's authentication to form, or returns the header that
// has it. secrets must not appear in errors.
func (r *Refresher) authenticate(ctx context.Context, form url.Values) (header http.Header, secrets []string, err error) {
	secrets = redact.Forms(r.ClientSecret)
	style := r.style()
	switch style {
	case AuthStyleBasic, AuthStyleBasicRaw:
		id, secret := r.ClientID, r.ClientSecret
		if style == AuthStyleBasic {
			id, secret = url.QueryEscape(id), url.QueryEscape(secret)
		}
		basic := http.Request{Header: http.Header{}}
		basic.SetBasicAuth(id, secret)
		_, encoded, _ := strings.Cut(basic.Header.Get("Authorization"), " ")
		return basic.Header, append(secrets, encoded), nil
	case AuthStyleForm:
		if r.ClientSecret != "" {
			form.Set("client_secret", r.ClientSecret)
		}
	case AuthStylePrivateKeyJWT:
		assertion, err := r.clientAssertion(ctx)
		if err != nil {
			return nil, nil, err
		}
		form.Set("client_assertion_type", assertionType)
		form.Set("client_assertion", assertion)
		secrets = append(secrets, redact.Forms(assertion)...)
	}
	if r.ClientID != "" {
		form.Set("client_id", r.ClientID)
	}
	return nil, secrets, nil
}

// validateClient notes what is wrong with the fields that authenticate the client.
func (r *Refresher) validateClient(f *settings.Faults) {
	style := r.style()
	switch {
	case r.ClientID != "":
	case r.ClientSecret != "":
		f.Add("ClientID", `""`, "must be set, because ClientSecret is")
	case r.ClientKey.Signer != nil:
		f.Add("ClientID", `""`, "must be set, because ClientKey is")
	case style == AuthStyleBasic, style == AuthStyleBasicRaw, style == AuthStylePrivateKeyJWT && r.Assertion == nil:
		f.Add("ClientID", `""`, "must be set for "+style.String())
	}
	if style == AuthStyleBasicRaw && strings.Contains(r.ClientID, ":") {
		f.Add("ClientID", strconv.Quote(r.ClientID), "has a colon, which AuthStyleBasicRaw cannot send")
	}
	switch {
	case r.AuthStyle < 0 || r.AuthStyle > AuthStylePrivateKeyJWT:
		f.Add("AuthStyle", strconv.Itoa(int(r.AuthStyle)), "is not one of the constants")
	case r.ClientSecret != "" && (style == AuthStyleNone || style == AuthStylePrivateKeyJWT):
		f.Add("ClientSecret", "[redacted]", "is set but not sent with "+style.String())
	}
	if r.Assertion != nil && style != AuthStylePrivateKeyJWT {
		f.Add("Assertion", "[func]", "is set but not used with "+style.String())
	}
	switch {
	case style == AuthStylePrivateKeyJWT && r.Assertion == nil:
		r.ClientKey.validate(f)
	case r.ClientKey.Signer != nil && style == AuthStylePrivateKeyJWT:
		f.Add("ClientKey", "[redacted]", "is set but not used, because Assertion is set")
	case r.ClientKey.Signer != nil:
		f.Add("ClientKey", "[redacted]", "is set but not used with "+style.String())
	}
}

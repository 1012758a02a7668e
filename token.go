package reauth

import (
	"encoding/json"
	"fmt"
	"log/slog"
	"maps"
	"strings"
	"time"
	"unicode/utf8"
)

// A Token is what a session holds at one time: the credentials that one response of a
// token server brought. Its JSON form is that of golang.org/x/oauth2 with "extra" added,
// so tokens that a program has already stored can be read.
//
// A Token is a value. The library copies the tokens that it receives, and never writes to
// a Token or an Extra map that it has returned. Printing a Token with package fmt or as an
// attribute of log/slog shows no secret, except with the verbs %p and %w, which are not
// meant for it. Its JSON form shows them, because stores need that. Make a Token a field
// of what is marshalled: a struct that embeds one has the Token's JSON form, and loses its
// other fields.
type Token struct {
	// AccessToken is the credential put on requests (RFC 6749 section 1.4). It may be
	// empty in a Token passed to [Session.SignIn], which is then refreshed before its
	// first use.
	AccessToken string `json:"access_token"`

	// TokenType is the authentication scheme that the token is sent with. The empty
	// string means Bearer. "bearer", in any case, is sent as "Bearer", because some APIs
	// compare it case-sensitively.
	TokenType string `json:"token_type,omitempty"`

	// RefreshToken obtains the next token (RFC 6749 section 1.5). It is empty if the
	// session has none.
	RefreshToken string `json:"refresh_token,omitempty"`

	// Expiry is when the access token expires by the local clock. If it is zero it is read
	// from the access token if that is a JWT, and is unknown otherwise. Then only a refusal
	// by the API shows that the token has expired.
	Expiry time.Time `json:"expiry,omitzero"`

	// RefreshExpiry is when the refresh token expires, if the token server says so. The
	// session is refreshed before that.
	RefreshExpiry time.Time `json:"refresh_expiry,omitzero"`

	// RefreshAfter is when the token server asks for a refresh, if it does: Microsoft
	// Entra's refresh_in. It moves the start of the early refresh, see
	// [Config.EarlyRefresh].
	RefreshAfter time.Time `json:"refresh_after,omitzero"`

	// SignInID tells one sign-in from another, also to other processes. [Session.SignIn]
	// sets it, and refreshes keep it. A stored Token without one counts as one of the
	// sign-in at hand.
	SignInID string `json:"sign_in_id,omitempty"`

	// Extra holds the other members of the response, such as "id_token" and "scope". It may
	// hold secrets.
	Extra map[string]string `json:"extra,omitempty"`
}

// same reports whether two tokens are the same generation. Tokens are compared by value,
// because the processes that may store one share no clock or counter.
func (t Token) same(u Token) bool {
	return t.AccessToken == u.AccessToken && t.RefreshToken == u.RefreshToken
}

func (t Token) isZero() bool { return t.AccessToken == "" && t.RefreshToken == "" }

// secrets returns what no error may show of t.
func (t Token) secrets() []string {
	secrets := []string{t.AccessToken, t.RefreshToken}
	for _, v := range t.Extra {
		if len(v) >= 8 { // a shorter one is not a secret, and occurs in any text
			secrets = append(secrets, v)
		}
	}
	return secrets
}

// clone returns a copy that shares no map with t.
func (t Token) clone() Token {
	t.Extra = maps.Clone(t.Extra)
	return t
}

// Type returns the authentication scheme to send the token with: TokenType, or "Bearer" if
// that is empty or "bearer" in any case. Without an http.Client, the value of the
// Authorization header is Type, a space and AccessToken (RFC 6750 section 2.1).
func (t Token) Type() string {
	if t.TokenType == "" || strings.EqualFold(t.TokenType, "Bearer") {
		return "Bearer"
	}
	return t.TokenType
}

// MarshalJSON returns the token's JSON form, secrets included, with the Expiry in UTC. A
// field that is not UTF-8 is an error that names it, because JSON would change it (RFC
// 8259 section 8.1).
func (t Token) MarshalJSON() ([]byte, error) {
	for _, field := range [...]struct{ name, text string }{
		{"AccessToken", t.AccessToken}, {"TokenType", t.TokenType}, {"RefreshToken", t.RefreshToken},
	} {
		if !utf8.ValidString(field.text) {
			return nil, fmt.Errorf("reauth: Token.%s is not UTF-8", field.name)
		}
	}
	for name, value := range t.Extra {
		if !utf8.ValidString(name) || !utf8.ValidString(value) {
			return nil, fmt.Errorf("reauth: Token.Extra[%q] is not UTF-8", name)
		}
	}
	t.Expiry = t.Expiry.UTC() // JSON has no room for the seconds of an odd offset
	type fields Token
	return json.Marshal(fields(t))
}

// String describes the token without its secrets.
func (t Token) String() string {
	if t.isZero() {
		return "no token"
	}
	parts := make([]string, 0, 3)
	if t.AccessToken != "" {
		parts = append(parts, "access token")
	}
	if t.RefreshToken != "" {
		parts = append(parts, "refresh token")
	}
	if !t.Expiry.IsZero() {
		parts = append(parts, "expires "+t.Expiry.Round(0).Format(time.RFC3339))
	}
	return "[" + strings.Join(parts, ", ") + "]"
}

// Format writes String whatever the verb, so that no verb reaches the fields.
func (t Token) Format(f fmt.State, _ rune) { _, _ = f.Write([]byte(t.String())) }

// LogValue returns String as an attribute's value.
func (t Token) LogValue() slog.Value { return slog.StringValue(t.String()) }

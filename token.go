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

// A Token is what a session holds at one time: the credentials that one answer
// of a token server brought. Its JSON form is that of golang.org/x/oauth2 with
// "extra" added, so tokens that a program has already stored can be read.
//
// A Token is a value: the library copies what it is given and never writes to
// a Token or an Extra map that it has handed out. Printing one with package fmt
// or as an attribute of log/slog shows no secret, unless the verb is %p or %w,
// which are not for it; its JSON form does, since stores need it. Where it is part
// of what is marshalled, make it a field: a struct that embeds a Token has that
// JSON form, and loses its other fields.
type Token struct {
	// AccessToken is the credential put on requests (RFC 6749 section 1.4). It
	// may be empty in a Token given to [Transport.SignIn], which is then
	// refreshed before its first use.
	AccessToken string `json:"access_token"`

	// TokenType is the authentication scheme that the token is sent with. The
	// empty string means Bearer; "bearer", in whatever case, is sent as
	// "Bearer", since some APIs compare it to the letter.
	TokenType string `json:"token_type,omitempty"`

	// RefreshToken is what the next token is obtained with (RFC 6749 section
	// 1.5); empty if the session has none.
	RefreshToken string `json:"refresh_token,omitempty"`

	// Expiry is when the access token ends by the local clock. The zero value
	// means that it is read from the access token if that is a JWT, and is
	// unknown otherwise: then only the API's refusal shows that it has ended.
	Expiry time.Time `json:"expiry,omitzero"`

	// Extra holds what else the answer contained, such as "id_token" and
	// "scope". It may hold secrets.
	Extra map[string]string `json:"extra,omitempty"`
}

// same reports whether two tokens are the same generation: tokens are compared
// by value, since no clock or counter is shared by all who may store one.
func (t Token) same(u Token) bool {
	return t.AccessToken == u.AccessToken && t.RefreshToken == u.RefreshToken
}

func (t Token) isZero() bool { return t.AccessToken == "" && t.RefreshToken == "" }

// clone returns a copy that shares nothing that can be written to.
func (t Token) clone() Token {
	t.Extra = maps.Clone(t.Extra)
	return t
}

// Type returns the authentication scheme to send the token with: TokenType, or
// "Bearer" where that is empty or says so in other letters. For what is no
// http.Client, the value of the Authorization header is Type, a space and
// AccessToken (RFC 6750 section 2.1).
func (t Token) Type() string {
	if t.TokenType == "" || strings.EqualFold(t.TokenType, "Bearer") {
		return "Bearer"
	}
	return t.TokenType
}

// MarshalJSON writes the token's JSON form, secrets and all, with the Expiry in
// UTC. What is not UTF-8 is an error that names the field: JSON would change it
// (RFC 8259 section 8.1).
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

// GoString is String.
func (t Token) GoString() string { return t.String() }

// Format writes String whatever the verb, so that no verb reaches the fields.
func (t Token) Format(f fmt.State, _ rune) { _, _ = f.Write([]byte(t.String())) }

// LogValue is String.
func (t Token) LogValue() slog.Value { return slog.StringValue(t.String()) }

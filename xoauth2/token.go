// Package xoauth2 joins reauth with golang.org/x/oauth2. That package signs users in, and
// gets tokens from Google and others; this one hands them over, and renews them when the
// API refuses them, which an oauth2.TokenSource never hears of.
package xoauth2

import (
	"encoding/json"
	"math"
	"strconv"
	"strings"
	"time"

	"golang.org/x/oauth2"

	"github.com/reauth-go/reauth"
)

// FromToken returns tok as a reauth.Token. A nil tok is the zero Token.
//
// Package oauth2 doesn't tell which members an answer had. So of what [oauth2.Token.Extra]
// returns, Extra gets "id_token", "scope" and the names given: text as it is, and anything
// else as JSON. If tok has an ExpiresIn but no Expiry, as after decoding an answer, it counts
// from now.
func FromToken(tok *oauth2.Token, extra ...string) reauth.Token {
	if tok == nil {
		return reauth.Token{}
	}
	out := reauth.Token{
		AccessToken: tok.AccessToken, TokenType: tok.TokenType, RefreshToken: tok.RefreshToken, Expiry: tok.Expiry,
	}
	if out.Expiry.IsZero() && tok.ExpiresIn > 0 {
		const most = math.MaxInt64 / int64(time.Second)
		out.Expiry = time.Now().Add(time.Duration(min(tok.ExpiresIn, most)) * time.Second)
	}
	for _, name := range append([]string{"id_token", "scope"}, extra...) {
		var text string
		switch value := tok.Extra(name).(type) {
		case nil:
			continue
		case string:
			text = value
		case float64: // as the answer had it, and not 1e+06
			text = strconv.FormatFloat(value, 'f', -1, 64)
		default:
			encoded, err := json.Marshal(value)
			if err != nil {
				continue
			}
			text = string(encoded)
		}
		if out.Extra == nil {
			out.Extra = make(map[string]string)
		}
		out.Extra[name] = text
	}
	return out
}

// ToToken returns tok as a token of package oauth2, with its refresh token. All of Extra is
// found with [oauth2.Token.Extra]. RefreshExpiry, RefreshAfter and SignInID are lost, because
// that package has nothing like them.
//
// Whoever spends the refresh token of a session ends it. For a library that needs a source
// of access tokens there is [TokenSource].
func ToToken(tok reauth.Token) *oauth2.Token {
	out := &oauth2.Token{
		AccessToken: tok.AccessToken, TokenType: tok.TokenType, RefreshToken: tok.RefreshToken, Expiry: tok.Expiry,
	}
	extra := make(map[string]any)
	for name, value := range tok.Extra {
		if !strings.HasPrefix(name, "reauth.") { // those are not the answer's
			extra[name] = value
		}
	}
	if len(extra) == 0 {
		return out
	}
	return out.WithExtra(extra)
}

package reauth

import (
	"cmp"
	"encoding/json"
	"fmt"
	"hash/maphash"
	"log/slog"
	"maps"
	"slices"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/reauth-go/reauth/internal/ascii"
	"github.com/reauth-go/reauth/internal/expiry"
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

	// TokenType is the authentication scheme that the token is sent with, see
	// [Token.Type]. The empty string means Bearer.
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
	// hold secrets. After a refresh it holds at most 64 KiB: what earlier answers
	// added goes first. Names that begin with "reauth." are this module's own.
	Extra map[string]string `json:"extra,omitempty"`
}

// same reports whether two tokens have the same values. Tokens are compared by value,
// because the processes that may store one share no clock or counter.
func (t Token) same(u Token) bool {
	return t.AccessToken == u.AccessToken && t.RefreshToken == u.RefreshToken
}

// is reports whether u is t, as far as a store can tell. Some servers renew a token in
// place: then it has the same values and expires later.
func (t Token) is(u Token) bool { return t.same(u) && !t.renewedBy(u) && !u.renewedBy(t) }

// renewedBy reports whether u has the values of t and expires later. Times that are far
// off are not believed, so they don't count.
func (t Token) renewedBy(u Token) bool {
	return t.same(u) && !t.Expiry.IsZero() && u.Expiry.Sub(t.Expiry) > time.Second &&
		time.Until(t.Expiry) < expiry.MaxLifetime/2
}

// sendsSame reports whether a request carries the same with u as with t.
func (t Token) sendsSame(u Token) bool {
	later := !t.Expiry.IsZero() && u.Expiry.Sub(t.Expiry) > time.Second // renewed in place
	return t.AccessToken != "" && t.AccessToken == u.AccessToken && !later
}

// sameSignIn reports whether t and u may be of one sign-in.
func (t Token) sameSignIn(u Token) bool {
	return t.SignInID == "" || u.SignInID == "" || t.SignInID == u.SignInID
}

// extraPrevious is the name in Extra of the refresh token from before, while it isn't
// certain that the present one is what the token server meant; see flight.ask.
const extraPrevious = "reauth.previous_refresh_token"

// withPrevious returns t with the refresh token of old kept beside its own.
func (t Token) withPrevious(old Token) Token {
	t.Extra = maps.Clone(t.Extra)
	if t.Extra == nil {
		t.Extra = make(map[string]string)
	}
	t.Extra[extraPrevious] = old.RefreshToken
	return t
}

// previous returns the token whose refresh token is kept beside that of t, if there is one.
func (t Token) previous() (Token, bool) {
	refresh := t.Extra[extraPrevious]
	if refresh == "" {
		return Token{}, false
	}
	t = t.clone()
	delete(t.Extra, extraPrevious)
	t.AccessToken, t.RefreshToken = "", refresh
	return t, true
}

// maxExtra bounds the names and values of Extra, in bytes.
const maxExtra = 64 << 10

// boundExtra returns t with at most 64 KiB in Extra. The members of old that the refresh
// left as they were go first, and of those the largest. The module's own stay as long as
// there is room for them: a key that the session is bound to may be among them.
func (t Token) boundExtra(old Token) Token {
	size := 0
	for name, value := range t.Extra {
		size += len(name) + len(value)
	}
	if size <= maxExtra {
		return t
	}
	length := func(name string) int { return len(name) + len(t.Extra[name]) }
	isOld := func(name string) int {
		if strings.HasPrefix(name, "reauth.") {
			return -1
		}
		if before, had := old.Extra[name]; had && before == t.Extra[name] {
			return 1
		}
		return 0
	}
	names := slices.SortedFunc(maps.Keys(t.Extra), func(a, b string) int {
		return cmp.Or(isOld(a)-isOld(b), length(a)-length(b), strings.Compare(a, b))
	})
	extra := make(map[string]string)
	left := maxExtra
	for _, name := range names {
		if left -= length(name); left < 0 {
			break
		}
		extra[name] = t.Extra[name]
	}
	t.Extra = extra
	return t
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

// Type returns the authentication scheme to send the token with: the one that TokenType
// names in any case, as it is spelled in IANA's registry of HTTP authentication schemes, or
// "Bearer" if it names none. Some APIs compare it case-sensitively, and some token servers
// answer with a type that is no scheme, such as BearerToken. Without an http.Client, the
// value of the Authorization header is Type, a space and AccessToken (RFC 6750 section
// 2.1). For a scheme that is not registered there is [HeaderCredential].
func (t Token) Type() string {
	if t.TokenType == "" || t.TokenType == "Bearer" {
		return "Bearer"
	}
	for _, scheme := range schemes {
		if ascii.EqualFold(t.TokenType, scheme) {
			return scheme
		}
	}
	return "Bearer"
}

// schemes is IANA's HTTP Authentication Scheme Registry (RFC 9110 section 16.4.1).
var schemes = [...]string{
	"Basic", "Bearer", "Concealed", "Digest", "DPoP", "GNAP", "HOBA", "Mutual", "Negotiate", "OAuth", "PrivateToken",
	"SCRAM-SHA-1", "SCRAM-SHA-256", "vapid",
}

// MarshalJSON returns the token's JSON form, secrets included, with the Expiry in UTC. A
// field that is not UTF-8 is an error that names it, because JSON would change it (RFC
// 8259 section 8.1).
func (t Token) MarshalJSON() ([]byte, error) {
	for _, field := range [...]struct{ name, text string }{
		{"AccessToken", t.AccessToken}, {"TokenType", t.TokenType}, {"RefreshToken", t.RefreshToken}, {"SignInID", t.SignInID},
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
	// JSON has no room for the seconds of an odd offset.
	t.Expiry, t.RefreshExpiry, t.RefreshAfter = t.Expiry.UTC(), t.RefreshExpiry.UTC(), t.RefreshAfter.UTC()
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

// A memory is the tokens that this process has had of a session lately, hashed, so that
// an older one which a store shows is known. The zero value remembers nothing.
type memory struct {
	values  [mostRemembered]uint64 // hashes; 0: none
	signIns [mostRemembered]uint32 // hashes of SignInID; 0: none
	spent   uint8                  // a bit for each: this process has exchanged it for the next
	next    uint8
}

// mostRemembered bounds what is remembered of a session. A store is not expected to show
// a token from before that many refreshes.
const mostRemembered = 8

// find returns the index of tok, or -1. A token without a SignInID may be of any sign-in.
func (m *memory) find(tok Token) int {
	values, signIn := tok.hashes()
	for i := range m.values {
		if m.values[i] == values && (m.signIns[i] == signIn || m.signIns[i] == 0 || signIn == 0) {
			return i
		}
	}
	return -1
}

// add remembers tok, which this process has exchanged for the next if spent is true.
func (m *memory) add(tok Token, spent bool) {
	i := m.find(tok)
	if i < 0 {
		i = int(m.next)
		m.values[i], m.signIns[i] = tok.hashes()
		m.spent &^= 1 << i
		m.next = (m.next + 1) % mostRemembered
	}
	if spent {
		m.spent |= 1 << i
	}
}

var tokenSeed = maphash.MakeSeed()

// hashes identify a token in memory. The first is never 0, the second only if there is no
// SignInID.
func (t Token) hashes() (values uint64, signIn uint32) {
	var h maphash.Hash
	h.SetSeed(tokenSeed)
	h.WriteString(t.AccessToken)
	h.WriteByte(0)
	h.WriteString(t.RefreshToken)
	if t.SignInID != "" {
		signIn = uint32(maphash.String(tokenSeed, t.SignInID)) | 1
	}
	return h.Sum64() | 1, signIn
}

package tokenserver

import (
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/reauth-go/reauth"
	"github.com/reauth-go/reauth/internal/ascii"
	"github.com/reauth-go/reauth/internal/expiry"
	"github.com/reauth-go/reauth/internal/redact"
)

// A JSONAnswer is the answer of a token server that speaks JSON.
type JSONAnswer struct {
	*Answer
	Refused bool // by its status, or by an error member beside a status 200

	reading
	code string // as the server wrote it; may hold a secret
}

// A Shape says where an answer holds which part of the token, as paths: names of members
// and indices of arrays, joined by dots. A part whose path is empty is not read.
type Shape struct {
	AccessToken, TokenType, RefreshToken string

	Lifetime string // of the access token
	Expiry   string // when that expires; read if there is no Lifetime

	// RefreshCookie names the cookie that holds the refresh token. RefreshToken is then
	// empty.
	RefreshCookie string
}

// OAuthShape is the Shape of RFC 6749 section 5.1.
var OAuthShape = Shape{AccessToken: "access_token", TokenType: "token_type", RefreshToken: "refresh_token", Lifetime: "expires_in"}

// Names of members beside the tokens, of Keycloak, of GitHub and Microsoft Entra, of
// QuickBooks, and again of Entra.
var (
	refreshLifetimes = [...]string{"refresh_expires_in", "refresh_token_expires_in", "x_refresh_token_expires_in"}
	refreshIn        = "refresh_in"
)

// ReadJSON reads the body of an answer from Send.
func ReadJSON(a *Answer) *JSONAnswer {
	j := &JSONAnswer{Answer: a, Refused: !a.IsSuccess(), reading: readText(a.text, a.fault != nil)}
	if raw := j.members["error"]; !isHarmless(raw) {
		j.Refused = true
		// It stays empty if neither is a string.
		if json.Unmarshal(raw, &j.code) != nil {
			_ = json.Unmarshal(j.lookup("error.code"), &j.code)
		}
	}
	return j
}

var harmlessErrors = [...]string{
	"", "none", "ok", "null", "nil", "undefined", "n/a", "no", "false", "success", "no_error", "no error",
}

// isHarmlessNumber reports whether text is zero, however many digits it has, or the status
// of a success.
func isHarmlessNumber(text string) bool {
	n, err := strconv.ParseFloat(text, 64)
	return err == nil && (n == 0 || n >= 200 && n < 300)
}

// isHarmless reports whether an error member says that there is no error.
func isHarmless(raw json.RawMessage) bool {
	var text string
	var members map[string]json.RawMessage
	var list []json.RawMessage
	switch {
	case len(raw) == 0 || string(raw) == "false" || isHarmlessNumber(string(raw)):
		return true
	case json.Unmarshal(raw, &text) == nil: // "" for null
		text = strings.TrimSuffix(strings.TrimSpace(ascii.Lower(text)), ".")
		return isHarmlessNumber(text) || slices.Contains(harmlessErrors[:], text)
	case json.Unmarshal(raw, &list) == nil:
		return !slices.ContainsFunc(list, func(r json.RawMessage) bool { return !isHarmless(r) })
	case json.Unmarshal(raw, &members) == nil:
		for _, r := range members {
			if !isHarmless(r) {
				return false
			}
		}
		return true
	}
	return false
}

// Code returns the error code of RFC 6749 section 5.2, or "". Unless it is one of
// known, it is redacted.
func (j *JSONAnswer) Code(known []string) string {
	if slices.Contains(known, j.code) {
		return j.code
	}
	return redact.Code(j.code, j.secrets)
}

// NamedCode returns the error code of an answer that follows no standard: what stands
// under path, as a string or a number. If path is empty, that is its error member, or, if
// the status is not a success, its code member, as in simplejwt. A code is one of known or
// a single word. Anything else may be a sentence about the user, or a secret, and counts
// as none.
func (j *JSONAnswer) NamedCode(path string, known []string) string {
	code, number := j.code, j.scalar("code")
	switch {
	case path != "":
		code = j.scalar(path)
	case code != "":
	case slices.Contains(known, number):
		code = number
	case !j.IsSuccess():
		_ = j.text("code", &code)
	}
	if code != "" && slices.Contains(known, code) {
		return code
	}
	const longest = 40
	if len(code) > longest {
		return ""
	}
	for _, c := range []byte(code) {
		digit := c >= '0' && c <= '9' && path != ""
		if c = ascii.LowerByte(c); (c < 'a' || c > 'z') && c != '_' && c != '-' && c != '.' && !digit {
			return ""
		}
	}
	return redact.Code(code, j.secrets)
}

// A Finality says which answers without a token mean that the user must sign in again.
type Finality struct {
	Codes    []string
	Statuses []int                              // if the answer is JSON or empty
	Text     bool                               // or any text but a page
	Func     func(status int, body []byte) bool // may be nil
}

// IsFinal reports whether an answer without a token means that the user must sign in
// again. code is its error code. Servers refuse a refresh token with any status from 400
// on; a firewall or a throttle that does so answers with a page.
func (f Finality) IsFinal(j *JSONAnswer, code string) bool {
	switch {
	case IsTemporary(j.Status) || j.late != nil:
		return false
	case j.IsSuccess(), j.Status >= 400 && j.Status < 500:
		if slices.Contains(f.Codes, code) && code != "" || slices.Contains(f.Codes, j.code) && j.code == "invalid_grant" {
			return true
		}
		text := strings.TrimSpace(string(j.Answer.text))
		isText := j.fault == nil && (text == "" || f.Text && text[0] != '<')
		if slices.Contains(f.Statuses, j.Status) && (isText || j.isJSON) {
			return true
		}
	}
	return f.Func != nil && j.fault == nil && f.Func(j.Status, j.Text())
}

// IsTemporary reports whether a status means a temporary failure, whatever the answer
// says.
func IsTemporary(status int) bool {
	return status == 408 || status == 425 || status == 429
}

// Token returns the token that follows old. The parts that the answer leaves out are
// those of old. sent is when the request was sent.
func (j *JSONAnswer) Token(shape Shape, old reauth.Token, sent time.Time) (reauth.Token, error) {
	switch {
	case j.members != nil && j.whole:
	case j.fault != nil:
		return reauth.Token{}, j.fault
	default:
		return reauth.Token{}, errors.New("the answer is not a JSON object")
	}
	tok := reauth.Token{TokenType: old.TokenType, RefreshToken: old.RefreshToken, Extra: j.extra(shape, old.Extra)}
	switch err := j.text(shape.AccessToken, &tok.AccessToken); {
	case err != nil:
		return reauth.Token{}, err
	case tok.AccessToken == "":
		return reauth.Token{}, fmt.Errorf("%s is missing", shape.AccessToken)
	case !ascii.IsFieldValue(tok.AccessToken):
		return reauth.Token{}, fmt.Errorf("%s has a character that a header cannot carry", shape.AccessToken)
	}
	// A refresh token that is not a string is none: some servers put something else there.
	// Nor does anything depend on the type.
	_ = j.text(shape.RefreshToken, &tok.RefreshToken)
	if kind := ""; j.text(shape.TokenType, &kind) == nil && kind != "" && ascii.IsFieldValue(kind) {
		tok.TokenType = kind
	}
	tok.Expiry = expiry.FromAnswer(tok.AccessToken, j.lookup(shape.Lifetime), j.lookup(shape.Expiry), j.Date, sent)
	tok.RefreshAfter = expiry.Stated(j.lookup(beside(shape.AccessToken, refreshIn)), j.Date, sent)
	j.setRefreshExpiry(&tok, shape, old, sent)
	return tok, nil
}

// setRefreshExpiry sets the RefreshToken that the answer's cookie holds, and when the
// refresh token expires.
func (j *JSONAnswer) setRefreshExpiry(tok *reauth.Token, shape Shape, old reauth.Token, sent time.Time) {
	for _, name := range refreshLifetimes {
		if at := expiry.Stated(j.lookup(beside(shape.refreshPath(), name)), j.Date, sent); !at.IsZero() && j.whole {
			tok.RefreshExpiry = at
		}
	}
	if c, ok := j.Cookie(shape.RefreshCookie, sent); ok {
		tok.RefreshToken = c.Value
		if c.Lifetime > 0 {
			tok.RefreshExpiry = sent.Add(c.Lifetime)
		}
	}
	if tok.RefreshExpiry.IsZero() && tok.RefreshToken == old.RefreshToken {
		tok.RefreshExpiry = old.RefreshExpiry
	}
}

// refreshPath returns the path beside which the lifetime of the refresh token stands.
func (s Shape) refreshPath() string {
	if s.RefreshToken == "" {
		return s.AccessToken
	}
	return s.RefreshToken
}

// Salvage returns what is worth keeping of a successful answer that is not a whole token:
// a Token with a refresh token unlike that of old, which the server may have given in
// exchange for it. It returns the zero Token if the answer has none.
func (j *JSONAnswer) Salvage(shape Shape, old reauth.Token, sent time.Time) reauth.Token {
	var tok reauth.Token
	if j.Refused {
		return tok
	}
	_ = j.text(shape.RefreshToken, &tok.RefreshToken)
	j.setRefreshExpiry(&tok, shape, reauth.Token{}, sent)
	// A character that is not UTF-8 has been replaced when the JSON was read.
	if tok.RefreshToken == "" || tok.RefreshToken == old.RefreshToken || strings.ContainsRune(tok.RefreshToken, utf8.RuneError) {
		return reauth.Token{}
	}
	return tok
}

// text stores the string under path, unless the answer leaves it out.
func (j *JSONAnswer) text(path string, to *string) error {
	var s string
	// null leaves s alone, and is not an error.
	if raw := j.lookup(path); raw != nil && json.Unmarshal(raw, &s) != nil {
		return fmt.Errorf("%s is not a string", path)
	}
	if s != "" {
		*to = s
	}
	return nil
}

// scalar returns the string or number under path, or "".
func (j *JSONAnswer) scalar(path string) string {
	var text string
	var number json.Number
	raw := j.lookup(path)
	if json.Unmarshal(raw, &text) != nil && json.Unmarshal(raw, &number) == nil {
		text = number.String()
	}
	return text
}

// lookup returns the value under path, or nil. There is none under "".
func (j *JSONAnswer) lookup(path string) json.RawMessage {
	if path == "" {
		return nil
	}
	members := j.members
	for {
		name, rest, deeper := strings.Cut(path, ".")
		raw := members[name]
		if !deeper {
			return raw
		}
		members = children(raw, rest)
		path = rest
	}
}

// children returns the members of an object, or of an array the element that path begins
// with. It returns nil for anything else.
func children(raw json.RawMessage, path string) map[string]json.RawMessage {
	var members map[string]json.RawMessage
	var list []json.RawMessage
	name, _, _ := strings.Cut(path, ".")
	switch {
	case json.Unmarshal(raw, &members) == nil:
		return members
	case json.Unmarshal(raw, &list) == nil:
		if i, err := strconv.Atoi(name); err == nil && i >= 0 && i < len(list) {
			return map[string]json.RawMessage{name: list[i]}
		}
	}
	return nil
}

// beside returns the path of a member of the object that path leads into.
func beside(path, name string) string {
	return path[:strings.LastIndexByte(path, '.')+1] + name
}

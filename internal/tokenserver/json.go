package tokenserver

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"strings"
	"time"

	"github.com/reauth-go/reauth"
	"github.com/reauth-go/reauth/internal/ascii"
	"github.com/reauth-go/reauth/internal/expiry"
	"github.com/reauth-go/reauth/internal/redact"
)

// A JSONAnswer is the answer of a token server that speaks JSON.
type JSONAnswer struct {
	*Answer
	Refused bool // by its status, or by an error member beside a status 200

	members map[string]json.RawMessage // nil if fault is not
	code    string                     // as the server wrote it; may hold a secret
}

// A Shape says where an answer holds which part of the token: names of members, joined
// by dots. A part whose path is empty is not read.
type Shape struct{ AccessToken, TokenType, RefreshToken, Lifetime string }

// OAuthShape is the Shape of RFC 6749 section 5.1.
var OAuthShape = Shape{"access_token", "token_type", "refresh_token", "expires_in"}

// ReadJSON reads the body of an answer from Send.
func ReadJSON(a *Answer) *JSONAnswer {
	j := &JSONAnswer{Answer: a, Refused: !a.IsSuccess()}
	if a.fault == nil && (json.Unmarshal(a.body, &j.members) != nil || j.members == nil) {
		j.members = nil
		a.fault = errors.New("the answer is not a JSON object")
	}
	raw := j.members["error"]
	switch string(raw) {
	case "", "null", `""`, "false", "0": // how some servers say that there is no error
	default:
		j.Refused = true
		_ = json.Unmarshal(raw, &j.code) // it stays empty if this is not a string
	}
	return j
}

// Code returns the error code of RFC 6749 section 5.2, or "". Unless it is one of
// known, it is redacted.
func (j *JSONAnswer) Code(known func(code string) bool) string {
	if known(j.code) {
		return j.code
	}
	return redact.Code(j.code, j.secrets)
}

// NamedCode returns the error code of an answer that follows no standard: its error
// member, or, if the status is not a success, its code member, as in simplejwt. A code
// is a single word. Anything else may be a sentence about the user, or a secret, and
// counts as none.
func (j *JSONAnswer) NamedCode() string {
	code := j.code
	if code == "" && !j.IsSuccess() {
		_ = j.text("code", &code)
	}
	const longest = 40
	if len(code) > longest {
		return ""
	}
	for _, c := range []byte(code) {
		if c = ascii.LowerByte(c); (c < 'a' || c > 'z') && c != '_' && c != '-' && c != '.' {
			return ""
		}
	}
	return redact.Code(code, j.secrets)
}

// Token returns the token that follows old. The parts that the answer leaves out are
// those of old. sent is when the request was sent.
func (j *JSONAnswer) Token(shape Shape, old reauth.Token, sent time.Time) (reauth.Token, error) {
	if j.fault != nil {
		return reauth.Token{}, j.fault
	}
	tok := reauth.Token{TokenType: old.TokenType, RefreshToken: old.RefreshToken, Extra: j.extra(shape, old.Extra)}
	err := errors.Join(
		j.text(shape.AccessToken, &tok.AccessToken),
		j.text(shape.TokenType, &tok.TokenType),
		j.text(shape.RefreshToken, &tok.RefreshToken),
	)
	switch {
	case err != nil:
		return reauth.Token{}, err
	case tok.AccessToken == "":
		return reauth.Token{}, fmt.Errorf("%s is missing", shape.AccessToken)
	case !ascii.IsFieldValue(tok.AccessToken):
		return reauth.Token{}, fmt.Errorf("%s has a character that a header cannot carry", shape.AccessToken)
	case !ascii.IsFieldValue(tok.TokenType):
		return reauth.Token{}, fmt.Errorf("%s has a character that a header cannot carry", shape.TokenType)
	}
	tok.Expiry = expiry.FromAnswer(tok.AccessToken, j.lookup(shape.Lifetime), j.Date, sent)
	return tok, nil
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
		members = nil
		if json.Unmarshal(raw, &members) != nil {
			return nil
		}
		path = rest
	}
}

// extra returns the other members of the answer, on top of those of the old token: an
// answer that leaves out scope or id_token has not changed it. Members that hold a
// part of the Shape are not among them.
func (j *JSONAnswer) extra(shape Shape, old map[string]string) map[string]string {
	extra := maps.Clone(old)
	if extra == nil {
		extra = make(map[string]string)
	}
	for name, raw := range j.members {
		var s string
		switch {
		case string(raw) == "null":
			continue
		case json.Unmarshal(raw, &s) == nil:
		default:
			var compact bytes.Buffer
			_ = json.Compact(&compact, raw)                     // it has been parsed once
			s = strings.ToValidUTF8(compact.String(), "\ufffd") // as package json does in strings; stores keep no other text
		}
		extra[name] = s
	}
	for _, path := range []string{shape.AccessToken, shape.TokenType, shape.RefreshToken, shape.Lifetime, "error"} {
		name, _, _ := strings.Cut(path, ".")
		delete(extra, name)
	}
	if len(extra) == 0 {
		return nil
	}
	return extra
}

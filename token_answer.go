package reauth

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"strings"
	"time"
)

// A tokenAnswer is the answer of a token server that speaks JSON.
type tokenAnswer struct {
	*answer
	members map[string]json.RawMessage // nil if fault is not
	refused bool
	code    string // the error code (RFC 6749 section 5.2), may be empty
}

// readTokenAnswer reads the body of a.
func readTokenAnswer(a *answer) *tokenAnswer {
	t := &tokenAnswer{answer: a}
	if a.fault == nil && (json.Unmarshal(a.body, &t.members) != nil || t.members == nil) {
		t.members = nil
		a.fault = errors.New("the answer is no JSON object")
	}
	t.readCode()
	return t
}

// An answerShape says under which paths an answer holds what: names of members,
// joined by dots. What is empty is not read.
type answerShape struct{ access, tokenType, refresh, lifetime string }

// oauthShape is that of RFC 6749 section 5.1.
var oauthShape = answerShape{"access_token", "token_type", "refresh_token", "expires_in"}

// readCode tells a refusal from a token. Some servers refuse with status 200.
func (a *tokenAnswer) readCode() {
	raw := a.members["error"]
	switch string(raw) {
	case "", "null", `""`, "false", "0": // how some say that there is none
	default:
		a.refused = true
		_ = json.Unmarshal(raw, &a.code) // it stays empty if this is no string
	}
	if !isSuccess(a.status) {
		a.refused = true
	}
}

// token reads the token that comes after old. What the answer leaves out is taken
// from there.
func (a *tokenAnswer) token(shape answerShape, old Token, sent time.Time) (Token, error) {
	if a.fault != nil {
		return Token{}, a.fault
	}
	tok := Token{TokenType: old.TokenType, RefreshToken: old.RefreshToken, Extra: a.extra(shape, old.Extra)}
	err := errors.Join(
		a.text(shape.access, &tok.AccessToken),
		a.text(shape.tokenType, &tok.TokenType),
		a.text(shape.refresh, &tok.RefreshToken),
	)
	switch {
	case err != nil:
		return Token{}, err
	case tok.AccessToken == "":
		return Token{}, fmt.Errorf("%s is missing", shape.access)
	case !validTokenText(tok.AccessToken):
		return Token{}, fmt.Errorf("%s has a character that a header cannot carry", shape.access)
	case !validTokenText(tok.TokenType):
		return Token{}, fmt.Errorf("%s has a character that a header cannot carry", shape.tokenType)
	}
	tok.Expiry = expiryFromAnswer(tok.AccessToken, a.lookup(shape.lifetime), a.date, sent)
	return tok, nil
}

// text stores the string that stands under path, unless it is left out.
func (a *tokenAnswer) text(path string, to *string) error {
	var s string
	// null leaves s alone, and is no error.
	if raw := a.lookup(path); raw != nil && json.Unmarshal(raw, &s) != nil {
		return fmt.Errorf("%s is no string", path)
	}
	if s != "" {
		*to = s
	}
	return nil
}

// lookup returns what stands under path, or nil. Nothing stands under "".
func (a *tokenAnswer) lookup(path string) json.RawMessage {
	if path == "" {
		return nil
	}
	members := a.members
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

// extra is what else the answer holds, on top of what there was: an answer that
// leaves out scope or id_token has not changed it. What has a field of its own
// in Token is not in there, nor what it stands in.
func (a *tokenAnswer) extra(shape answerShape, old map[string]string) map[string]string {
	extra := maps.Clone(old)
	if extra == nil {
		extra = make(map[string]string)
	}
	for name, raw := range a.members {
		var s string
		switch {
		case string(raw) == "null":
			continue
		case json.Unmarshal(raw, &s) == nil:
		default:
			var compact bytes.Buffer
			_ = json.Compact(&compact, raw)                     // it has been parsed once
			s = strings.ToValidUTF8(compact.String(), "\ufffd") // as json does in strings; stores keep no other text
		}
		extra[name] = s
	}
	for _, path := range []string{shape.access, shape.tokenType, shape.refresh, shape.lifetime, "error"} {
		name, _, _ := strings.Cut(path, ".")
		delete(extra, name)
	}
	if len(extra) == 0 {
		return nil
	}
	return extra
}

// scrubCode keeps the codes of RFC 6749 section 5.2 and RFC 7009 section 2.2.1
// as they are: a program compares them, and a secret may be as short as a word.
func scrubCode(code string, secrets []string) string {
	switch code {
	case "invalid_request", "invalid_client", "invalid_grant", "unauthorized_client",
		"unsupported_grant_type", "invalid_scope", "invalid_token", "unsupported_token_type",
		"server_error", "temporarily_unavailable", "access_denied", "slow_down":
		return code
	}
	return scrub(code, secrets)
}

// namedCode returns the error code of an answer that no standard describes: what
// it calls error, or, if it is a refusal, code, as simplejwt does. A code is a
// word; whatever else is there may be a sentence about the user, or a secret.
func (a *tokenAnswer) namedCode() string {
	code := a.code
	if code == "" && !isSuccess(a.status) {
		_ = a.text("code", &code)
	}
	const longest = 40
	if len(code) > longest {
		return ""
	}
	for _, c := range []byte(code) {
		if c = lowerByte(c); (c < 'a' || c > 'z') && c != '_' && c != '-' && c != '.' {
			return ""
		}
	}
	return scrubCode(code, a.secrets)
}

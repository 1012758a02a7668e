package reauth

import (
	"errors"
	"net/http"
	"reflect"
	"slices"
	"strconv"

	"github.com/reauth-go/reauth/internal/ascii"
	"github.com/reauth-go/reauth/internal/settings"
)

// A Credential puts a session's token on requests. [HeaderCredential] does so for any API
// that takes the token in one header.
//
// A Credential may have more methods, which a [Transport] uses if they are there:
//
//	Validate() error
//	Headers() []string
//	HeaderValue(tok Token) (string, error)
//	ValidateToken(tok Token) error
//	Strip(h http.Header)
//	Again(resp *http.Response) bool
//
// [New] calls Validate and Headers once each. Validate reports what is wrong with the
// settings. Headers names the headers that Apply writes; without it that is
// Authorization. A request that already has one of them with a value, because its
// caller set it, is sent unchanged. A cookie never counts, because requests carry cookies for other reasons.
//
// HeaderValue is the fast path of a Credential that writes one header, which Headers must
// name. It is called when a token is new, and its value is put on all requests in place of a
// call of Apply. If it returns an error or "", or panics, Apply is called. Like Apply it
// should not wait for anything.
//
// [Session.SignIn] calls ValidateToken, or else HeaderValue, and returns its error without
// storing the token.
//
// Strip takes out of a header what an earlier Apply may have left there. It is called for
// requests that are sent without a token, see [Config.Anonymous].
//
// Again is called with each response to a request that carries a token, before
// [Config.Refused]. resp.Request is the request as Apply has left it, and resp.Body is
// empty. Again returns true to have the request sent once more with the same token, as where
// the API demands a nonce. That happens once for each request. If the request's body can't
// be sent again, the caller gets the response, and Again is called with it a second time,
// with resp.Request.Response set to it, so that what no other attempt of this request will
// use can serve other requests. Again must not keep resp.
//
// All are called concurrently. A struct that embeds a Credential has these methods too. So
// one that embeds a [HeaderCredential] and has an Apply of its own also needs a HeaderValue
// of its own, which returns "", or else its Apply is not called.
type Credential interface {
	// Apply writes the credential to req, a clone of the caller's request that is about
	// to be sent. It may set and delete fields of req.Header, and must change nothing
	// else of req. It must not write into the values of req.Header, which it shares with
	// the caller's request, and must not keep req or its header. tok has an access token.
	// With a Credential that has Again, req.Response is the response to the attempt before
	// this one, if that was of the same request: its status is then not that of a redirect.
	//
	// Apply is called concurrently, for every attempt of every request, so it should not
	// wait for anything. An error fails the request without a refresh. It reaches the
	// caller, so it must not contain the token.
	Apply(req *http.Request, tok Token) error
}

// A HeaderCredential puts the access token in a header. The zero value writes
// "Authorization: Bearer TOKEN" (RFC 6750 section 2.1). It replaces what the header held.
type HeaderCredential struct {
	// Name is the header's name. "" means Authorization.
	Name string

	// Scheme is the authentication scheme before the token. "" means the token's own
	// type, which is Bearer if it has none.
	Scheme string

	// Bare leaves the scheme out: the header's value is only the token, as in "X-Api-Key:
	// TOKEN". Scheme must then be empty.
	Bare bool
}

// Apply implements [Credential]. It returns an error if the settings are not valid, if the
// token is empty, or if it has characters that no header can carry.
func (c HeaderCredential) Apply(req *http.Request, tok Token) error {
	value, err := c.HeaderValue(tok)
	if err != nil {
		return err
	}
	if req.Header == nil {
		req.Header = make(http.Header)
	}
	req.Header.Set(c.name(), value)
	return nil
}

// Headers returns the name of the header that Apply writes.
func (c HeaderCredential) Headers() []string { return []string{c.name()} }

func (c HeaderCredential) name() string { return settings.OrDefault(c.Name, "Authorization") }

// Validate reports everything that is wrong with the settings.
func (c HeaderCredential) Validate() error {
	f := settings.Of("reauth: HeaderCredential")
	if c.Name != "" {
		f.HeaderName("Name", c.Name)
	}
	if ascii.EqualFold(c.Name, "Cookie") {
		f.Add("Name", strconv.Quote(c.Name), "would replace the cookies of the request")
	}
	if c.Scheme != "" && !ascii.IsToken(c.Scheme) {
		f.Add("Scheme", strconv.Quote(c.Scheme), "is not an authentication scheme")
	}
	if c.Scheme != "" && c.Bare {
		f.Add("Scheme", strconv.Quote(c.Scheme), "must be empty, because Bare is set")
	}
	return f.Err()
}

// HeaderValue returns what the header holds for tok. Its errors are those of Apply.
func (c HeaderCredential) HeaderValue(tok Token) (string, error) {
	if err := c.Validate(); err != nil {
		return "", err
	}
	if tok.AccessToken == "" {
		return "", errors.New("reauth: Token.AccessToken is empty")
	}
	if !ascii.IsFieldValue(tok.AccessToken) {
		return "", errors.New("reauth: Token.AccessToken has characters that no header can carry")
	}
	if c.Bare {
		return tok.AccessToken, nil
	}
	scheme := c.Scheme
	if scheme == "" {
		scheme = tok.Type()
	}
	return scheme + " " + tok.AccessToken, nil
}

// credentialHeaders returns the canonical names of the headers that mark a caller's own
// credential.
func credentialHeaders(c Credential) []string {
	names := []string{"Authorization"}
	if c, ok := c.(interface{ Headers() []string }); ok && !isNil(c) {
		names = slices.Clone(c.Headers())
	}
	for i, name := range names {
		names[i] = http.CanonicalHeaderKey(name)
	}
	return slices.DeleteFunc(names, func(name string) bool { return name == "Cookie" })
}

func isNil(v any) bool {
	r := reflect.ValueOf(v)
	return (r.Kind() == reflect.Pointer || r.Kind() == reflect.Func) && r.IsNil()
}

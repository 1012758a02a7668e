package reauth

import (
	"errors"
	"fmt"
	"net/http"
	"slices"
)

// A Credential puts a session's token on requests, as Config.Credential says.
// [HeaderCredential] does for any API that takes the token in one header.
//
// A request that already carries a credential, because its caller set one, is
// left alone. What counts is the Authorization header, unless the Credential has
// a method that names the headers it writes:
//
//	Headers() []string
//
// It is called once, by New. A cookie never counts: requests carry cookies for
// other reasons.
type Credential interface {
	// Apply writes the credential to req, a clone of the caller's request that
	// is about to be sent. It may change req.Header and nothing else of req,
	// and must not keep req or its header. tok has an access token.
	//
	// Apply is called by many goroutines at once, for every attempt of every
	// request, so it should not wait for anything. An error fails the request,
	// without a refresh; it reaches the caller as it is, so it must not hold
	// the token.
	Apply(req *http.Request, tok Token) error
}

// A HeaderCredential puts the access token in a header, as
// "Authorization: Bearer TOKEN" (RFC 6750 section 2.1) if nothing else is said.
// It is used as a value, and replaces what the header held.
type HeaderCredential struct {
	// Name is the header's name; "" means Authorization.
	Name string

	// Scheme is the authentication scheme that stands before the token; ""
	// means the token's own type, which is Bearer if it has none.
	Scheme string

	// Bare leaves the scheme out: the header's value is the token alone, as
	// for "X-Api-Key: TOKEN". A Scheme is then an error.
	Bare bool
}

// Apply implements [Credential]. It returns an error if the settings are not
// valid, and if the token is empty or holds what no header may carry.
func (c HeaderCredential) Apply(req *http.Request, tok Token) error {
	value, err := c.value(tok)
	if err != nil {
		return err
	}
	if req.Header == nil {
		req.Header = make(http.Header)
	}
	req.Header.Set(c.name(), value)
	return nil
}

// Headers returns the one name of the header that Apply writes.
func (c HeaderCredential) Headers() []string { return []string{c.name()} }

func (c HeaderCredential) name() string {
	if c.Name == "" {
		return "Authorization"
	}
	return c.Name
}

// check reports everything that is wrong with the settings.
func (c HeaderCredential) check() error {
	var errs []error
	if c.Name != "" && !validToken(c.Name) {
		errs = append(errs, fmt.Errorf("reauth: HeaderCredential.Name %q is no header name", c.Name))
	}
	for _, unfit := range [...]string{"Host", "Content-Length", "Transfer-Encoding", "Trailer"} {
		if equalFold(c.Name, unfit) {
			errs = append(errs, fmt.Errorf("reauth: HeaderCredential.Name %q cannot carry a token: net/http writes that header itself", c.Name))
		}
	}
	if equalFold(c.Name, "Cookie") {
		errs = append(errs, fmt.Errorf("reauth: HeaderCredential.Name %q would replace the cookies that the request has", c.Name))
	}
	if c.Scheme != "" && !validToken(c.Scheme) {
		errs = append(errs, fmt.Errorf("reauth: HeaderCredential.Scheme %q is no authentication scheme", c.Scheme))
	}
	if c.Scheme != "" && c.Bare {
		errs = append(errs, fmt.Errorf("reauth: HeaderCredential.Scheme %q is set, and Bare, which sends none, is too", c.Scheme))
	}
	return errors.Join(errs...)
}

// value is what the header holds for tok.
func (c HeaderCredential) value(tok Token) (string, error) {
	if err := c.check(); err != nil {
		return "", err
	}
	if tok.AccessToken == "" {
		return "", errors.New("reauth: Token.AccessToken is empty")
	}
	if !validTokenText(tok.AccessToken) {
		return "", errors.New("reauth: Token.AccessToken holds a character that no header may carry there")
	}
	if c.Bare {
		return tok.AccessToken, nil
	}
	scheme := c.Scheme
	if scheme == "" {
		if scheme = tok.Type(); !validTokenText(scheme) {
			return "", errors.New("reauth: Token.TokenType holds a character that no header may carry there")
		}
	}
	return scheme + " " + tok.AccessToken, nil
}

// validTokenText reports whether a header can carry s as it is. It is as lenient
// as net/http, which refuses control characters only, and knows more of what is
// out there than RFC 6750 section 2.1; but a blank at either end, which net/http
// would cut off, is not let through. The empty string is valid.
func validTokenText(s string) bool {
	if s == "" {
		return true
	}
	for i := range len(s) {
		if c := s[i]; c < ' ' && c != '\t' || c == 0x7f {
			return false
		}
	}
	first, last := s[0], s[len(s)-1]
	return first != ' ' && first != '\t' && last != ' ' && last != '\t'
}

// credentialHeaders returns the canonical names of the headers by which a
// caller's own credential is known.
func credentialHeaders(c Credential) []string {
	names := []string{"Authorization"}
	if c, ok := c.(interface{ Headers() []string }); ok {
		names = slices.Clone(c.Headers())
	}
	for i, name := range names {
		names[i] = http.CanonicalHeaderKey(name)
	}
	return slices.DeleteFunc(names, func(name string) bool { return name == "Cookie" })
}

// callerHas reports whether one of the named headers is there, with whatever
// value. The names are canonical.
func callerHas(h http.Header, names []string) bool {
	for _, name := range names {
		if len(h[name]) > 0 {
			return true
		}
	}
	return false
}

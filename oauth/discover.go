package oauth

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/reauth-go/reauth/internal/redact"
	"github.com/reauth-go/reauth/internal/tokenserver"
)

// Metadata is what an authorization server says about itself (RFC 8414 section 2, OpenID
// Connect Discovery section 3). A member that is missing, or is of an unexpected type, is
// empty here.
type Metadata struct {
	Issuer                             string
	AuthorizationEndpoint              string
	TokenEndpoint                      string
	RevocationEndpoint                 string
	IntrospectionEndpoint              string
	DeviceAuthorizationEndpoint        string
	PushedAuthorizationRequestEndpoint string
	RegistrationEndpoint               string
	UserinfoEndpoint                   string
	EndSessionEndpoint                 string
	JWKSURI                            string

	ScopesSupported                            []string
	GrantTypesSupported                        []string
	CodeChallengeMethodsSupported              []string
	TokenEndpointAuthMethodsSupported          []string
	TokenEndpointAuthSigningAlgValuesSupported []string
	DPoPSigningAlgValuesSupported              []string // RFC 9449 section 5.1

	// Members are all members of the document as they are, also the ones above. Nothing
	// about the others is checked.
	Members map[string]json.RawMessage
}

// endpoints are the members that are URLs of the server.
func (m *Metadata) endpoints() map[string]*string {
	return map[string]*string{
		"authorization_endpoint":                &m.AuthorizationEndpoint,
		"token_endpoint":                        &m.TokenEndpoint,
		"revocation_endpoint":                   &m.RevocationEndpoint,
		"introspection_endpoint":                &m.IntrospectionEndpoint,
		"device_authorization_endpoint":         &m.DeviceAuthorizationEndpoint,
		"pushed_authorization_request_endpoint": &m.PushedAuthorizationRequestEndpoint,
		"registration_endpoint":                 &m.RegistrationEndpoint,
		"userinfo_endpoint":                     &m.UserinfoEndpoint,
		"end_session_endpoint":                  &m.EndSessionEndpoint,
		"jwks_uri":                              &m.JWKSURI,
	}
}

// Discover fetches the metadata of the authorization server that calls itself issuer: by
// RFC 8414 section 3, or else by OpenID Connect Discovery section 4. The client sends the
// requests; nil means a plain http.Client. It must not be one that needs the server.
//
// A document counts only if its issuer is the given one to the letter, a final slash
// included, and its endpoints are URLs of the same scheme: an https issuer has no http
// endpoint. They may be on other hosts. A redirect is followed within its origin only. At
// most one MiB is read.
//
// The error names both URLs and says why neither has such a document. It wraps
// [ErrNoMetadata] if the server has none. It never wraps [reauth.ErrSignInRequired].
func Discover(ctx context.Context, issuer string, client *http.Client) (*Metadata, error) {
	at, why := parseIssuer(issuer)
	if why != "" {
		return nil, fmt.Errorf("oauth: discovering %s: the issuer %s", redact.URL(issuer), why)
	}
	// Either way a terminating slash is removed, and compared nonetheless.
	path := strings.TrimSuffix(at.EscapedPath(), "/")
	host := at.Scheme + "://" + at.Host
	m, err := discoverAt(ctx, host+"/.well-known/oauth-authorization-server"+path, issuer, at.Scheme, client)
	if err == nil {
		return m, nil
	}
	if ctx.Err() == nil {
		m, second := discoverAt(ctx, host+path+"/.well-known/openid-configuration", issuer, at.Scheme, client)
		if second == nil {
			return m, nil
		}
		err = fmt.Errorf("%w; %w", withoutMetadata(err, isAbsent(second)), withoutMetadata(second, isAbsent(err)))
	}
	return nil, fmt.Errorf("oauth: discovering %s: %w", redact.URL(issuer), err)
}

func discoverAt(ctx context.Context, target, issuer, scheme string, client *http.Client) (*Metadata, error) {
	members, err := document(ctx, target, "issuer", unlike(issuer), client)
	if err != nil {
		return nil, err
	}
	m := &Metadata{
		Issuer:                                     issuer,
		ScopesSupported:                            list(members["scopes_supported"]),
		GrantTypesSupported:                        list(members["grant_types_supported"]),
		CodeChallengeMethodsSupported:              list(members["code_challenge_methods_supported"]),
		TokenEndpointAuthMethodsSupported:          list(members["token_endpoint_auth_methods_supported"]),
		DPoPSigningAlgValuesSupported:              list(members["dpop_signing_alg_values_supported"]),
		TokenEndpointAuthSigningAlgValuesSupported: list(members["token_endpoint_auth_signing_alg_values_supported"]),
		Members: members,
	}
	for name, field := range m.endpoints() {
		*field = text(members[name])
		if *field != "" && !isURL(*field, scheme) {
			return nil, fmt.Errorf("GET %s: its %s is %s, which is not an %s URL", redact.URL(target), name, shown(*field), scheme)
		}
	}
	return m, nil
}

// An answerError is that a server's answer is no metadata of the one that was asked for.
type answerError struct {
	target     string
	status     int
	retryAfter time.Duration
	why        string
}

func (e *answerError) Error() string { return fmt.Sprintf("GET %s: %s", redact.URL(e.target), e.why) }

// document fetches a metadata document. fault returns what is wrong with the value of the
// named member, by which the document says what it is about, or "".
func document(ctx context.Context, target, member string, fault func(string) string, client *http.Client) (map[string]json.RawMessage, error) {
	req, err := tokenserver.NewRequest(ctx, http.MethodGet, target, nil, nil)
	if err != nil {
		return nil, err
	}
	a, err := tokenserver.Send(tokenserver.WithinOrigin(client), req, nil)
	if err != nil {
		return nil, errorWithoutPrefix{err}
	}
	failure := &answerError{target: target, status: a.Status, retryAfter: a.RetryAfter}
	if a.Status != http.StatusOK {
		failure.why = fmt.Sprintf("the server answered %d", a.Status)
		return nil, failure
	}
	members, err := a.Object()
	if late := a.Late(); late != nil {
		return nil, errorWithoutPrefix{late}
	}
	if err != nil {
		failure.why = err.Error()
		return nil, failure
	}
	if found := text(members[member]); fault(found) != "" {
		failure.why = fmt.Sprintf("its %s is %s, which %s", member, shown(found), fault(found))
		return nil, failure
	}
	return members, nil
}

// unlike returns the fault of a document that must be about identifier.
func unlike(identifier string) func(string) string {
	return func(found string) string {
		if found != identifier {
			return "must be the same to the letter"
		}
		return ""
	}
}

// ErrNoMetadata is in the chain of an error of discovery if the server has answered that
// there is no such document: with a status from 400 to 499, except 408, 425 and 429. A
// client may then go on without, for example with endpoints that it was told of. After
// other failures, such as that of a server that is down, it must not.
var ErrNoMetadata = errors.New("there is no metadata")

// isAbsent reports whether the server has answered that it has no such document.
func isAbsent(err error) bool {
	a, ok := errors.AsType[*answerError](err)
	return ok && a.status >= 400 && a.status < 500 && !tokenserver.IsTemporary(a.status)
}

// withoutMetadata returns err, which is about one place, as an [ErrNoMetadata] if that is
// what it says, and the other places say so too.
func withoutMetadata(err error, others bool) error {
	if others && isAbsent(err) {
		return absentError{err}
	}
	return err
}

// An absentError is an [ErrNoMetadata] with the text of another error.
type absentError struct{ error }

func (e absentError) Unwrap() []error { return []error{e.error, ErrNoMetadata} }

// An errorWithoutPrefix is one of package tokenserver, inside one of this package.
type errorWithoutPrefix struct{ error }

func (e errorWithoutPrefix) Error() string { return strings.TrimPrefix(e.error.Error(), "reauth: ") }
func (e errorWithoutPrefix) Unwrap() error { return e.error }

// parseIssuer returns what is wrong with an issuer (RFC 8414 section 2), or "".
func parseIssuer(raw string) (u *url.URL, why string) {
	u, why = parseIdentifier(raw)
	if why == "" && strings.Contains(raw, "?") {
		why = "must have no query (RFC 8414 section 2)"
	}
	return u, why
}

func parseIdentifier(raw string) (u *url.URL, why string) {
	u, err := url.Parse(raw)
	switch {
	case raw == "":
		why = "must be set"
	case err != nil:
		why = "is not a URL"
	case u.Scheme != "https" && u.Scheme != "http":
		why = "must begin with https:// or http://"
	case u.Hostname() == "":
		why = "has no host"
	case u.User != nil:
		why = "must have no user info"
	case strings.Contains(raw, "#"):
		why = "must have no fragment"
	}
	return u, why
}

// isURL reports whether raw is the URL of an endpoint.
func isURL(raw, scheme string) bool {
	u, err := url.Parse(raw)
	return err == nil && u.Scheme == scheme && u.Hostname() != "" && !strings.Contains(raw, "#")
}

// shown returns a URL that a server has sent as an error may show it.
func shown(raw string) string {
	const longest = 200
	if len(raw) > longest {
		raw = raw[:longest]
	}
	return redact.URL(raw)
}

// text returns a member that is a string, or "".
func text(raw json.RawMessage) (s string) {
	if json.Unmarshal(raw, &s) != nil {
		return ""
	}
	return s
}

// list returns a member that is an array of strings, or nil.
func list(raw json.RawMessage) (all []string) {
	if json.Unmarshal(raw, &all) != nil {
		return nil
	}
	return all
}

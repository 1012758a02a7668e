package oauth

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"

	"github.com/reauth-go/reauth/internal/origin"
	"github.com/reauth-go/reauth/internal/redact"
)

// ResourceMetadata is what an API says about itself (RFC 9728 section 2). A member that is
// missing, or is of an unexpected type, is empty here.
type ResourceMetadata struct {
	Resource                      string
	AuthorizationServers          []string // issuers, for Discover
	ScopesSupported               []string
	BearerMethodsSupported        []string
	DPoPSigningAlgValuesSupported []string
	DPoPBoundAccessTokensRequired bool
	JWKSURI                       string

	// Members are all members of the document as they are. Nothing about the others is
	// checked.
	Members map[string]json.RawMessage
}

// DiscoverResource fetches the metadata of the API at the URL resource (RFC 9728 section
// 3), which names the servers that issue tokens for it. A document counts only if its
// resource is the given one to the letter (section 3.3), and if what is named by an https
// resource has https URLs. What else is said at [Discover] holds here too.
func DiscoverResource(ctx context.Context, resource string, client *http.Client) (*ResourceMetadata, error) {
	at, why := parseIdentifier(resource)
	if why != "" {
		return nil, resourceError(resource, errors.New("it "+why))
	}
	// Unlike that of an issuer, a path keeps its terminating slash, and the query counts.
	target := at.Scheme + "://" + at.Host + "/.well-known/oauth-protected-resource"
	if path := at.EscapedPath(); path != "/" {
		target += path
	}
	if at.RawQuery != "" {
		target += "?" + at.RawQuery
	}
	return resourceAt(ctx, target, resource, at.Scheme, unlike(resource), client)
}

// DiscoverResourceAt fetches the metadata of an API from the URL at, which the API has
// named: a challenge of its response to a request for the URL target has it as
// resource_metadata (RFC 9728 section 5.1, see [Challenges]).
//
// A document counts only if its resource covers target: it has the same origin, and the
// same path or one above, where a final slash makes no difference. Section 3.3 demands
// target itself, but many servers have one document for all that is below a path. An https
// target has its document at an https URL. What else is said at [DiscoverResource] holds
// here too.
func DiscoverResourceAt(ctx context.Context, at, target string, client *http.Client) (*ResourceMetadata, error) {
	wanted, why := parseIdentifier(target)
	if why != "" {
		return nil, resourceError(target, errors.New("it "+why))
	}
	if !mayName(wanted.Scheme, at) {
		return nil, resourceError(target, fmt.Errorf("its metadata is said to be at %s, which is not an https URL", shown(at)))
	}
	return resourceAt(ctx, at, target, wanted.Scheme, func(found string) string {
		if !covers(found, wanted) {
			return "does not cover it"
		}
		return ""
	}, client)
}

// covers reports whether resource is target, or something that target belongs to.
func covers(resource string, target *url.URL) bool {
	r, why := parseIdentifier(resource)
	if why != "" || !origin.Same(r, target) || r.RawQuery != "" && r.RawQuery != target.RawQuery {
		return false
	}
	return strings.HasPrefix(folder(target), folder(r))
}

// folder returns the path of u with a final slash.
func folder(u *url.URL) string { return strings.TrimSuffix(u.EscapedPath(), "/") + "/" }

// resourceAt fetches the metadata of resource, a URL of the given scheme, from target.
func resourceAt(ctx context.Context, target, resource, scheme string, fault func(string) string, client *http.Client) (*ResourceMetadata, error) {
	members, err := document(ctx, target, "resource", fault, client)
	if err != nil {
		return nil, resourceError(resource, withoutMetadata(err, true))
	}
	m := &ResourceMetadata{
		Resource:                      text(members["resource"]),
		AuthorizationServers:          list(members["authorization_servers"]),
		ScopesSupported:               list(members["scopes_supported"]),
		BearerMethodsSupported:        list(members["bearer_methods_supported"]),
		DPoPSigningAlgValuesSupported: list(members["dpop_signing_alg_values_supported"]),
		DPoPBoundAccessTokensRequired: string(members["dpop_bound_access_tokens_required"]) == "true",
		JWKSURI:                       text(members["jwks_uri"]),
		Members:                       members,
	}
	for _, named := range append(slices.Clone(m.AuthorizationServers), m.JWKSURI) {
		if named != "" && !mayName(scheme, named) {
			return nil, resourceError(resource, fmt.Errorf("GET %s: it names %s, which is not an https URL", redact.URL(target), shown(named)))
		}
	}
	return m, nil
}

// mayName reports whether a resource of the given scheme may name a URL: an https resource
// has nothing at http.
func mayName(scheme, raw string) bool {
	return isURL(raw, "https") || scheme != "https" && isURL(raw, "http")
}

func resourceError(resource string, err error) error {
	return fmt.Errorf("oauth: discovering the resource %s: %w", redact.URL(resource), err)
}

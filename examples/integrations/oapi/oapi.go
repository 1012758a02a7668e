// Package oapi uses a session of reauth in a client that oapi-codegen has generated.
//
// The generated files of other programs have the same options, so New works there as it
// is. Give such a client no bearer token provider and no request editor that sets
// Authorization: a request that has one is sent with that, and not with the session's
// token.
//
// The client has a session per user if it is given the Transport. The context of the call
// picks the session, also for calls with a body.
package oapi

import "net/http"

//go:generate env GOWORK=off go tool -modfile=../../../internal/tools/go.mod oapi-codegen -config config.yaml orders.yaml

// New returns a client for the API at server. session is a *reauth.Transport or a
// *reauth.Session.
func New(server string, session http.RoundTripper) (*ClientWithResponses, error) {
	return NewClientWithResponses(server, WithHTTPClient(&http.Client{Transport: session}))
}

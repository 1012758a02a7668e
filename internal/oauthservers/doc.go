// Package oauthservers tests package oauth against authorization servers in Go that nobody
// here wrote: the example server of zitadel/oidc, for token exchange, JWT bearer and
// discovery. It is a module of its own because of their dependencies.
package oauthservers

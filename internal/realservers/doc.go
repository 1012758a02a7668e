// Package realservers tests reauth against servers that nobody here wrote:
// oidc-provider, Django with simplejwt and djoser, and flask-jwt-extended. Each
// test starts its own from the program in the folder of that name, on a free port
// of the loopback interface, with access tokens that live two seconds. Tokens
// really expire, so the tests take as long as that takes.
//
// A server counts the requests that reach it, and the tests take the numbers of
// refreshes from there. Where its packages are missing a test is skipped and tells how to
// install them; with REAUTH_REQUIRE_ALL=1 in the environment it fails.
package realservers

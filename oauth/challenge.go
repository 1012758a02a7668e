package oauth

import (
	"net/http"

	"github.com/reauth-go/reauth/internal/challenge"
)

// A Challenge is one of the challenges in a WWW-Authenticate header (RFC 9110 section
// 11.6.1): how an API says what it wants of a request, such as
//
//	Bearer realm="orders", error="insufficient_scope", scope="orders.write"
type Challenge struct {
	Scheme  string            // the authentication scheme, as the server wrote it
	Token68 string            // the text in place of parameters, as for Negotiate
	Params  map[string]string // unquoted values by names in lower case; nil if there are none
}

// Challenges returns the challenges of all WWW-Authenticate fields of h, in their order.
// It skips what the grammar does not allow. Of two parameters of the same name the first
// counts.
func Challenges(h http.Header) []Challenge {
	var all []Challenge
	for _, c := range challenge.Parse(h) {
		all = append(all, Challenge(c))
	}
	return all
}

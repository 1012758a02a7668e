package reauth_test

import (
	"net/http"
	"testing"

	"github.com/stretchr/testify/assert"

	"github.com/reauth-go/reauth"
)

// response returns a response with the given WWW-Authenticate fields.
func response(status int, challenges ...string) *http.Response {
	return &http.Response{StatusCode: status, Header: http.Header{"Www-Authenticate": challenges}}
}

func TestDefaultRefusedLooksAtTheStatus(t *testing.T) {
	for status, want := range map[int]bool{401: true, 200: false, 400: false, 403: false, 407: false, 500: false} {
		assert.Equal(t, want, reauth.DefaultRefused(response(status)), "%d", status)
		assert.Equal(t, want, reauth.DefaultRefused(response(status, `Bearer error="invalid_token"`)), "%d", status)
	}
}

func TestChallengesThatARefreshCannotCure(t *testing.T) {
	for _, tc := range []struct {
		challenges []string
		cured      bool
	}{
		{nil, true},
		{[]string{`Bearer`}, true},
		{[]string{`Basic realm="x"`}, true},
		{[]string{`Bearer realm="x", error="invalid_token", error_description="expired, sorry"`}, true},
		{[]string{`Bearer error="insufficient_scope", scope="a b"`}, false},
		{[]string{`Bearer error="insufficient_user_authentication", acr_values="x"`}, false},
		{[]string{`bEARER realm="x", ERROR=insufficient_scope`}, false},
		{[]string{`Basic realm="x", Bearer error=insufficient_user_authentication, max_age=5`}, false},
		{[]string{`Basic realm="x"`, `Bearer error=insufficient_scope`}, false},
		{[]string{`Negotiate abc==, Bearer error="insufficient\_scope"`}, false},
		{[]string{`Bearer realm="a, Bearer error=\"insufficient_scope\""`}, true},
		{[]string{`Bearer realm="a, Bearer error=insufficient_scope"`}, true},
		{[]string{`Bearer error_description="insufficient_scope"`}, true},
		{[]string{`Bearer realm="error=insufficient_scope"`}, true},
		{[]string{`Newauth error="insufficient_scope"`}, true},
		{[]string{`Bearer realm="x", Newauth error="insufficient_scope"`}, true},
		{[]string{`XBearer error="insufficient_scope"`}, true},
		{[]string{`Bearer error="Insufficient_Scope"`}, true},
		{[]string{`error="insufficient_scope"`}, true},
		{[]string{`Bearer`, `error="insufficient_scope"`}, true},
		{[]string{`insufficient_scope`}, true},
		{[]string{`DPoP error="invalid_token", algs="ES256"`}, true},
		{[]string{`dpop error="insufficient_scope", scope="write"`}, false},
		{[]string{`Bearer realm="x"`, `DPoP error="insufficient_user_authentication", acr_values="mfa", max_age="60"`}, false},
		{[]string{`DPoP error="use_dpop_nonce", error_description="a nonce, please"`}, false},
		{[]string{`DPoP algs="ES256 EdDSA", error="invalid_dpop_proof"`}, false},
		{[]string{`Bearer error="invalid_token"`, `DPoP algs="ES256", error="use_dpop_nonce"`}, true},
		{[]string{`DPoP error="invalid_dpop_proof"`, `Bearer error="invalid_token"`}, true},
		{[]string{`Bearer error="invalid_token"`, `DPoP error="insufficient_user_authentication"`}, false},
	} {
		assert.Equal(t, tc.cured, reauth.DefaultRefused(response(401, tc.challenges...)), "%q", tc.challenges)
		assert.Equal(t, tc.cured, reauth.RefusedStatus(403)(response(403, tc.challenges...)), "%q", tc.challenges)
	}
}

func TestRefusedStatusLooksAtTheGivenStatuses(t *testing.T) {
	codes := []int{401, 403}
	refused := reauth.RefusedStatus(codes...)
	codes[0] = 200 // which changes nothing
	for status, want := range map[int]bool{401: true, 403: true, 200: false, 404: false} {
		assert.Equal(t, want, refused(response(status)), "%d", status)
	}
	assert.False(t, reauth.RefusedStatus()(response(401)))
}

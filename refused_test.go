package reauth_test

import (
	"net/http"
	"testing"

	"github.com/stretchr/testify/assert"

	"github.com/reauth-go/reauth"
)

func TestDefaultRefused(t *testing.T) {
	for _, tc := range []struct {
		status    int
		challenge string
		want      bool
	}{
		{401, ``, true},
		{401, `Bearer`, true},
		{401, `Bearer realm="x", error="invalid_token", error_description="expired, sorry"`, true},
		{401, `Basic realm="x"`, true},
		{401, `Bearer error="insufficient_scope", scope="a b"`, false},
		{401, `Basic realm="x", Bearer error=insufficient_user_authentication, max_age=5`, false},
		{403, ``, false},
		{403, `Bearer error="invalid_token"`, false},
		{400, ``, false},
		{407, ``, false},
		{200, ``, false},
	} {
		resp := answer(tc.status, tc.challenge)
		assert.Equal(t, tc.want, reauth.DefaultRefused(resp), "%d %s", tc.status, tc.challenge)
	}
}

func TestA401ThatARefreshCannotCureIsNotRefused(t *testing.T) {
	for _, tc := range []struct {
		challenges []string
		refused    bool
	}{
		{[]string{`Bearer error="insufficient_scope"`}, false},
		{[]string{`Bearer error="insufficient_user_authentication", acr_values="x"`}, false},
		{[]string{`bEARER realm="x", ERROR=insufficient_scope`}, false},
		{[]string{`Basic realm="x", Bearer error=insufficient_scope`}, false},
		{[]string{`Basic realm="x"`, `Bearer error=insufficient_scope`}, false},
		{[]string{`Negotiate abc==, Bearer error="insufficient\_scope"`}, false},
		// The same words elsewhere.
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
	} {
		resp := &http.Response{StatusCode: http.StatusUnauthorized, Header: http.Header{"Www-Authenticate": tc.challenges}}
		assert.Equal(t, tc.refused, reauth.DefaultRefused(resp), "%q", tc.challenges)
	}
}

func TestRefusedStatus(t *testing.T) {
	codes := []int{401, 403}
	refused := reauth.RefusedStatus(codes...)
	codes[0] = 200 // what the caller does with his slice later changes nothing

	assert.True(t, refused(answer(401, ``)))
	assert.True(t, refused(answer(403, `Bearer error="invalid_token"`)))
	assert.False(t, refused(answer(200, ``)))
	assert.False(t, refused(answer(403, `Bearer error="insufficient_scope"`)))
	assert.False(t, refused(answer(401, `Bearer error="insufficient_user_authentication"`)))

	assert.False(t, reauth.RefusedStatus(403)(answer(401, ``)))
	assert.False(t, reauth.RefusedStatus()(answer(401, ``)))
}

func answer(status int, challenge string) *http.Response {
	resp := &http.Response{StatusCode: status, Header: make(http.Header)}
	if challenge != "" {
		resp.Header.Set("WWW-Authenticate", challenge)
	}
	return resp
}

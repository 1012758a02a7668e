package reauth

import (
	"net/http"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestHeaderCredentialCheck(t *testing.T) {
	for _, c := range []HeaderCredential{
		{}, {Name: "X-Api-Key"}, {Name: "x_api.key", Bare: true}, {Scheme: "JWT"}, {Name: "Cookies"}, {Name: "X-Host", Scheme: "a"},
	} {
		assert.NoError(t, c.Validate(), "%+v", c)
	}
	for _, tc := range []struct {
		credential HeaderCredential
		want       []string
	}{
		{HeaderCredential{Name: "X Api"}, []string{`reauth: HeaderCredential.Name "X Api" is no header name`}},
		{HeaderCredential{Name: "X-Api-Key:"}, []string{`HeaderCredential.Name "X-Api-Key:"`}},
		{HeaderCredential{Name: "host"}, []string{`HeaderCredential.Name "host" cannot carry a token`}},
		{HeaderCredential{Name: "Content-Length"}, []string{`cannot carry a token`}},
		{HeaderCredential{Name: "Transfer-Encoding"}, []string{`cannot carry a token`}},
		{HeaderCredential{Name: "Trailer"}, []string{`cannot carry a token`}},
		{HeaderCredential{Name: "cookie"}, []string{`HeaderCredential.Name "cookie" would replace the cookies`}},
		{HeaderCredential{Scheme: "Bearer "}, []string{`reauth: HeaderCredential.Scheme "Bearer " is no authentication scheme`}},
		{HeaderCredential{Scheme: "JWT", Bare: true}, []string{`reauth: HeaderCredential.Scheme "JWT" is set, and Bare`}},
		{HeaderCredential{Name: "\n", Scheme: "\n", Bare: true}, []string{`Name "\n" is no`, `Scheme "\n" is no`, `and Bare`}},
	} {
		err := tc.credential.Validate()
		require.Error(t, err, "%+v", tc.credential)
		assert.Len(t, err.(interface{ Unwrap() []error }).Unwrap(), len(tc.want), "%v", err)
		for _, want := range tc.want {
			assert.ErrorContains(t, err, want)
		}
		_, err = tc.credential.HeaderValue(Token{AccessToken: "abc"})
		assert.Error(t, err, "%+v", tc.credential)
	}
}

type namesHeaders struct{ names []string }

func (namesHeaders) Apply(*http.Request, Token) error { return nil }
func (c namesHeaders) Headers() []string              { return c.names }

type namesNone struct{}

func (namesNone) Apply(*http.Request, Token) error { return nil }

func TestCredentialHeaders(t *testing.T) {
	assert.Equal(t, []string{"Authorization"}, credentialHeaders(nil))
	assert.Equal(t, []string{"Authorization"}, credentialHeaders(namesNone{}))
	assert.Equal(t, []string{"Authorization"}, credentialHeaders(HeaderCredential{}))
	assert.Equal(t, []string{"X-Api-Key"}, credentialHeaders(&HeaderCredential{Name: "x-api-key"}))
	assert.Empty(t, credentialHeaders(namesHeaders{nil}))

	given := []string{"cookie", "x-csrf-token", "Cookie"}
	assert.Equal(t, []string{"X-Csrf-Token"}, credentialHeaders(namesHeaders{given}))
	assert.Equal(t, []string{"cookie", "x-csrf-token", "Cookie"}, given, "what was given is not written to")
}

func TestCallerHas(t *testing.T) {
	names := []string{"X-Api-Key", "Authorization"}
	for _, h := range []http.Header{
		{"Authorization": {"x"}}, {"Authorization": {""}}, {"X-Api-Key": {"a", "b"}, "Accept": {"c"}},
	} {
		assert.True(t, callerHas(h, names), "%v", h)
	}
	for _, h := range []http.Header{nil, {}, {"Authorization": nil}, {"Authorization": {}}, {"Cookie": {"a=b"}}} {
		assert.False(t, callerHas(h, names), "%v", h)
	}
	assert.False(t, callerHas(http.Header{"Authorization": {"x"}}, nil))

	h := http.Header{"Authorization": {"x"}}
	assert.Zero(t, testing.AllocsPerRun(100, func() { callerHas(h, names) }))
}

package reauth_test

import (
	"fmt"
	"net/http"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/reauth-go/reauth"
)

var _ reauth.Credential = reauth.HeaderCredential{}

func ExampleHeaderCredential() {
	// As Config.Credential, for an API that takes its token in X-Auth-Token.
	credential := reauth.HeaderCredential{Name: "X-Auth-Token", Bare: true}

	// A Transport does this with each request.
	req, err := http.NewRequest(http.MethodGet, "https://api.example.com/me", nil)
	if err != nil {
		panic(err)
	}
	if err := credential.Apply(req, reauth.Token{AccessToken: "abc"}); err != nil {
		panic(err)
	}
	fmt.Println(req.Header)
	// Output: map[X-Auth-Token:[abc]]
}

func TestHeaderCredentialApply(t *testing.T) {
	for name, tc := range map[string]struct {
		credential reauth.HeaderCredential
		tokenType  string
		want       http.Header
	}{
		"default":                 {reauth.HeaderCredential{}, "", http.Header{"Authorization": {"Bearer abc"}}},
		"bearer in lower case":    {reauth.HeaderCredential{}, "bearer", http.Header{"Authorization": {"Bearer abc"}}},
		"the token's own type":    {reauth.HeaderCredential{}, "DPoP", http.Header{"Authorization": {"DPoP abc"}}},
		"a scheme":                {reauth.HeaderCredential{Scheme: "JWT"}, "DPoP", http.Header{"Authorization": {"JWT abc"}}},
		"a scheme is kept as is":  {reauth.HeaderCredential{Scheme: "bearer"}, "", http.Header{"Authorization": {"bearer abc"}}},
		"bare":                    {reauth.HeaderCredential{Bare: true}, "DPoP", http.Header{"Authorization": {"abc"}}},
		"another header":          {reauth.HeaderCredential{Name: "x-auth-token"}, "", http.Header{"X-Auth-Token": {"Bearer abc"}}},
		"another header, bare":    {reauth.HeaderCredential{Name: "x_key", Bare: true}, "", http.Header{"X_key": {"abc"}}},
		"bare needs no good type": {reauth.HeaderCredential{Bare: true}, "a\nb", http.Header{"Authorization": {"abc"}}},
	} {
		req := &http.Request{} // with a nil header
		tok := reauth.Token{AccessToken: "abc", TokenType: tc.tokenType}
		require.NoError(t, tc.credential.Apply(req, tok), name)
		assert.Equal(t, &http.Request{Header: tc.want}, req, name)

		require.NoError(t, tc.credential.Apply(req, tok), name)
		assert.Equal(t, tc.want, req.Header, "%s: it replaces, and does not add", name)

		for header := range tc.want {
			require.Len(t, tc.credential.Headers(), 1)
			assert.Equal(t, header, http.CanonicalHeaderKey(tc.credential.Headers()[0]), name)
		}
	}
}

func TestHeaderCredentialRefusesWhatNoHeaderMayCarry(t *testing.T) {
	for name, tc := range map[string]struct {
		credential reauth.HeaderCredential
		tok        reauth.Token
		want       string
	}{
		"no token":               {reauth.HeaderCredential{}, reauth.Token{RefreshToken: "secret"}, "Token.AccessToken is empty"},
		"a line break":           {reauth.HeaderCredential{}, reauth.Token{AccessToken: "secret\r\nX: y"}, "Token.AccessToken holds"},
		"a line break, bare":     {reauth.HeaderCredential{Bare: true}, reauth.Token{AccessToken: "secret\n"}, "Token.AccessToken holds"},
		"a blank at the end":     {reauth.HeaderCredential{}, reauth.Token{AccessToken: "secret "}, "Token.AccessToken holds"},
		"a type with a break":    {reauth.HeaderCredential{}, reauth.Token{AccessToken: "secret", TokenType: "secret\n"}, "Token.TokenType holds"},
		"settings that are none": {reauth.HeaderCredential{Name: "a b"}, reauth.Token{AccessToken: "secret"}, "HeaderCredential.Name"},
	} {
		req := &http.Request{}
		err := tc.credential.Apply(req, tc.tok)
		require.ErrorContains(t, err, "reauth: "+tc.want, name)
		assert.NotContains(t, err.Error(), "secret", name)
		assert.Empty(t, req.Header, name)
	}
}

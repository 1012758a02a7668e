package oauth_test

import (
	"net/http"
	"testing"

	"github.com/stretchr/testify/assert"

	"github.com/reauth-go/reauth/oauth"
)

func TestChallenges(t *testing.T) {
	h := http.Header{"Www-Authenticate": {`Bearer Realm="a, b", error="insufficient_scope", Basic`, `Negotiate YII=`}}
	assert.Equal(t, []oauth.Challenge{
		{Scheme: "Bearer", Params: map[string]string{"realm": "a, b", "error": "insufficient_scope"}},
		{Scheme: "Basic"},
		{Scheme: "Negotiate", Token68: "YII="},
	}, oauth.Challenges(h))
	assert.Nil(t, oauth.Challenges(http.Header{}))
}

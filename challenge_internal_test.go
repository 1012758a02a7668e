package reauth

import (
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestAuthParams(t *testing.T) {
	for _, tc := range []struct {
		field string
		want  []string
	}{
		{``, nil},
		{` , ,`, nil},
		{`Bearer`, nil},
		{`Bearer realm="x"`, []string{`Bearer realm=x`}},
		{`Bearer realm="a, b=c", error=d`, []string{`Bearer realm=a, b=c`, `Bearer error=d`}},
		{`Bearer realm="a \"b\" \\ \c"`, []string{`Bearer realm=a "b" \ c`}},
		{`Bearer realm="\""`, []string{`Bearer realm="`}},
		{`Bearer realm=""`, []string{`Bearer realm=`}},
		{"Bearer \t a = 1 ,\t b\t=\t\"2\"", []string{`Bearer a=1`, `Bearer b=2`}},
		{`Basic realm="a", Bearer error=b, Digest c=d`, []string{`Basic realm=a`, `Bearer error=b`, `Digest c=d`}},
		{`Negotiate, Bearer a=b`, []string{`Bearer a=b`}},
		{`Negotiate YWJj, Bearer a=b`, []string{`Bearer a=b`}},
		{`Negotiate YII/+abc==, Bearer a=b`, []string{`Bearer a=b`}},
		{`Negotiate abc==, Bearer a=b`, []string{`Bearer a=b`}},
		{`Negotiate YII=, Bearer a=b`, []string{`Bearer a=b`}},
		{`Negotiate YII=`, nil},
		{`Bearer, a=b`, []string{`Bearer a=b`}},
		{`a=b`, nil}, // no scheme
		{`a=b, Bearer c=d`, []string{`Bearer c=d`}},
		// Seen in the wild, or worse.
		{`Bearer realm="x" error="y"`, []string{`Bearer realm=x`, `Bearer error=y`}},
		{`Bearer realm="x"; error="y"`, []string{`Bearer realm=x`, `Bearer error=y`}},
		{`Bearer realm="x"error=y`, []string{`Bearer realm=x`, `Bearer error=y`}},
		{`Bearer authorization_uri=https://a/b?c, error=y`, []string{`Bearer authorization_uri=https://a/b?c`, `Bearer error=y`}},
		{`Bearer realm=My API, error=y`, []string{`Bearer realm=My`, `Bearer error=y`}},
		{`Bearer error="y`, []string{`Bearer error=y`}},
		{`Bearer error="y\`, []string{`Bearer error=y`}},
		{`Bearer error="\y\`, []string{`Bearer error=y`}},
		{`Bearer error="`, []string{`Bearer error=`}},
		{`Bearer error=`, nil},
		{`Bearer error=,a=b`, []string{`Bearer a=b`}},
		{`Bearer "Digest a=b" c=d`, []string{`Bearer c=d`}},
		{`"x, Bearer a=b"`, nil},
		{`=`, nil},
		{`"`, nil},
		{"\x00\xff(", nil},
	} {
		var got []string
		for scheme, p := range authParams(tc.field) {
			got = append(got, scheme+" "+p.name+"="+p.value)
		}
		assert.Equal(t, tc.want, got, tc.field)
	}
}

func TestAuthParamsStopsWhenToldTo(t *testing.T) {
	n := 0
	for range authParams(`Bearer a=b, c=d`) {
		n++
		break
	}
	assert.Equal(t, 1, n)
}

func TestBeyondRefresh(t *testing.T) {
	for _, tc := range []struct {
		fields []string
		want   bool
	}{
		{nil, false},
		{[]string{`Bearer`}, false},
		{[]string{`Bearer error="invalid_token"`}, false},
		{[]string{`Bearer error="insufficient_scope"`}, true},
		{[]string{`Bearer error="insufficient_user_authentication", acr_values="x"`}, true},
		{[]string{`bEARER realm="x", ERROR=insufficient_scope`}, true},
		{[]string{`Basic realm="x", Bearer error=insufficient_scope`}, true},
		{[]string{`Basic realm="x"`, `Bearer error=insufficient_scope`}, true},
		{[]string{`Negotiate abc==, Bearer error="insufficient\_scope"`}, true},
		{[]string{`Bearer realm="a, Bearer error=\"insufficient_scope\""`}, false},
		{[]string{`Bearer realm="a, Bearer error=insufficient_scope"`}, false},
		{[]string{`Bearer error_description="insufficient_scope"`}, false},
		{[]string{`Bearer realm="error=insufficient_scope"`}, false},
		{[]string{`Newauth error="insufficient_scope"`}, false},
		{[]string{`Bearer realm="x", Newauth error="insufficient_scope"`}, false},
		{[]string{`XBearer error="insufficient_scope"`}, false},
		{[]string{`Bearer error="Insufficient_Scope"`}, false},
		{[]string{`error="insufficient_scope"`}, false},
		{[]string{`Bearer`, `error="insufficient_scope"`}, false},
		{[]string{`insufficient_scope`}, false},
	} {
		assert.Equal(t, tc.want, beyondRefresh(http.Header{"Www-Authenticate": tc.fields}), "%q", tc.fields)
	}
}

// A header of a megabyte is what net/http lets through; were the time quadratic,
// this would take minutes.
func TestAuthParamsTakesLinearTime(t *testing.T) {
	for _, piece := range []string{`"`, `\`, `"\`, `=`, `,`, ` `, `a`, `a `, `a=`, `a="`, `a=b `, `a="\\"`, `(`, `( `, `Bearer a=",`} {
		field := strings.Repeat(piece, 4<<20/len(piece))
		start := time.Now()
		for range authParams(field) {
		}
		assert.Less(t, time.Since(start), 20*time.Second, piece)
	}
}

func FuzzChallenge(f *testing.F) {
	for _, s := range []string{
		``, `Bearer`, `Bearer realm="a, Bearer error=\"insufficient_scope\""`, `Basic realm="x", Bearer error=insufficient_scope`,
		`Newauth error="insufficient_scope"`, `Negotiate abc==, Bearer a = "b\"c"`, `"`, `a="\`, `,=,"`, "\x00",
	} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		for scheme, p := range authParams(s) {
			require.NotEmpty(t, scheme)
			require.NotEmpty(t, p.name)
			require.Contains(t, s, scheme)
			require.Contains(t, s, p.name)
			require.LessOrEqual(t, len(p.value), len(s))
		}

		// Whatever a realm holds, it is no challenge; and it hides none.
		quoted := strings.NewReplacer(`\`, `\\`, `"`, `\"`).Replace(s)
		realm := `Bearer realm="` + quoted + `"`
		require.False(t, beyondRefresh(http.Header{"Www-Authenticate": {realm}}))
		require.True(t, beyondRefresh(http.Header{"Www-Authenticate": {s, realm + `, error="insufficient_scope"`}}))
		require.True(t, beyondRefresh(http.Header{"Www-Authenticate": {realm + `, Basic a="` + quoted + `", Bearer error=insufficient_scope`}}))
	})
}

func TestValidToken(t *testing.T) {
	for _, s := range []string{"Bearer", "X-Api-Key", "a", "!#$%&'*+-.^_`|~09azAZ"} {
		assert.True(t, validToken(s), s)
	}
	for _, s := range []string{"", "a b", "a:", "a\n", "\u00fc", "a/b", "(a)", `"a"`, "a\x00", "\x7f"} {
		assert.False(t, validToken(s), "%q", s)
	}
}

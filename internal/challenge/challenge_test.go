package challenge_test

import (
	"net/http"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/reauth-go/reauth/internal/ascii"
	"github.com/reauth-go/reauth/internal/challenge"
)

type (
	challenges = []challenge.Challenge
	params     = map[string]string
)

func parse(values ...string) challenges {
	return challenge.Parse(http.Header{"Www-Authenticate": values})
}

// bearer is one Bearer challenge with the given parameters.
func bearer(p params) challenges { return challenges{{Scheme: "Bearer", Params: p}} }

func TestParseByTheGrammar(t *testing.T) {
	for field, want := range map[string]challenges{
		``:                                  nil,
		` , ,`:                              nil,
		`Bearer`:                            bearer(nil),
		`Bearer realm="x"`:                  bearer(params{"realm": "x"}),
		`bEARER REALM=x`:                    {{Scheme: "bEARER", Params: params{"realm": "x"}}},
		`Bearer realm="a, b=c", error=d`:    bearer(params{"realm": "a, b=c", "error": "d"}),
		`Bearer realm="a \"b\" \\ \c"`:      bearer(params{"realm": `a "b" \ c`}),
		`Bearer realm="\""`:                 bearer(params{"realm": `"`}),
		`Bearer realm=""`:                   bearer(params{"realm": ""}),
		`Bearer realm="Digest a=b, c"`:      bearer(params{"realm": "Digest a=b, c"}),
		"Bearer \t a = 1 ,\t b\t=\t\"2\"":   bearer(params{"a": "1", "b": "2"}),
		`Bearer ,, a=1,, b=2 ,`:             bearer(params{"a": "1", "b": "2"}),
		`Bearer, a=b`:                       bearer(params{"a": "b"}),
		`Basic realm="a", Bearer b=c, X`:    {{Scheme: "Basic", Params: params{"realm": "a"}}, {Scheme: "Bearer", Params: params{"b": "c"}}, {Scheme: "X"}},
		`Negotiate, Bearer a=b`:             {{Scheme: "Negotiate"}, {Scheme: "Bearer", Params: params{"a": "b"}}},
		`Negotiate YWJj, Bearer a=b`:        {{Scheme: "Negotiate", Token68: "YWJj"}, {Scheme: "Bearer", Params: params{"a": "b"}}},
		`Negotiate YII/+a.b-c_d~e==	, NTLM`: {{Scheme: "Negotiate", Token68: "YII/+a.b-c_d~e=="}, {Scheme: "NTLM"}},
		`Negotiate YII=`:                    {{Scheme: "Negotiate", Token68: "YII="}},
		`Bearer error=`:                     {{Scheme: "Bearer", Token68: "error="}}, // as the grammar has it
		`Newauth realm="apps", type=1, title="Login to \"apps\"", Basic realm="simple"`: { // RFC 9110 section 11.6.1
			{Scheme: "Newauth", Params: params{"realm": "apps", "type": "1", "title": `Login to "apps"`}},
			{Scheme: "Basic", Params: params{"realm": "simple"}},
		},
		`DPoP algs="ES256 PS256", error="use_dpop_nonce"`: {{Scheme: "DPoP", Params: params{"algs": "ES256 PS256", "error": "use_dpop_nonce"}}},
	} {
		assert.Equal(t, want, parse(field), field)
	}
}

func TestParseReadsEveryValueByItself(t *testing.T) {
	assert.Nil(t, challenge.Parse(nil))
	assert.Equal(t, challenges{{Scheme: "Basic"}, {Scheme: "Bearer", Params: params{"a": "b"}}}, parse(`Basic`, `Bearer a=b`))
	assert.Equal(t, bearer(nil), parse(`Bearer`, `a=b`), "a parameter of no challenge")
	assert.Equal(t, challenges{{Scheme: "Basic", Params: params{"a": "b, Bearer"}}, {Scheme: "DPoP"}}, parse(`Basic a="b, Bearer`, `DPoP`))
}

func TestParseOfHeadersOutsideTheGrammar(t *testing.T) {
	for field, want := range map[string]challenges{
		`a=b`:                               nil, // without a scheme
		`a=b, Bearer c=d`:                   bearer(params{"c": "d"}),
		`Bearer a=1, A=2, a="3"`:            bearer(params{"a": "1"}),
		`Bearer realm="x" error="y"`:        bearer(params{"realm": "x", "error": "y"}),
		`Bearer realm="x"error=y`:           bearer(params{"realm": "x", "error": "y"}),
		`Bearer realm="x"; error="y"`:       bearer(params{"realm": "x", "error": "y"}),
		`Bearer realm="x";error="y, Bad z"`: bearer(params{"realm": "x", "error": "y, Bad z"}),
		`Bearer realm=x;error="y, Bad z"`:   bearer(params{"realm": "x", "error": "y, Bad z"}),
		`Bearer u=https://a/b?c&d, e=f`:     bearer(params{"u": "https://a/b?c&d", "e": "f"}),
		`Bearer realm=My API, error=y`:      bearer(params{"realm": "My", "error": "y"}),
		`Bearer error=y, realm=My API, a=b`: bearer(params{"error": "y", "realm": "My", "a": "b"}),
		`Bearer realm=My Basic x==`:         bearer(params{"realm": "My"}),
		`Negotiate abc== def`:               {{Scheme: "Negotiate"}},
		`Bearer "x" abc`:                    bearer(nil),
		`Bearer ;=`:                         bearer(nil),
		`Bearer error="y`:                   bearer(params{"error": "y"}),
		`Bearer error="y\`:                  bearer(params{"error": "y"}),
		`Bearer error="\y\`:                 bearer(params{"error": "y"}),
		`Bearer error="`:                    bearer(params{"error": ""}),
		`Bearer a=1, error=,b=2`:            bearer(params{"a": "1", "b": "2"}),
		`Bearer a=1, error=;b=2`:            bearer(params{"a": "1", "b": "2"}),
		`Bearer a=1, error==, b=2`:          bearer(params{"a": "1", "b": "2"}),
		`Bearer a=1, error=`:                bearer(params{"a": "1"}),
		`Bearer a=="b, Bad c"`:              bearer(nil),
		`Bearer "Digest a=b" c=d`:           bearer(params{"c": "d"}),
		`Bearer a=1, =, c=d`:                bearer(params{"a": "1", "c": "d"}),
		`Bearer =, c=d`:                     nil,
		`"x, Bearer a=b"`:                   nil,
		`(x) Bearer a=b`:                    bearer(params{"a": "b"}),
		`=`:                                 nil,
		`"`:                                 nil,
		"\x00\xff(":                         nil,
	} {
		assert.Equal(t, want, parse(field), field)
	}
}

// net/http lets a header of a megabyte through. If the time were quadratic, this test
// would run into the limit of go test.
func TestParseTakesLinearTime(*testing.T) {
	for _, piece := range []string{
		`"`, `\`, `"\`, `=`, `,`, `;`, ` `, `a`, `a `, `a/`, `a=`, `a="`, `a=b `, `a="\\"`, `(`, `( `, `Bearer a=",`, `a b==`, `a =`,
	} {
		field := strings.Repeat(piece, 1<<20/len(piece))
		parse(field, "a "+field)
	}
}

func FuzzParse(f *testing.F) {
	for _, s := range []string{
		``, `Bearer`, `Bearer realm="a, Bearer error=\"insufficient_scope\""`, `Basic realm="x", Bearer error=insufficient_scope`,
		`Newauth error="insufficient_scope"`, `Negotiate abc==, Bearer a = "b\"c"`, `"`, `a="\`, `,=,"`, "\x00", `a=1;b="c, D"`,
	} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		all := parse(s)
		for _, c := range all {
			require.True(t, ascii.IsToken(c.Scheme))
			require.Contains(t, s, c.Scheme)
			require.Contains(t, s, c.Token68)
			for name, value := range c.Params {
				require.True(t, ascii.IsToken(name))
				require.Equal(t, ascii.Lower(name), name)
				require.LessOrEqual(t, len(value), len(s))
			}
		}

		// A realm hides nothing, and its content is not a challenge.
		realm := `Bearer realm=` + quote(s)
		require.Equal(t, bearer(params{"realm": s}), parse(realm))
		require.Equal(t, bearer(params{"realm": s, "error": "e"}), parse(realm+`, error="e"`))
		require.Equal(t, append(all, bearer(params{"realm": s})...), parse(s, realm))
	})
}

// What RFC 9110 allows to be written is parsed back to the same challenges.
func FuzzParseOfFormattedChallenges(f *testing.F) {
	for seed := range byte(16) {
		choices := make([]byte, 200)
		for i := range choices {
			choices[i] = seed*31 + byte(i)*(2*seed+7)
		}
		f.Add(choices, `a "quoted\" realm, Bearer error=x`)
	}
	f.Fuzz(func(t *testing.T, choices []byte, text string) {
		w := &writer{choices: choices, text: text}
		var want challenges
		var values []string
		for range w.choose(4) {
			value := w.oneOf("", ", ")
			for range w.choose(5) {
				c, written := w.challenge()
				want = append(want, c)
				value += written + w.oneOf(",", ", ", " ,\t", ", ,", ",,")
			}
			if w.choose(2) == 0 {
				value = strings.TrimRight(value, ", \t")
			}
			values = append(values, value)
		}
		require.Equal(t, want, parse(values...), "%q", values)
	})
}

// A writer writes challenges as its choices tell.
type writer struct {
	choices []byte
	text    string
}

// choose returns a number below n.
func (w *writer) choose(n int) int {
	if len(w.choices) == 0 {
		return 0
	}
	c := int(w.choices[0])
	w.choices = w.choices[1:]
	return c % n
}

func (w *writer) oneOf(texts ...string) string { return texts[w.choose(len(texts))] }

func (w *writer) word(alphabet string) string {
	var b strings.Builder
	for range 1 + w.choose(4) {
		b.WriteByte(alphabet[w.choose(len(alphabet))])
	}
	return b.String()
}

func (w *writer) challenge() (challenge.Challenge, string) {
	const token = "aBcXyZ019!#$%&'*+-.^_`|~"
	c := challenge.Challenge{Scheme: w.word(token)}
	written := c.Scheme
	switch w.choose(4) {
	case 0:
	case 1:
		c.Token68 = w.word("aBcXyZ019-._~+/") + w.oneOf("", "=", "==")
		written += w.oneOf(" ", "   ") + c.Token68
	default:
		c.Params = make(params)
		for range 1 + w.choose(4) {
			name := w.word(token)
			if _, again := c.Params[ascii.Lower(name)]; again {
				continue
			}
			value := w.word(token)
			inHeader := value
			if w.choose(2) == 0 {
				from := min(w.choose(256), len(w.text))
				value = w.text[from:min(from+w.choose(256), len(w.text))]
				inHeader = quote(value)
			}
			written += w.oneOf(" ", "  ")
			if len(c.Params) > 0 {
				written += w.oneOf(",", ", ", "\t,, ")
			}
			written += name + w.oneOf("=", " = ", "=\t") + inHeader
			c.Params[ascii.Lower(name)] = value
		}
	}
	return c, written
}

func quote(s string) string {
	return `"` + strings.NewReplacer(`\`, `\\`, `"`, `\"`).Replace(s) + `"`
}

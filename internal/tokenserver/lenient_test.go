package tokenserver_test

import (
	"bytes"
	"compress/gzip"
	"context"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"regexp"
	"strings"
	"testing"
	"time"
	"unicode/utf16"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/reauth-go/reauth"
	"github.com/reauth-go/reauth/internal/testworld"
	"github.com/reauth-go/reauth/internal/tokenserver"
)

var spent = reauth.Token{AccessToken: "access-1", RefreshToken: "refresh-1"}

// inUTF16 returns text with a byte order mark.
func inUTF16(text string, order binary.AppendByteOrder) string {
	out := order.AppendUint16(nil, 0xfeff)
	for _, unit := range utf16.Encode([]rune(text)) {
		out = order.AppendUint16(out, unit)
	}
	return string(out)
}

func TestUnusualAnswersThatAreTokens(t *testing.T) {
	const usual = `{"access_token":"access-2","refresh_token":"refresh-2","expires_in":60}`
	inString, err := json.Marshal(usual)
	require.NoError(t, err)
	for name, body := range map[string]string{
		"byte order mark":             "\ufeff" + usual,
		"UTF-16":                      inUTF16(usual, binary.LittleEndian),
		"UTF-16, big-endian":          inUTF16(usual, binary.BigEndian),
		"two byte order marks":        "\ufeff\r\n\ufeff" + usual,
		"a byte order mark in line 2": "\n\ufeff" + usual,
		"a warning and a mark":        "<b>Notice</b>: x\n\ufeff" + usual,
		"lines around it":             "a warning\n" + usual + " \r\n<!-- served by 7 -->",
		"form with spaces and umlaut": "access_token=access-2&refresh_token=refresh-2&scope=a b&name=Jürgen&expires_in=60",
		"error the status":            `{"error":{"code":200,"message":"OK"},` + usual[1:],
		"error zero":                  `{"error":"00000",` + usual[1:],
		"error a fraction of zero":    `{"error":0.0,` + usual[1:],
		"error not applicable":        `{"error":"N/A",` + usual[1:],
		"error a sentence":            `{"error":" Success. ",` + usual[1:],
		"array of one":                " [" + usual + "]\n",
		"a string that holds it":      string(inString),
		"a line after it":             usual + "\n<!-- served by 7 -->",
		"a brace after it":            usual + "}",
		"twice":                       usual + usual,
		"a warning before it":         "<br />\n<b>Warning</b>: foo() in /x.php on line 3<br />\n" + usual,
		"a prefix against inclusion":  ")]}',\n" + usual,
		"form":                        "access_token=access-2&refresh_token=refresh-2&expires_in=60&token_type=bearer",
		"form with escapes":           "access_token=access%2D2&refresh%5Ftoken=refresh-2&expires_in=60\n",
		"token_type a number":         `{"token_type":7,` + usual[1:],
		"token_type with a break":     `{"token_type":"B\r\nX-Evil: 1",` + usual[1:],
		"error an empty object":       `{"error":{},` + usual[1:],
		"error an empty array":        `{"error":[],` + usual[1:],
		"error none":                  `{"error":"None",` + usual[1:],
		"error with a code ok":        `{"error":{"code":"ok","details":[null]},` + usual[1:],
		"expires_in an object":        `{"access_token":"access-2","refresh_token":"refresh-2","expires_in":{}}`,
		"a break within a string":     "{\"msg\":\"two\nlines\t\",\"q\":\"\\\"\"," + usual[1:],
		"scope an array":              `{"scope":["a","b"],` + usual[1:],
		"members that are deeply odd": `{"x":{"y":[{"z":[[]]}]},` + usual[1:],
	} {
		for _, ending := range []error{nil, io.ErrUnexpectedEOF} {
			if ending != nil && (strings.HasPrefix(name, "form") || strings.HasPrefix(name, "a warning") || name == "lines around it" || strings.HasPrefix(name, "a prefix")) {
				continue // it can't be told that nothing is missing
			}
			a := answer(t, 200, body, ending)
			assert.False(t, a.Refused, name)
			tok, err := a.Token(tokenserver.OAuthShape, spent, time.Now())
			require.NoError(t, err, name)
			assert.Equal(t, "access-2 refresh-2", tok.AccessToken+" "+tok.RefreshToken, name)
			assert.Equal(t, "Bearer", tok.Type(), name)
		}
	}
}

// answer returns an answer whose body ends with ending, if that is not nil.
func answer(t testing.TB, status int, body string, ending error, header ...string) *tokenserver.JSONAnswer {
	server := testworld.AnsweringWith(func(req *http.Request) (*http.Response, error) {
		resp := testworld.Respond(req, status, "")
		for i := 0; i < len(header); i += 2 {
			resp.Header.Add(header[i], header[i+1])
		}
		resp.Body = io.NopCloser(strings.NewReader(body))
		if ending != nil {
			resp.Body = testworld.FailingReader(body, ending)
		}
		return resp, nil
	})
	req, err := tokenserver.NewRequest(t.Context(), http.MethodPost, testworld.TokenURL, nil, nil)
	require.NoError(t, err)
	a, err := tokenserver.Send(server.Client(), req, nil)
	require.NoError(t, err)
	return tokenserver.ReadJSON(a)
}

func TestRefreshTokenOfABrokenAnswerIsSalvaged(t *testing.T) {
	inData := tokenserver.Shape{AccessToken: "data.0.access", RefreshToken: "data.0.refresh"}
	inCookie := tokenserver.Shape{AccessToken: "access", RefreshCookie: "rt"}
	oauth := tokenserver.OAuthShape
	for _, tc := range []struct {
		shape  tokenserver.Shape
		body   string
		ending error
		header []string
	}{
		{oauth, `{"refresh_token":"refresh-2"}`, nil, nil},
		{oauth, `{"access_token":null,"refresh_token":"refresh-2"}`, nil, nil},
		{oauth, `{"access_token":7,"refresh_token":"refresh-2"}`, nil, nil},
		{oauth, `{"access_token":"two\nlines","refresh_token":"refresh-2"}`, nil, nil},
		{oauth, "{\"access_token\":\"two\nlines\",\"refresh_token\":\"refresh-2\"}", nil, nil},
		{oauth, `{"refresh_token":"refresh-2","access_token":"access-2"`, io.ErrUnexpectedEOF, nil},
		{oauth, `{"refresh_token":"refresh-2","access_tok`, io.ErrUnexpectedEOF, nil},
		{oauth, `{"refresh_token":"refresh-2"`, io.ErrUnexpectedEOF, nil},
		{oauth, `{"refresh_token":"refresh-2","expires_in":3`, io.ErrUnexpectedEOF, nil},
		{oauth, `{"x":{"y":[1,{"z":"`, io.ErrUnexpectedEOF, []string{"Set-Cookie", "unrelated=x"}},
		{oauth, `{"access_token":"access-2","refresh_token":"refresh-2","scope":"a`, nil, nil},
		{oauth, `{"access_token":"access-2","refresh_token":"refresh-2",}`, nil, nil},
		{oauth, `{"access_token":"access-2","refresh_token":"refresh-2",'x':1}`, nil, nil},
		{oauth, `{"scope":{"a":[1,2,{"b":"]}"}]},"refresh_token":"refresh-2","id_token":"abc`, nil, nil},
		{oauth, `[{"refresh_token":"refresh-2","id_token":"abc`, nil, nil},
		{oauth, "\ufeff" + `{"refresh_token":"refresh-2","error":[],"id_token":"abc`, nil, nil},
		{oauth, `{"refresh_token":"refresh-2","x":"` + strings.Repeat("x", 2<<20) + `"}`, nil, nil},
		{oauth, "refresh_token=refresh-2", nil, nil},
		{oauth, "refresh_token=refresh-2&access_token=abc", io.ErrUnexpectedEOF, nil},
		{oauth, "access_token=a%0Ab&refresh_token=refresh-2", nil, nil},
		{inData, `{"data":[{"refresh":"refresh-2","acc`, nil, nil},
		{inData, `{"data":[{"refresh":"refresh-2"}]}`, nil, nil},
		{inCookie, ``, nil, []string{"Set-Cookie", "rt=refresh-2; HttpOnly"}},
		{inCookie, `{"access":`, io.ErrUnexpectedEOF, []string{"Set-Cookie", "rt=refresh-2; Path=/refresh"}},
		{inCookie, `<html>`, nil, []string{"Set-Cookie", "rt=old; Path=/", "Set-Cookie", "rt=refresh-2"}},
	} {
		a := answer(t, 200, tc.body, tc.ending, tc.header...)
		_, err := a.Token(tc.shape, spent, time.Now())
		name := fmt.Sprintf("%.60s %v", tc.body, err)
		require.Error(t, err, name)
		got := a.Salvage(tc.shape, spent, time.Now())
		want := reauth.Token{RefreshToken: "refresh-2"}
		if !strings.Contains(tc.body+strings.Join(tc.header, ""), "refresh-2") {
			want = reauth.Token{}
		}
		assert.Equal(t, want, got, name)
		for _, status := range []int{302, 400, 401, 500} {
			refused := answer(t, status, tc.body, tc.ending, tc.header...)
			assert.Zero(t, refused.Salvage(tc.shape, spent, time.Now()), "%s, status %d", name, status)
		}
	}
}

func TestNothingIsGuessed(t *testing.T) {
	for _, tc := range []struct {
		body   string
		ending error
	}{
		{``, nil}, {`{}`, nil}, {`null`, nil}, {`[]`, nil}, {`"refresh-2"`, nil}, {`refresh-2`, nil}, {`<html>Back soon</html>`, nil},
		{`{"refresh_token":"refresh-1"}`, nil}, // the old one
		{`{"refresh_token":""}`, nil},
		{`{"refresh_token":7}`, nil},
		{`{"refresh_token":["evil"]}`, nil},
		{`{"refresh_token":{"refresh_token":"evil"}}`, nil},
		{`{"refresh_token":"evi`, io.ErrUnexpectedEOF},
		{`{"refresh_token":"evil\`, io.ErrUnexpectedEOF},
		{`{"refresh_token":"evil\"`, io.ErrUnexpectedEOF},
		{`{"refresh_token":"evil\u00`, io.ErrUnexpectedEOF},
		{"{\"refresh_token\":\"evil\\\tb\"}", nil},
		{`{"refresh_token":"evil","error":"invalid_grant","x":"`, nil},
		{`{"refresh_token":"evil","error":{"code":1},"x":"`, nil},
		{"{\"refresh_token\":\"evil\x80\"}", nil}, // not what the server meant
		{`{"refresh_token":"evil\ud800"}`, nil},
		{`{"data":{"refresh_token":"evil"}}`, nil},
		{`{"data":{"refresh_token":"evil"}`, io.ErrUnexpectedEOF},
		{`{"data":{"x":1,"refresh_token":"evil","y"`, io.ErrUnexpectedEOF},
		{`[{"a":1},{"refresh_token":"evil"}]`, nil},
		{`[[{"refresh_token":"evil"}]]`, nil},
		{`[1,{"refresh_token":"evil","x`, nil},
		{`[{"x":1},{"refresh_token":"evil","x`, nil},
		{`{"Refresh_Token":"evil"}`, nil},
		{`{"message":"{\"refresh_token\":\"evil\"}"}`, nil},
		{`{"message":"\",\"refresh_token\":\"evil`, nil},
		{`"{\"x\":\"{\\\"refresh_token\\\":\\\"evil\\\"}\"}"`, nil},
		{`<script>var answer = {"refresh_token":"evil"};</script>`, nil},
		{`<script>{"refresh_token":"evil"}</script>`, nil},
		{`log: {"refresh_token":"evil"}`, nil},
		{`payload={"refresh_token":"evil"}`, nil},
		{"log: {\n" + `{"refresh_token":"evil"}`, nil},
		{`the refresh_token=evil`, nil},
		{`x=1&the refresh_token=evil`, nil},
		{"x=1&y=2\nrefresh_token=3&refresh_token=evil", nil},
		{`{"refresh_token":"evil","error":404,"x":"`, nil},
		{"a line\n" + `{"refresh_token":"evil"} and more`, nil},
		{`refresh_token=evil&x`, io.ErrUnexpectedEOF},
		{`x=1&refresh_token=evil`, io.ErrUnexpectedEOF}, // the rest of it may be missing
		{`refresh_token=evil&refresh_token=worse`, nil},
		{`x=%zz&refresh_token=evil`, nil},
		{`refresh_token=%FF`, nil},
		{`<a href="?refresh_token=evil">`, nil},
		{`https://example.com/?refresh_token=evil`, nil},
		{"\xff\xfe{", nil},
	} {
		a := answer(t, 200, tc.body, tc.ending)
		_, err := a.Token(tokenserver.OAuthShape, spent, time.Now())
		require.Error(t, err, tc.body)
		if tc.body == `refresh_token=evil&x` {
			assert.Equal(t, "evil", a.Salvage(tokenserver.OAuthShape, spent, time.Now()).RefreshToken, "this one is whole")
			continue
		}
		assert.Zero(t, a.Salvage(tokenserver.OAuthShape, spent, time.Now()), tc.body)
		_, err = a.Token(tokenserver.Shape{AccessToken: "refresh_token"}, spent, time.Now())
		if !strings.Contains(tc.body, "refresh-1") && !strings.Contains(tc.body, "\x80") && !strings.Contains(tc.body, "ud800") && !strings.Contains(tc.body, "%FF") {
			require.Error(t, err, tc.body)
		}
	}
}

func TestAnswerIsReadToTheEndOfTheJSONOnly(t *testing.T) {
	for _, body := range []string{`{"access_token":"a","x":"}\"]","y":[{}]}`, " \n[{\"access_token\":\"a\"}]", "\ufeff{\"access_token\":\"a\"}"} {
		release := make(chan struct{})
		target := serve(t, func(w http.ResponseWriter, r *http.Request) {
			_, _ = io.WriteString(w, body)
			_ = http.NewResponseController(w).Flush()
			select { // the last chunk never comes
			case <-release:
			case <-r.Context().Done():
			}
		})
		a, access, err := send(t.Context(), http.DefaultClient, target)
		close(release)
		require.NoError(t, err)
		assert.Equal(t, "a", access)
		assert.NoError(t, a.Late())
	}
}

func TestRefreshTokenIsSalvagedWhenTheContextEnds(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	target := serve(t, func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.WriteString(w, `{"refresh_token":"refresh-2","id_token":"abc`)
		_ = http.NewResponseController(w).Flush()
		<-r.Context().Done()
	})
	client := clientThat(t, func(resp *http.Response) {
		resp.Body = &cancelling{ReadCloser: resp.Body, cancel: cancel}
	})
	req, err := tokenserver.NewRequest(ctx, http.MethodPost, target, nil, nil)
	require.NoError(t, err)
	got, err := tokenserver.Send(client, req, nil)
	require.NoError(t, err)
	require.ErrorIs(t, got.Late(), context.Canceled)
	assert.Equal(t, "refresh-2", tokenserver.ReadJSON(got).Salvage(tokenserver.OAuthShape, spent, time.Now()).RefreshToken)
}

// clientThat returns a client that changes each response.
func clientThat(t *testing.T, change func(*http.Response)) *http.Client {
	base := http.DefaultTransport.(*http.Transport).Clone()
	t.Cleanup(base.CloseIdleConnections)
	return &http.Client{Transport: roundTripper(func(req *http.Request) (*http.Response, error) {
		resp, err := base.RoundTrip(req)
		if err == nil {
			change(resp)
		}
		return resp, err
	})}
}

type roundTripper func(*http.Request) (*http.Response, error)

func (f roundTripper) RoundTrip(req *http.Request) (*http.Response, error) { return f(req) }

// cancelling cancels a context once something has been read, or at once.
type cancelling struct {
	io.ReadCloser
	cancel func()
	atOnce bool
}

func (c *cancelling) Read(p []byte) (int, error) {
	if c.atOnce {
		c.cancel()
	}
	n, err := c.ReadCloser.Read(p)
	if n > 0 {
		c.cancel()
	}
	return n, err
}

func TestAnswersThatAreZippedUnasked(t *testing.T) {
	const usual = `{"access_token":"access-2","refresh_token":"refresh-2"}`
	var zipped bytes.Buffer
	z := gzip.NewWriter(&zipped)
	_, err := io.WriteString(z, usual)
	require.NoError(t, err)
	require.NoError(t, z.Flush())
	unfinished := zipped.String()
	require.NoError(t, z.Close())
	for body, want := range map[string]string{zipped.String(): "", unfinished: "", "not zipped": "the answer broke off: gzip: invalid header"} {
		server := testworld.Answering(200, body, "Content-Encoding", "gzip")
		_, access, err := send(t.Context(), server.Client(), testworld.TokenURL)
		assert.Equal(t, "identity", server.Last().Header.Get("Accept-Encoding"))
		if want == "" {
			require.NoError(t, err)
			assert.Equal(t, "access-2", access)
		} else {
			assert.EqualError(t, err, want)
		}
	}
	// One of which not even the header comes is waited for until the context is done.
	ctx, cancel := context.WithCancel(t.Context())
	target := serve(t, func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Encoding", "gzip")
		w.WriteHeader(200)
		_ = http.NewResponseController(w).Flush()
		<-r.Context().Done()
	})
	a, _, err := send(ctx, clientThat(t, func(resp *http.Response) {
		resp.Body = &cancelling{ReadCloser: resp.Body, cancel: cancel, atOnce: true}
	}), target)
	assert.ErrorIs(t, err, context.Canceled)
	assert.ErrorIs(t, a.Late(), context.Canceled)
}

var stringRE = regexp.MustCompile(`"(?:[^"\\]|\\.)*"`)

// under returns the strings that stand under a name anywhere in an answer.
func under(name, body string) []string {
	var found []string
	texts := []string{body}
	if units := []byte(body); len(units) > 2 && (bytes.HasPrefix(units, []byte("\xff\xfe")) || bytes.HasPrefix(units, []byte("\xfe\xff"))) {
		for _, order := range []binary.ByteOrder{binary.LittleEndian, binary.BigEndian} {
			var text []uint16
			for rest := units; len(rest) >= 2; rest = rest[2:] {
				text = append(text, order.Uint16(rest))
			}
			texts = append(texts, string(utf16.Decode(text)))
		}
	}
	for i := 0; i < len(texts); i++ {
		text := escapeControls(texts[i])
		if whole := ""; json.Unmarshal([]byte(text), &whole) == nil && i < 8 {
			texts = append(texts, whole)
		}
		// Wherever a string begins: a stray quote shifts them.
		for at := range text {
			match := stringRE.FindStringIndex(text[at:])
			if match == nil {
				break
			}
			if match[0] != 0 {
				continue
			}
			var key, value string
			rest, isMember := strings.CutPrefix(strings.TrimLeft(text[at+match[1]:], " \t\r\n"), ":")
			if !isMember || !unquote(text[at:at+match[1]], &key) || key != name {
				continue
			}
			rest = strings.TrimLeft(rest, " \t\r\n")
			if v := stringRE.FindStringIndex(rest); v != nil && v[0] == 0 && unquote(rest[:v[1]], &value) {
				found = append(found, value)
			}
		}
		for pair := range strings.SplitSeq(strings.TrimSpace(strings.TrimPrefix(texts[i], "\ufeff")), "&") {
			n, v, _ := strings.Cut(pair, "=")
			n, err1 := url.QueryUnescape(n)
			v, err2 := url.QueryUnescape(v)
			if err1 == nil && err2 == nil && n == name {
				found = append(found, string([]rune(v))) // as package json writes what is not UTF-8
			}
		}
	}
	return found
}

// unquote reads one string. Line ends and tabs in it are text, as they are to the reader of
// answers.
func unquote(text string, into *string) bool {
	text = strings.NewReplacer("\t", `\t`, "\r", `\r`, "\n", `\n`).Replace(text)
	return json.Unmarshal([]byte(text), into) == nil
}

func escapeControls(text string) string {
	var out strings.Builder
	for _, c := range []byte(text) {
		if c < ' ' && c != '\t' && c != '\r' && c != '\n' {
			fmt.Fprintf(&out, `\u%04x`, c)
			continue
		}
		out.WriteByte(c)
	}
	return out.String()
}

// No text of an answer becomes a token unless it stands under the name that the settings
// give.
func FuzzOnlyWhatHasTheNameBecomesAToken(f *testing.F) {
	for _, body := range []string{
		`{"access_token":"a","refresh_token":"r","expires_in":3600}`, `{"refresh_token":"r","access_token":"a`, `[{"refresh_token":"r"}]`,
		"\ufeff" + `{"refresh_token":"r"} x`, `refresh_token=r&access_token=a`, `"{\"refresh_token\":\"r\"}"`, inUTF16(`{"refresh_token":"r"}`, binary.BigEndian),
		`{"x":"\"refresh_token\":\"evil\""}`, `{"x":{"refresh_token":"evil"},"y":[`, "w\n{\"refresh_token\":\"r\"}", "{\"access_token\":\"a\nb\",\"refresh_token\":\"r\"}",
		`{"refresh\u005ftoken":"\u0072"`, `{"error":{},"refresh_token":"r","access_token":7}`, `<a href="?refresh_token=evil">`,
		"{\"refresh_token\":\"0\r,\"\x00\x01\x00\x00\":", "{\"refresh_token\":\"a\tb\nc\",", "{\"refresh_token\":\"\\\tb\nc\",",
		"refresh_token=r&access_token=a\xe8\xac\xd0b",
	} {
		f.Add(200, []byte(body), false)
		f.Add(201, []byte(body), true)
	}
	f.Fuzz(func(t *testing.T, status int, body []byte, breaksOff bool) {
		if status < 200 || status > 299 {
			status = 200
		}
		var ending error
		if breaksOff {
			ending = io.ErrUnexpectedEOF
		}
		a := answer(t, status, string(body), ending)
		kept := a.Salvage(tokenserver.OAuthShape, spent, time.Now())
		if kept.RefreshToken != "" {
			require.Contains(t, under("refresh_token", string(body)), kept.RefreshToken)
			require.NotEqual(t, "refresh-1", kept.RefreshToken)
			require.Empty(t, kept.AccessToken)
		}
		tok, err := a.Token(tokenserver.OAuthShape, spent, time.Now())
		if err != nil {
			require.Zero(t, tok)
			return
		}
		require.Contains(t, under("access_token", string(body)), tok.AccessToken)
		require.Contains(t, append(under("refresh_token", string(body)), "refresh-1"), tok.RefreshToken)
	})
}

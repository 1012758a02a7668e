package testworld

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httputil"
	"net/url"
	"strings"
	"sync"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/reauth-go/reauth"
)

// Secret is a word that everything secret contains in a test that looks for leaks.
const Secret = "SECRET"

// AssertNoLeak checks that a refresher shows no secret, in no error, event or log entry
// and under no verb of package fmt, whatever the token server answers. It uses the
// refresher by itself and under a Transport, against servers that repeat each request
// wherever an answer or an error can, and that a redirect takes nothing to another host
// and signs nobody out. build returns a refresher over a client; tok is
// the session's token; signIns are bodies for its Exchange, if it has one. Every secret
// in them contains Secret, except in the encodings that are given as encoded.
func AssertNoLeak(t *testing.T, build func(*http.Client) reauth.Refresher, tok reauth.Token, signIns []any, encoded ...string) {
	t.Helper()
	for name, server := range repeatingServers() {
		t.Run(name, func(t *testing.T) {
			r := build(server.Client())
			var shown shownText
			shown.printed(r)
			tr := shown.transport(t, r)
			require.NoError(t, tr.SignIn(t.Context(), tok))
			_, err := r.Refresh(t.Context(), tok)
			require.Error(t, err)
			shown.error(err)
			assert.False(t, strings.HasPrefix(name, "redirect") && errors.Is(err, reauth.ErrSignInRequired))
			_, err = (&http.Client{Transport: tr}).Get(APIURL)
			require.Error(t, err)
			shown.error(err)
			if x, ok := r.(interface {
				Exchange(context.Context, any) (reauth.Token, error)
			}); ok {
				for _, body := range signIns {
					_, err := x.Exchange(t.Context(), body)
					require.Error(t, err)
					shown.error(err)
				}
			}
			require.NoError(t, tr.SignIn(t.Context(), tok))
			shown.error(tr.SignOut(t.Context()))
			require.NoError(t, tr.Wait(t.Context()))

			secrets := append([]string{Secret, fmt.Sprintf("%x", Secret)}, encoded...)
			known := false
			for _, req := range server.Requests() {
				known = known || strings.Contains(fmt.Sprint(req), Secret) || req.Header.Get("Authorization") != ""
				secrets = append(secrets, encodedSecrets(req)...)
				assert.Contains(t, req.URL, "id.example.com")
			}
			require.True(t, known, "the server knows no secret")
			for _, text := range shown.texts {
				for _, secret := range secrets {
					assert.NotContains(t, text, secret)
				}
			}
		})
	}
}

// encodedSecrets returns the secrets of a request that do not contain Secret.
func encodedSecrets(req TokenRequest) []string {
	var secrets []string
	if scheme, encoded, _ := strings.Cut(req.Header.Get("Authorization"), " "); scheme == "Basic" {
		secrets = append(secrets, encoded)
	}
	if proof := req.Header.Get("DPoP"); proof != "" {
		secrets = append(secrets, proof)
	}
	form, _ := url.ParseQuery(req.Body)
	if assertion := form.Get("client_assertion"); assertion != "" {
		secrets = append(secrets, assertion, assertion[strings.LastIndex(assertion, ".")+1:])
	}
	return secrets
}

// shownText collects what a user of the library can see. It is safe for concurrent use.
type shownText struct {
	mu    sync.Mutex
	texts []string
}

func (s *shownText) add(texts ...string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.texts = append(s.texts, texts...)
}

func (s *shownText) error(err error) {
	for e := err; e != nil; e = errors.Unwrap(e) {
		s.add(e.Error())
	}
	if failure, ok := errors.AsType[*reauth.RefreshError](err); ok {
		s.add(failure.Code, fmt.Sprintf("%+v %#v", *failure, failure.Err))
	}
}

// printed adds what printing and logging v show.
func (s *shownText) printed(v any) {
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%d", "%x"} {
		s.add(fmt.Sprintf(verb, v), fmt.Sprintf(verb, struct{ V any }{v}))
	}
	var log bytes.Buffer
	slog.New(slog.NewTextHandler(&log, nil)).Info("x", "v", v)
	slog.New(slog.NewJSONHandler(&log, nil)).Info("x", "v", v)
	s.add(log.String())
}

// transport returns a Transport over r and an API that refuses every token.
func (s *shownText) transport(t *testing.T, r reauth.Refresher) *reauth.Transport {
	t.Helper()
	tr, err := reauth.New(reauth.Config{
		Refresher: r, Origins: []string{"https://api.example.com"},
		Base: RoundTripper(func(req *http.Request) (*http.Response, error) { return Respond(req, 401, ""), nil }),
		OnEvent: func(ctx context.Context, e reauth.Event) {
			var log bytes.Buffer
			reauth.LogEvents(slog.New(slog.NewJSONHandler(&log, &slog.HandlerOptions{Level: slog.LevelDebug})))(ctx, e)
			s.error(e.Err)
			s.add(log.String(), fmt.Sprintf("%+v", e))
		},
	})
	require.NoError(t, err)
	s.printed(tr)
	return tr
}

// repeatingServers repeat each request, header and body, wherever an answer or an error
// can.
func repeatingServers() map[string]*TokenServer {
	repeating := func(answer func(req *http.Request, all string) (*http.Response, error)) *TokenServer {
		var s *TokenServer
		s = AnsweringWith(func(req *http.Request) (*http.Response, error) {
			return answer(req, everything(req, s.Last().Body))
		})
		return s
	}
	body := func(status int, format string) *TokenServer {
		return repeating(func(req *http.Request, all string) (*http.Response, error) {
			quoted, err := json.Marshal(all)
			return Respond(req, status, strings.ReplaceAll(format, "ALL", string(quoted))), err
		})
	}
	header := func(status int, name string, value func(all string) string) *TokenServer {
		return repeating(func(req *http.Request, all string) (*http.Response, error) {
			resp := Respond(req, status, "{}")
			resp.Header.Set(name, value(strings.Join(strings.Fields(all), " ")))
			return resp, nil
		})
	}
	asIs := func(all string) string { return all }
	return map[string]*TokenServer{
		"transport error": repeating(func(_ *http.Request, all string) (*http.Response, error) { return nil, errors.New(all) }),
		"transport error of another session": repeating(func(_ *http.Request, all string) (*http.Response, error) {
			return nil, fmt.Errorf("%s: %w", all, reauth.ErrSignInRequired)
		}),
		"transport error with the URL": repeating(func(req *http.Request, _ string) (*http.Response, error) {
			return nil, fmt.Errorf("wrapped: %w", &url.Error{Op: "Dial", URL: req.URL.String(), Err: errors.New("no network")})
		}),
		"body that breaks off": repeating(func(req *http.Request, all string) (*http.Response, error) {
			resp := Respond(req, 200, "")
			resp.Body = FailingReader("{", errors.New(all))
			return resp, nil
		}),
		"redirect without a body": header(302, "Location", func(string) string { return "https://evil.example.com/" }),
		"redirect": header(307, "Location", func(all string) string {
			return "https://evil.example.com/" + url.PathEscape(all) + "?" + url.QueryEscape(all)
		}),
		"redirect to a malformed URL": header(307, "Location", func(all string) string { return "https://evil.example.com/%zz" + all }),
		"Retry-After":                 header(503, "Retry-After", asIs),
		"Date":                        header(503, "Date", asIs),
		"Set-Cookie":                  header(503, "Set-Cookie", asIs),
		"WWW-Authenticate":            header(503, "WWW-Authenticate", asIs),
		"another cookie":              header(200, "Set-Cookie", func(all string) string { return "other=" + url.QueryEscape(all) }),
		"error code":                  body(400, `{"error":ALL}`),
		"error description":           body(400, `{"error":"invalid_grant","error_description":ALL}`),
		"error object":                body(400, `{"error":{"message":ALL}}`),
		"error code with status 200":  body(200, `{"error":ALL,"access_token":"a\n"}`),
		"code":                        body(401, `{"code":ALL,"detail":ALL}`),
		"other member":                body(200, `{"token":ALL}`),
		"token that is not a string":  body(200, `{"access_token":[ALL],"access":{"x":ALL}}`),
		"token that is not a header":  body(200, `{"access_token":"\n"}ALL`),
		"token type":                  body(200, `{"access_token":"\n","token_type":ALL}`),
		"text with status 422":        body(422, `ALL`),
		"text with status 500":        body(500, `<h1>ALL</h1>`),
	}
}

// everything returns all that a request says, encoded and not.
func everything(req *http.Request, body string) string {
	dump, _ := httputil.DumpRequest(req, false)
	all := string(dump) + body + " " + req.URL.String()
	if strings.Contains(req.Header.Get("Content-Type"), "form") {
		plain, _ := url.QueryUnescape(body)
		all += " " + plain
	}
	for _, values := range req.Header {
		for _, v := range values {
			all += " " + strings.Join(strings.Fields(v), "\n") // each part by itself
		}
	}
	return all
}

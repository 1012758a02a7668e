package reauth_test

import (
	"bytes"
	"context"
	"crypto/elliptic"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
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

// tattling repeats each request, header and body, wherever an answer or an error
// can. What it was sent is added to said.
func tattling(said *[]string) map[string]*http.Client {
	telling := func(answer func(req *http.Request, all string) (*http.Response, error)) *http.Client {
		return &http.Client{Transport: roundTripper(func(req *http.Request) (*http.Response, error) {
			dump, err := httputil.DumpRequest(req, true)
			if err != nil {
				return nil, err
			}
			*said = append(*said, string(dump))
			plain := ""
			if strings.Contains(req.Header.Get("Content-Type"), "form") {
				_, form, _ := strings.Cut(string(dump), "\r\n\r\n")
				if plain, err = url.QueryUnescape(form); err != nil {
					return nil, err
				}
			}
			all := string(dump) + " " + req.URL.String() + " " + plain
			for _, values := range req.Header {
				for _, v := range values {
					all += " " + strings.Join(strings.Fields(v), "\n") // each part by itself
				}
			}
			return answer(req, all)
		})}
	}
	quote := func(s string) string { b, _ := json.Marshal(s); return string(b) }
	body := func(status int, format string) *http.Client {
		return telling(func(req *http.Request, all string) (*http.Response, error) {
			return respond(req, status, strings.ReplaceAll(format, "ALL", quote(all))), nil
		})
	}
	return map[string]*http.Client{
		"transport error": telling(func(_ *http.Request, all string) (*http.Response, error) { return nil, errors.New(all) }),
		"transport error with the sign-in of another": telling(func(_ *http.Request, all string) (*http.Response, error) {
			return nil, fmt.Errorf("%s: %w", all, reauth.ErrSignInRequired)
		}),
		"broken body": telling(func(req *http.Request, all string) (*http.Response, error) {
			resp := respond(req, 200, "")
			resp.Body = io.NopCloser(io.MultiReader(strings.NewReader("{"), errReader{errors.New(all)}))
			return resp, nil
		}),
		"redirect": telling(func(req *http.Request, all string) (*http.Response, error) {
			resp := respond(req, 307, "")
			resp.Header.Set("Location", "https://evil.example.com/"+url.PathEscape(all))
			return resp, nil
		}),
		"header": telling(func(req *http.Request, all string) (*http.Response, error) {
			resp := respond(req, 503, "")
			line := strings.Join(strings.Fields(all), " ")
			for _, name := range []string{"Retry-After", "Date", "Set-Cookie", "WWW-Authenticate"} {
				resp.Header.Set(name, line)
			}
			return resp, nil
		}),
		"cookie": telling(func(req *http.Request, all string) (*http.Response, error) {
			resp := respond(req, 200, "{}")
			resp.Header.Set("Set-Cookie", "other="+url.QueryEscape(all))
			return resp, nil
		}),
		"error code":          body(400, `{"error":ALL}`),
		"code":                body(401, `{"code":ALL,"detail":ALL}`),
		"error code with 200": body(200, `{"error":ALL}`),
		"wrong type":          body(200, `{"access_token":[ALL],"access":{"x":ALL}}`),
		"wrong character":     body(200, `{"access_token":"\n"}ALL`),
		"text":                body(422, `ALL`),
		"server error":        body(500, `<h1>ALL</h1>`),
	}
}

// What is secret, wherever it is put, contains the word hush.
func TestNoErrorLogOrEventHoldsASecret(t *testing.T) {
	tok := reauth.Token{
		AccessToken: "access-" + hush + "-cookie+/==", RefreshToken: "refresh-" + hush + "%22+/==",
		Extra: map[string]string{"csrf_access_token": "csrf-" + hush + "-1", "csrf_refresh_token": "csrf-" + hush + "-2", "id_token": "id-" + hush},
	}
	signIn := map[string]any{"username": "ann", "password": "pass " + hush + ` "&+é`, "otp": []string{"otp-" + hush}}
	form := url.Values{"username": {"ann"}, "password": {"pass " + hush + ` "&+é`}}
	header := http.Header{"X-Api-Key": {"key-" + hush}, "Proxy-Authorization": {"Basic " + base64.StdEncoding.EncodeToString([]byte("x:"+hush))}}
	key := reauth.ClientKey{Signer: ecKey(t, elliptic.P256())}
	const at = "https://user-" + hush + ":pass-" + hush + "@id.example.com/token?key=" + hush

	type exchanger interface {
		reauth.Refresher
		Exchange(context.Context, any) (reauth.Token, error)
	}
	var said []string
	for name, client := range tattling(&said) {
		for kind, r := range map[string]reauth.Refresher{
			"JSON":        &reauth.JSONEndpoint{URL: at, Header: header, Client: client},
			"nested JSON": &reauth.JSONEndpoint{URL: at, RefreshField: "a.b", AccessPath: "a.b", Client: client},
			"JSON body": &reauth.JSONEndpoint{URL: at, Client: client, Body: func(req *http.Request, old reauth.Token) (any, error) {
				req.Header.Set("Authorization", "Bearer "+old.RefreshToken)
				return map[string]any{"secret": "body-" + hush, "old": old}, nil
			}},
			"JSON form": &reauth.JSONEndpoint{URL: at, Client: client, Body: func(_ *http.Request, old reauth.Token) (any, error) {
				return url.Values{"secret": {"body " + hush}, "t": {old.RefreshToken}}, nil
			}},
			"cookies": &reauth.CookieSession{RefreshURL: at, SignInURL: at, Header: header, Client: client},
			"assertion": &reauth.OAuth2Refresher{
				TokenURL: at, RevocationURL: at, ClientID: "client", ClientKey: key, Client: client,
			},
			"basic": &reauth.OAuth2Refresher{TokenURL: "https://id.example.com/token", ClientID: "client", ClientSecret: "secret " + hush, Client: client},
		} {
			t.Run(name+"/"+kind, func(t *testing.T) {
				said = nil
				var log bytes.Buffer
				var mu sync.Mutex
				var shown []string
				show := func(err error) {
					mu.Lock()
					defer mu.Unlock()
					for e := err; e != nil; e = errors.Unwrap(e) {
						shown = append(shown, e.Error())
					}
					if failure, ok := errors.AsType[*reauth.RefreshError](err); ok {
						shown = append(shown, failure.Code, fmt.Sprintf("%+v %#v", *failure, failure.Err))
					}
				}
				toLog := reauth.LogEvents(slog.New(slog.NewJSONHandler(&log, &slog.HandlerOptions{Level: slog.LevelDebug})))
				tr, err := reauth.New(reauth.Config{
					Refresher: r, Origins: []string{"https://api.example.com"},
					Base: roundTripper(func(req *http.Request) (*http.Response, error) { return respond(req, 401, ""), nil }),
					OnEvent: func(ctx context.Context, e reauth.Event) {
						mu.Lock()
						toLog(ctx, e)
						mu.Unlock()
						show(e.Err)
						mu.Lock()
						shown = append(shown, fmt.Sprintf("%+v", e))
						mu.Unlock()
					},
				})
				require.NoError(t, err)
				require.NoError(t, tr.SignIn(t.Context(), tok))

				_, err = r.Refresh(t.Context(), tok)
				require.Error(t, err)
				show(err)
				_, err = (&http.Client{Transport: tr}).Get(apiURL)
				require.Error(t, err)
				show(err)
				if x, ok := r.(exchanger); ok {
					for _, body := range []any{signIn, form} {
						_, err := x.Exchange(t.Context(), body)
						require.Error(t, err)
						show(err)
					}
				}
				require.NoError(t, tr.SignIn(t.Context(), tok))
				show(tr.SignOut(t.Context()))
				require.NoError(t, tr.Wait(t.Context()))

				secrets := []string{hush, url.QueryEscape("pass " + hush), base64.StdEncoding.EncodeToString([]byte("x:" + hush))}
				for _, request := range said {
					if _, assertion, ok := strings.Cut(request, "client_assertion="); ok {
						assertion, _, _ = strings.Cut(assertion, "&")
						secrets = append(secrets, assertion, assertion[strings.LastIndex(assertion, ".")+1:])
					}
					if _, basic, ok := strings.Cut(request, "Authorization: Basic "); ok {
						basic, _, _ = strings.Cut(basic, "\r")
						secrets = append(secrets, basic)
					}
				}
				require.NotEmpty(t, said)
				require.Contains(t, strings.Join(said, ""), hush, "the server knows them")
				slog.New(slog.NewTextHandler(&log, nil)).Info("settings", "refresher", r)
				shown = append(shown, log.String(), fmt.Sprintf("%v %+v %#v %q", r, r, r, r), fmt.Sprint(tr))
				for _, text := range shown {
					for _, secret := range secrets {
						assert.NotContains(t, text, secret)
					}
				}
				assert.NotEmpty(t, log.String())
			})
		}
	}
}

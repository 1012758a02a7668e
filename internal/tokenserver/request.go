package tokenserver

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strings"

	"github.com/reauth-go/reauth"
	"github.com/reauth-go/reauth/internal/redact"
)

// NewRequest returns a request with the given body; see SetBody. header replaces the
// fields that are set by default.
func NewRequest(ctx context.Context, method, target string, header http.Header, body any) (*http.Request, error) {
	req, err := http.NewRequestWithContext(ctx, method, target, nil)
	if err != nil { // which repeats the URL
		return nil, fmt.Errorf("reauth: cannot make a request to %s", redact.URL(target))
	}
	req.Header.Set("Accept", "application/json")
	// Otherwise net/http asks for gzip, and a Close then waits for a Read.
	req.Header.Set("Accept-Encoding", "identity")
	for name, values := range header {
		req.Header[http.CanonicalHeaderKey(name)] = slices.Clone(values)
	}
	return req, SetBody(req, body)
}

// SetBody sets the body of req: a url.Values as a form, nil for none, and anything
// else as JSON. A Content-Type that req has already is kept.
func SetBody(req *http.Request, body any) error {
	contentType := "application/json"
	var text []byte
	switch b := body.(type) {
	case nil:
		return nil
	case url.Values:
		contentType = "application/x-www-form-urlencoded"
		text = []byte(b.Encode())
	case io.Reader: // package json would write it as {}
		return fmt.Errorf("reauth: the body is a %T, not a value to encode as JSON", body)
	default:
		var err error
		if text, err = json.Marshal(body); err != nil { // which repeats values
			return fmt.Errorf("reauth: the body, a %T, cannot be encoded as JSON", body)
		}
	}
	if len(req.Header["Content-Type"]) == 0 {
		req.Header.Set("Content-Type", contentType)
	}
	req.ContentLength = int64(len(text))
	req.GetBody = func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(text)), nil }
	req.Body, _ = req.GetBody()
	return nil
}

// RequestSecrets returns what a request says that errors must not repeat: the values
// of its header, and every string in its body.
func RequestSecrets(header http.Header, body any) []string {
	secrets := headerSecrets(header)
	if form, ok := body.(url.Values); ok {
		for _, values := range form {
			for _, v := range values {
				secrets = append(secrets, bodySecret(v)...)
			}
		}
		return secrets
	}
	text, err := json.Marshal(body)
	var written any
	if err != nil || json.Unmarshal(text, &written) != nil {
		return secrets
	}
	return append(secrets, jsonSecrets(written)...)
}

// shortest is the length of the shortest header or Extra value that is taken for a
// secret. Shorter ones occur in any text.
const shortest = 8

func headerSecrets(header http.Header) []string {
	var secrets []string
	for name, values := range header {
		if name == "Accept" || name == "Content-Type" {
			continue
		}
		for _, v := range values {
			for _, part := range append(strings.Fields(v), v) {
				if len(part) >= shortest {
					secrets = append(secrets, part)
				}
			}
		}
	}
	return secrets
}

func jsonSecrets(v any) []string {
	var secrets []string
	switch v := v.(type) {
	case string:
		return bodySecret(v)
	case []any:
		for _, inner := range v {
			secrets = append(secrets, jsonSecrets(inner)...)
		}
	case map[string]any:
		for _, inner := range v {
			secrets = append(secrets, jsonSecrets(inner)...)
		}
	}
	return secrets
}

func bodySecret(v string) []string {
	if v == "refresh_token" || v == "password" { // grant types, which also occur in error codes
		return nil
	}
	return redact.Forms(v)
}

// TokenSecrets returns the forms of everything that a token holds.
func TokenSecrets(tok reauth.Token) []string {
	secrets := redact.Forms(tok.RefreshToken, tok.AccessToken)
	for _, v := range tok.Extra {
		if len(v) >= shortest {
			secrets = append(secrets, redact.Forms(v)...)
		}
	}
	return secrets
}

// urlSecrets returns the query of a URL and its user info, of which http.Client makes
// an Authorization header.
func urlSecrets(u *url.URL) []string {
	password, _ := u.User.Password()
	secrets := append(redact.Forms(password), u.RawQuery, u.User.String())
	if u.User != nil {
		secrets = append(secrets, base64.StdEncoding.EncodeToString([]byte(u.User.Username()+":"+password)))
	}
	return secrets
}

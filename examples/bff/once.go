package main

import (
	"bytes"
	"context"
	"crypto/rand"
	"crypto/sha256"
	"crypto/tls"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/cookiejar"
	"net/url"
	"strings"
	"time"
)

const (
	onceCalls     = 20 // at once, as on the page
	onceRollovers = 3
	onceUpload    = 8 << 20
)

// once does what a visitor does with a browser, and reports the results. It signs in,
// makes calls while tokens expire, uploads past a 401, revokes the session and gets to
// the sign-in page. It returns the first unexpected result as an error.
func once(ctx context.Context, a *app, out io.Writer) error {
	v, err := newVisitor(a)
	if err != nil {
		return err
	}
	defer v.client.CloseIdleConnections()
	for _, act := range []func(context.Context, io.Writer) error{v.signIn, v.callOverRollovers, v.upload, v.endWithARevocation} {
		if err := act(ctx, out); err != nil {
			return fmt.Errorf("-once: %w", err)
		}
	}
	return nil
}

// A visitor keeps a cookie and follows no redirect.
type visitor struct {
	url    string
	client *http.Client
}

func newVisitor(a *app) (*visitor, error) {
	jar, err := cookiejar.New(nil)
	if err != nil {
		return nil, err
	}
	return &visitor{a.url, &http.Client{
		Jar: jar,
		Transport: &http.Transport{
			MaxIdleConnsPerHost: onceCalls,
			// The certificate is self-signed, and the server is part of this program.
			TLSClientConfig:   &tls.Config{InsecureSkipVerify: true},
			ForceAttemptHTTP2: true,
		},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}}, nil
}

func (v *visitor) signIn(ctx context.Context, out io.Writer) error {
	form := url.Values{"user": {demoUsers[0]}, "password": {demoPassword}}
	resp, _, err := v.send(ctx, http.MethodPost, "/sign-in", strings.NewReader(form.Encode()), http.StatusSeeOther)
	if err != nil {
		return err
	}
	if to := resp.Header.Get("Location"); to != "/" {
		return fmt.Errorf("the sign-in leads to %q", to)
	}
	fmt.Fprintf(out, "Signed in as %s.\n", demoUsers[0])
	return nil
}

func (v *visitor) callOverRollovers(ctx context.Context, out io.Writer) error {
	first, last, answered := 0, 0, 0
	for first == 0 || last < first+onceRollovers {
		tokens := make([]int, onceCalls)
		errs := make(chan error, onceCalls)
		for i := range tokens {
			go func() { // ends with its call
				var err error
				tokens[i], err = v.call(ctx, i+1)
				errs <- err
			}()
		}
		var failed []error
		for range tokens {
			failed = append(failed, <-errs)
		}
		if err := errors.Join(failed...); err != nil {
			return err
		}
		answered += onceCalls
		if first == 0 {
			first = tokens[0]
		}
		for _, token := range tokens {
			last = max(last, token)
		}
		select {
		case <-time.After(50 * time.Millisecond):
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
	fmt.Fprintf(out, "%d calls, %d at a time: all answered, under the tokens no. %d to %d.\n", answered, onceCalls, first, last)
	return nil
}

// call returns the number of the token that the API saw.
func (v *visitor) call(ctx context.Context, order int) (int, error) {
	_, body, err := v.send(ctx, http.MethodGet, fmt.Sprintf("/api/orders/%d", order), nil, http.StatusOK)
	if err != nil {
		return 0, err
	}
	var answer struct{ Token int }
	if err := json.Unmarshal(body, &answer); err != nil {
		return 0, fmt.Errorf("the API's answer: %w", err)
	}
	return answer.Token, nil
}

func (v *visitor) upload(ctx context.Context, out io.Writer) error {
	if _, _, err := v.send(ctx, http.MethodPost, "/api/demo/expire", nil, http.StatusNoContent); err != nil {
		return err
	}
	content := make([]byte, onceUpload)
	rand.Read(content)
	sent := sha256.Sum256(content)                   // not while it is sent: the answer may come before its end
	body := io.MultiReader(bytes.NewReader(content)) // a stream, without a length
	resp, _, err := v.send(ctx, http.MethodPut, "/api/uploads", body, http.StatusOK)
	if err != nil {
		return err
	}
	if resp.Header.Get("X-Body-SHA256") != hex.EncodeToString(sent[:]) {
		return errors.New("the upload did not arrive as it was sent")
	}
	fmt.Fprintf(out, "An upload of %d MiB, right after the API was told to refuse the token: it arrived whole.\n", onceUpload>>20)
	return nil
}

func (v *visitor) endWithARevocation(ctx context.Context, out io.Writer) error {
	if _, _, err := v.send(ctx, http.MethodPost, "/api/demo/revoke", nil, http.StatusNoContent); err != nil {
		return err
	}
	_, body, err := v.send(ctx, http.MethodGet, "/api/orders/1", nil, http.StatusUnauthorized)
	if err != nil {
		return err
	}
	resp, _, err := v.send(ctx, http.MethodGet, "/", nil, http.StatusSeeOther)
	if err != nil {
		return err
	}
	if to := resp.Header.Get("Location"); to != "/sign-in" || !strings.Contains(string(body), "sign_in_required") {
		return fmt.Errorf("once the session is revoked a call is answered with %q, and the page leads to %q", body, to)
	}
	fmt.Fprintln(out, "The session was revoked at the server: the next call was told so, and the page leads to the sign-in page.")
	return nil
}

// send returns an answer with the status want, and its body.
func (v *visitor) send(ctx context.Context, method, path string, body io.Reader, want int) (*http.Response, []byte, error) {
	req, err := http.NewRequestWithContext(ctx, method, v.url+path, body)
	if err != nil {
		return nil, nil, err
	}
	if path == "/sign-in" {
		req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	}
	resp, err := v.client.Do(req)
	if err != nil {
		return nil, nil, err
	}
	defer resp.Body.Close()
	answer, err := io.ReadAll(resp.Body)
	if err == nil && resp.StatusCode != want {
		err = fmt.Errorf("%s %s: status %d in place of %d", method, path, resp.StatusCode, want)
	}
	return resp, answer, err
}

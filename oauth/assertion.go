package oauth

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"strings"
	"time"

	"github.com/reauth-go/reauth"
	"github.com/reauth-go/reauth/internal/redact"
)

const (
	// The largest assertion that is read from a file.
	maxAssertion = 1 << 20

	// While a file is replaced it can be absent or empty for a moment, so it is read
	// this often, this long apart.
	assertionTries = 5
	assertionWait  = 20 * time.Millisecond
)

// AssertionFile returns a function that reads an assertion from the file at path, for
// Refresher.Assertion, [JWTBearer] and [TokenExchange]: the token that Kubernetes projects
// into a pod, or that an agent writes beside the program.
//
// The function reads the file each time it is called, so it returns what is there now,
// also where path is a symbolic link that has been replaced. It leaves out the white space
// around the assertion and a byte order mark. A file that is absent or empty is read again
// for up to 80 milliseconds, since many writers don't replace it in one step.
//
// It returns an error if the file stays absent or empty, is larger than one MiB, is no
// regular file, or holds something else, such as a private key or JSON. The error names
// path and shows nothing of what the file holds. The function may be called concurrently.
func AssertionFile(path string) func(context.Context) (string, error) {
	return func(ctx context.Context) (string, error) {
		for try := 1; ; try++ {
			text, err := readAssertion(path)
			if err == nil {
				return text, nil
			}
			if passing := errors.Is(err, fs.ErrNotExist) || errors.Is(err, errEmptyFile); !passing || try == assertionTries {
				return "", fmt.Errorf("oauth: assertion file %q: %w", path, err)
			}
			select {
			case <-time.After(assertionWait):
			case <-ctx.Done():
				return "", fmt.Errorf("oauth: assertion file %q: %w: %w", path, err, ctx.Err())
			}
		}
	}
}

var errEmptyFile = errors.New("the file is empty")

func readAssertion(path string) (string, error) {
	text, err := readFile(path)
	if e, ok := errors.AsType[*fs.PathError](err); ok {
		err = e.Err // the caller names the path
	}
	if err != nil {
		return "", err
	}
	assertion := string(bytes.TrimSpace(bytes.TrimPrefix(text, []byte("\ufeff"))))
	switch {
	case assertion == "":
		return "", errEmptyFile
	case strings.ContainsFunc(assertion, isNotOfAssertion):
		return "", errors.New("the file holds no assertion, but other text")
	}
	return assertion, nil
}

// isNotOfAssertion reports whether c occurs in no assertion and no token, but in a private
// key, in JSON or in a text of another encoding.
func isNotOfAssertion(c rune) bool {
	return c <= ' ' || c > '~' || strings.ContainsRune(`"<>{}`, c)
}

func readFile(path string) ([]byte, error) {
	// To open a pipe can take for ever, and what is read from it is gone.
	if info, err := os.Stat(path); err != nil {
		return nil, err
	} else if !info.Mode().IsRegular() {
		return nil, errors.New("not a regular file")
	}
	file, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer file.Close()
	text, err := io.ReadAll(io.LimitReader(file, maxAssertion+1))
	if err == nil && len(text) > maxAssertion {
		err = fmt.Errorf("the file is larger than %d bytes", maxAssertion)
	}
	return text, err
}

// ask calls the function in a field that returns an assertion or a token.
func ask(ctx context.Context, field string, from func(context.Context) (string, error)) (string, error) {
	text, err := from(ctx)
	switch {
	case err != nil:
		return "", fmt.Errorf("%s: %w", field, err)
	case text == "":
		return "", fmt.Errorf("%s returned an empty text", field)
	}
	return text, nil
}

// clientAssertion returns the assertion that authenticates the client in the next request.
// Without one nothing is known about the session, so that the error is a temporary one.
func (r *Refresher) clientAssertion(ctx context.Context) (string, error) {
	if r.Assertion == nil {
		return r.ClientKey.assertion(r.ClientID, r.Issuer, r.TokenURL)
	}
	assertion, err := ask(ctx, "oauth: Refresher.Assertion", r.Assertion)
	if err == nil {
		return assertion, nil
	}
	var keep []error
	if ctx.Err() != nil {
		keep = redact.ContextErrors
	}
	err = redact.Without(err, reauth.ErrSignInRequired, redact.ContextErrors...)
	return "", redact.Harmless(err, nil, keep...)
}

package oauth

import (
	"context"
	"fmt"

	"github.com/reauth-go/reauth"
	"github.com/reauth-go/reauth/internal/redact"
	"github.com/reauth-go/reauth/internal/tokenfile"
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
		text, err := tokenfile.Read(ctx, path)
		if err != nil {
			return "", fmt.Errorf("oauth: assertion file %q: %w", path, err)
		}
		return text, nil
	}
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

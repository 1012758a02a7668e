package reauth

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/reauth-go/reauth/internal/tokenfile"
)

// tokenFilePeriod is how long a token file is not looked at again, unless it has to be.
// Kubernetes replaces a token when a fifth of its lifetime is left, and that is ten
// minutes at least, so that one look each minute is enough (kubernetes/kubernetes#68164).
const tokenFilePeriod = time.Minute

// TokenFile returns a Refresher whose tokens are in the file at path, which another program
// replaces: the token that Kubernetes projects into a pod, or that an agent writes beside
// the program. No SignIn is needed. Leave Config.Store nil, because the file is the store: in
// one that pods share, the token of one pod would be used by the others.
//
// The file is read before the first request, when its token has expired, and when the API
// refuses the token. While requests are sent it is also read each minute, in the
// background, so that a new token is in use before the old one ends; with a negative
// [Config.EarlyRefresh] it is not. When the token expires is read from it if it is a JWT,
// and is unknown otherwise. If the file still holds the token that was refused, the caller
// gets the refusal, as described at [Config.RefreshPause].
//
// It may be a symbolic link that is replaced. White space around the token and a byte order
// mark are left out. A file that is absent or empty is read again for up to 80
// milliseconds, since many writers don't replace it in one step. A token that is half written
// passes for one: the API refuses it, and the file is read again after Config.RefreshPause.
//
// It is a temporary failure if the file stays absent or empty, can't be read, is larger than
// one MiB, is no regular file, or holds something else, such as a private key or JSON.
// Requests then go on with the token that was read last, until that has expired or is
// refused. The error names path and shows nothing of what the file holds.
func TokenFile(path string) Refresher { return tokenFile(path) }

type tokenFile string

func (path tokenFile) Refresh(ctx context.Context, _ Token) (Token, error) {
	text, err := tokenfile.Read(ctx, string(path))
	if err != nil {
		return Token{}, fmt.Errorf("reauth: token file %q: %w", string(path), err)
	}
	return Token{AccessToken: text, RefreshAfter: time.Now().Add(tokenFilePeriod)}, nil
}

// Validate is called by New.
func (path tokenFile) Validate() error {
	if path == "" {
		return errors.New("reauth: TokenFile: the path is empty")
	}
	return nil
}

package clientgo

import (
	"context"
	"os"
	"strings"
	"time"

	"github.com/reauth-go/reauth"
)

// tokenFile reads the token at path, at least once a minute.
func tokenFile(path string) reauth.RefresherFunc {
	return func(context.Context, reauth.Token) (reauth.Token, error) {
		text, err := os.ReadFile(path)
		return reauth.Token{AccessToken: strings.TrimSpace(string(text)), RefreshAfter: time.Now().Add(time.Minute)}, err
	}
}

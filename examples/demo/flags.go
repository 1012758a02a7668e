package main

import (
	"errors"
	"flag"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/reauth-go/reauth"
	"github.com/reauth-go/reauth/oauth"
)

const usage = `Demo sends many requests at once with an invalid access token, and shows that
one refresh serves them all.

  demo [-n 50]
      against an API and a token server of its own, on a port of this machine

  REAUTH_REFRESH_TOKEN=... demo -url https://api.example.com/me \
             -token-url https://id.example.com/token -client-id ID [-n 50]
      against yours; a client secret goes into REAUTH_CLIENT_SECRET

Against your API, all requests are GET. They are first sent with an access token
that is invalid on purpose, so that each one is refused, and then once more with
the token that your token server issues for the refresh token. Tokens are sent
to the origin of -url and to -token-url, nowhere else. No token is printed.

If your token server rotates refresh tokens, the one you give is spent. The new
one is written to a file that only you can read, and the file's name is printed.

The exit status is 0 if every request was answered and one refresh was enough, 1
if not, and 2 if the flags are wrong.

`

const (
	envRefreshToken = "REAUTH_REFRESH_TOKEN"
	envClientSecret = "REAUTH_CLIENT_SECRET"
	mostRequests    = 100_000
)

var errHelp = flag.ErrHelp

// options holds the values of the flags.
type options struct {
	n            int
	url          string
	tokenURL     string
	clientID     string
	clientSecret string
	authStyle    string
	scope        string
	accessToken  string
	refreshToken string
	refused      statuses
	save         string
}

// A target is an API, and how to sign in to it.
type target struct {
	url          string
	origin       string
	tokenURL     string
	clientID     string
	clientSecret string
	authStyle    oauth.AuthStyle
	scopes       []string
	token        reauth.Token
	store        reauth.Store
	earlyRefresh time.Duration
}

func parse(args []string, stdout io.Writer) (options, error) {
	opts := options{refused: statuses{http.StatusUnauthorized}}
	f := flag.NewFlagSet("demo", flag.ContinueOnError)
	f.SetOutput(io.Discard) // errors are printed by run
	f.IntVar(&opts.n, "n", 50, "how many requests to send at once")
	f.StringVar(&opts.url, "url", "", "`address` of your API that wants a token")
	f.StringVar(&opts.tokenURL, "token-url", "", "`address` of the token endpoint (RFC 6749)")
	f.StringVar(&opts.clientID, "client-id", "", "the client's `id`")
	f.StringVar(&opts.clientSecret, "client-secret", "", "the client's `secret`, if it has one; better set in the environment\nas "+envClientSecret)
	f.StringVar(&opts.authStyle, "auth-style", "", "send the client's id and secret as `basic|form`\n(default: basic if there is a secret)")
	f.StringVar(&opts.scope, "scope", "", "ask for these `scopes`, separated by spaces")
	f.StringVar(&opts.refreshToken, "refresh-token", "", "the refresh `token` to start with; better set in the environment\nas "+envRefreshToken)
	f.StringVar(&opts.accessToken, "access-token", "not-a-valid-token", "the access `token` that the API refuses; some APIs want it well-formed,\nso give an expired one")
	f.Var(&opts.refused, "refused", "the `statuses` with which the API refuses a token, for example 401,403")
	f.StringVar(&opts.save, "save", "", "the `file` to write a rotated refresh token to\n(default: a new file in the directory for temporary files)")

	switch err := f.Parse(args); {
	case errors.Is(err, flag.ErrHelp):
		fmt.Fprint(stdout, usage)
		f.SetOutput(stdout)
		f.PrintDefaults()
		return options{}, errHelp
	case err != nil:
		return options{}, err
	case f.NArg() > 0: // not shown, because it may be a secret whose flag is missing
		return options{}, fmt.Errorf("%s after the flags, where none is expected", plural(f.NArg(), "argument"))
	}
	if opts.url != "" {
		opts.refreshToken = or(opts.refreshToken, os.Getenv(envRefreshToken))
		opts.clientSecret = or(opts.clientSecret, os.Getenv(envClientSecret))
	}
	var strays []string
	f.Visit(func(given *flag.Flag) {
		if given.Name != "n" && given.Name != "url" {
			strays = append(strays, "-"+given.Name)
		}
	})
	return opts, opts.check(strays)
}

// check reports every mistake at once.
func (o options) check(strays []string) error {
	var faults []error
	fault := func(format string, args ...any) { faults = append(faults, fmt.Errorf(format, args...)) }
	if o.n < 1 || o.n > mostRequests {
		fault("-n %d: must be from 1 to %d", o.n, mostRequests)
	}
	switch {
	case o.url != "":
		faults = append(faults, checkAddress("-url", o.url))
		switch {
		case o.tokenURL == "":
			fault("-token-url is missing (the token endpoint)")
		default:
			faults = append(faults, checkAddress("-token-url", o.tokenURL))
		}
		if o.refreshToken == "" {
			fault("-refresh-token is missing (or %s in the environment)", envRefreshToken)
		}
		if _, ok := authStyles[o.authStyle]; !ok {
			fault("-auth-style %q: must be basic or form", o.authStyle)
		}
	case len(strays) > 0:
		fault("-url is missing, and without it %s has no effect", strings.Join(strays, ", "))
	}
	return errors.Join(faults...)
}

// checkAddress never shows the address, because it may hold a password or a key.
func checkAddress(name, address string) error {
	u, err := url.Parse(address)
	switch {
	case err != nil:
		return fmt.Errorf("%s is not a valid address", name)
	case u.Scheme != "http" && u.Scheme != "https", u.Host == "":
		return fmt.Errorf("%s must start with https:// or http:// and name a host", name)
	}
	return nil
}

var authStyles = map[string]oauth.AuthStyle{"": 0, "basic": oauth.AuthStyleBasic, "form": oauth.AuthStyleForm}

func (o options) target() target {
	u, _ := url.Parse(o.url) // checkAddress has parsed it
	return target{
		url:          o.url,
		origin:       u.Scheme + "://" + u.Host,
		tokenURL:     o.tokenURL,
		clientID:     o.clientID,
		clientSecret: o.clientSecret,
		authStyle:    authStyles[o.authStyle],
		scopes:       strings.Fields(o.scope),
		token:        reauth.Token{AccessToken: o.accessToken, RefreshToken: o.refreshToken},
	}
}

// name returns the address without the parts that may be secret.
func (t target) name() string {
	u, err := url.Parse(t.url)
	if err != nil {
		return t.origin
	}
	return t.origin + u.Path
}

// statuses is a flag that holds status codes, separated by commas.
type statuses []int

func (s *statuses) String() string {
	words := make([]string, len(*s))
	for i, code := range *s {
		words[i] = strconv.Itoa(code)
	}
	return strings.Join(words, ",")
}

func (s *statuses) Set(text string) error {
	*s = nil
	for word := range strings.SplitSeq(text, ",") {
		code, err := strconv.Atoi(strings.TrimSpace(word))
		if err != nil || code < 300 || code > 599 {
			return errors.New("must be codes from 300 to 599, separated by commas")
		}
		*s = append(*s, code)
	}
	return nil
}

func or(a, b string) string {
	if a != "" {
		return a
	}
	return b
}

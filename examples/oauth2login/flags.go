package main

import (
	"errors"
	"flag"
	"fmt"
	"io"
	"net/netip"
	"net/url"
	"os"
	"strings"
)

// envClientSecret is the variable for the secret, because every user of the machine can
// read command lines.
const envClientSecret = "REAUTH_CLIENT_SECRET"

type options struct {
	target   target
	listen   string
	renewals int
}

var errHelp = errors.New("help was asked for")

// parse reads the command line. Its error names every mistake.
func parse(args []string, stdout io.Writer) (options, error) {
	var o options
	var scopes string
	f := flag.NewFlagSet("oauth2login", flag.ContinueOnError)
	f.SetOutput(io.Discard)
	f.StringVar(&o.target.issuer, "issuer", "", "sign in at this OpenID provider, whose discovery document says the rest")
	f.StringVar(&o.target.authURL, "auth-url", "", "the authorization endpoint; it may have parameters of its own,\nsuch as ?access_type=offline")
	f.StringVar(&o.target.tokenURL, "token-url", "", "the token endpoint")
	f.StringVar(&o.target.revocationURL, "revocation-url", "", "the revocation endpoint, if there is one")
	f.StringVar(&o.target.apiURL, "api-url", "", "what to ask once signed in (default the issuer's userinfo endpoint)")
	f.StringVar(&o.target.clientID, "client-id", "oauth2login", "the client's `name`. Its secret, if it has one, is taken from\n"+envClientSecret)
	f.StringVar(&scopes, "scopes", "openid offline_access", "what to ask for, with spaces between")
	f.StringVar(&o.listen, "listen", "127.0.0.1:0", "where the browser comes back to, at "+callbackPath+"; set a port if the\nprovider wants to know it beforehand")
	f.IntVar(&o.renewals, "renewals", 4, "end after so many")
	switch err := f.Parse(args); {
	case errors.Is(err, flag.ErrHelp):
		fmt.Fprint(stdout, "Without -issuer or -auth-url it brings a provider along, which needs Node.js.\n\n")
		f.SetOutput(stdout)
		f.PrintDefaults()
		return options{}, errHelp
	case err != nil:
		return options{}, err
	}
	o.target.scopes = strings.Fields(scopes)
	o.target.clientSecret = os.Getenv(envClientSecret)
	return o, o.check(f.NArg())
}

func (o options) check(words int) error {
	var faults []error
	fault := func(format string, args ...any) { faults = append(faults, fmt.Errorf(format, args...)) }
	if words > 0 {
		fault("there is no use for words without a flag")
	}
	if o.renewals < 1 {
		fault("-renewals %d is less than 1", o.renewals)
	}
	// The code is sent to this address, and the provider compares it exactly.
	if addr, err := netip.ParseAddrPort(o.listen); err != nil || !addr.Addr().IsLoopback() {
		fault("-listen %q must be 127.0.0.1 or [::1], and a port", o.listen)
	}
	to := o.target
	for _, u := range []struct{ flag, text string }{
		{"-issuer", to.issuer}, {"-auth-url", to.authURL}, {"-token-url", to.tokenURL},
		{"-revocation-url", to.revocationURL}, {"-api-url", to.apiURL},
	} {
		if u.text == "" {
			continue
		}
		parsed, err := url.Parse(u.text)
		if err != nil || parsed.Host == "" || parsed.Scheme != "https" && parsed.Scheme != "http" {
			fault("%s must start with https:// or http:// and name a host", u.flag)
		}
	}
	if to.issuer == "" && (to.authURL != "" || to.tokenURL != "" || to.apiURL != "") {
		for _, u := range []struct{ flag, text string }{
			{"-auth-url", to.authURL}, {"-token-url", to.tokenURL}, {"-api-url", to.apiURL},
		} {
			if u.text == "" {
				fault("%s is missing: without -issuer nothing else says it", u.flag)
			}
		}
	}
	return errors.Join(faults...)
}

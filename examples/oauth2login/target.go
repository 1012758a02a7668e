package main

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"time"

	"golang.org/x/oauth2"
)

// A target is a provider and an API.
type target struct {
	issuer        string
	authURL       string
	tokenURL      string
	revocationURL string
	apiURL        string
	clientID      string
	clientSecret  string
	scopes        []string
}

// own reports whether the user has named none.
func (t target) own() bool { return t.issuer == "" && t.authURL == "" }

// oauth2 returns the configuration of package oauth2 for the sign-in.
func (t target) oauth2() *oauth2.Config {
	return &oauth2.Config{
		ClientID:     t.clientID,
		ClientSecret: t.clientSecret,
		Scopes:       t.scopes,
		Endpoint: oauth2.Endpoint{
			AuthURL:  t.authURL,
			TokenURL: t.tokenURL,
			// Finding out by trying would use the code twice, and a code is valid for one
			// use.
			AuthStyle: oauth2.AuthStyleInParams,
		},
	}
}

// complete asks the issuer for the settings that the user has not given (OpenID Connect
// Discovery section 4).
func (t *target) complete(ctx context.Context) error {
	if t.issuer == "" {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, strings.TrimSuffix(t.issuer, "/")+"/.well-known/openid-configuration", nil)
	if err != nil {
		return errors.New("-issuer cannot be read")
	}
	// A redirect could lead to a document that anybody on the way can change.
	client := &http.Client{CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	resp, err := client.Do(req)
	if err != nil {
		return fmt.Errorf("the issuer does not answer: %w", err)
	}
	defer resp.Body.Close()
	var found struct {
		Issuer        string `json:"issuer"`
		AuthURL       string `json:"authorization_endpoint"`
		TokenURL      string `json:"token_endpoint"`
		RevocationURL string `json:"revocation_endpoint"`
		APIURL        string `json:"userinfo_endpoint"`
	}
	if resp.StatusCode != http.StatusOK {
		return fmt.Errorf("the issuer has no discovery document: it answers %d; say it with -auth-url, -token-url and -api-url", resp.StatusCode)
	}
	if err := json.NewDecoder(io.LimitReader(resp.Body, 1<<20)).Decode(&found); err != nil {
		return fmt.Errorf("the issuer's discovery document cannot be read: %w", err)
	}
	if found.Issuer != t.issuer {
		return fmt.Errorf("the issuer %q calls itself %q", t.issuer, found.Issuer)
	}
	// They get the user's password, the code and the tokens.
	for name, endpoint := range map[string]string{
		"authorization": found.AuthURL, "token": found.TokenURL, "revocation": found.RevocationURL, "userinfo": found.APIURL,
	} {
		if endpoint != "" && isHTTPS(t.issuer) && !isHTTPS(endpoint) {
			return fmt.Errorf("the %s endpoint of the issuer is not at https://, as the issuer is", name)
		}
	}
	t.authURL = cmp.Or(t.authURL, found.AuthURL)
	t.tokenURL = cmp.Or(t.tokenURL, found.TokenURL)
	t.revocationURL = cmp.Or(t.revocationURL, found.RevocationURL)
	t.apiURL = cmp.Or(t.apiURL, found.APIURL)
	switch {
	case t.authURL == "":
		return errors.New("-auth-url is missing: the issuer does not say it")
	case t.tokenURL == "":
		return errors.New("-token-url is missing: the issuer does not say it")
	case t.apiURL == "":
		return errors.New("-api-url is missing: the issuer has no userinfo endpoint")
	}
	return nil
}

func isHTTPS(address string) bool {
	u, err := url.Parse(address)
	return err == nil && u.Scheme == "https" && u.Host != ""
}

package main

import (
	"context"
	"crypto"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"net/http"

	"github.com/reauth-go/reauth/oauth"
)

// conformanceOptions are those under which @modelcontextprotocol/conformance wants the
// client to run a scenario, which it names in the environment.
func conformanceOptions(scenario, about string) (options, error) {
	var given struct {
		ClientID         string `json:"client_id"`
		Secret           string `json:"client_secret"`
		Key              string `json:"private_key_pem"`
		Algorithm        string `json:"signing_algorithm"`
		WorkloadJWT      string `json:"valid_jwt"`
		ProviderID       string `json:"idp_client_id"`
		ProviderTokenURL string `json:"idp_token_endpoint"`
		IDToken          string `json:"idp_id_token"`
	}
	if about != "" {
		if err := json.Unmarshal([]byte(about), &given); err != nil {
			return options{}, err
		}
	}
	opts := options{
		name:        "reauth's example",
		browser:     headless,
		metadataURL: "https://conformance-test.local/client-metadata.json",
		clientID:    given.ClientID,
		secret:      given.Secret,
	}
	var err error
	switch scenario {
	case "auth/client-credentials-basic":
		opts.grant = asItself
	case "auth/client-credentials-jwt":
		opts.grant = asItself
		opts.key.Algorithm = given.Algorithm
		opts.key.Signer, err = privateKey(given.Key)
	case "auth/wif-jwt-bearer":
		opts.grant = asWorkload(always(given.WorkloadJWT))
	case "auth/enterprise-managed-authorization":
		opts.grant = asEmployee(oauth.Refresher{TokenURL: given.ProviderTokenURL, ClientID: given.ProviderID}, always(given.IDToken))
	}
	return opts, err
}

func always(text string) func(context.Context) (string, error) {
	return func(context.Context) (string, error) { return text, nil }
}

func privateKey(text string) (crypto.Signer, error) {
	block, _ := pem.Decode([]byte(text))
	if block == nil {
		return nil, errors.New("the private key is not in PEM")
	}
	key, err := x509.ParsePKCS8PrivateKey(block.Bytes)
	if err != nil {
		return nil, err
	}
	signer, ok := key.(crypto.Signer)
	if !ok {
		return nil, fmt.Errorf("a %T does not sign", key)
	}
	return signer, nil
}

// headless is a browser that nobody sits at: a server that asks for nothing sends it back
// at once.
func headless(ctx context.Context, url string) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return err
	}
	go func() { // ends with ctx, and with the answer
		resp, err := http.DefaultClient.Do(req)
		if err != nil {
			return // the sign-in waits in vain, as for a user who closes the window
		}
		defer resp.Body.Close()
		_, _ = io.Copy(io.Discard, resp.Body)
	}()
	return nil
}

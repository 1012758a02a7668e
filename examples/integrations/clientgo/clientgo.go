// Package clientgo uses reauth with k8s.io/client-go, in a pod whose service account's
// token is a file that Kubernetes replaces.
package clientgo

import (
	"k8s.io/client-go/rest"

	"github.com/reauth-go/reauth"
)

// Use makes the clients of cfg authenticate with reauth. It is called before the first of
// them is made:
//
//	cfg, err := rest.InClusterConfig()
//	tr, err := clientgo.Use(cfg, reauth.Config{})
//	clients, err := kubernetes.NewForConfig(cfg)
//
// If c.Refresher is nil, the tokens are those in cfg.BearerTokenFile. client-go would read
// that file once a minute. reauth also reads it when the API server refuses a token, and
// sends the request again. A watch under way is not affected by either, because its token
// is looked at when it begins.
//
// Of the other credentials in cfg only a client certificate is still used.
func Use(cfg *rest.Config, c reauth.Config) (*reauth.Transport, error) {
	if c.Refresher == nil {
		c.Refresher = reauth.TokenFile(cfg.BearerTokenFile)
	}
	if len(c.Origins) == 0 {
		server, _, err := rest.DefaultServerUrlFor(cfg)
		if err != nil {
			return nil, err
		}
		c.Origins = []string{server.Scheme + "://" + server.Host}
	}
	tr, err := reauth.New(c)
	if err != nil {
		return nil, err
	}
	// reauth leaves a request alone that is authenticated.
	cfg.BearerToken, cfg.BearerTokenFile, cfg.Username, cfg.Password = "", "", "", ""
	cfg.AuthProvider, cfg.ExecProvider = nil, nil
	cfg.Wrap(tr.Wrap)
	return tr, nil
}

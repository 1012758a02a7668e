// Quickstart has 100 requests under way when their access token expires. The API
// refuses them all, one refresh is made, and each request is sent again and
// answered. The exit status is 1 if a request was lost or a second refresh made.
package main

import (
	"context"
	"fmt"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"os"
	"sync"
	"sync/atomic"

	"github.com/reauth-go/reauth"
	"github.com/reauth-go/reauth/oauth"
	"github.com/reauth-go/reauth/reauthtest"
)

func main() {
	server := reauthtest.New(reauthtest.Options{}) // a token server, and the API it protects
	server.URL = httptest.NewServer(server).URL
	if err := run(context.Background(), server, os.Stdout); err != nil {
		log.Fatal(err)
	}
}

func run(ctx context.Context, server *reauthtest.Server, out io.Writer) error {
	tr, err := reauth.New(reauth.Config{
		Refresher: &oauth.Refresher{TokenURL: server.TokenURL(), ClientID: "quickstart"},
		Origins:   []string{server.URL}, // where the token may go
	})
	if err != nil {
		return err
	}
	if err := tr.SignIn(ctx, reauth.Token(server.SignIn("ann"))); err != nil {
		return err
	}
	client := &http.Client{Transport: tr}

	const n = 100
	release := server.BlockAPI() // no answers yet
	var answered atomic.Int64
	var requests sync.WaitGroup
	for range n {
		requests.Go(func() {
			if resp, err := client.Get(server.APIURL("/orders")); err == nil {
				defer resp.Body.Close()
				if resp.StatusCode == http.StatusOK {
					answered.Add(1)
				}
			}
		})
	}
	err = server.Await(ctx, func(c reauthtest.Counts) bool { return c.APIRequests >= n })
	server.ExpireAccess() // from now on the API answers 401
	release()
	requests.Wait()

	lost, refreshes := n-answered.Load(), server.Counts().Refreshes
	fmt.Fprintf(out, "%d requests, %d refused, %d answered, %d lost, %d refresh\n",
		n, server.Counts().APIRefused, answered.Load(), lost, refreshes)
	if err == nil && (lost > 0 || refreshes != 1) {
		err = fmt.Errorf("want no request lost, and 1 refresh")
	}
	return err
}

package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"sync/atomic"
	"time"

	"github.com/reauth-go/reauth/reauthtest"
)

// printToken makes this program stand for one like gcloud: it prints a token that it gets
// from the URL which follows.
const printToken = "print-access-token"

func printFrom(ctx context.Context, url string, out io.Writer) error {
	_, err := get(ctx, http.DefaultClient, url, out)
	return err
}

// demo calls an API whose token is revoked in between.
func demo(ctx context.Context, out io.Writer) error {
	tokens := reauthtest.New(reauthtest.Options{Opaque: true})
	var runs atomic.Int64
	tokens.HandlePublic("GET /print", http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		runs.Add(1)
		fmt.Fprintln(w, tokens.SignIn("ann").AccessToken)
	}))
	tokens.Handle("GET /me", http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}))
	server := httptest.NewServer(tokens)
	defer server.Close()
	tokens.URL = server.URL

	self, err := os.Executable()
	if err != nil {
		return err
	}
	transport, err := newTransport(&command{args: []string{self, printToken, tokens.URL + "/print"}, until: ctx}, tokens.APIURL("/me"), 30*time.Second)
	if err != nil {
		return err
	}
	defer func() { _ = transport.Wait(context.Background()) }()
	client := &http.Client{Transport: transport}
	answered := 0
	for range 3 {
		status, err := get(ctx, client, tokens.APIURL("/me"), io.Discard)
		if err != nil {
			return err
		}
		if status == http.StatusOK {
			answered++
		}
		tokens.ExpireAccess()
	}
	counts := tokens.Counts()
	fmt.Fprintf(out, "3 requests, %d refused, %d answered, the program has run %d times\n", counts.APIRefused, answered, runs.Load())
	if answered != 3 {
		return errors.New("a request was lost")
	}
	return nil
}

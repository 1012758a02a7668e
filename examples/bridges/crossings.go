package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"

	"golang.org/x/oauth2"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	testpb "google.golang.org/grpc/interop/grpc_testing"

	"github.com/reauth-go/reauth"
)

// crossAll crosses each bridge with a token that the server has just revoked without
// telling the client.
func crossAll(ctx context.Context, out io.Writer, transport *reauth.Transport, s *servers) error {
	session := perRPC{transport: transport, insecure: true} // on this machine
	conn, err := grpc.NewClient(s.rpcTarget, append(session.dialOptions(),
		grpc.WithTransportCredentials(insecure.NewCredentials()))...)
	if err != nil {
		return err
	}
	defer conn.Close()
	rpc := testpb.NewTestServiceClient(conn)

	fmt.Fprintf(out, "%-30s  %-7s  %-9s  %s\n", "the bridge", "refused", "refreshes", "the answer")
	for _, bridge := range []struct {
		name  string
		cross func() (string, error)
	}{
		{"gRPC, a call", func() (string, error) { return call(ctx, rpc) }},
		{"gRPC, a stream", func() (string, error) { return download(ctx, rpc) }},
		{"oauth2.TokenSource", func() (string, error) { return ask(ctx, transport, s.APIURL(pathWhoAmI)) }},
	} {
		s.ExpireAccess()
		before := s.Counts()
		answer, err := bridge.cross()
		if err != nil {
			return fmt.Errorf("%s: %w", bridge.name, err)
		}
		after := s.Counts()
		fmt.Fprintf(out, "%-30s  %7d  %9d  %s\n", bridge.name,
			after.APIRefused-before.APIRefused, after.Refreshes-before.Refreshes, answer)
	}
	return nil
}

func call(ctx context.Context, rpc testpb.TestServiceClient) (string, error) {
	resp, err := rpc.UnaryCall(ctx, new(testpb.SimpleRequest))
	return "hello " + resp.GetUsername(), err
}

func download(ctx context.Context, rpc testpb.TestServiceClient) (string, error) {
	stream, err := rpc.StreamingOutputCall(ctx, &testpb.StreamingOutputCallRequest{
		ResponseParameters: []*testpb.ResponseParameters{{Size: 1}, {Size: 2}, {Size: 3}},
	})
	if err != nil {
		return "", err
	}
	for n := 0; ; n++ {
		_, err := stream.Recv()
		if errors.Is(err, io.EOF) {
			return fmt.Sprintf("%d messages", n), nil
		}
		if err != nil {
			return "", err
		}
	}
}

// ask shows what a TokenSource cannot do, and the workaround.
func ask(ctx context.Context, transport *reauth.Transport, url string) (string, error) {
	source := newTokenSource(ctx, transport)
	client := &http.Client{Transport: &oauth2.Transport{Source: source}}
	status, _, err := get(ctx, client, url)
	if err != nil {
		return "", err
	}
	if status == http.StatusUnauthorized {
		if _, _, err := renew(ctx, transport, *source.handedOut.Load()); err != nil {
			return "", err
		}
	}
	_, user, err := get(ctx, client, url)
	return fmt.Sprintf("%d; after Transport.Refresh: hello %s", status, user), err
}

func get(ctx context.Context, client *http.Client, url string) (status int, text string, err error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return 0, "", err
	}
	resp, err := client.Do(req)
	if err != nil {
		return 0, "", err
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	return resp.StatusCode, string(body), err
}

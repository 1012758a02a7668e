package grpc_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"testing"

	"github.com/stretchr/testify/require"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	testpb "google.golang.org/grpc/interop/grpc_testing"

	reauthgrpc "github.com/reauth-go/reauth/examples/integrations/grpc"
)

// client returns a client of the gRPC server.
func (s *servers) client(t *testing.T) testpb.TestServiceClient {
	t.Helper()
	return newClient(t, s.target, append(reauthgrpc.DialOptions(s.Transport, true), grpc.WithTransportCredentials(insecure.NewCredentials())))
}

func newClient(t *testing.T, target string, opts []grpc.DialOption) testpb.TestServiceClient {
	t.Helper()
	conn, err := grpc.NewClient(target, opts...)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, conn.Close()) })
	return testpb.NewTestServiceClient(conn)
}

// ask is a call with one message each way.
func ask(ctx context.Context, rpc testpb.TestServiceClient) error {
	answer, err := rpc.UnaryCall(ctx, new(testpb.SimpleRequest))
	if err == nil && answer.GetUsername() != "ann" {
		return fmt.Errorf("it was called as %q", answer.GetUsername())
	}
	return err
}

// download receives the three messages of a stream.
func download(ctx context.Context, rpc testpb.TestServiceClient) error {
	stream, err := rpc.StreamingOutputCall(ctx, &testpb.StreamingOutputCallRequest{
		ResponseParameters: []*testpb.ResponseParameters{{Size: 1}, {Size: 2}, {Size: 3}},
	})
	for n := 0; err == nil; n++ {
		_, err = stream.Recv()
		if errors.Is(err, io.EOF) && n == 3 {
			return nil
		}
	}
	return err
}

// converse sends messages, and receives the echo of each before the next.
func converse(ctx context.Context, rpc testpb.TestServiceClient) error {
	stream, err := rpc.FullDuplexCall(ctx)
	if err != nil {
		return err
	}
	for _, text := range []string{"one", "two"} {
		if err := stream.Send(&testpb.StreamingOutputCallRequest{Payload: &testpb.Payload{Body: []byte(text)}}); err != nil {
			_, err = stream.Recv()
			return err
		}
		answer, err := stream.Recv()
		if err != nil {
			return err
		}
		if got := string(answer.GetPayload().GetBody()); got != text {
			return errors.New(got)
		}
	}
	return stream.CloseSend()
}

// upload sends messages, and receives one answer after the last.
func upload(ctx context.Context, rpc testpb.TestServiceClient, messages, size int) error {
	stream, err := rpc.StreamingInputCall(ctx)
	if err != nil {
		return err
	}
	for range messages {
		err := stream.Send(&testpb.StreamingInputCallRequest{Payload: &testpb.Payload{Body: make([]byte, size)}})
		if errors.Is(err, io.EOF) {
			break // CloseAndRecv has the error
		}
		if err != nil {
			return err
		}
	}
	answer, err := stream.CloseAndRecv()
	if err == nil && int(answer.GetAggregatedPayloadSize()) != messages*size {
		return fmt.Errorf("%d bytes have arrived", answer.GetAggregatedPayloadSize())
	}
	return err
}

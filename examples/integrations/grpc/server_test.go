package grpc_test

import (
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"strconv"
	"testing"

	"github.com/stretchr/testify/require"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	testpb "google.golang.org/grpc/interop/grpc_testing"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	"github.com/reauth-go/reauth/examples/integrations/internal/world"
	"github.com/reauth-go/reauth/reauthtest"
)

// servers are a gRPC server, and the token server that decides about its tokens.
type servers struct {
	*world.World
	target string
}

func newServers(t *testing.T) *servers {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	s := &servers{world.New(t, reauthtest.Options{}), listener.Addr().String()}
	rpc := grpc.NewServer(grpc.ChainUnaryInterceptor(s.admitUnary), grpc.ChainStreamInterceptor(s.admitStream))
	testpb.RegisterTestServiceServer(rpc, service{})
	go func() { _ = rpc.Serve(listener) }() // until Stop
	t.Cleanup(rpc.Stop)
	return s
}

func (s *servers) admitUnary(ctx context.Context, req any, _ *grpc.UnaryServerInfo, next grpc.UnaryHandler) (any, error) {
	ctx, err := s.admit(ctx)
	if err != nil {
		return nil, err
	}
	return next(ctx, req)
}

func (s *servers) admitStream(srv any, stream grpc.ServerStream, _ *grpc.StreamServerInfo, next grpc.StreamHandler) error {
	ctx, err := s.admit(stream.Context())
	if err != nil {
		return err
	}
	return next(srv, &admitted{stream, ctx})
}

type admitted struct {
	grpc.ServerStream
	ctx context.Context
}

func (a *admitted) Context() context.Context { return a.ctx }

type userKey struct{}

// admit asks the token server whose token the RPC carries.
func (s *servers) admit(ctx context.Context) (context.Context, error) {
	given := metadata.ValueFromIncomingContext(ctx, "authorization")
	if len(given) != 1 {
		return nil, status.Error(codes.Unauthenticated, "no token")
	}
	user, code, err := s.User(ctx, given[0])
	switch {
	case code == http.StatusUnauthorized:
		return nil, status.Error(codes.Unauthenticated, "the token is not valid")
	case code == http.StatusForbidden:
		return nil, status.Error(codes.PermissionDenied, "not for this user")
	case err != nil || code != http.StatusOK:
		return nil, status.Error(codes.Unavailable, "the token server has failed")
	}
	return context.WithValue(ctx, userKey{}, user), nil
}

// A service is gRPC's own test service, which has a call of each kind.
type service struct {
	testpb.UnimplementedTestServiceServer
}

// UnaryCall returns the name of the caller.
func (service) UnaryCall(ctx context.Context, _ *testpb.SimpleRequest) (*testpb.SimpleResponse, error) {
	user, _ := ctx.Value(userKey{}).(string)
	return &testpb.SimpleResponse{Username: user}, nil
}

// StreamingOutputCall sends a message of each requested size. It ends with the requested
// status and a trailer with the number of messages.
func (service) StreamingOutputCall(req *testpb.StreamingOutputCallRequest, stream grpc.ServerStreamingServer[testpb.StreamingOutputCallResponse]) error {
	for _, p := range req.GetResponseParameters() {
		if err := stream.Send(&testpb.StreamingOutputCallResponse{Payload: &testpb.Payload{Body: make([]byte, p.GetSize())}}); err != nil {
			return err
		}
	}
	stream.SetTrailer(metadata.Pairs("messages", strconv.Itoa(len(req.GetResponseParameters()))))
	return status.Error(codes.Code(req.GetResponseStatus().GetCode()), req.GetResponseStatus().GetMessage())
}

// StreamingInputCall counts the bytes.
func (service) StreamingInputCall(stream grpc.ClientStreamingServer[testpb.StreamingInputCallRequest, testpb.StreamingInputCallResponse]) error {
	n := 0
	for {
		req, err := stream.Recv()
		if errors.Is(err, io.EOF) {
			return stream.SendAndClose(&testpb.StreamingInputCallResponse{AggregatedPayloadSize: int32(n)})
		}
		if err != nil {
			return err
		}
		n += len(req.GetPayload().GetBody())
	}
}

// FullDuplexCall echoes each payload.
func (service) FullDuplexCall(stream grpc.BidiStreamingServer[testpb.StreamingOutputCallRequest, testpb.StreamingOutputCallResponse]) error {
	for {
		req, err := stream.Recv()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		if err := stream.Send(&testpb.StreamingOutputCallResponse{Payload: req.GetPayload()}); err != nil {
			return err
		}
	}
}

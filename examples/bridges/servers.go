package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strconv"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	testpb "google.golang.org/grpc/interop/grpc_testing"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	"github.com/reauth-go/reauth/reauthtest"
)

// servers are the targets of the bridges. The token server decides about tokens, also for
// gRPC.
type servers struct {
	*reauthtest.Server
	rpcTarget string
	rpc       *grpc.Server
}

const pathWhoAmI = "/whoami" // returns whose token it is

// serveAll starts a gRPC server in addition to s.
func serveAll(s *reauthtest.Server) (*servers, error) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, fmt.Errorf("no port for gRPC: %w", err)
	}
	all := &servers{Server: s, rpcTarget: listener.Addr().String()}
	s.Handle(pathWhoAmI, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.WriteString(w, reauthtest.UserFromRequest(r))
	}))
	all.rpc = grpc.NewServer(grpc.ChainUnaryInterceptor(all.admitUnary), grpc.ChainStreamInterceptor(all.admitStream))
	testpb.RegisterTestServiceServer(all.rpc, service{})
	go func() { _ = all.rpc.Serve(listener) }() // until close
	return all, nil
}

func (s *servers) close() {
	s.rpc.Stop()
	s.Close()
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
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, s.APIURL(pathWhoAmI), nil)
	if err != nil {
		return nil, status.Error(codes.Internal, err.Error())
	}
	req.Header.Set("Authorization", given[0])
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return nil, status.Error(codes.Unavailable, "the token server gives no answer")
	}
	defer resp.Body.Close()
	user, err := io.ReadAll(resp.Body)
	switch {
	case resp.StatusCode == http.StatusUnauthorized:
		return nil, status.Error(codes.Unauthenticated, "the token is not valid")
	case resp.StatusCode == http.StatusForbidden:
		return nil, status.Error(codes.PermissionDenied, "not for this user")
	case err != nil || resp.StatusCode != http.StatusOK:
		return nil, status.Error(codes.Unavailable, "the token server has failed")
	}
	return context.WithValue(ctx, userKey{}, string(user)), nil
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

package main

import (
	"context"
	"errors"
	"sync/atomic"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/status"

	"github.com/reauth-go/reauth"
)

// A perRPC uses a session with gRPC. Each RPC gets the token of the session that its
// context picks, as a request does.
//
// After an Unauthenticated, a unary call does what a request does after a 401. It waits
// for the one refresh, and is sent a second time. See [retryStream] for streams. An RPC
// of a session without a usable token fails with the error of [reauth.Transport.Token] in
// its chain, with the code Unauthenticated if the user must sign in, and Unavailable if
// the failure is temporary.
//
// [reauth.Config.Origins] does not apply. The token goes to any server that is dialed
// with these options, so use them for the API's own connection only.
type perRPC struct {
	transport *reauth.Transport

	// insecure allows sending the token without TLS, for a server on this machine.
	insecure bool
}

var _ credentials.PerRPCCredentials = perRPC{}

// dialOptions are for grpc.NewClient. Call options such as grpc.OnFinish report both
// attempts.
func (p perRPC) dialOptions() []grpc.DialOption {
	return []grpc.DialOption{
		grpc.WithPerRPCCredentials(p),
		grpc.WithChainUnaryInterceptor(p.unary),
		grpc.WithChainStreamInterceptor(p.stream),
	}
}

// RequireTransportSecurity implements [credentials.PerRPCCredentials].
func (p perRPC) RequireTransportSecurity() bool { return !p.insecure }

// GetRequestMetadata implements [credentials.PerRPCCredentials]. It is called when
// there is a connection, right before an RPC is sent.
func (p perRPC) GetRequestMetadata(ctx context.Context, _ ...string) (map[string]string, error) {
	tok, err := p.transport.Token(ctx)
	if err != nil {
		return nil, rpcError(ctx, err)
	}
	if a, ok := ctx.Value(attemptKey{}).(*attempt); ok {
		a.carried.Store(&tok)
	}
	return map[string]string{"authorization": tok.Type() + " " + tok.AccessToken}, nil
}

// An attempt remembers which token an RPC carried, so that a refusal refers to that token.
type attempt struct{ carried atomic.Pointer[reauth.Token] }

type attemptKey struct{}

func newAttempt(ctx context.Context) (context.Context, *attempt) {
	a := new(attempt)
	return context.WithValue(ctx, attemptKey{}, a), a
}

// afterRefusal reports whether to try again after a ended with err. An error replaces the
// refusal, which would be outdated.
func (p perRPC) afterRefusal(ctx context.Context, a *attempt, err error) (bool, error) {
	refused := a.carried.Load()
	if status.Code(err) != codes.Unauthenticated || refused == nil {
		return false, nil
	}
	_, again, err := renew(ctx, p.transport, *refused)
	if err != nil {
		return false, rpcError(ctx, err)
	}
	return again, nil
}

func (p perRPC) unary(ctx context.Context, method string, req, reply any, conn *grpc.ClientConn, invoke grpc.UnaryInvoker, opts ...grpc.CallOption) error {
	first, a := newAttempt(ctx)
	err := invoke(first, method, req, reply, conn, opts...)
	again, fault := p.afterRefusal(ctx, a, err)
	switch {
	case fault != nil:
		return fault
	case again:
		second, _ := newAttempt(ctx)
		return invoke(second, method, req, reply, conn, opts...)
	}
	return err
}

// rpcError adds a status to an error of the session, and keeps it in the chain.
func rpcError(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return status.FromContextError(ctx.Err()).Err()
	}
	code := codes.Unavailable
	if errors.Is(err, reauth.ErrSignInRequired) {
		code = codes.Unauthenticated
	}
	return &sessionError{code, err}
}

// A sessionError is an error with a status that package status finds.
type sessionError struct {
	code codes.Code
	err  error
}

func (e *sessionError) Error() string              { return e.err.Error() }
func (e *sessionError) Unwrap() error              { return e.err }
func (e *sessionError) GRPCStatus() *status.Status { return status.New(e.code, e.err.Error()) }

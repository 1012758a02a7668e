// Package grpc uses a session of reauth with google.golang.org/grpc.
package grpc

import (
	"context"
	"errors"
	"sync/atomic"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/stats"
	"google.golang.org/grpc/status"

	"github.com/reauth-go/reauth"
)

// ServiceConfig lets gRPC send an RPC that was refused once more. gRPC keeps up to 256 KiB
// of the messages that were sent for that, and does not retry an RPC whose answer has
// begun. If you have a service config of your own, add UNAUTHENTICATED to its retry
// policy.
const ServiceConfig = `{"methodConfig": [{"name": [{}], "retryPolicy": {
	"maxAttempts": 2, "initialBackoff": "0.001s", "maxBackoff": "0.001s", "backoffMultiplier": 1,
	"retryableStatusCodes": ["UNAUTHENTICATED"]}}]}`

// DialOptions are for grpc.NewClient. Each RPC gets the token of the session that its
// context picks. An RPC that ends with Unauthenticated waits for the one refresh. Then it
// is sent once more, or its caller gets the refusal, and can begin again at once.
//
// An RPC of a session without a usable token fails with the error of
// [reauth.Transport.Token] in its chain, with the code Unauthenticated if the user must
// sign in, and Unavailable if the failure is temporary.
//
// [reauth.Config.Origins] does not apply. The token goes to any server that is dialed with
// these options, so use them for the API's own connection only. It goes over TLS only,
// unless insecure is set, for a server on this machine.
func DialOptions(tr *reauth.Transport, insecure bool) []grpc.DialOption {
	s := session{tr, insecure}
	return []grpc.DialOption{
		grpc.WithPerRPCCredentials(s),
		grpc.WithStatsHandler(s),
		grpc.WithChainUnaryInterceptor(s.unary),
		grpc.WithChainStreamInterceptor(s.stream),
		grpc.WithDefaultServiceConfig(ServiceConfig),
	}
}

// A session puts a token on each attempt of an RPC, and hears how the attempt ended.
type session struct {
	tr       *reauth.Transport
	insecure bool
}

var _ credentials.PerRPCCredentials = session{}

// rpc is what the attempts of an RPC share.
type rpc struct {
	carried atomic.Pointer[reauth.Token] // by the attempt under way
	fault   atomic.Pointer[error]        // of the refresh after it
}

type rpcKey struct{}

func shared(ctx context.Context) *rpc {
	if r, ok := ctx.Value(rpcKey{}).(*rpc); ok {
		return r
	}
	return new(rpc) // gRPC's own RPC, such as a health check, which passes no interceptor
}

func (s session) RequireTransportSecurity() bool { return !s.insecure }

func (s session) GetRequestMetadata(ctx context.Context, _ ...string) (map[string]string, error) {
	r := shared(ctx)
	if fault := r.fault.Load(); fault != nil {
		return nil, rpcError(ctx, *fault)
	}
	tok, err := s.tr.Token(ctx)
	if err != nil {
		return nil, rpcError(ctx, err)
	}
	r.carried.Store(&tok)
	return map[string]string{"authorization": tok.Type() + " " + tok.AccessToken}, nil
}

// unary and stream give the attempts of an RPC what they share.
func (s session) unary(ctx context.Context, method string, req, reply any, conn *grpc.ClientConn, invoke grpc.UnaryInvoker, opts ...grpc.CallOption) error {
	return invoke(context.WithValue(ctx, rpcKey{}, new(rpc)), method, req, reply, conn, opts...)
}

func (s session) stream(ctx context.Context, desc *grpc.StreamDesc, conn *grpc.ClientConn, method string, open grpc.Streamer, opts ...grpc.CallOption) (grpc.ClientStream, error) {
	return open(context.WithValue(ctx, rpcKey{}, new(rpc)), desc, conn, method, opts...)
}

func (s session) HandleRPC(ctx context.Context, event stats.RPCStats) {
	refused := false
	switch event := event.(type) {
	case *stats.Begin:
		// If a message could not be sent, gRPC does not tell how the first attempt ended,
		// but only that there is a second.
		refused = !event.IsTransparentRetryAttempt
	case *stats.End:
		if event.Error == nil {
			return
		}
		refused = status.Code(event.Error) == codes.Unauthenticated
	default:
		return
	}
	r := shared(ctx)
	if tok := r.carried.Swap(nil); refused && tok != nil {
		if _, err := s.tr.Refresh(ctx, *tok); err != nil && !errors.Is(err, reauth.ErrRefusalKept) {
			r.fault.Store(&err)
		}
	}
}

func (s session) TagRPC(ctx context.Context, _ *stats.RPCTagInfo) context.Context   { return ctx }
func (s session) TagConn(ctx context.Context, _ *stats.ConnTagInfo) context.Context { return ctx }
func (s session) HandleConn(context.Context, stats.ConnStats)                       {}

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

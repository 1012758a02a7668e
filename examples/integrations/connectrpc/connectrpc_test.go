package connectrpc_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"testing"

	"connectrpc.com/connect"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"github.com/reauth-go/reauth"
	"github.com/reauth-go/reauth/examples/integrations/connectrpc"
	"github.com/reauth-go/reauth/examples/integrations/internal/world"
	"github.com/reauth-go/reauth/reauthtest"
)

type text = wrapperspb.StringValue

const (
	pathEcho  = "/test.v1.Test/Echo"  // one message each way
	pathSplit = "/test.v1.Test/Split" // one message, then each letter
	pathJoin  = "/test.v1.Test/Join"  // each letter, then one message
	pathChat  = "/test.v1.Test/Chat"  // each message is echoed
)

// newServer returns a Connect server in which an interceptor refuses, and a client of it.
func newServer(t *testing.T) (*world.World, *httptest.Server) {
	t.Helper()
	var cleartext http.Protocols
	cleartext.SetUnencryptedHTTP2(true)
	s := httptest.NewUnstartedServer(nil)
	s.Config.Protocols = &cleartext
	s.Start()
	t.Cleanup(s.Close)
	base := &http.Transport{Protocols: &cleartext}
	t.Cleanup(base.CloseIdleConnections)
	w := world.New(t, reauthtest.Options{}, func(cfg *reauth.Config) {
		cfg.Base, cfg.Origins, cfg.Refused = base, []string{s.URL}, connectrpc.Refused
	})
	guard := connect.WithInterceptors(guard{w})
	api := http.NewServeMux()
	api.Handle(pathEcho, connect.NewUnaryHandler(pathEcho, func(_ context.Context, req *connect.Request[text]) (*connect.Response[text], error) {
		return connect.NewResponse(req.Msg), nil
	}, guard))
	api.Handle(pathSplit, connect.NewServerStreamHandler(pathSplit, func(_ context.Context, req *connect.Request[text], stream *connect.ServerStream[text]) error {
		for _, letter := range req.Msg.GetValue() {
			if err := stream.Send(wrapperspb.String(string(letter))); err != nil {
				return err
			}
		}
		return nil
	}, guard))
	api.Handle(pathJoin, connect.NewClientStreamHandler(pathJoin, func(_ context.Context, stream *connect.ClientStream[text]) (*connect.Response[text], error) {
		all := ""
		for stream.Receive() {
			all += stream.Msg().GetValue()
		}
		return connect.NewResponse(wrapperspb.String(all)), stream.Err()
	}, guard))
	api.Handle(pathChat, connect.NewBidiStreamHandler(pathChat, func(_ context.Context, stream *connect.BidiStream[text, text]) error {
		for {
			m, err := stream.Receive()
			if errors.Is(err, io.EOF) {
				return nil
			}
			if err != nil {
				return err
			}
			if err := stream.Send(m); err != nil {
				return err
			}
		}
	}, guard))
	s.Config.Handler = api
	return w, s
}

// A guard asks the token server whose token a call carries.
type guard struct{ w *world.World }

func (g guard) admit(ctx context.Context, header http.Header) error {
	_, code, err := g.w.User(ctx, header.Get("Authorization"))
	switch {
	case err != nil:
		return err
	case code == http.StatusUnauthorized:
		return connect.NewError(connect.CodeUnauthenticated, errors.New("the token is not valid"))
	case code != http.StatusOK:
		return connect.NewError(connect.CodePermissionDenied, fmt.Errorf("the token server says %d", code))
	}
	return nil
}

func (g guard) WrapUnary(next connect.UnaryFunc) connect.UnaryFunc {
	return func(ctx context.Context, req connect.AnyRequest) (connect.AnyResponse, error) {
		if err := g.admit(ctx, req.Header()); err != nil {
			return nil, err
		}
		return next(ctx, req)
	}
}

func (g guard) WrapStreamingHandler(next connect.StreamingHandlerFunc) connect.StreamingHandlerFunc {
	return func(ctx context.Context, conn connect.StreamingHandlerConn) error {
		if err := g.admit(ctx, conn.RequestHeader()); err != nil {
			return err
		}
		return next(ctx, conn)
	}
}

func (g guard) WrapStreamingClient(next connect.StreamingClientFunc) connect.StreamingClientFunc {
	return next
}

var protocols = map[string][]connect.ClientOption{
	"Connect":  nil,
	"JSON":     {connect.WithProtoJSON()},
	"gRPC":     {connect.WithGRPC()},
	"gRPC-Web": {connect.WithGRPCWeb()},
}

// calls are one of each kind. Each sends abc, and receives it.
var calls = map[string]func(context.Context, connect.HTTPClient, string, ...connect.ClientOption) (string, error){
	"unary": func(ctx context.Context, client connect.HTTPClient, url string, opts ...connect.ClientOption) (string, error) {
		resp, err := connect.NewClient[text, text](client, url+pathEcho, opts...).CallUnary(ctx, connect.NewRequest(wrapperspb.String("abc")))
		if err != nil {
			return "", err
		}
		return resp.Msg.GetValue(), nil
	},
	"server stream": func(ctx context.Context, client connect.HTTPClient, url string, opts ...connect.ClientOption) (all string, err error) {
		stream, err := connect.NewClient[text, text](client, url+pathSplit, opts...).CallServerStream(ctx, connect.NewRequest(wrapperspb.String("abc")))
		if err != nil {
			return "", err
		}
		for stream.Receive() {
			all += stream.Msg().GetValue()
		}
		return all, errors.Join(stream.Err(), stream.Close())
	},
	"client stream": func(ctx context.Context, client connect.HTTPClient, url string, opts ...connect.ClientOption) (string, error) {
		stream := connect.NewClient[text, text](client, url+pathJoin, opts...).CallClientStream(ctx)
		for _, letter := range "abc" {
			if err := stream.Send(wrapperspb.String(string(letter))); err != nil && !errors.Is(err, io.EOF) {
				return "", err
			}
		}
		resp, err := stream.CloseAndReceive()
		if err != nil {
			return "", err
		}
		return resp.Msg.GetValue(), nil
	},
	"both ways": func(ctx context.Context, client connect.HTTPClient, url string, opts ...connect.ClientOption) (all string, err error) {
		stream := connect.NewClient[text, text](client, url+pathChat, opts...).CallBidiStream(ctx)
		for _, letter := range "abc" {
			if err := stream.Send(wrapperspb.String(string(letter))); err != nil && !errors.Is(err, io.EOF) {
				return "", err
			}
			m, err := stream.Receive() // before the next is sent
			if err != nil {
				return "", err
			}
			all += m.GetValue()
		}
		return all, errors.Join(stream.CloseRequest(), stream.CloseResponse())
	},
}

func TestCallsThatAreRefusedShareOneRefresh(t *testing.T) {
	t.Parallel()
	for protocol, opts := range protocols {
		for kind, call := range calls {
			t.Run(protocol+", "+kind, func(t *testing.T) {
				t.Parallel()
				w, s := newServer(t)
				w.RevokeUnderWay(t, func(ctx context.Context) error {
					all, err := call(ctx, w.Client(), s.URL, opts...)
					assert.Equal(t, "abc", all)
					return err
				})
			})
		}
	}
}

func TestOtherFailuresStartNothing(t *testing.T) {
	t.Parallel()
	for protocol, opts := range protocols {
		for kind, call := range calls {
			t.Run(protocol+", "+kind, func(t *testing.T) {
				t.Parallel()
				w, s := newServer(t)
				w.FailAPI(reauthtest.Failure{Status: http.StatusForbidden}, -1)
				_, err := call(t.Context(), w.Client(), s.URL, opts...)
				assert.Equal(t, connect.CodePermissionDenied, connect.CodeOf(err))
				assert.Equal(t, 1, w.Counts().APIRequests)
				assert.Zero(t, w.Counts().Refreshes)
			})
		}
	}
}

func TestACallWithoutASessionFailsWithItsError(t *testing.T) {
	t.Parallel()
	for kind, call := range calls {
		w, s := newServer(t)
		require.NoError(t, w.Transport.SignOut(t.Context()))
		_, err := call(t.Context(), w.Client(), s.URL)
		assert.ErrorIs(t, err, reauth.ErrSignInRequired, kind)
	}
}

package main

import (
	"context"
	"errors"
	"io"
	"net/http"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/insecure"
	testpb "google.golang.org/grpc/interop/grpc_testing"
	"google.golang.org/grpc/status"

	"github.com/reauth-go/reauth"
	"github.com/reauth-go/reauth/reauthtest"
)

// client returns a client of the gRPC server.
func (w *world) client(t *testing.T) testpb.TestServiceClient {
	t.Helper()
	session := perRPC{transport: w.transport, insecure: true}
	return newClient(t, w.rpcTarget, append(session.dialOptions(), grpc.WithTransportCredentials(insecure.NewCredentials())))
}

func newClient(t *testing.T, target string, opts []grpc.DialOption) testpb.TestServiceClient {
	t.Helper()
	conn, err := grpc.NewClient(target, opts...)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, conn.Close()) })
	return testpb.NewTestServiceClient(conn)
}

func TestCallsWithADeadTokenAreAnsweredAfterOneRefresh(t *testing.T) {
	t.Parallel()
	w := newWorld(t, reauthtest.Options{})
	rpc := w.client(t)
	w.ExpireAccess()
	assert.Equal(t, refusedOnce, w.storm(t, func() error {
		answer, err := call(t.Context(), rpc)
		assert.Equal(t, "hello ann", answer)
		return err
	}))
}

func TestStreamsWithADeadTokenAreAnsweredAfterOneRefresh(t *testing.T) {
	t.Parallel()
	w := newWorld(t, reauthtest.Options{})
	rpc := w.client(t)
	w.ExpireAccess()
	assert.Equal(t, refusedOnce, w.storm(t, func() error {
		answer, err := download(t.Context(), rpc)
		assert.Equal(t, "3 messages", answer)
		return err
	}))
}

func TestAnExpiredTokenIsNotSent(t *testing.T) {
	t.Parallel()
	w := newWorld(t, reauthtest.Options{})
	w.token.Expiry = time.Now().Add(-time.Minute)
	require.NoError(t, w.transport.SignIn(t.Context(), w.token))
	rpc := w.client(t)
	assert.Equal(t,
		reauthtest.Counts{Refreshes: 1, MaxUsesOfOneRefreshToken: 1, APISucceeded: many},
		w.storm(t, func() error {
			_, err := call(t.Context(), rpc)
			return err
		}))
}

func TestACallIsSentAtMostTwice(t *testing.T) {
	t.Parallel()
	w := newWorld(t, reauthtest.Options{})
	rpc := w.client(t)
	w.refuse()

	_, err := call(t.Context(), rpc)
	assert.Equal(t, codes.Unauthenticated, status.Code(err))
	assert.Equal(t, 2, w.Counts().APIRequests)
	assert.Equal(t, 1, w.Counts().Refreshes)

	// The token is new: it is not what is wrong.
	_, err = call(t.Context(), rpc)
	assert.Equal(t, codes.Unauthenticated, status.Code(err))
	assert.Equal(t, 3, w.Counts().APIRequests)
	_, err = download(t.Context(), rpc)
	assert.Equal(t, codes.Unauthenticated, status.Code(err))
	assert.Equal(t, 4, w.Counts().APIRequests)
	assert.Equal(t, 1, w.Counts().Refreshes)
}

func TestAStreamIsOpenedAtMostTwice(t *testing.T) {
	t.Parallel()
	w := newWorld(t, reauthtest.Options{})
	w.refuse()
	_, err := download(t.Context(), w.client(t))
	assert.Equal(t, codes.Unauthenticated, status.Code(err))
	assert.Equal(t, 2, w.Counts().APIRequests)
	assert.Equal(t, 1, w.Counts().Refreshes)
}

func TestPermissionDeniedStartsNothing(t *testing.T) {
	t.Parallel()
	w := newWorld(t, reauthtest.Options{})
	rpc := w.client(t)
	w.forbid()
	_, err := call(t.Context(), rpc)
	assert.Equal(t, codes.PermissionDenied, status.Code(err))
	_, err = download(t.Context(), rpc)
	assert.Equal(t, codes.PermissionDenied, status.Code(err))
	assert.Equal(t, 2, w.Counts().APIRequests)
	assert.Zero(t, w.Counts().Refreshes)
}

func TestAStreamThatHasBegunIsNotOpenedAgain(t *testing.T) {
	t.Parallel()
	w := newWorld(t, reauthtest.Options{})
	stream, err := w.client(t).StreamingOutputCall(t.Context(), &testpb.StreamingOutputCallRequest{
		ResponseParameters: []*testpb.ResponseParameters{{Size: 1}},
		ResponseStatus:     &testpb.EchoStatus{Code: int32(codes.Unauthenticated)},
	})
	require.NoError(t, err)
	_, err = stream.Recv()
	require.NoError(t, err)
	_, err = stream.Recv()
	assert.Equal(t, codes.Unauthenticated, status.Code(err))
	assert.Equal(t, 1, w.Counts().APIRequests)
	assert.Zero(t, w.Counts().Refreshes)
}

// headerThenRefusal is a server that shows a header before it says no.
type headerThenRefusal struct {
	testpb.UnimplementedTestServiceServer
}

func (headerThenRefusal) StreamingOutputCall(_ *testpb.StreamingOutputCallRequest, stream grpc.ServerStreamingServer[testpb.StreamingOutputCallResponse]) error {
	if err := stream.SendHeader(nil); err != nil {
		return err
	}
	return status.Error(codes.Unauthenticated, "no")
}

func TestAStreamWhoseCallerHasSeenAHeaderIsNotOpenedAgain(t *testing.T) {
	t.Parallel()
	s := &servers{Server: reauthtest.NewServer(t, reauthtest.Options{TLS: true})}
	rpcServer := grpc.NewServer()
	testpb.RegisterTestServiceServer(rpcServer, headerThenRefusal{})
	s.Handle("/grpc.testing.TestService/", rpcServer)
	w := s.world(t)
	rpc := w.secureClient(t)

	stream, err := rpc.StreamingOutputCall(t.Context(), new(testpb.StreamingOutputCallRequest))
	require.NoError(t, err)
	_, err = stream.Header()
	require.NoError(t, err)
	_, err = stream.Recv()
	assert.Equal(t, codes.Unauthenticated, status.Code(err))
	assert.Equal(t, 1, w.Counts().APIRequests)
	assert.Zero(t, w.Counts().Refreshes)

	_, err = download(t.Context(), rpc) // does not look at the header
	assert.Equal(t, codes.Unauthenticated, status.Code(err))
	assert.Equal(t, 3, w.Counts().APIRequests)
	assert.Equal(t, 1, w.Counts().Refreshes)
}

func TestHeaderAndTrailerAreThoseOfTheSecondStream(t *testing.T) {
	t.Parallel()
	w := newWorld(t, reauthtest.Options{})
	w.ExpireAccess()
	stream, err := w.client(t).StreamingOutputCall(t.Context(), &testpb.StreamingOutputCallRequest{
		ResponseParameters: []*testpb.ResponseParameters{{Size: 1}},
	})
	require.NoError(t, err)
	header, err := stream.Header()
	require.NoError(t, err)
	assert.Nil(t, header, "the first was ended without one")
	_, err = stream.Recv()
	require.NoError(t, err)
	header, err = stream.Header()
	require.NoError(t, err)
	assert.Equal(t, []string{"application/grpc"}, header.Get("content-type"))
	assert.NoError(t, stream.Context().Err(), "that of the first has ended")
	_, err = stream.Recv()
	require.ErrorIs(t, err, io.EOF)
	assert.Equal(t, []string{"1"}, stream.Trailer().Get("messages"))
}

// The messages that a client has sent in a stream cannot be recovered from it.
func TestAConversationThatIsRefusedCanBeBegunAgainAtOnce(t *testing.T) {
	t.Parallel()
	w := newWorld(t, reauthtest.Options{})
	rpc := w.client(t)
	w.ExpireAccess()
	converse := func() error {
		stream, err := rpc.FullDuplexCall(t.Context())
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
			assert.Equal(t, text, string(answer.GetPayload().GetBody()))
		}
		return stream.CloseSend()
	}
	assert.Equal(t, refusedOnce, w.storm(t, func() error {
		assert.Equal(t, codes.Unauthenticated, status.Code(converse()))
		return converse()
	}))
}

func TestAFailedRefreshIsUnavailable(t *testing.T) {
	t.Parallel()
	for name, prepare := range map[string]func(*world) error{
		"refused": func(w *world) error { w.ExpireAccess(); return nil },
		"known to have ended": func(w *world) error {
			w.token.Expiry = time.Now().Add(-time.Minute)
			return w.transport.SignIn(context.Background(), w.token)
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, reauthtest.Options{})
			rpc := w.client(t)
			require.NoError(t, prepare(w))
			w.FailRefresh(reauthtest.Failure{Status: http.StatusTooManyRequests, RetryAfter: time.Minute}, -1)
			for kind, use := range map[string]func(context.Context, testpb.TestServiceClient) (string, error){
				"call": call, "stream": download,
			} {
				_, err := use(t.Context(), rpc)
				assert.Equal(t, codes.Unavailable, status.Code(err), kind)
				failed, ok := errors.AsType[*reauth.RefreshError](err)
				if assert.True(t, ok, kind) {
					assert.Equal(t, http.StatusTooManyRequests, failed.StatusCode, kind)
					assert.Equal(t, time.Minute, failed.RetryAfter, kind)
				}
			}
			assert.Equal(t, 1, w.Counts().Refreshes, "the failure is shared")
		})
	}
}

func TestSignInRequiredIsUnauthenticated(t *testing.T) {
	t.Parallel()
	w := newWorld(t, reauthtest.Options{})
	rpc := w.client(t)
	w.Revoke()
	for range 2 {
		_, err := call(t.Context(), rpc)
		assert.ErrorIs(t, err, reauth.ErrSignInRequired)
		assert.Equal(t, codes.Unauthenticated, status.Code(err))
		_, err = download(t.Context(), rpc)
		assert.ErrorIs(t, err, reauth.ErrSignInRequired)
		assert.Equal(t, codes.Unauthenticated, status.Code(err))
	}
	assert.Equal(t, 1, w.Counts().APIRequests, "nothing is sent without a token")
	assert.Equal(t, 1, w.Counts().Refreshes)
}

func TestACallerThatLeavesDuringARefreshAffectsNobodyElse(t *testing.T) {
	t.Parallel()
	w := newWorld(t, reauthtest.Options{})
	rpc := w.client(t)
	w.ExpireAccess()
	release := w.BlockRefresh()
	defer release()
	ctx, cancel := context.WithCancel(t.Context())
	left, stayed := make(chan error, 1), make(chan error, 1)
	go func() { _, err := call(ctx, rpc); left <- err }()
	require.NoError(t, w.Await(t.Context(), func(c reauthtest.Counts) bool { return c.Refreshes == 1 }))
	go func() { _, err := call(t.Context(), rpc); stayed <- err }()

	cancel()
	assert.Equal(t, codes.Canceled, status.Code(<-left))
	release()
	assert.NoError(t, <-stayed)
	assert.Equal(t, 1, w.Counts().Refreshes)
}

func TestTheContextOfAnRPCPicksTheSession(t *testing.T) {
	t.Parallel()
	w := newWorld(t, reauthtest.Options{})
	rpc := w.client(t)
	for _, user := range []string{"ben", "eve"} {
		ctx := reauth.WithSession(t.Context(), user)
		require.NoError(t, w.transport.SignIn(ctx, reauth.Token(w.SignIn(user))))
	}
	w.ExpireAccess("eve")
	for _, user := range []string{"ben", "eve"} {
		answer, err := call(reauth.WithSession(t.Context(), user), rpc)
		require.NoError(t, err)
		assert.Equal(t, "hello "+user, answer)
	}
	assert.Equal(t, 1, w.Counts().Refreshes)
}

func TestNoTokenTravelsWithoutTLSUnlessAskedTo(t *testing.T) {
	t.Parallel()
	w := newWorld(t, reauthtest.Options{})
	session := perRPC{transport: w.transport}
	_, err := grpc.NewClient(w.rpcTarget, append(session.dialOptions(), grpc.WithTransportCredentials(insecure.NewCredentials()))...)
	assert.ErrorContains(t, err, "transport level security")
}

// A proxy in front of a gRPC server may refuse in the words of HTTP.
func TestThe401OfAProxyIsARefusalToo(t *testing.T) {
	t.Parallel()
	s := &servers{Server: reauthtest.NewServer(t, reauthtest.Options{TLS: true})}
	rpcServer := grpc.NewServer()
	testpb.RegisterTestServiceServer(rpcServer, service{})
	s.Handle("/grpc.testing.TestService/", rpcServer)
	w := s.world(t)
	rpc := w.secureClient(t)
	w.ExpireAccess()
	_, err := call(t.Context(), rpc)
	require.NoError(t, err)
	answer, err := download(t.Context(), rpc)
	require.NoError(t, err)
	assert.Equal(t, "3 messages", answer)
	assert.Equal(t, 1, w.Counts().APIRefused)
	assert.Equal(t, 1, w.Counts().Refreshes)
}

// secureClient returns a client of a gRPC server behind w's API.
func (w *world) secureClient(t *testing.T) testpb.TestServiceClient {
	t.Helper()
	secure := credentials.NewTLS(w.Transport().TLSClientConfig.Clone())
	return newClient(t, w.Server.URL[len("https://"):], append(perRPC{transport: w.transport}.dialOptions(), grpc.WithTransportCredentials(secure)))
}

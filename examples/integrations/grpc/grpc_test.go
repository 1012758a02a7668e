package grpc_test

import (
	"context"
	"errors"
	"net/http"
	"strings"
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
	reauthgrpc "github.com/reauth-go/reauth/examples/integrations/grpc"
	"github.com/reauth-go/reauth/examples/integrations/internal/world"
	"github.com/reauth-go/reauth/reauthtest"
)

func TestCallsThatAreRefusedShareOneRefresh(t *testing.T) {
	t.Parallel()
	w := newServers(t)
	rpc := w.client(t)
	w.RevokeUnderWay(t, func(ctx context.Context) error { return ask(ctx, rpc) })
}

func TestStreamsThatAreRefusedShareOneRefresh(t *testing.T) {
	t.Parallel()
	for name, use := range map[string]func(context.Context, testpb.TestServiceClient) error{
		"one message to the server": download,
		"many messages to the server": func(ctx context.Context, rpc testpb.TestServiceClient) error {
			return upload(ctx, rpc, 100, 1000)
		},
		"both ways": converse,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newServers(t)
			rpc := w.client(t)
			w.RevokeUnderWay(t, func(ctx context.Context) error { return use(ctx, rpc) })
		})
	}
}

func TestALongUploadThatIsRefusedCanBeBegunAgainAtOnce(t *testing.T) {
	t.Parallel()
	w := newServers(t)
	rpc := w.client(t)
	w.ExpireAccess()
	const more = 300 << 10 // than gRPC keeps
	// The refusal may come before gRPC has let go of the beginning.
	if err := upload(t.Context(), rpc, 1, more); err != nil {
		assert.Equal(t, codes.Unauthenticated, status.Code(err))
	}
	assert.Equal(t, 1, w.Counts().Refreshes)
	assert.NoError(t, upload(t.Context(), rpc, 1, more))
	assert.Equal(t, 1, w.Counts().APIRefused)
	assert.Equal(t, 1, w.Counts().Refreshes)
}

func TestACallIsSentAtMostTwice(t *testing.T) {
	t.Parallel()
	for name, use := range map[string]func(context.Context, testpb.TestServiceClient) error{"call": ask, "stream": download} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newServers(t)
			rpc := w.client(t)
			w.FailAPI(reauthtest.Failure{Status: http.StatusUnauthorized}, -1)
			assert.Equal(t, codes.Unauthenticated, status.Code(use(t.Context(), rpc)))
			assert.Equal(t, 2, w.Counts().APIRequests)
			assert.Equal(t, 1, w.Counts().Refreshes)

			// The token is new: it is not what is wrong.
			assert.Equal(t, codes.Unauthenticated, status.Code(use(t.Context(), rpc)))
			assert.Equal(t, 4, w.Counts().APIRequests)
			assert.Equal(t, 1, w.Counts().Refreshes)
		})
	}
}

func TestOtherFailuresStartNothing(t *testing.T) {
	t.Parallel()
	w := newServers(t)
	rpc := w.client(t)
	w.FailAPI(reauthtest.Failure{Status: http.StatusForbidden}, -1)
	assert.Equal(t, codes.PermissionDenied, status.Code(ask(t.Context(), rpc)))
	assert.Equal(t, codes.PermissionDenied, status.Code(download(t.Context(), rpc)))
	assert.Equal(t, 2, w.Counts().APIRequests)
	assert.Zero(t, w.Counts().Refreshes)
}

func TestAStreamThatHasBegunIsNotOpenedAgain(t *testing.T) {
	t.Parallel()
	w := newServers(t)
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
	assert.Equal(t, 1, w.Counts().Refreshes, "it can be opened again at once")
}

// A gRPC server's own retries have nothing to do with the token.
func TestARetryAfterAnotherFailureIsNoRefusal(t *testing.T) {
	t.Parallel()
	w := newServers(t)
	rpc := newClient(t, w.target, append(reauthgrpc.DialOptions(w.Transport, true),
		grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithDefaultServiceConfig(strings.Replace(reauthgrpc.ServiceConfig, `["`, `["UNAVAILABLE", "`, 1))))
	w.FailAPI(reauthtest.Failure{Status: http.StatusServiceUnavailable}, 1)
	assert.NoError(t, ask(t.Context(), rpc))
	assert.Equal(t, 2, w.Counts().APIRequests)
	assert.Zero(t, w.Counts().Refreshes)
}

func TestAFailedRefreshIsUnavailable(t *testing.T) {
	t.Parallel()
	w := newServers(t)
	rpc := w.client(t)
	w.ExpireAccess()
	w.FailRefresh(reauthtest.Failure{Status: http.StatusTooManyRequests, RetryAfter: time.Minute}, -1)
	for name, use := range map[string]func(context.Context, testpb.TestServiceClient) error{"call": ask, "stream": download} {
		err := use(t.Context(), rpc)
		assert.Equal(t, codes.Unavailable, status.Code(err), name)
		failed, ok := errors.AsType[*reauth.RefreshError](err)
		if assert.True(t, ok, name) {
			assert.Equal(t, http.StatusTooManyRequests, failed.StatusCode, name)
			assert.Equal(t, time.Minute, failed.RetryAfter, name)
		}
	}
	assert.Equal(t, 1, w.Counts().Refreshes, "the failure is shared")
}

func TestSignInRequiredIsUnauthenticated(t *testing.T) {
	t.Parallel()
	w := newServers(t)
	rpc := w.client(t)
	w.Revoke()
	for _, use := range []func(context.Context, testpb.TestServiceClient) error{ask, download} {
		err := use(t.Context(), rpc)
		assert.ErrorIs(t, err, reauth.ErrSignInRequired)
		assert.Equal(t, codes.Unauthenticated, status.Code(err))
	}
	assert.Equal(t, 1, w.Counts().APIRequests, "nothing is sent without a token")
	assert.Equal(t, 1, w.Counts().Refreshes)
}

func TestACallerThatLeavesDuringARefreshAffectsNobodyElse(t *testing.T) {
	t.Parallel()
	w := newServers(t)
	rpc := w.client(t)
	w.ExpireAccess()
	release := w.BlockRefresh()
	defer release()
	ctx, cancel := context.WithCancel(t.Context())
	left, stayed := make(chan error, 1), make(chan error, 1)
	go func() { left <- ask(ctx, rpc) }()
	require.NoError(t, w.Await(t.Context(), func(c reauthtest.Counts) bool { return c.Refreshes >= 1 }))
	go func() { stayed <- ask(t.Context(), rpc) }()

	cancel()
	assert.Equal(t, codes.Canceled, status.Code(<-left))
	release()
	assert.NoError(t, <-stayed)
	assert.Equal(t, 1, w.Counts().Refreshes)
}

func TestTheContextOfAnRPCPicksTheSession(t *testing.T) {
	t.Parallel()
	w := newServers(t)
	rpc := w.client(t)
	for _, user := range []string{"ben", "eve"} {
		ctx := reauth.WithSession(t.Context(), user)
		require.NoError(t, w.Transport.SignIn(ctx, reauth.Token(w.SignIn(user))))
	}
	w.ExpireAccess("eve")
	for _, user := range []string{"ben", "eve"} {
		answer, err := rpc.UnaryCall(reauth.WithSession(t.Context(), user), new(testpb.SimpleRequest))
		require.NoError(t, err)
		assert.Equal(t, user, answer.GetUsername())
	}
	assert.Equal(t, 1, w.Counts().Refreshes)
}

func TestNoTokenTravelsWithoutTLSUnlessAskedTo(t *testing.T) {
	t.Parallel()
	w := newServers(t)
	_, err := grpc.NewClient(w.target, append(reauthgrpc.DialOptions(w.Transport, false), grpc.WithTransportCredentials(insecure.NewCredentials()))...)
	assert.ErrorContains(t, err, "transport level security")
}

// A proxy in front of a gRPC server may refuse in the words of HTTP.
func TestThe401OfAProxyIsARefusalToo(t *testing.T) {
	t.Parallel()
	w := world.New(t, reauthtest.Options{TLS: true})
	server := grpc.NewServer()
	testpb.RegisterTestServiceServer(server, service{})
	w.Handle("/grpc.testing.TestService/", server)
	rpc := newClient(t, strings.TrimPrefix(w.URL, "https://"), append(reauthgrpc.DialOptions(w.Transport, false),
		grpc.WithTransportCredentials(credentials.NewTLS(w.Server.Transport().TLSClientConfig.Clone()))))
	w.ExpireAccess()
	assert.NoError(t, download(t.Context(), rpc))
	assert.Equal(t, 1, w.Counts().APIRefused)
	assert.Equal(t, 1, w.Counts().Refreshes)
}

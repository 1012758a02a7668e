package main

import (
	"context"
	"sync"

	"google.golang.org/grpc"
	"google.golang.org/grpc/metadata"
)

// A retryStream is a stream that may be opened a second time, if its first answer is
// Unauthenticated.
//
// This works if the client sends one message, which is then sent again, because the
// server has refused it and done nothing. If the client sends many, some have been sent
// when the refusal arrives, and only the caller could send them again. The caller gets
// the Unauthenticated after the refresh, and the next stream that it opens has the new
// token. A stream is also not opened again after its caller has received a message or a
// header. If a server ends it later, because the token has expired, the caller must
// resume by itself.
type retryStream struct {
	perRPC
	desc *grpc.StreamDesc
	ctx  context.Context // the caller's; a stream's methods get none
	open func(context.Context) (grpc.ClientStream, error)

	mu      sync.Mutex // the other methods may be called during a RecvMsg
	current grpc.ClientStream
	attempt *attempt // nil: it has been answered, and there is no second one
	sent    any      // the client's only message; nil: not sent yet, or not the only one
}

func (p perRPC) stream(ctx context.Context, desc *grpc.StreamDesc, conn *grpc.ClientConn, method string, open grpc.Streamer, opts ...grpc.CallOption) (grpc.ClientStream, error) {
	s := &retryStream{
		perRPC: p,
		desc:   desc,
		ctx:    ctx,
		open: func(ctx context.Context) (grpc.ClientStream, error) {
			return open(ctx, desc, conn, method, opts...)
		},
	}
	first, a := newAttempt(ctx)
	var err error
	if s.current, err = s.open(first); err != nil {
		return nil, err // not sent, so not refused
	}
	s.attempt = a
	return s, nil
}

// SendMsg implements [grpc.ClientStream].
func (s *retryStream) SendMsg(m any) error {
	s.mu.Lock()
	if !s.desc.ClientStreams {
		s.sent = m // the interface forbids changing it from now on
	}
	current := s.current
	s.mu.Unlock()
	return current.SendMsg(m)
}

// RecvMsg implements [grpc.ClientStream].
func (s *retryStream) RecvMsg(m any) error {
	err := s.now().RecvMsg(m)
	a, sent := s.settle()
	if a == nil {
		return err
	}
	again, fault := s.afterRefusal(s.ctx, a, err)
	switch {
	case fault != nil:
		return fault
	case again && sent != nil:
		return s.second(sent, m)
	}
	return err
}

// second opens the stream again, and receives its first message.
func (s *retryStream) second(sent, m any) error {
	ctx, _ := newAttempt(s.ctx)
	next, err := s.open(ctx)
	if err != nil {
		return err
	}
	s.mu.Lock()
	s.current = next
	s.mu.Unlock()
	if err := next.SendMsg(sent); err != nil {
		return err
	}
	if err := next.CloseSend(); err != nil {
		return err
	}
	return next.RecvMsg(m)
}

// settle returns the first attempt and the message to send with a second one, and makes
// sure that there is no third.
func (s *retryStream) settle() (*attempt, any) {
	s.mu.Lock()
	defer s.mu.Unlock()
	a, sent := s.attempt, s.sent
	s.attempt, s.sent = nil, nil
	return a, sent
}

func (s *retryStream) now() grpc.ClientStream {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.current
}

// Header implements [grpc.ClientStream].
func (s *retryStream) Header() (metadata.MD, error) {
	header, err := s.now().Header()
	if header != nil {
		s.settle()
	}
	return header, err
}

// Trailer implements [grpc.ClientStream].
func (s *retryStream) Trailer() metadata.MD { return s.now().Trailer() }

// CloseSend implements [grpc.ClientStream].
func (s *retryStream) CloseSend() error { return s.now().CloseSend() }

// Context implements [grpc.ClientStream].
func (s *retryStream) Context() context.Context { return s.now().Context() }

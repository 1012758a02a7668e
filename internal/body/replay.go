// Package body lets the body of a request be sent twice, and looks at and drops the body
// of a refused response.
package body

import (
	"errors"
	"io"
	"net/http"
	"time"
)

// replayWait bounds the wait for the Reads of a body that GetBody is about to begin again.
const replayWait = time.Second

var (
	errBodyClosed  = errors.New("reauth: read of a closed request body")
	errBodyStopped = errors.New("reauth: the request was refused, and its body is kept for the replay")
	errBodyInUse   = errors.New("reauth: an earlier attempt is still reading the request's body")
)

// A Replayable is the body of a request that may have to be sent twice. There are four
// kinds:
//
//   - a body with a GetBody of http.NewRequest: that is called when it is needed;
//   - another small body that is in memory: both attempts get a copy;
//   - one with another GetBody: that is called once the first attempt has let go of the
//     body;
//   - any other: what the first attempt reads is kept, and the second attempt gets that,
//     then the rest.
//
// A body is for one request: one goroutine calls First, then Replay or Release, or both.
// As for any body, one goroutine at a time may call Read of what First and Replay return,
// and any goroutine Close.
type Replayable interface {
	// First returns the body of the first attempt.
	First() io.ReadCloser

	// GetBody returns what takes the place of the request's GetBody beside the body of
	// First, and after a Replay beside the body of that. It is nil if the request has
	// none.
	GetBody() func() (io.ReadCloser, error)

	// Replay returns the body of the second attempt, or false if there can be none. From
	// then on Reads of the first attempt fail. If it returns false, they go on where they
	// can. The body must be closed even if it is not sent.
	Replay() (io.ReadCloser, bool)

	// Release says that no replay will follow. It has no effect after a successful Replay,
	// nor when it is called again.
	Release()
}

// New returns a Replayable for the body of req, or nil if req has none. The request's
// GetBody is used if there is one. Otherwise at most limit bytes are kept, and with a limit
// of 0 or less the body can be replayed only as long as nothing was read of it.
func New(req *http.Request, limit int64) Replayable {
	if req.Body == nil || req.Body == http.NoBody {
		return nil
	}
	if req.GetBody != nil && isIndependent(req) {
		return independent{req}
	}
	if r := smallInMemory(req, limit); r != nil {
		return newInMemory(req, r)
	}
	if req.GetBody != nil {
		return newRewindable(req)
	}
	return newStream(req, limit)
}

// Gambles reports whether it may be impossible to replay req after a refusal, because
// more of its body may have been read than is kept with this limit. Such a request
// should not be sent with a token that is about to expire.
func Gambles(req *http.Request, limit int64) bool {
	if req.Body == nil || req.Body == http.NoBody || req.GetBody != nil {
		return false
	}
	// A length of 0 with a body means unknown, as for net/http.
	known := req.ContentLength > 0 && req.ContentLength <= limit
	return !known && smallInMemory(req, limit) == nil
}

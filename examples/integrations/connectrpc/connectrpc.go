// Package connectrpc uses a session of reauth with connectrpc.com/connect.
package connectrpc

import (
	"bufio"
	"compress/gzip"
	"encoding/binary"
	"encoding/json"
	"io"
	"net/http"
	"strings"

	"github.com/reauth-go/reauth"
)

// Refused is a [reauth.Config.Refused] for Connect, gRPC and gRPC-Web. Connect answers a
// unary call that it refuses with 401. All else that is refused gets a 200, in which the
// refusal is a header, a trailer, or the first message of a stream, which is also the last.
//
// So the answer to a stream is handed over when its first message arrives, and not already
// with its header.
func Refused(resp *http.Response) bool {
	contentType, body := resp.Header.Get("Content-Type"), bufio.NewReaderSize(resp.Body, 16)
	switch {
	case reauth.DefaultRefused(resp):
		return true
	case strings.HasPrefix(contentType, "application/grpc"):
		_, err := body.Peek(1) // the trailer is there after the body
		const unauthenticated = "16"
		return resp.Header.Get("Grpc-Status") == unauthenticated || err == io.EOF && resp.Trailer.Get("Grpc-Status") == unauthenticated
	case strings.HasPrefix(contentType, "application/connect+"):
		return endsUnauthenticated(body)
	}
	return false
}

// endsUnauthenticated reports whether a Connect stream has no message but its end.
func endsUnauthenticated(body io.Reader) bool {
	var envelope struct {
		Flags  byte
		Length uint32
	}
	if err := binary.Read(body, binary.BigEndian, &envelope); err != nil || envelope.Flags&2 == 0 {
		return false
	}
	message := io.LimitReader(body, int64(envelope.Length))
	if envelope.Flags&1 != 0 {
		compressed, err := gzip.NewReader(message)
		if err != nil {
			return false
		}
		message = compressed
	}
	var end struct{ Error struct{ Code string } }
	return json.NewDecoder(message).Decode(&end) == nil && end.Error.Code == "unauthenticated"
}

package otelreauth

import (
	"errors"
	"net"
	"net/http"
	"strconv"
	"syscall"

	"github.com/reauth-go/reauth"
)

const (
	notAsked   = "not_asked"
	timedOut   = "timeout"
	noResponse = "no_response"
	panicked   = "panic"
	other      = "_OTHER"
)

// oauthCodes are the error codes of RFC 6749 section 5.2 and of those RFCs that add to them.
// A code that is not listed may be anything, a different one each time even.
var oauthCodes = map[string]bool{
	"invalid_request": true, "invalid_client": true, "invalid_grant": true, "unauthorized_client": true,
	"unsupported_grant_type": true, "invalid_scope": true, "access_denied": true,
	"server_error": true, "temporarily_unavailable": true, "slow_down": true, "invalid_token": true, // in use, though for other endpoints
	"unsupported_token_type": true,                         // RFC 7009
	"invalid_target":         true,                         // RFC 8707
	"invalid_dpop_proof":     true, "use_dpop_nonce": true, // RFC 9449
	"interaction_required": true, "login_required": true, "consent_required": true, // OpenID Connect
}

// errorType returns the value of the attribute error.type for an error of a Refresher or of a
// Transport, as the package comment lists them.
func errorType(err error) string {
	if e, ok := errors.AsType[*reauth.RefreshError](err); ok {
		switch {
		case oauthCodes[e.Code]:
			return e.Code
		case http.StatusText(e.StatusCode) != "":
			return strconv.Itoa(e.StatusCode)
		}
	}
	if e, ok := errors.AsType[timeout](err); ok && e.Timeout() {
		return timedOut
	}
	if e, ok := errors.AsType[net.Error](err); ok {
		// That of a file has the methods too.
		if _, ofSystem := e.(syscall.Errno); !ofSystem {
			return noResponse
		}
	}
	if errors.Is(err, reauth.ErrSignInRequired) {
		return "sign_in_required"
	}
	return other
}

// A timeout is an error such as context.DeadlineExceeded.
type timeout interface {
	error
	Timeout() bool
}

// failureOf is errorType for the error of an event.
func failureOf(e reauth.Event) string {
	if e.Kind == reauth.EventRefreshFailed && e.Took == 0 {
		return notAsked
	}
	return errorType(e.Err)
}

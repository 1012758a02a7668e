// Package googleapi uses a session of reauth with the clients of google.golang.org/api.
package googleapi

import (
	"net/http"

	"google.golang.org/api/option"

	"github.com/reauth-go/reauth"
)

// With is an option for storage.NewService, drive.NewService and their like. The client's
// own credentials, scopes and quota project are then not used.
//
// Every request is replayed, whatever its size. A resumable upload loses at most the chunk
// that was refused, which is sent again, if its chunk size is not 0.
func With(tr *reauth.Transport) option.ClientOption {
	return option.WithHTTPClient(&http.Client{Transport: tr})
}

package filestore

import (
	"encoding/json"
	"errors"
	"unicode/utf8"

	"github.com/reauth-go/reauth"
)

// encode returns the content of the file that holds tok, which is the JSON of the token.
func encode(tok reauth.Token) ([]byte, error) {
	data, err := json.Marshal(tok)
	if err != nil {
		return nil, err
	}
	return append(data, '\n'), nil
}

var errNoToken = errors.New("the file does not contain the JSON of a token; repair it, or remove it, which signs the session out")

// decode is the reverse of encode. Its error shows nothing of data, because errors of
// package json can quote it.
func decode(data []byte) (reauth.Token, error) {
	var file struct {
		reauth.Token
		AccessToken *string `json:"access_token"` // never left out, so it tells a token from other JSON
	}
	if !utf8.Valid(data) || json.Unmarshal(data, &file) != nil || file.AccessToken == nil {
		return reauth.Token{}, errNoToken
	}
	file.Token.AccessToken = *file.AccessToken
	return file.Token, nil
}

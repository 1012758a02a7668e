package keyringstore

import (
	"errors"
	"os/exec"
)

func vanished(error) bool { return false }

// explain returns the meaning of an error that does not explain itself. go-keyring runs
// the command security, whose exit status is the last byte of an OSStatus.
func explain(err error) string {
	e, ok := errors.AsType[*exec.ExitError](err)
	if !ok {
		return ""
	}
	switch e.ExitCode() {
	case 36: // errSecInteractionNotAllowed, -25308
		return "the keychain is locked, and cannot ask the user"
	case 37: // errSecNoDefaultKeychain, -25307
		return "the user has no keychain"
	case 51: // errSecAuthFailed, -25293
		return "the keychain does not accept the password"
	case 128: // userCanceledErr, -128
		return "the user has refused access to the keychain"
	}
	return ""
}

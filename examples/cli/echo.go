//go:build !unix

package main

import (
	"os"

	"golang.org/x/term"
)

// hide leaves the echo to readHidden, because there is no job control here.
func hide(terminal int, _ func()) (show func(), err error) {
	before, err := term.GetState(terminal)
	return func() { _ = term.Restore(terminal, before) }, err
}

func readHidden(terminal *os.File) (string, error) {
	text, err := term.ReadPassword(int(terminal.Fd()))
	return string(text), err
}

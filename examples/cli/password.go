package main

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"os"
	"strings"

	"golang.org/x/term"
)

// readPassword reads a line, without showing it if a user types it.
func readPassword(ctx context.Context, stdin *os.File, stderr io.Writer, prompt string) (string, error) {
	terminal := int(stdin.Fd())
	if !term.IsTerminal(terminal) {
		line, err := bufio.NewReader(stdin).ReadString('\n')
		if err != nil && err != io.EOF {
			return "", err
		}
		return strings.TrimRight(line, "\r\n"), nil
	}
	before, err := term.GetState(terminal)
	if err != nil {
		return "", err
	}
	type typed struct {
		text []byte
		err  error
	}
	read := make(chan typed, 1)
	fmt.Fprint(stderr, prompt)
	go func() {
		text, err := term.ReadPassword(terminal)
		read <- typed{text, err}
	}()
	defer fmt.Fprintln(stderr)
	select {
	case t := <-read:
		return string(t.text), t.err
	case <-ctx.Done():
		// Nothing makes a read from a terminal end, so it is left behind; but not a
		// terminal that shows nothing.
		_ = term.Restore(terminal, before)
		return "", context.Cause(ctx)
	}
}

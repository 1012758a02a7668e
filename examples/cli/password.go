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

// readPassword reads a line, without echo on a terminal.
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
		// Nothing can interrupt a read from a terminal, so it is abandoned, but the echo
		// is restored.
		_ = term.Restore(terminal, before)
		return "", context.Cause(ctx)
	}
}

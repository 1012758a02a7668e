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
		line, err := readLine(stdin)
		if err == io.EOF {
			err = nil
		}
		return line, err
	}
	ask := func() { fmt.Fprint(stderr, prompt) }
	show, err := hide(terminal, ask)
	if err != nil {
		return "", err
	}
	defer func() {
		show()
		fmt.Fprintln(stderr)
	}()
	type typed struct {
		text string
		err  error
	}
	read := make(chan typed, 1)
	ask() // nothing typed from now on is shown
	go func() {
		text, err := readHidden(stdin)
		read <- typed{text, err}
	}()
	select {
	case t := <-read:
		return t.text, t.err
	case <-ctx.Done():
		// Nothing can interrupt a read from a terminal, so it is abandoned, but the echo
		// is restored.
		return "", context.Cause(ctx)
	}
}

// readLine returns io.EOF only for a line of nothing.
func readLine(r io.Reader) (string, error) {
	line, err := bufio.NewReader(r).ReadString('\n')
	if err == io.EOF && line != "" {
		err = nil
	}
	return strings.TrimRight(line, "\r\n"), err
}

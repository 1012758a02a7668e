// Package tokenfile reads a token or an assertion from a file that another program
// replaces, as Kubernetes does with the tokens that it projects into a pod.
package tokenfile

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"strings"
	"time"
)

const (
	// The largest token that is read.
	maxSize = 1 << 20

	// While a file is replaced it can be absent or empty for a moment, so it is read
	// this often, this long apart.
	tries = 5
	wait  = 20 * time.Millisecond
)

// Read returns what the file at path holds now, without the white space around it and
// without a byte order mark. A file that is absent or empty is read again for up to 80
// milliseconds, since many writers don't replace it in one step.
//
// Its errors show nothing of what the file holds, and do not name path.
func Read(ctx context.Context, path string) (string, error) {
	for try := 1; ; try++ {
		text, err := read(path)
		if err == nil {
			return text, nil
		}
		if passing := errors.Is(err, fs.ErrNotExist) || errors.Is(err, errEmpty); !passing || try == tries {
			return "", err
		}
		select {
		case <-time.After(wait):
		case <-ctx.Done():
			return "", fmt.Errorf("%w: %w", err, ctx.Err())
		}
	}
}

var errEmpty = errors.New("the file is empty")

func read(path string) (string, error) {
	content, err := readFile(path)
	if e, ok := errors.AsType[*fs.PathError](err); ok {
		err = e.Err // the caller names the path
	}
	if err != nil {
		return "", err
	}
	text := string(bytes.TrimSpace(bytes.TrimPrefix(content, []byte("\ufeff"))))
	switch {
	case text == "":
		return "", errEmpty
	case strings.ContainsFunc(text, isNotOfToken):
		return "", errors.New("the file holds no token, but other text")
	}
	return text, nil
}

// isNotOfToken reports whether c occurs in no assertion and no token, but in a private
// key, in JSON or in a text of another encoding.
func isNotOfToken(c rune) bool {
	return c <= ' ' || c > '~' || strings.ContainsRune(`"<>{}`, c)
}

func readFile(path string) ([]byte, error) {
	// To open a pipe can take for ever, and what is read from it is gone.
	if info, err := os.Stat(path); err != nil {
		return nil, err
	} else if !info.Mode().IsRegular() {
		return nil, errors.New("not a regular file")
	}
	file, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer file.Close()
	content, err := io.ReadAll(io.LimitReader(file, maxSize+1))
	if err == nil && len(content) > maxSize {
		err = fmt.Errorf("the file is larger than %d bytes", maxSize)
	}
	return content, err
}

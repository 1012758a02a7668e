package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"sync"

	"github.com/reauth-go/reauth"
)

// A keeper is a Store that writes a new refresh token to a file before the access
// token that came with it is used. Whatever happens next, the user stays signed in.
type keeper struct {
	reauth.MemoryStore
	given string // the refresh token that the user gave

	mu      sync.Mutex
	file    *os.File
	mine    bool // the file did not exist before
	rotated bool
	err     error // of the last attempt to write it
}

// newKeeper opens the file, so that the program fails before it spends a token if
// it could not keep the new one. An empty name means a new file in the directory for
// temporary files.
func newKeeper(given, name string) (*keeper, error) {
	k := &keeper{given: given}
	var err error
	if name == "" {
		k.mine = true
		k.file, err = os.CreateTemp("", "refresh-token-*")
	} else {
		_, missing := os.Lstat(name)
		k.mine = errors.Is(missing, os.ErrNotExist)
		k.file, err = os.OpenFile(name, os.O_WRONLY|os.O_CREATE, 0o600)
	}
	if err != nil {
		return nil, fmt.Errorf("cannot keep a rotated refresh token: %w", err)
	}
	return k, nil
}

// Save implements reauth.Store.
func (k *keeper) Save(ctx context.Context, session string, tok reauth.Token) error {
	if tok.RefreshToken != k.given {
		if err := k.write(tok.RefreshToken); err != nil {
			return err
		}
	}
	return k.MemoryStore.Save(ctx, session, tok)
}

func (k *keeper) write(refreshToken string) error {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.rotated = true
	k.err = k.file.Chmod(0o600)
	if k.err == nil {
		_, k.err = k.file.WriteAt([]byte(refreshToken+"\n"), 0)
	}
	if k.err == nil {
		k.err = errors.Join(k.file.Truncate(int64(len(refreshToken)+1)), k.file.Sync())
	}
	return k.err
}

// report tells the user where the valid refresh token is from now on.
func (k *keeper) report(out io.Writer) {
	k.mu.Lock()
	defer k.mu.Unlock()
	switch {
	case k.err != nil:
		fmt.Fprintf(out, "\nThe refresh token that you gave is spent, because the server rotates them.\n"+
			"The new one could not be written: %v\n", k.err)
	case k.rotated:
		fmt.Fprintf(out, "\nThe refresh token that you gave is spent, because the server rotates them.\n"+
			"The new one is in a file that only you can read:\n%s\n", k.file.Name())
	}
}

// close removes the file if it was created here and not needed.
func (k *keeper) close() {
	k.mu.Lock()
	defer k.mu.Unlock()
	_ = k.file.Close()
	if k.mine && (!k.rotated || k.err != nil) {
		_ = os.Remove(k.file.Name())
	}
}

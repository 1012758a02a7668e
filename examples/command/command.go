package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/reauth-go/reauth"
)

// A command is a Refresher that runs a program and takes what it prints as the token.
//
// The program is started without a shell, with no standard input, and with a few variables
// of the environment. If it still runs when the refresh ends, which is bounded by
// reauth.Config.RefreshTimeout, it is killed with the programs that it has started. No error
// shows what it has printed, and none is final: after "gh auth login" requests go on by
// themselves.
type command struct {
	args []string
	pass []string  // variables of the environment that it gets besides those in environment
	log  io.Writer // for its standard error; nil: nobody sees that, because it may show a token

	// When it is done the program is ended too. A refresh goes on after the request that
	// caused it. If not set, only the end of the refresh ends the program.
	until context.Context
}

const (
	maxToken = 64 << 10 // larger output is no token

	// What a program has left running can keep its output open. It is not waited for.
	waitDelay = time.Second
)

// Validate is called by reauth.New, so that a program that is not there is noticed at once.
func (c *command) Validate() error {
	if len(c.args) == 0 {
		return errors.New("no command is given")
	}
	_, err := exec.LookPath(c.args[0])
	return err
}

// Refresh implements reauth.Refresher.
func (c *command) Refresh(ctx context.Context, _ reauth.Token) (reauth.Token, error) {
	if c.until != nil {
		var cancel context.CancelFunc
		ctx, cancel = context.WithCancel(ctx)
		defer cancel()
		defer context.AfterFunc(c.until, cancel)()
	}
	cmd := exec.CommandContext(ctx, c.args[0], c.args[1:]...)
	cmd.Env = c.environment()
	cmd.WaitDelay = waitDelay
	killAll(cmd)
	out := new(limited)
	cmd.Stdout, cmd.Stderr = out, c.log
	err := cmd.Run()
	name := filepath.Base(c.args[0])
	token := strings.TrimSpace(out.text.String())
	switch {
	case ctx.Err() != nil:
		return reauth.Token{}, fmt.Errorf("%s was stopped: %w", name, ctx.Err())
	case out.full:
		return reauth.Token{}, fmt.Errorf("%s prints more than %d bytes, which is no token", name, maxToken)
	case err != nil && !errors.Is(err, exec.ErrWaitDelay): // the program itself has succeeded
		return reauth.Token{}, fmt.Errorf("%s failed: %w; run it by hand to see why", name, err)
	case token == "":
		return reauth.Token{}, fmt.Errorf("%s prints nothing; run it by hand to see why", name)
	case strings.ContainsFunc(token, func(c rune) bool { return c <= ' ' || c > '~' || c == '{' || c == '<' }):
		return reauth.Token{}, fmt.Errorf("%s prints something else than a token", name)
	}
	return reauth.Token{AccessToken: token}, nil
}

// environment returns the variables that the program gets: where it finds its programs, its
// settings, the user's keychain and a proxy. Others may hold secrets that are none of its
// business.
func (c *command) environment() []string {
	names := append([]string{
		"PATH", "HOME", "USER", "LOGNAME", "LANG", "LC_ALL", "TMPDIR", "XDG_CONFIG_HOME", "XDG_DATA_HOME", "XDG_STATE_HOME",
		"XDG_CACHE_HOME", "XDG_RUNTIME_DIR", "DBUS_SESSION_BUS_ADDRESS",
		"HTTPS_PROXY", "https_proxy", "NO_PROXY", "no_proxy", "SSL_CERT_FILE", "SSL_CERT_DIR",
		"SystemRoot", "SystemDrive", "USERPROFILE", "APPDATA", "LOCALAPPDATA", "ProgramData", "ProgramFiles", "PATHEXT", "ComSpec", "TEMP", "TMP",
	}, c.pass...)
	env := []string{"CLOUDSDK_CORE_DISABLE_PROMPTS=1", "GH_PROMPT_DISABLED=1"}
	for _, name := range slices.Compact(slices.Sorted(slices.Values(names))) {
		if value, ok := os.LookupEnv(name); ok {
			env = append(env, name+"="+value)
		}
	}
	return env
}

// limited keeps what is written to it, up to maxToken bytes. Beyond that os/exec closes the
// program's output.
type limited struct {
	text strings.Builder // not embedded: io.Copy must find no way around Write
	full bool
}

func (l *limited) Write(p []byte) (int, error) {
	if l.text.Len()+len(p) > maxToken {
		l.full = true
		return 0, errors.New("too much output")
	}
	return l.text.Write(p)
}

// Notes is a command-line tool for a service that keeps notes. It stays signed in. Its
// session is in a file or in the system's keychain, and any number of runs may use it at
// once.
//
//	notes sign-in
//	notes add buy tea
//	for i in $(seq 20); do notes list & done; wait
//
// The code about tokens is in session.go.
package main

import (
	"cmp"
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"net/netip"
	"net/url"
	"os"
	"strings"
)

const usage = `notes keeps notes on a server.

  notes sign-in [-user name]  sign in; asks for the password, or reads it from
                              standard input if that is no terminal
  notes sign-out              sign out, here and at the server
  notes status                say whether you are signed in, without asking the server
  notes whoami                say who the server takes you for
  notes add text...           keep a note
  notes list                  show your notes
  notes demo                  be a server to try all this on, until interrupted
  notes demo -once            see twenty runs at once need one new token, and end

Flags, after the command:

  -server url                 the server ($NOTES_SERVER, or http://127.0.0.1:8090)
  -store file|keychain        where your session is kept ($NOTES_STORE, or file)
  -dir folder                 the folder of the file ($NOTES_DIR, or your configuration's)

Exit status:

  0  done
  1  it did not work, and will not by itself
  2  this is not how the command is used
  3  sign in first
  4  try again later; there is no need to sign in again

Interrupted, it finishes the renewal of your session if one is in progress, and ends
as the signal would have ended it (in a shell 130 or 143). Interrupted twice, it
ends at once; then you may have to sign in again.
`

const (
	exitOK     = 0
	exitFailed = 1
	exitUsage  = 2
	exitSignIn = 3
	exitLater  = 4
)

// An app is one run of the program.
type app struct {
	server string
	store  string
	dir    string
	user   string
	demo   demoFlags
	args   []string // the arguments after the flags

	stdin          *os.File
	stdout, stderr io.Writer
}

var commands = map[string]func(context.Context, *app) error{
	"sign-in":  withSession(signIn),
	"sign-out": withSession(signOut),
	"status":   withSession(status),
	"whoami":   withSession(whoami),
	"add":      withSession(add),
	"list":     withSession(list),
	"demo":     demo,
}

func main() {
	ctx := untilInterrupted()
	code := run(ctx, os.Args[1:], &app{stdin: os.Stdin, stdout: os.Stdout, stderr: os.Stderr})
	if i, ok := errors.AsType[interruption](context.Cause(ctx)); ok && code != exitOK {
		i.end()
	}
	os.Exit(code)
}

func run(ctx context.Context, args []string, a *app) int {
	command, err := a.parse(args)
	if errors.Is(err, flag.ErrHelp) {
		fmt.Fprint(a.stdout, usage)
		return exitOK
	}
	if err == nil {
		err = command(ctx, a)
	}
	text, code := explain(err)
	if err != nil && (!interrupted(ctx) || errors.Is(err, errNotSafe)) {
		fmt.Fprintln(a.stderr, "notes: "+text)
	}
	return code
}

func (a *app) parse(args []string) (command func(context.Context, *app) error, err error) {
	if len(args) == 0 {
		return nil, usageError("no command")
	}
	name := args[0]
	if name == "help" || name == "-h" || name == "-help" || name == "--help" {
		return nil, flag.ErrHelp
	}
	command, ok := commands[name]
	if !ok {
		return nil, usageError(fmt.Sprintf("there is no command %q", name))
	}
	flags := flag.NewFlagSet(name, flag.ContinueOnError)
	flags.SetOutput(io.Discard)
	flags.StringVar(&a.server, "server", cmp.Or(os.Getenv("NOTES_SERVER"), "http://"+demoAddress), "")
	flags.StringVar(&a.store, "store", cmp.Or(os.Getenv("NOTES_STORE"), "file"), "")
	flags.StringVar(&a.dir, "dir", os.Getenv("NOTES_DIR"), "")
	switch name {
	case "sign-in":
		flags.StringVar(&a.user, "user", cmp.Or(os.Getenv("USER"), os.Getenv("USERNAME")), "")
	case "demo":
		a.demo.register(flags)
	}
	if err := flags.Parse(args[1:]); err != nil {
		if errors.Is(err, flag.ErrHelp) {
			return nil, err
		}
		return nil, usageError(err.Error())
	}
	a.args = flags.Args()
	if name != "add" && len(a.args) > 0 {
		return nil, usageError(fmt.Sprintf("%s takes no %q", name, a.args[0]))
	}
	a.server = strings.TrimSuffix(a.server, "/")
	u, err := url.Parse(a.server)
	if err != nil || u.Host == "" || u.Scheme+"://"+u.Host != a.server {
		return nil, usageError("the server must be an address like https://notes.example.com")
	}
	if u.Scheme != "https" && !(u.Scheme == "http" && onThisMachine(u.Hostname())) {
		return nil, usageError("the server must be reached by https: it gets your password")
	}
	return command, nil
}

func onThisMachine(host string) bool {
	ip, err := netip.ParseAddr(host)
	return host == "localhost" || err == nil && ip.IsLoopback()
}

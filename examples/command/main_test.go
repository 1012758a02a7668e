package main

import (
	"bytes"
	"context"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/reauth-go/reauth/reauthtest"
)

// The tests run this very binary in place of gcloud.
func TestMain(m *testing.M) {
	switch {
	case len(os.Args) > 1 && os.Args[1] == printToken:
		if err := run(context.Background(), os.Args[1:], os.Stdout); err != nil {
			os.Exit(1)
		}
	case len(os.Args) > 1 && os.Args[1] == "main":
		os.Args = append(os.Args[:1], os.Args[2:]...)
		main()
	case len(os.Args) > 2 && os.Args[1] == "fake":
		os.Exit(fake(os.Args[2], os.Args[3:]))
	default:
		os.Exit(m.Run())
	}
}

// fake does as a program that prints a token may do.
func fake(how string, args []string) int {
	switch how {
	case "print": // to both outputs
		fmt.Fprintln(os.Stderr, "a notice, and SECRET")
		fmt.Print(strings.Join(args, "\n"))
	case "fail":
		fmt.Println("SECRET")
		fmt.Fprintln(os.Stderr, "SECRET")
		return 3
	case "from": // a file, if there is one, and count the runs in another
		runs, err := os.OpenFile(args[0]+".runs", os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o600)
		if err != nil {
			return 1
		}
		_, _ = runs.WriteString(".")
		_ = runs.Close()
		text, err := os.ReadFile(args[0])
		if err != nil {
			return 1
		}
		fmt.Println(string(text))
	case "env":
		fmt.Print(strings.Join(os.Environ(), "|"))
	case "ask": // the user, as a prompt would
		n, err := os.Stdin.Read(make([]byte, 1))
		fmt.Print("asked,", n, ",", err)
	case "flood":
		for {
			if _, err := os.Stdout.WriteString(strings.Repeat("SECRET", 1000)); err != nil {
				return 1
			}
		}
	case "hang":
		connect(args[0])
	case "leave", "hang with a child": // another program behind, which has the same output
		child := exec.Command(os.Args[0], "fake", "hang", args[0])
		child.Stdout = os.Stdout
		if err := child.Start(); err != nil {
			return 1
		}
		if how == "leave" {
			fmt.Println("token")
			return 0
		}
		connect(args[0])
	}
	return 0
}

// connect connects to the test, and waits until that closes the connection.
func connect(address string) {
	conn, err := net.Dial("tcp", address)
	if err != nil {
		return
	}
	defer conn.Close()
	_, _ = conn.Read(make([]byte, 1))
}

func TestARevokedTokenIsReplacedByRunningTheProgramAgain(t *testing.T) {
	var out bytes.Buffer
	require.NoError(t, run(t.Context(), nil, &out))
	assert.Equal(t, "3 requests, 2 refused, 3 answered, the program has run 3 times\n", out.String())
}

func TestTheProgramOfTheCommandLineIsRun(t *testing.T) {
	s := reauthtest.NewServer(t, reauthtest.Options{})
	s.Handle("GET /me", http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write([]byte("hello")) }))
	var out bytes.Buffer
	require.NoError(t, run(t.Context(), []string{"-url", s.APIURL("/me"), self(t), "fake", "print", s.SignIn("ann").AccessToken}, &out))
	assert.Equal(t, "hello", out.String())
	assert.ErrorContains(t, run(t.Context(), []string{"-url", s.APIURL("/me"), self(t), "fake", "print", "unknown"}, &out), "the API answered 401")

	for _, args := range [][]string{
		{"-url", s.APIURL("/me")},
		{"-url", s.APIURL("/me"), "no-such-program"},
		{"-url", s.APIURL("/me"), "-timeout", "-1s", self(t)},
		{"-url", "", self(t)},
	} {
		assert.Error(t, run(t.Context(), args, &out), "%q", args)
	}
}

func self(t *testing.T) string {
	t.Helper()
	path, err := os.Executable()
	require.NoError(t, err)
	return path
}

// faking returns a command that runs fake.
func faking(t *testing.T, args ...string) *command {
	t.Helper()
	return &command{args: append([]string{self(t), "fake"}, args...)}
}

// soon is a context that is done before long.
func soon(t *testing.T, after time.Duration) context.Context {
	ctx, cancel := context.WithTimeout(t.Context(), after)
	t.Cleanup(cancel)
	return ctx
}

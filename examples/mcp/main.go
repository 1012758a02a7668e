// An MCP client whose sign-in and tokens are reauth's. See README.md.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"runtime"
	"strings"
	"unicode"

	"github.com/modelcontextprotocol/go-sdk/mcp"

	"github.com/reauth-go/reauth"
	"github.com/reauth-go/reauth/filestore"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	if err := run(ctx, os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "mcp:", printable(err.Error()))
		os.Exit(1)
	}
}

func run(ctx context.Context, args []string) (err error) {
	flags := flag.NewFlagSet("mcp", flag.ContinueOnError)
	dir := flags.String("store", defaultDir(), "the `folder` that keeps the tokens")
	id := flags.String("client-id", "", "the client id, if the authorization server has registered one; its secret is $MCP_CLIENT_SECRET")
	issuer := flags.String("issuer", "", "the `URL` of that authorization server, which alone gets the secret")
	metadata := flags.String("client-metadata", "", "the `URL` of the program's client id metadata document")
	tool := flags.String("tool", "", "a tool to call, without arguments")
	out := flags.Bool("sign-out", false, "revoke and delete the tokens of this MCP server, and do nothing else")
	flags.Usage = func() {
		fmt.Fprintln(flags.Output(), "usage: mcp [flags] https://mcp.example.com/mcp")
		flags.PrintDefaults()
	}
	if err := flags.Parse(args); err != nil {
		return err
	}
	if flags.NArg() != 1 {
		flags.Usage()
		return errors.New("name the URL of one MCP server")
	}

	secret := os.Getenv("MCP_CLIENT_SECRET")
	if secret != "" && *issuer == "" {
		return errors.New("name the authorization server that the secret is for, with -issuer: the MCP server could name another")
	}
	var opts options
	if scenario := os.Getenv("MCP_CONFORMANCE_SCENARIO"); scenario != "" {
		*tool = "test-tool"
		if opts, err = conformanceOptions(scenario, os.Getenv("MCP_CONFORMANCE_CONTEXT")); err != nil {
			return err
		}
	} else {
		opts = options{name: "reauth's example", browser: show, clientID: *id, issuer: *issuer, secret: secret, metadataURL: *metadata}
		if opts.store, err = filestore.New(*dir, nil); err != nil {
			return err
		}
	}
	opts.onEvent = reauth.LogEvents(slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelWarn})))

	c, err := newClient(flags.Arg(0), opts)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, c.close()) }()
	if *out {
		return c.session.SignOut(ctx)
	}
	return talk(ctx, c, *tool, os.Stdout)
}

// talk lists the server's tools, and calls one.
func talk(ctx context.Context, c *client, tool string, out io.Writer) error {
	session, err := c.connect(ctx)
	if err != nil {
		return err
	}
	defer session.Close()
	for t, err := range session.Tools(ctx, nil) {
		if err != nil {
			return err
		}
		fmt.Fprintln(out, printable(t.Name), "-", printable(t.Description))
	}
	if tool == "" {
		return nil
	}
	result, err := session.CallTool(ctx, &mcp.CallToolParams{Name: tool, Arguments: map[string]any{}})
	if err != nil {
		return err
	}
	for _, content := range result.Content {
		if text, ok := content.(*mcp.TextContent); ok {
			fmt.Fprintln(out, printable(text.Text))
		}
	}
	return nil
}

// printable returns text of a server without characters that would change the terminal, and
// with them what the user sees of other servers, and of addresses.
func printable(text string) string {
	return strings.Map(func(r rune) rune {
		if unicode.IsPrint(r) || r == '\n' || r == '\t' {
			return r
		}
		return ' '
	}, text)
}

// connect is all that the SDK needs to know.
func (c *client) connect(ctx context.Context) (*mcp.ClientSession, error) {
	return mcp.NewClient(&mcp.Implementation{Name: "reauth-example", Version: "1.0.0"}, nil).Connect(ctx, &mcp.StreamableClientTransport{
		Endpoint:   c.endpoint.String(),
		HTTPClient: c.httpClient(),
	}, nil)
}

// show opens a page for the user, or says where it is.
func show(_ context.Context, url string) error {
	fmt.Fprintln(os.Stderr, "Sign in at", url)
	command := map[string]string{"darwin": "open", "windows": "explorer", "linux": "xdg-open"}[runtime.GOOS]
	if path, err := exec.LookPath(command); err == nil {
		_ = exec.Command(path, url).Start() // whether it has worked, only the user knows
	}
	return nil
}

func defaultDir() string {
	dir, err := os.UserConfigDir()
	if err != nil {
		dir = "."
	}
	return filepath.Join(dir, "reauth-example", "mcp")
}

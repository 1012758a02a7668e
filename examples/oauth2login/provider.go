package main

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"
)

// lifetime is the lifetime of access tokens of the included provider, in seconds.
const lifetime = "2"

// providerDirs are where the provider's program may be: from this folder, and from
// the project's root.
var providerDirs = []string{"provider", filepath.Join("examples", "oauth2login", "provider")}

const otherwise = "\nOr sign in at a provider of yours: -issuer https://id.example.com -client-id my-program"

// startProvider starts the included OpenID provider, and returns its address when it
// listens. The provider ends with stop, and with this process in any case.
func startProvider(ctx context.Context) (issuer string, stop func(), err error) {
	node, err := exec.LookPath("node")
	if err != nil {
		return "", nil, errors.New("the provider that this example brings along needs Node.js 20 or later, which is not installed." + otherwise)
	}
	dir, err := installed()
	if err != nil {
		return "", nil, err
	}
	cmd := exec.Command(node, filepath.Join(dir, "server.mjs"), lifetime)
	complaints := new(bytes.Buffer)
	cmd.Stderr = complaints
	stdin, err := cmd.StdinPipe()
	if err != nil {
		return "", nil, err
	}
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		return "", nil, err
	}
	if err := cmd.Start(); err != nil {
		return "", nil, fmt.Errorf("node: %w", err)
	}
	stop = func() {
		_ = stdin.Close() // ends the provider
		giveUp := time.AfterFunc(5*time.Second, func() { _ = cmd.Process.Kill() })
		defer giveUp.Stop()
		_ = cmd.Wait()
	}
	defer context.AfterFunc(ctx, func() { _ = stdin.Close() })() // while the next line waits
	line, _ := bufio.NewReader(stdout).ReadString('\n')
	issuer, ok := strings.CutPrefix(strings.TrimSpace(line), "listening on ")
	if !ok {
		stop()
		if ctx.Err() != nil {
			return "", nil, context.Cause(ctx)
		}
		return "", nil, fmt.Errorf("the provider does not start: %s", strings.TrimSpace(complaints.String()))
	}
	return issuer, stop, nil
}

// installed returns the folder of the provider's program.
func installed() (string, error) {
	for _, dir := range providerDirs {
		if _, err := os.Stat(filepath.Join(dir, "server.mjs")); errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if _, err := os.Stat(filepath.Join(dir, "node_modules", "oidc-provider")); err != nil {
			return "", fmt.Errorf("the provider's packages are not installed. Install them with: npm ci --prefix %s%s", dir, otherwise)
		}
		return dir, nil
	}
	return "", errors.New("the provider's program is not here: start this example from its own folder, or from the project's root." + otherwise)
}

package main

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"time"
)

const (
	benchFile    = "testdata/bench.txt"
	outcomesFile = "testdata/outcomes.jsonl"
)

// Memory is counted, not timed, and hardly differs from run to run.
const memoryRuns = 3

// The libraries to compare. Their versions are recorded with the figures.
var modules = []string{
	"golang.org/x/oauth2",
	"github.com/Azure/azure-sdk-for-go/sdk/azcore",
	"github.com/acronis/go-appkit",
	"cloud.google.com/go/auth",
}

// measure runs all benchmarks and the scenarios in virtual time, and records their
// output. Each run is a process of its own, so that the libraries are measured close
// together, and not always in the same memory.
func measure(runs int, benchtime string) error {
	if runs < 1 {
		return fmt.Errorf("-n %d: there must be a run", runs)
	}
	dir, err := os.MkdirTemp("", "report")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	binary := filepath.Join(dir, "benchmarks.test")
	if _, err := command("go", "test", "-c", "-o", binary, "."); err != nil {
		return err
	}

	outcomes, err := scenarios(binary)
	if err != nil {
		return err
	}
	shared, err := measureStores()
	if err != nil {
		return err
	}
	head, err := header()
	if err != nil {
		return err
	}
	text := []byte(head)
	for i := range runs {
		began := time.Now()
		benches := [][]string{{"-test.bench", "HotPath|ManySessions|Body|Storm", "-test.benchtime", benchtime}}
		if i < memoryRuns {
			benches = append(benches, []string{"-test.bench", "Waiting|AtRest|Evicted", "-test.benchtime", "1x"})
		}
		for _, args := range benches {
			out, err := command(binary, append(args, "-test.run", "^$", "-test.timeout", "10m")...)
			if err != nil {
				return err
			}
			text = append(text, out...)
		}
		fmt.Printf("run %d of %d took %s\n", i+1, runs, time.Since(began).Round(time.Second))
	}
	return errors.Join(os.WriteFile(benchFile, text, 0o644), os.WriteFile(storesFile, shared, 0o644), os.WriteFile(outcomesFile, outcomes, 0o644))
}

// scenarios returns the outcomes that the tests in virtual time report, one a
// line.
func scenarios(binary string) ([]byte, error) {
	out, err := command(binary, "-test.v", "-test.run", "BodyAgain|Storm|LateRefusals|FailingTokenServer|Deadline|Rollover|Replicas")
	if err != nil {
		return nil, err
	}
	var outcomes []byte
	for line := range bytes.Lines(out) {
		if _, outcome, ok := bytes.Cut(line, []byte(" outcome ")); ok && bytes.HasPrefix(line, []byte("=== ATTR ")) {
			outcomes = append(outcomes, outcome...)
		}
	}
	if len(outcomes) == 0 {
		return nil, errors.New("the scenarios have reported no outcome")
	}
	return outcomes, nil
}

// header describes the measurements in benchstat's format.
func header() (string, error) {
	versions, err := command("go", append([]string{"list", "-m", "-f", "{{.Path}} {{.Version}}"}, modules...)...)
	if err != nil {
		return "", err
	}
	text := "go: " + runtime.Version() + "\ncores: " + strconv.Itoa(runtime.GOMAXPROCS(0)) + "\n"
	for line := range strings.Lines(string(versions)) {
		text += "library: " + line
	}
	return text, nil
}

// command runs a program and returns its output. This module is not part of any
// workspace.
func command(name string, args ...string) ([]byte, error) { return commandIn("", name, args...) }

func commandIn(dir, name string, args ...string) ([]byte, error) {
	cmd := exec.Command(name, args...)
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), "GOWORK=off")
	out, err := cmd.CombinedOutput()
	if err != nil {
		return nil, fmt.Errorf("%s: %w\n%s", filepath.Base(name), err, out)
	}
	return out, nil
}

// Mutants breaks the lines on which the promises rest, one at a time in a copy of
// the module, and shows which test notices.
//
//	go run ./internal/mutants            # all of them, first the simulator's view, then the named tests'
//	go run ./internal/mutants -only P7   # those whose name matches
//
// A mutant is caught if a test that the list names for it fails; that the simulator
// fails too is told, and does not count. First a copy in which nothing is broken has
// to pass. It ends with 1 if a mutant survives its tests.
package main

import (
	"bytes"
	"context"
	"errors"
	"flag"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

func main() {
	only := flag.String("only", "", "a regular expression; mutants whose name does not match are left out")
	seeds := flag.Int("seeds", 300, "how many seeds the simulator runs; 0 leaves it out")
	parallel := flag.Int("parallel", 2, "how many mutants are tried at once")
	flag.Parse()
	survivors, err := run(*only, *seeds, *parallel)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(2)
	}
	if survivors > 0 {
		os.Exit(1)
	}
}

func run(only string, seeds, parallel int) (survivors int, err error) {
	chosen, err := regexp.Compile(only)
	if err != nil {
		return 0, err
	}
	root, err := moduleRoot()
	if err != nil {
		return 0, err
	}
	var todo []mutant
	for _, m := range mutants {
		if chosen.MatchString(m.name) {
			todo = append(todo, m)
		}
	}
	if len(todo) == 0 {
		return 0, fmt.Errorf("-only %q matches no mutant", only)
	}
	ctx, stop := context.WithCancel(context.Background())
	var wg sync.WaitGroup
	defer wg.Wait()
	defer stop()
	if err := unbroken(ctx, root, todo, seeds); err != nil {
		return 0, err
	}
	verdicts := make([]chan verdict, len(todo))
	for i := range verdicts {
		verdicts[i] = make(chan verdict, 1)
	}
	var next atomic.Int64
	for range max(parallel, 1) {
		wg.Go(func() {
			for i := int(next.Add(1)) - 1; i < len(todo) && ctx.Err() == nil; i = int(next.Add(1)) - 1 {
				verdicts[i] <- todo[i].try(ctx, root, seeds)
			}
		})
	}
	caught, simulated := 0, 0
	for i, m := range todo { // in the order of the list
		v := <-verdicts[i]
		if v.err != nil {
			return 0, fmt.Errorf("%s: %w", m.name, v.err)
		}
		if v.test != "" {
			caught++
			if v.simulator {
				simulated++
			}
		}
		fmt.Println(v.line(m))
	}
	fmt.Printf("%d of %d caught by their tests", caught, len(todo))
	if seeds > 0 {
		fmt.Printf(", %d of them by the simulator too", simulated)
	}
	fmt.Println()
	return len(todo) - caught, nil
}

// unbroken sees that what is to notice a mutant passes without one.
func unbroken(ctx context.Context, root string, todo []mutant, seeds int) error {
	dir, err := os.MkdirTemp("", "unbroken")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	if err := copyModule(root, dir); err != nil {
		return err
	}
	var packages []string
	for _, m := range todo {
		packages = append(packages, m.packages()...)
	}
	slices.Sort(packages)
	packages = slices.Compact(packages)
	if out, err := goCommand(ctx, dir, append([]string{"test", "-timeout", "5m"}, packages...)...); err != nil {
		return fmt.Errorf("the tests fail though nothing is broken: %w\n%s", err, out)
	}
	if seeds == 0 {
		return nil
	}
	if out, err := simulate(ctx, dir, seeds); err != nil {
		return fmt.Errorf("the simulator fails though nothing is broken: %w\n%s", err, out)
	}
	return nil
}

func simulate(ctx context.Context, dir string, seeds int) (string, error) {
	return goCommand(ctx, dir, "test", "-timeout", "5m", "-run", "TestSimulation", "./internal/simulator", "-args", fmt.Sprintf("-seeds=%d", seeds))
}

// A verdict says who noticed a mutant.
type verdict struct {
	simulator bool
	test      string // of those that are named, the first that failed; "": none did
	err       error
}

func (v verdict) line(m mutant) string {
	simulator, test := "-", v.test
	if v.simulator {
		simulator = "simulator"
	}
	if test == "" {
		test = "SURVIVED"
	}
	return fmt.Sprintf("%-82s %-10s %s", m.name, simulator, test)
}

func (m mutant) try(ctx context.Context, root string, seeds int) verdict {
	dir, err := os.MkdirTemp("", "mutant")
	if err != nil {
		return verdict{err: err}
	}
	defer os.RemoveAll(dir)
	if err := copyModule(root, dir); err != nil {
		return verdict{err: err}
	}
	file := filepath.Join(dir, m.file)
	text, err := os.ReadFile(file)
	if err != nil {
		return verdict{err: err}
	}
	broken, err := m.apply(string(text))
	if err != nil {
		return verdict{err: err}
	}
	if err := os.WriteFile(file, []byte(broken), 0o600); err != nil {
		return verdict{err: err}
	}
	if out, err := goCommand(ctx, dir, append([]string{"vet"}, m.packages()...)...); err != nil {
		return verdict{err: fmt.Errorf("it is no longer Go: %s", out)}
	}
	var v verdict
	if seeds > 0 {
		if out, err := simulate(ctx, dir, seeds); err != nil {
			if _, err := firstFailure(out); err != nil {
				return verdict{err: err}
			}
			v.simulator = true
		}
	}
	out, err := goCommand(ctx, dir, append([]string{"test", "-timeout", "1m", "-run", m.tests}, m.packages()...)...)
	if err != nil {
		v.test, v.err = firstFailure(out)
	}
	return v
}

// packages returns the packages whose tests may notice: that of the file, and the root.
func (m mutant) packages() []string {
	if dir := path.Dir(m.file); dir != "." {
		return []string{"./" + dir, "."}
	}
	return []string{"."}
}

// apply breaks the line, which must be there exactly once.
func (m mutant) apply(text string) (string, error) {
	if n := strings.Count(text, m.line); n != 1 {
		return "", fmt.Errorf("%s has the line %d times", m.file, n)
	}
	return strings.Replace(text, m.line, m.broken, 1), nil
}

var failureRE = regexp.MustCompile(`(?m)^\s*--- FAIL: (\S+)`)

// firstFailure returns which test failed first, by what go test says. That it could
// not run them is an error.
func firstFailure(out string) (string, error) {
	if found := failureRE.FindStringSubmatch(out); found != nil {
		return found[1], nil
	}
	switch {
	case strings.Contains(out, "panic: test timed out"):
		return "(a test hangs)", nil
	case strings.Contains(out, "panic: "), strings.Contains(out, "fatal error: "):
		return "(the tests crash)", nil
	}
	return "", fmt.Errorf("the tests did not run: %s", out)
}

func goCommand(ctx context.Context, dir string, args ...string) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, 10*time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, "go", args...)
	cmd.Dir = dir
	cmd.WaitDelay = time.Second // for what the go command has started, and leaves behind
	cmd.Env = append(os.Environ(), "GOWORK=off")
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	err := cmd.Run()
	return out.String(), err
}

func moduleRoot() (string, error) {
	out, err := exec.Command("go", "list", "-m", "-f", "{{.Dir}}", "github.com/reauth-go/reauth").Output()
	if err != nil {
		return "", err
	}
	root := strings.TrimSpace(string(out))
	if root == "" {
		return "", errors.New("the module's folder cannot be found; run it from within")
	}
	return root, nil
}

// copyModule copies what the root module's tests need, among it the nested modules,
// to which its Markdown has links.
func copyModule(from, to string) error {
	return filepath.WalkDir(from, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		name, err := filepath.Rel(from, path)
		if err != nil {
			return err
		}
		if d.IsDir() {
			if d.Name() == ".git" || d.Name() == "node_modules" {
				return filepath.SkipDir
			}
			return os.MkdirAll(filepath.Join(to, name), 0o700)
		}
		if !d.Type().IsRegular() {
			return nil
		}
		text, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		return os.WriteFile(filepath.Join(to, name), text, 0o600)
	})
}

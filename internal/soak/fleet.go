package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"math/rand/v2"
	"os"
	"os/exec"
	"slices"
	"syscall"
	"text/tabwriter"
	"time"

	"github.com/reauth-go/reauth"
)

// A fleet is the processes, one after the other in each of their places.
type fleet struct {
	settings
	server *server
	proxy  *proxy
	store  *sharedStore

	began    time.Time
	members  []*member
	started  int
	total    report
	problems []string
}

// A member is one process.
type member struct {
	cmd    *exec.Cmd
	stdin  io.WriteCloser
	stdout io.ReadCloser
}

func (f *fleet) orders() orders {
	return orders{DSN: f.store.dsn, URL: f.proxy.url, API: f.server.api, Callers: f.callers, Sessions: f.sessions}
}

func (f *fleet) signIn(ctx context.Context) error {
	transport, err := newTransport(f.orders())
	if err != nil {
		return err
	}
	for n := range f.sessions {
		tok, err := f.server.signIn(ctx, user(n))
		if err != nil {
			return err
		}
		if err := transport.SignIn(reauth.WithSession(ctx, user(n)), tok); err != nil {
			return err
		}
	}
	return nil
}

func (f *fleet) run(ctx context.Context) error {
	f.began = time.Now()
	for range f.processes {
		m, err := f.start()
		if err != nil {
			return err
		}
		f.members = append(f.members, m)
	}
	f.proxy.turn(true)
	if err := f.soak(ctx); err != nil {
		return err
	}
	f.proxy.turn(false)
	for _, m := range f.members {
		f.end(m)
	}
	f.check()
	return f.say()
}

// soak lets faults happen until the time is up.
func (f *fleet) soak(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, f.duration)
	defer cancel()
	report := time.NewTicker(f.report)
	defer report.Stop()
	replace := time.NewTicker(15 * time.Second)
	defer replace.Stop()
	cut := time.NewTicker(7 * time.Second)
	defer cut.Stop()
	restart := time.NewTicker(40 * time.Second)
	defer restart.Stop()
	for {
		var err error
		select {
		case <-report.C:
			fmt.Printf("%8v  %d processes started, %d requests of those that have ended, lost: %d\n",
				time.Since(f.began).Round(time.Second), f.started, f.total.Requests, len(f.total.Lost)+len(f.problems))
		case <-replace.C:
			i := rand.IntN(len(f.members))
			f.end(f.members[i])
			f.members[i], err = f.start()
		case <-cut.C:
			err = f.store.cut()
		case <-restart.C:
			err = f.store.restart()
		case <-ctx.Done():
			return nil
		}
		if err != nil {
			return err
		}
	}
}

func (f *fleet) start() (*member, error) {
	text, err := json.Marshal(f.orders())
	if err != nil {
		return nil, err
	}
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	m := &member{cmd: exec.Command(self)}
	m.cmd.Env = append(os.Environ(), workerVariable+"="+string(text))
	m.cmd.Stderr = os.Stderr
	m.cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if m.stdin, err = m.cmd.StdinPipe(); err != nil {
		return nil, err
	}
	if m.stdout, err = m.cmd.StdoutPipe(); err != nil {
		return nil, err
	}
	f.started++
	return m, m.cmd.Start()
}

// end tells a process to end, and takes its report.
func (f *fleet) end(m *member) {
	_ = m.stdin.Close()
	var r report
	decodeErr := json.NewDecoder(m.stdout).Decode(&r)
	if err := m.cmd.Wait(); err != nil || decodeErr != nil {
		f.problems = append(f.problems, fmt.Sprintf("a process ended badly: %v, %v", err, decodeErr))
	}
	f.total.add(r)
}

// check sees whether every session works once the faults are over.
func (f *fleet) check() {
	transport, err := newTransport(f.orders())
	if err != nil {
		f.problems = append(f.problems, err.Error())
		return
	}
	for n := range f.sessions {
		var r report
		for end := time.Now().Add(40 * time.Second); time.Now().Before(end) && r.Answered == 0; { // longer than any pause
			r = get(transport, f.orders(), user(n))
		}
		if r.Answered == 0 {
			f.problems = append(f.problems, fmt.Sprintf("the session of %s works no more", user(n)))
		}
	}
}

// say prints the result.
func (f *fleet) say() error {
	counts, err := f.server.counts()
	if err != nil {
		return err
	}
	w := tabwriter.NewWriter(os.Stdout, 0, 0, 2, ' ', 0)
	row := func(what string, n any) { fmt.Fprintf(w, "%s\t%v\n", what, n) }
	row("time", time.Since(f.began).Round(time.Second))
	row("processes started", f.started)
	row("requests", f.total.Requests)
	row("answered", f.total.Answered)
	row("failed by a fault that passes", f.total.Faults)
	row("refreshes granted", counts.Refreshed)
	row("uses of the refresh token that was used most", counts.MostSpent)
	if f.store.port != "" {
		row("restarts of Redis", f.store.restarts)
		row("cuts of all of Redis's connections", f.store.cuts)
	}
	f.proxy.mu.Lock()
	for _, kind := range slices.Sorted(maps.Keys(f.proxy.counts)) {
		row(kind, f.proxy.counts[kind])
	}
	f.proxy.mu.Unlock()
	lost := 0
	for _, what := range slices.Sorted(maps.Keys(f.total.Lost)) {
		row("LOST: "+what, f.total.Lost[what])
		lost += f.total.Lost[what]
	}
	for _, problem := range f.problems {
		row("PROBLEM", problem)
	}
	row("lost", lost)
	if err := w.Flush(); err != nil {
		return err
	}
	if lost > 0 || len(f.problems) > 0 || counts.MostSpent > 1 {
		return errLost
	}
	return nil
}

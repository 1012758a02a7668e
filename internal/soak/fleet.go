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
	"sync"
	"syscall"
	"text/tabwriter"
	"time"

	"github.com/reauth-go/reauth"
)

// leastAnswered is the share of the requests that have to be answered, in percent. The
// faults that the proxy makes of answers of the API cost one in a hundred; those of
// refreshes, of the store and of its locks, which all callers of a session feel until
// the pause after a failure has passed, cost a few more.
const leastAnswered = 80

// A fleet is the processes, one after the other in each of their places.
type fleet struct {
	settings
	server *server
	proxy  *proxy
	store  *sharedStore

	began     time.Time
	members   []*member
	started   int
	killed    int
	stops     int
	stopped   *member // nil: none
	signIns   sync.WaitGroup
	transport *reauth.Transport // with which users sign in
	total     report
	problems  []string
}

// A member is one process.
type member struct {
	process int
	cmd     *exec.Cmd
	stdin   io.WriteCloser
	stdout  io.ReadCloser
	stop    *interruption // it is standing still since then
}

func (f *fleet) orders() orders {
	return orders{Process: f.started, DSN: f.store.dsn, URL: f.proxy.url, API: f.server.api, Callers: f.callers, Sessions: f.sessions}
}

func (f *fleet) signIn(ctx context.Context) (err error) {
	if f.transport, err = newTransport(f.orders()); err != nil {
		return err
	}
	for n := range f.sessions {
		if err := f.signInUser(ctx, user(n)); err != nil {
			return err
		}
	}
	return nil
}

func (f *fleet) signInUser(ctx context.Context, user string) error {
	tok, err := f.server.signIn(ctx, user)
	if err != nil {
		return err
	}
	return f.transport.Session(user).SignIn(ctx, tok)
}

// signInAgain signs in the user of a session that was lost together with a process. The
// store may be down, or locked.
func (f *fleet) signInAgain(user string) {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	for {
		err := f.signInUser(ctx, user)
		if err == nil {
			f.proxy.ledger.signedIn(user)
			return
		}
		if ctx.Err() != nil {
			f.proxy.ledger.problem(fmt.Sprintf("%s cannot sign in again: %v", user, err))
			return
		}
		wait(ctx, 100*time.Millisecond)
	}
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
	err := f.soak(ctx)
	f.goOn() // in any case: a process that stands still does not notice that this one ends
	if err != nil {
		return err
	}
	f.proxy.turn(false)
	for _, m := range f.members {
		f.end(m)
	}
	for len(f.proxy.ledger.dead) > 0 {
		f.signInAgain(<-f.proxy.ledger.dead)
	}
	f.signIns.Wait()
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
	kill := time.NewTicker(9 * time.Second)
	defer kill.Stop()
	stop := time.NewTicker(11 * time.Second)
	defer stop.Stop()
	var goOn <-chan time.Time
	for {
		var err error
		select {
		case <-report.C:
			_, lost := f.proxy.ledger.split(f.total.Lost)
			fmt.Printf("%8v  %d processes started, %d requests of those that have ended, lost: %d\n",
				time.Since(f.began).Round(time.Second), f.started, f.total.Requests, sum(lost)+len(f.problems))
		case <-replace.C:
			if i, ok := f.pick(); ok {
				f.end(f.members[i])
				f.members[i], err = f.start()
			}
		case <-kill.C:
			if i, ok := f.pick(); ok {
				f.kill(f.members[i])
				f.members[i], err = f.start()
			}
		case <-stop.C:
			if i, ok := f.pick(); ok && f.stopped == nil {
				err = f.stop(f.members[i])
				goOn = time.After(lease + 2*time.Second)
			}
		case <-goOn:
			f.goOn()
		case user := <-f.proxy.ledger.dead:
			f.signIns.Go(func() { f.signInAgain(user) })
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

// pick returns the place of a process that is running.
func (f *fleet) pick() (int, bool) {
	for _, i := range rand.Perm(len(f.members)) {
		if f.members[i] != f.stopped {
			return i, true
		}
	}
	return 0, false
}

func (f *fleet) start() (*member, error) {
	f.started++
	text, err := json.Marshal(f.orders())
	if err != nil {
		return nil, err
	}
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	m := &member{process: f.started, cmd: exec.Command(self)}
	m.cmd.Env = append(os.Environ(), workerVariable+"="+string(text))
	m.cmd.Stderr = os.Stderr
	m.cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if m.stdin, err = m.cmd.StdinPipe(); err != nil {
		return nil, err
	}
	if m.stdout, err = m.cmd.StdoutPipe(); err != nil {
		return nil, err
	}
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
	for i := range r.Lost {
		r.Lost[i].process = m.process
	}
	f.total.add(r)
}

// kill ends a process for good, whatever it is in the middle of.
func (f *fleet) kill(m *member) {
	f.killed++
	f.proxy.ledger.interrupt(m.process)
	_ = m.cmd.Process.Kill()
	_ = m.cmd.Wait() // which says that it was killed
	_ = m.stdin.Close()
}

// stop lets a process stand still, and goOn lets it go on.
func (f *fleet) stop(m *member) error {
	f.stops++
	f.stopped, m.stop = m, f.proxy.ledger.interrupt(m.process)
	return m.cmd.Process.Signal(syscall.SIGSTOP)
}

func (f *fleet) goOn() {
	m := f.stopped
	if m == nil {
		return
	}
	f.stopped = nil
	f.proxy.ledger.goesOn(m.stop)
	if err := m.cmd.Process.Signal(syscall.SIGCONT); err != nil {
		f.problems = append(f.problems, fmt.Sprintf("a process that was stopped does not go on: %v", err))
	}
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
			if r = get(transport.Session(user(n)), f.orders()); r.Answered == 0 {
				time.Sleep(100 * time.Millisecond)
			}
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
	excused, lost := f.proxy.ledger.split(f.total.Lost)
	f.proxy.ledger.mu.Lock()
	costs := slices.Clone(f.proxy.ledger.costs)
	problems := append(f.problems, f.proxy.ledger.problems...)
	f.proxy.ledger.mu.Unlock()
	if counts.MostSpent > 1 && len(costs) == 0 {
		problems = append(problems, fmt.Sprintf("one refresh token was used %d times", counts.MostSpent))
	}
	share := 0.0
	if asked := f.total.Requests - excused; asked > 0 {
		share = 100 * float64(f.total.Answered) / float64(asked)
	}
	if share < leastAnswered {
		problems = append(problems, fmt.Sprintf("only %.1f %% of the requests were answered", share))
	}

	w := tabwriter.NewWriter(os.Stdout, 0, 0, 2, ' ', 0)
	row := func(what string, n any) { fmt.Fprintf(w, "%s\t%v\n", what, n) }
	row("time", time.Since(f.began).Round(time.Second))
	row("processes started", f.started)
	row("processes killed, whose requests are not counted", f.killed)
	row("processes stopped for a while", f.stops)
	row("requests", f.total.Requests)
	row("answered", f.total.Answered)
	row(fmt.Sprintf("answered, in percent (%d at least)", leastAnswered), fmt.Sprintf("%.1f", share))
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
	row("sessions lost together with a process that was killed or stopped", len(costs))
	for _, c := range costs {
		row("  "+c.session, c.why)
	}
	row("requests that this cost", excused)
	for _, what := range slices.Sorted(maps.Keys(lost)) {
		row("LOST: "+what, lost[what])
	}
	for _, problem := range problems {
		row("PROBLEM", problem)
	}
	row("lost", sum(lost))
	if err := w.Flush(); err != nil {
		return err
	}
	if len(lost) > 0 || len(problems) > 0 {
		return errLost
	}
	return nil
}

func sum(counts map[string]int) (n int) {
	for _, c := range counts {
		n += c
	}
	return n
}

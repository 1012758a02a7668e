//go:build unix

package main

import (
	"os"
	"os/signal"
	"syscall"

	"golang.org/x/sys/unix"
	"golang.org/x/term"
)

// hide turns off the echo of a terminal, until the function is called that it returns. The
// echo is on as well while this process is stopped, as with Ctrl-Z, because the terminal
// then belongs to the shell. When the process is continued, hide calls again.
func hide(terminal int, again func()) (show func(), err error) {
	shown, err := term.GetState(terminal)
	if err != nil {
		return nil, err
	}
	settings, err := unix.IoctlGetTermios(terminal, getTermios)
	if err != nil {
		return nil, err
	}
	leaving := make(chan os.Signal, 1)
	if !signal.Ignored(syscall.SIGQUIT) {
		signal.Notify(leaving, syscall.SIGQUIT)
	}
	// In the group of the session's leader there is no shell that could continue this process,
	// and the system does not let it stop.
	if session, err := unix.Getsid(0); err == nil && session != unix.Getpgrp() && !signal.Ignored(syscall.SIGTSTP) {
		signal.Notify(leaving, syscall.SIGTSTP)
	}
	settings.Lflag &^= unix.ECHO
	settings.Lflag |= unix.ICANON | unix.ISIG
	settings.Iflag |= unix.ICRNL
	turnOff := func() error { return unix.IoctlSetTermios(terminal, setTermios, settings) }
	if err := turnOff(); err != nil {
		signal.Stop(leaving)
		return nil, err
	}
	done, ended := make(chan struct{}), make(chan struct{})
	go func() { // ends with done
		defer close(ended)
		for {
			select {
			case s := <-leaving:
				_ = term.Restore(terminal, shown)
				leave(s)
				_ = turnOff() // waits until this process is in the foreground
				again()
			case <-done:
				return
			}
		}
	}()
	return func() {
		signal.Stop(leaving)
		close(done)
		<-ended
		_ = term.Restore(terminal, shown)
	}, nil
}

// leave does what the signal does by default, and returns when the process is continued.
func leave(s os.Signal) {
	if s == syscall.SIGQUIT {
		interruption{s}.end()
	}
	continued := make(chan os.Signal, 1)
	signal.Notify(continued, syscall.SIGCONT)
	defer signal.Stop(continued)
	// Go's runtime ignores a SIGTSTP that has been caught once, even after signal.Reset.
	if syscall.Kill(os.Getpid(), syscall.SIGSTOP) == nil {
		<-continued
	}
}

// readHidden reads a line from a terminal whose echo is off. Unlike term.ReadPassword it does
// not touch the settings, which may have been restored by then.
func readHidden(terminal *os.File) (string, error) { return readLine(terminal) }

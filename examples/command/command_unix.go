//go:build unix

package main

import (
	"os/exec"
	"syscall"
)

// killAll makes the end of cmd's context kill all that the program has started: gcloud is a
// script that starts another program.
func killAll(cmd *exec.Cmd) {
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) }
}

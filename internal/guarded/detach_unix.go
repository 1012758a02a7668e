//go:build unix

package guarded

import (
	"os/exec"
	"syscall"
)

// detach makes cmd run in a process group of its own, because an interrupt from the
// terminal is for the tests, and optionally as another user.
func detach(cmd *exec.Cmd, another bool, uid, gid uint32) {
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if another {
		cmd.SysProcAttr.Credential = &syscall.Credential{Uid: uid, Gid: gid}
	}
}

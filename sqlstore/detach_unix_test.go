//go:build unix

package sqlstore_test

import (
	"os/exec"
	"syscall"
)

// detach lets cmd run in a process group of its own, since an interrupt from the
// terminal is for the tests, and as another user if so told.
func detach(cmd *exec.Cmd, another bool, uid, gid uint32) {
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if another {
		cmd.SysProcAttr.Credential = &syscall.Credential{Uid: uid, Gid: gid}
	}
}

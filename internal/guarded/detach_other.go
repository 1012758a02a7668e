//go:build !unix

package guarded

import "os/exec"

func detach(*exec.Cmd, bool, uint32, uint32) {}

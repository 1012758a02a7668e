//go:build !unix

package sqlstore_test

import "os/exec"

func detach(*exec.Cmd, bool, uint32, uint32) {}

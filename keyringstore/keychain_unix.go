//go:build (dragonfly && cgo) || (freebsd && cgo) || linux || netbsd || openbsd

package keyringstore

import (
	"errors"
	"os/exec"
	"strings"

	"github.com/godbus/dbus/v5"
)

// vanished reports whether err is about an item that a search has found and that was
// removed before its secret was read.
func vanished(err error) bool {
	e, ok := errors.AsType[dbus.Error](err)
	if !ok {
		return false
	}
	switch e.Name {
	case "org.freedesktop.DBus.Error.UnknownMethod", // as GNOME Keyring says it
		"org.freedesktop.DBus.Error.UnknownObject", "org.freedesktop.Secret.Error.NoSuchObject":
		return true
	}
	return false
}

// explain returns the meaning of an error that does not explain itself.
func explain(err error) string {
	if e, ok := errors.AsType[dbus.Error](err); ok && e.Name == "org.freedesktop.DBus.Error.ServiceUnknown" {
		return "no Secret Service is running (GNOME Keyring, KWallet, KeePassXC)"
	}
	if err != nil && strings.HasPrefix(err.Error(), "failed to unlock correct collection") {
		return "the keyring is locked, or there is none"
	}
	if errors.Is(err, exec.ErrNotFound) {
		return "there is no D-Bus session (DBUS_SESSION_BUS_ADDRESS)"
	}
	return ""
}

// Package keyringstore keeps sessions in the operating system's keychain, which is the
// Secret Service (GNOME Keyring, KWallet, KeePassXC) on Linux and the BSDs, the Keychain
// on macOS, and the Credential Manager on Windows. It is for programs of a user who is
// logged in, such as command-line tools.
//
// A token is one entry of the keychain, or several if it is larger than the smallest
// keychain accepts. A reader gets either the old or the new token, and gets it whole.
// Keychains have no locks, so a [Store] locks files instead. Nor do they say what they contain, so
// there is no Purge.
package keyringstore

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"

	"github.com/reauth-go/reauth"
)

const longestService = 128 // bytes; see entryLimit

// Options are settings that most programs do not need. The zero value is ready to use.
type Options struct {
	// LockDir is the folder of the lock files, an absolute path. If it does not exist,
	// it is created for the user alone. A folder that others may write to is refused.
	// All programs that share a session must use the same folder, on a local disk.
	// Its files must not be removed while they run.
	//
	// The empty string means "reauth-keyringstore" below [os.UserCacheDir], which
	// depends on the environment. Set LockDir if the programs that share a session do
	// not all have the same HOME and XDG_CACHE_HOME.
	LockDir string
}

// A Store keeps tokens in the keychain of the user who runs the program. It implements
// [reauth.Store] and [reauth.Locker], and is safe for concurrent use. It must not be
// copied.
//
// The keychain may ask the user to unlock it, and waits as long as that takes. Every
// method returns when its context is done all the same. A call to the keychain that is
// still in progress then continues in the background. Until it returns, no process
// begins another write to that session, and the lock that it was made under is held.
//
// An error means that the keychain or the lock files could not be used. For example,
// the keychain is locked or missing, or an entry was not written by a Store. An error
// never counts as the absence of a token. Errors name the entry, and never show its
// content.
type Store struct {
	service  string
	lockDir  string
	keychain keychain
	reading  reauth.MemoryStore // only its locks are used, for one Load of a session at a time
}

var (
	_ reauth.Store  = (*Store)(nil)
	_ reauth.Locker = (*Store)(nil)
)

// New returns a Store whose entries belong to service, the name under which users find
// them in their keychain. It is 1 to 128 printable ASCII characters. Services that
// differ only in case are the same on Windows. Nil opts mean the zero Options.
//
// New does not use the keychain.
func New(service string, opts *Options) (*Store, error) {
	if opts == nil {
		opts = new(Options)
	}
	dir, err := lockDir(opts.LockDir)
	if err := errors.Join(checkService(service), err); err != nil {
		return nil, err
	}
	if err := prepare(dir); err != nil {
		return nil, fmt.Errorf("keyringstore: Options.LockDir: %w", err)
	}
	return &Store{service: service, lockDir: dir, keychain: system{}}, nil
}

func checkService(service string) error {
	if service == "" {
		return errors.New("keyringstore: the service is empty")
	}
	if len(service) > longestService {
		return fmt.Errorf("keyringstore: the service %q… is %d bytes long, more than %d", service[:16], len(service), longestService)
	}
	for _, c := range []byte(service) {
		if c < ' ' || c > '~' {
			return fmt.Errorf("keyringstore: the service %q holds a character that is not printable ASCII", service)
		}
	}
	return nil
}

// lockDir returns the folder of the lock files.
func lockDir(dir string) (string, error) {
	if dir == "" {
		cache, err := os.UserCacheDir()
		if err != nil {
			return "", fmt.Errorf("keyringstore: Options.LockDir is empty, and there is no cache folder to use instead: %w", err)
		}
		dir = filepath.Join(cache, "reauth-keyringstore")
	}
	if !filepath.IsAbs(dir) {
		return "", fmt.Errorf("keyringstore: Options.LockDir %q is not an absolute path", dir)
	}
	return dir, nil
}

// prepare creates the folder of the lock files if there is none, and checks it.
func prepare(dir string) error {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	info, err := os.Stat(dir)
	if err != nil {
		return err
	}
	if runtime.GOOS != "windows" && info.Mode().Perm()&0o022 != 0 {
		return fmt.Errorf("others may write to %s (%v), and could remove locks; run chmod go-w on it, or choose another folder", dir, info.Mode().Perm())
	}
	return nil
}

// Format writes the service and nothing else, whatever the verb.
func (s *Store) Format(f fmt.State, _ rune) {
	_, _ = fmt.Fprintf(f, "*keyringstore.Store[%s]", s.service)
}

// Load implements [reauth.Store]. It takes no lock, unless the session is written so
// often meanwhile that it never reads a whole token. Under a lock it is an error if that is
// not held any more when the keychain has answered.
func (s *Store) Load(ctx context.Context, session string) (reauth.Token, bool, error) {
	tok, ok, err := s.load(ctx, session)
	if err != nil {
		return reauth.Token{}, false, fmt.Errorf("keyringstore: load: %w", err)
	}
	return tok, ok, nil
}

// Save implements [reauth.Store]. It reads the token back and compares it, because not
// every keychain reports that the user has refused. A token whose JSON is longer than
// 153,600 bytes is an error. For a token that is not plain ASCII the limit is a few
// bytes lower.
func (s *Store) Save(ctx context.Context, session string, tok reauth.Token) error {
	values, err := encode(tok)
	if err == nil {
		err = s.write(ctx, session, false, func(e entries) error { return e.save(ctx, values) })
	}
	if err != nil {
		return fmt.Errorf("keyringstore: save: %w", err)
	}
	return nil
}

// Delete implements [reauth.Store].
func (s *Store) Delete(ctx context.Context, session string) error {
	err := s.write(ctx, session, true, func(e entries) error { return e.remove(ctx) })
	if err != nil {
		return fmt.Errorf("keyringstore: delete: %w", err)
	}
	return nil
}

func (s *Store) load(ctx context.Context, session string) (reauth.Token, bool, error) {
	// Waiters for a keychain that prompts its user must not make it prompt again.
	_, leave, err := s.reading.Lock(ctx, session)
	if err != nil {
		return reauth.Token{}, false, err
	}
	l := s.leaseOf(ctx, session)
	if err := l.enter(); err != nil {
		leave()
		return reauth.Token{}, false, err
	}
	type found struct {
		tok reauth.Token
		ok  bool
	}
	got, err := await(ctx, func() (found, error) {
		defer leave()
		defer l.leave()
		tok, ok, err := s.loadWhole(ctx, session)
		if err == nil {
			err = l.check()
		}
		if err != nil {
			return found{}, err
		}
		return found{tok, ok}, nil
	})
	return got.tok, got.ok, err
}

func (s *Store) loadWhole(ctx context.Context, session string) (reauth.Token, bool, error) {
	e := s.entries(session)
	for range 3 {
		if tok, ok, err := e.load(ctx); !errors.Is(err, errTorn) {
			return tok, ok, err
		}
	}
	release, err := s.acquire(ctx, s.writeLock(session))
	if err != nil {
		return reauth.Token{}, false, err
	}
	defer release()
	return e.load(ctx)
}

// write calls change while no other process writes to session. If that deletes the session, no
// lock files are left behind.
func (s *Store) write(ctx context.Context, session string, deletes bool, change func(entries) error) error {
	e := s.entries(session)
	e.lease = s.leaseOf(ctx, session)
	e.changed = func() { leaveMark(s.mark(session)) }
	if err := e.lease.enter(); err != nil {
		return err
	}
	path := s.writeLock(session)
	file, err := s.lockFile(ctx, path, nil)
	if err != nil {
		e.lease.leave()
		return err
	}
	_, err = await(ctx, func() (struct{}, error) {
		defer e.lease.leave()
		gone := false
		defer func() {
			if gone {
				_ = os.Remove(s.mark(session))
				removeLocked(file, path)
			} else {
				_ = file.Unlock()
			}
		}()
		if err := e.lease.check(); err != nil {
			return struct{}{}, err
		}
		err := change(e)
		if err == nil {
			gone = deletes
			e.lease.wrote(deletes)
		}
		return struct{}{}, err
	})
	return err
}

func (s *Store) entries(session string) entries {
	return entries{keychain: s.keychain, service: s.service, account: account(session)}
}

// await calls fn on a goroutine of its own, and returns when ctx is done even if fn has
// not returned, because nothing can interrupt a call to the keychain. The goroutine
// ends when fn does.
func await[T any](ctx context.Context, fn func() (T, error)) (T, error) {
	type result struct {
		value T
		err   error
	}
	done := make(chan result, 1)
	go func() {
		var r result
		defer func() { done <- r }()
		defer func() {
			// go-keyring panics if the bus disappears while it waits for the user.
			if v := recover(); v != nil {
				r.err = errors.New("panic in the keychain's library")
				if err, ok := v.(runtime.Error); ok {
					r.err = fmt.Errorf("%w: %w", r.err, err)
				}
			}
		}()
		r.value, r.err = fn()
	}()
	select {
	case r := <-done:
		return r.value, r.err
	case <-ctx.Done():
	}
	select {
	case r := <-done:
		return r.value, r.err
	default:
		var zero T
		return zero, context.Cause(ctx)
	}
}

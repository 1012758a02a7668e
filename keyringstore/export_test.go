package keyringstore

// The tests can replace the keychain.

type Keychain = keychain

const (
	EntryLimit     = entryLimit
	MostParts      = mostParts
	LongestService = longestService
)

// NewOn is New with another keychain.
func NewOn(k Keychain, service string, opts *Options) (*Store, error) {
	s, err := New(service, opts)
	if err == nil {
		s.keychain = k
	}
	return s, err
}

// LockFile returns the path of the file that Lock locks.
func (s *Store) LockFile(session string) string { return s.sessionLock(session) }

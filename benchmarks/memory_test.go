package benchmarks_test

import (
	"context"
	"runtime"
	"runtime/metrics"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/reauth-go/reauth"
)

// The number of sessions that a Transport keeps at most, as its documentation says.
const cachedSessions = 131_072

// BenchmarkAtRest measures the memory that an idle session takes, not counting the
// strings of its token, with tokens in a store of another process and in a
// MemoryStore.
func BenchmarkAtRest(b *testing.B) {
	b.Run("lib=reauth/case=elsewhere", func(b *testing.B) {
		for b.Loop() {
			b.ReportMetric(perSession(b, elsewhere{}, loadAll), "B/session")
		}
	})
	b.Run("lib=reauth/case=memory", func(b *testing.B) {
		for b.Loop() {
			b.ReportMetric(perSession(b, new(reauth.MemoryStore), signInAll), "B/session")
		}
	})
}

// BenchmarkEvicted measures the memory that remains of a session that was evicted for
// others.
func BenchmarkEvicted(b *testing.B) {
	b.Run("lib=reauth/case=elsewhere", func(b *testing.B) {
		for b.Loop() {
			b.ReportMetric(perEvictedSession(b), "B/session")
		}
	})
}

func TestASessionAtRestTakesAtMost600Bytes(t *testing.T) {
	assert.LessOrEqual(t, perSession(t, elsewhere{}, loadAll), 600.0, "loaded from a store elsewhere")
	assert.LessOrEqual(t, perSession(t, new(reauth.MemoryStore), signInAll), 720.0, "signed in, with the copy that a MemoryStore keeps")
}

func TestNothingStaysOfAnEvictedSession(t *testing.T) {
	// Other activity in the process may add a byte or two for each. Anything that is
	// kept of a session is more, since its name alone takes 16 bytes.
	assert.Less(t, perEvictedSession(t), 16.0)
}

// perSession returns the memory that each of 100,000 sessions adds to the heap, not
// counting the strings of its token.
func perSession(tb testing.TB, store reauth.Store, fill func(testing.TB, *reauth.Transport, int, int)) float64 {
	before := memoryInUse()
	tr := newTransport(tb, setup{base: instant{}, refresh: noRefresh}, store)
	fill(tb, tr, 0, manySessions)
	after := memoryInUse()
	runtime.KeepAlive(tr)
	return float64(after-before-memoryOfStrings()) / manySessions
}

func memoryOfStrings() int64 {
	tokens := make([]reauth.Token, manySessions)
	before := memoryInUse()
	for i := range tokens {
		tokens[i] = longToken()
	}
	after := memoryInUse()
	runtime.KeepAlive(tokens)
	return after - before
}

// perEvictedSession returns the memory that each session adds to the heap when it
// takes the place of another.
func perEvictedSession(tb testing.TB) float64 {
	const evicted = cachedSessions / 4
	tr := newTransport(tb, setup{base: instant{}, refresh: noRefresh}, elsewhere{})
	loadAll(tb, tr, 0, cachedSessions)
	before := memoryInUse()
	loadAll(tb, tr, cachedSessions, cachedSessions+evicted)
	after := memoryInUse()
	runtime.KeepAlive(tr)
	return float64(after-before) / evicted
}

// loadAll uses sessions that the store has.
func loadAll(tb testing.TB, tr *reauth.Transport, from, to int) {
	for i := from; i < to; i++ {
		_, err := tr.Token(reauth.WithSession(tb.Context(), sessionName(i)))
		require.NoError(tb, err)
	}
	require.NoError(tb, tr.Wait(tb.Context()))
}

func signInAll(tb testing.TB, tr *reauth.Transport, from, to int) {
	for i := from; i < to; i++ {
		require.NoError(tb, tr.SignIn(reauth.WithSession(tb.Context(), sessionName(i)), longToken()))
	}
	require.NoError(tb, tr.Wait(tb.Context()))
}

// longToken returns a token as long as a JSON Web Token. It shares its strings with
// no other token.
func longToken() reauth.Token {
	return reauth.Token{
		AccessToken:  strings.Repeat("a", 900),
		RefreshToken: strings.Repeat("r", 64),
		Expiry:       time.Now().Add(24 * time.Hour),
	}
}

// elsewhere stands for a store in another process. It has a token for every session,
// and keeps nothing in memory.
type elsewhere struct{}

func (elsewhere) Load(context.Context, string) (reauth.Token, bool, error) {
	return longToken(), true, nil
}
func (elsewhere) Save(context.Context, string, reauth.Token) error { return nil }
func (elsewhere) Delete(context.Context, string) error             { return nil }

// memoryInUse returns the bytes that are in use on the heap and for stacks.
func memoryInUse() int64 {
	runtime.GC()
	runtime.GC() // the first run leaves what finalizers and pools hold
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc + m.StackInuse)
}

func goroutinesWaiting() int {
	sample := []metrics.Sample{{Name: "/sched/goroutines/waiting:goroutines"}}
	metrics.Read(sample)
	return int(sample[0].Value.Uint64())
}

package reauth

import (
	"context"
	"strconv"
	"sync"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestMemoryStoreKeepsNoEntryForAFreeLock(t *testing.T) {
	var store MemoryStore
	var wg sync.WaitGroup
	for i := range 100 {
		wg.Go(func() {
			ctx, cancel := context.WithCancel(t.Context())
			if i%3 == 0 {
				cancel()
			}
			defer cancel()
			if _, unlock, err := store.Lock(ctx, strconv.Itoa(i%5)); err == nil {
				unlock()
			}
		})
	}
	wg.Wait()
	assert.Empty(t, store.locks)

	_, unlock, err := store.Lock(t.Context(), "")
	require.NoError(t, err)
	assert.Len(t, store.locks, 1)
	unlock()
	assert.Empty(t, store.locks)
	require.NoError(t, store.Save(t.Context(), "", Token{AccessToken: "a"}))
	require.NoError(t, store.Delete(t.Context(), ""))
	assert.Empty(t, store.tokens)
}

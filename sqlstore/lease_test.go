package sqlstore_test

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/go-sql-driver/mysql"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/reauth-go/reauth"
	"github.com/reauth-go/reauth/sqlstore"
)

func TestNoConnectionIsInUseWhileALockIsHeld(t *testing.T) {
	onEach(t, func(t *testing.T, d database) {
		db := d.connect(t)
		db.SetMaxOpenConns(1)
		store := newStoreOn(t, d, db, 0)
		held, unlock := mustLock(t, store, "ann")
		assert.Zero(t, db.Stats().InUse)
		require.NoError(t, store.Save(held, "ann", token("1")))
		assert.Zero(t, db.Stats().InUse)
		mustBeLocked(t, newStoreOn(t, d, db, 0), "ann")
		assert.Zero(t, db.Stats().InUse)
		require.NoError(t, store.Delete(held, "ann"))
		unlock()
		assert.Zero(t, db.Stats().InUse)
	})
}

// There are no transactions and no prepared statements that are used later, which a
// pooler would break.
func TestEveryStatementStandsAlone(t *testing.T) {
	onEach(t, func(t *testing.T, d database) {
		db, m := meddle(t, d)
		store := newStoreOn(t, d, db, 0)
		require.NoError(t, store.CreateTable(t.Context()))
		require.NoError(t, store.Save(t.Context(), "ann", token("1")))
		held, unlock := mustLock(t, store, "ann")
		mustBeLocked(t, store, "ann")
		require.NoError(t, store.Save(held, "ann", token("2")))
		mustHold(t, store, "ann", "access-2")
		require.NoError(t, store.Delete(held, "ann"))
		unlock()
		require.NoError(t, store.Delete(t.Context(), "ann"))
		assert.Empty(t, m.unlike)
		assert.Positive(t, m.count(others))
	})
}

// In a bubble time passes at once, so this tests the part of the local clock.
func TestALeaseIsRenewedUntilItIsGivenBack(t *testing.T) {
	d := newSQLite(t)
	synctest.Test(t, func(t *testing.T) {
		db, m := meddle(t, d)
		held, unlock := mustLock(t, newStoreOn(t, d, db, 15*time.Second), "ann")
		time.Sleep(100*time.Second + time.Millisecond)
		assert.NoError(t, held.Err())
		assert.Equal(t, 20, m.count(renews), "every five seconds")
		unlock()
		assert.ErrorContains(t, context.Cause(held), "was released")
		time.Sleep(time.Hour)
		assert.Equal(t, 20, m.count(renews))
	}) // and no goroutine remains
}

func TestALeaseThatCannotBeRenewedIsLostWhenItHasRunOut(t *testing.T) {
	d := newSQLite(t)
	synctest.Test(t, func(t *testing.T) {
		db, m := meddle(t, d)
		store := newStoreOn(t, d, db, 15*time.Second)
		held, unlock := mustLock(t, store, "ann")
		defer unlock()
		time.Sleep(5*time.Second + time.Millisecond) // renewed once
		require.Equal(t, 1, m.count(renews))
		m.failBefore(always(renews, errors.New("no route to the database")))
		time.Sleep(14900 * time.Millisecond)
		require.NoError(t, held.Err())
		assert.Greater(t, m.count(renews), 5, "it is tried again")
		time.Sleep(100 * time.Millisecond)
		require.Error(t, held.Err())
		assert.ErrorContains(t, context.Cause(held), `sqlstore: session "ann": the lease was lost: it was not renewed in time: no route to the database`)

		before := m.all()
		assert.ErrorContains(t, store.Save(held, "ann", token("1")), "the lease was lost")
		assert.ErrorContains(t, store.Delete(held, "ann"), "the lease was lost")
		bounded, cancel := context.WithTimeout(held, time.Minute)
		defer cancel()
		assert.ErrorContains(t, store.Save(bounded, "ann", token("1")), "the lease was lost")
		assert.Equal(t, before, m.all(), "the database was asked though it is known that the lease is lost")
	})
}

// The database's clock is set forward, or a machine slept. As long as nobody else took
// the lock, it stays valid.
func TestALeaseThatNobodyTookIsKept(t *testing.T) {
	d := newSQLite(t)
	synctest.Test(t, func(t *testing.T) {
		db := d.connect(t)
		store := newStoreOn(t, d, db, 15*time.Second)
		held, unlock := mustLock(t, store, "ann")
		defer unlock()
		mustExec(t, db, "UPDATE "+d.table()+" SET deadline = 1")
		require.NoError(t, store.Save(held, "ann", token("1")))
		time.Sleep(6 * time.Second) // until it is renewed
		require.NoError(t, held.Err())
		mustBeLocked(t, store, "ann")
	})
}

func TestARenewalThatFailsOnceLosesNothing(t *testing.T) {
	d := newSQLite(t)
	synctest.Test(t, func(t *testing.T) {
		db, m := meddle(t, d)
		store := newStoreOn(t, d, db, 15*time.Second)
		held, unlock := mustLock(t, store, "ann")
		defer unlock()
		m.failBefore(times(2, renews, errCut))
		time.Sleep(time.Minute)
		require.NoError(t, held.Err())
		require.NoError(t, store.Save(held, "ann", token("1")))
	})
}

func TestAfterUnlockNothingIsWritten(t *testing.T) {
	onEach(t, func(t *testing.T, d database) {
		store := newStore(t, d, 0)
		held, unlock := mustLock(t, store, "ann")
		unlock()
		assert.ErrorContains(t, store.Save(held, "ann", token("1")), "was released")
		assert.ErrorContains(t, store.Delete(held, "ann"), "was released")
		assert.Zero(t, rows(t, d, d.connect(t)))
	})
}

func TestALeaseIsForItsSessionAndStoreAlone(t *testing.T) {
	onEach(t, func(t *testing.T, d database) {
		store, other := newStore(t, d, 0), newStore(t, d, 0)
		ann, unlockAnn := mustLock(t, store, "ann")
		ctx, cancel := context.WithTimeout(ann, 30*time.Second)
		defer cancel()
		both, unlockBob, err := store.Lock(ctx, "bob")
		require.NoError(t, err)
		require.NoError(t, store.Save(both, "ann", token("a")))
		require.NoError(t, store.Save(both, "bob", token("b")))
		require.NoError(t, store.Save(both, "cid", token("c")))
		unlockAnn()
		assert.ErrorContains(t, store.Save(both, "ann", token("late")), `session "ann"`)
		assert.NoError(t, store.Save(both, "bob", token("b2")))
		assert.NoError(t, other.Save(both, "bob", token("other")), "another store's context is one without a lease")
		unlockBob()
		assert.ErrorContains(t, store.Save(both, "bob", token("late")), `session "bob"`)
		mustHold(t, store, "ann", "access-a")
		mustHold(t, store, "bob", "access-other")
		mustHold(t, store, "cid", "access-c")
	})
}

// The next renewal notices it, before the lease expires.
func TestAHolderHearsThatTheLockIsGone(t *testing.T) {
	d := newSQLite(t)
	for _, pass := range []string{
		"UPDATE reauth_sessions SET owner = 'another'", "UPDATE reauth_sessions SET version = version + 1", "DELETE FROM reauth_sessions",
	} {
		synctest.Test(t, func(t *testing.T) {
			db := d.connect(t)
			store := newStoreOn(t, d, db, 15*time.Second)
			held, unlock := mustLock(t, store, "ann")
			defer unlock()
			mustExec(t, db, pass)
			time.Sleep(5*time.Second + time.Millisecond)
			require.Error(t, held.Err())
			assert.ErrorContains(t, context.Cause(held), `sqlstore: session "ann": the lease was lost: the lock is gone, or another's`)
		})
		mustExec(t, d.connect(t), "DELETE FROM reauth_sessions")
	}
}

func TestADeleteOfNothingDisturbsNobody(t *testing.T) {
	onEach(t, func(t *testing.T, d database) {
		holder, tool := newStore(t, d, 0), newStore(t, d, 0)
		held, unlock := mustLock(t, holder, "ann")
		defer unlock()
		require.NoError(t, tool.Delete(t.Context(), "ann"))
		require.NoError(t, holder.Save(held, "ann", token("1")))
	})
}

func TestEachHolderMayWriteAsOftenAsItLikes(t *testing.T) {
	onEach(t, func(t *testing.T, d database) {
		store := newStore(t, d, 0)
		for _, writes := range []int{3, 1, 2} {
			held, unlock := mustLock(t, store, "ann")
			for range writes {
				require.NoError(t, store.Save(held, "ann", token("1")))
			}
			unlock()
		}
	})
}

func TestASaveWhoseAnswerWasLostIsSentAgain(t *testing.T) {
	onEach(t, func(t *testing.T, d database) {
		busy := errCut
		if d.dialect() == sqlstore.SQLite {
			busy = errors.New("database is locked")
		}
		db, m := meddle(t, d)
		store := newStoreOn(t, d, db, 3*time.Second)
		held, unlock := mustLock(t, store, "ann")
		m.failAfter(times(2, writes, busy))
		require.NoError(t, store.Save(held, "ann", token("1")))
		mustHold(t, store, "ann", "access-1")
		assert.Equal(t, 3, m.count(writes))

		m.failBefore(times(2, writes, busy))
		require.NoError(t, store.Delete(held, "ann"))
		assert.Equal(t, 6, m.count(writes))
		unlock()
		assert.Zero(t, rows(t, d, d.connect(t)))
	})
}

// A network that was silent delivers what it held back.
func TestASaveThatArrivesLateChangesNothing(t *testing.T) {
	onEach(t, func(t *testing.T, d database) {
		db, m := meddle(t, d)
		store := newStoreOn(t, d, db, 0)
		held, unlock := mustLock(t, store, "ann")
		defer unlock()
		arrive := m.detainNext(writes)
		if err := store.Save(held, "ann", token("1")); d.dialect() != sqlstore.SQLite {
			require.NoError(t, err, "it is sent again")
			require.NoError(t, arrive())
			mustHold(t, store, "ann", "access-1")
			require.NoError(t, store.Save(t.Context(), "ann", token("without the lock")))
			require.NoError(t, arrive())
			mustHold(t, store, "ann", "access-without the lock")
		}
		require.NoError(t, store.Save(held, "ann", token("2")))
		require.NoError(t, arrive())
		mustHold(t, store, "ann", "access-2")
		require.NoError(t, store.Delete(held, "ann"))
		require.NoError(t, arrive())
		_, ok, err := store.Load(t.Context(), "ann")
		require.NoError(t, err)
		assert.False(t, ok)
	})
}

func TestASaveIsNotTriedAgainInVain(t *testing.T) {
	onEach(t, func(t *testing.T, d database) {
		db, m := meddle(t, d)
		store := newStoreOn(t, d, db, 0)
		held, unlock := mustLock(t, store, "ann")
		defer unlock()
		refusal := map[sqlstore.Dialect]error{
			sqlstore.PostgreSQL: sqlStateError("23514"),
			sqlstore.SQLite:     errors.New("CHECK constraint failed (275)"),
			sqlstore.MySQL:      &mysql.MySQLError{Number: 4025, Message: "CONSTRAINT failed"},
		}[d.dialect()]
		m.failBefore(always(writes, refusal))
		assert.ErrorIs(t, store.Save(held, "ann", token("1")), refusal)
		assert.Equal(t, 1, m.count(writes))
		assert.NoError(t, held.Err(), "the lease stands all the same")
	})
}

func TestASaveIsTriedAgainUntilTheLeaseIsLost(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		db := new(script)
		store := scriptedStore(t, db)
		began := time.Now()
		held, unlock := mustLock(t, store, "ann")
		db.answer(func(context.Context, string) error { return errCut })
		err := store.Save(held, "ann", token("1"))
		require.ErrorContains(t, err, "the lease was lost: it was not renewed in time")
		assert.Equal(t, 15*time.Second, time.Since(began))

		began = time.Now()
		unlock()
		assert.LessOrEqual(t, time.Since(began), 5*time.Second, "unlock does not wait forever")
	})
}

func TestASaveEndsWithItsContext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		db := new(script)
		store := scriptedStore(t, db)
		held, unlock := mustLock(t, store, "ann")
		defer unlock()
		db.answer(func(context.Context, string) error { return errCut })
		began := time.Now()
		ctx, cancel := context.WithTimeout(held, time.Second)
		defer cancel()
		require.ErrorIs(t, store.Save(ctx, "ann", token("1")), context.DeadlineExceeded)
		assert.Equal(t, time.Second, time.Since(began))
		assert.NoError(t, held.Err())
	})
}

// One connection has gone silent; there are others.
func TestASilentConnectionIsLeftForAnother(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		db := new(script)
		store := scriptedStore(t, db)
		held, unlock := mustLock(t, store, "ann")
		defer unlock()
		db.answer(silentOnce(writes))
		began := time.Now()
		require.NoError(t, store.Save(held, "ann", token("1")))
		assert.Less(t, time.Since(began), 6*time.Second, "a third of the lease, and a little")
		db.answer(silentOnce(renews))
		time.Sleep(time.Minute)
		assert.NoError(t, held.Err())
	})
}

func silentOnce(of string) func(ctx context.Context, purpose string) error {
	var gone atomic.Bool
	return func(ctx context.Context, purpose string) error {
		if purpose != of || gone.Swap(true) {
			return nil
		}
		<-ctx.Done()
		return ctx.Err()
	}
}

// A lock whose answer arrives after the lease has expired does not count.
func TestALockOfWhichTheNewsComesTooLateIsTakenAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		db := new(script)
		store := scriptedStore(t, db)
		tries := 0
		db.answer(func(_ context.Context, purpose string) error {
			if purpose == takes {
				if tries++; tries == 1 {
					time.Sleep(15 * time.Second)
				}
			}
			return nil
		})
		held, unlock := mustLock(t, store, "ann")
		defer unlock()
		assert.Equal(t, 2, tries)
		assert.NoError(t, held.Err())
	})
}

func TestALockOfWhichTheNewsComesLateIsRenewedAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		db := new(script)
		store := scriptedStore(t, db)
		var renewed atomic.Int32
		db.answer(func(_ context.Context, purpose string) error {
			switch purpose {
			case takes:
				time.Sleep(12 * time.Second)
			case renews:
				renewed.Add(1)
			}
			return nil
		})
		held, unlock := mustLock(t, store, "ann")
		defer unlock()
		synctest.Wait()
		assert.EqualValues(t, 1, renewed.Load())
		time.Sleep(time.Minute)
		assert.NoError(t, held.Err())
	})
}

func TestALockWhoseAnswerWasLostIsReleased(t *testing.T) {
	onEach(t, func(t *testing.T, d database) {
		db, m := meddle(t, d)
		store := newStoreOn(t, d, db, 0)
		m.failAfter(times(1, takes, errCut))
		_, _, err := store.Lock(t.Context(), "ann")
		require.ErrorIs(t, err, errCut)
		_, unlock := mustLock(t, newStore(t, d, 0), "ann") // otherwise it is locked for an hour
		unlock()
	})
}

func TestAnUnlockThatFailsIsTriedAgain(t *testing.T) {
	onEach(t, func(t *testing.T, d database) {
		db, m := meddle(t, d)
		store := newStoreOn(t, d, db, 3*time.Second)
		require.NoError(t, store.Save(t.Context(), "ann", token("1")))
		_, unlock := mustLock(t, store, "ann")
		m.failBefore(times(2, releases, errCut))
		unlock()
		assert.Equal(t, 3, m.count(releases))
		var owner, deadline sql.NullString
		require.NoError(t, db.QueryRowContext(t.Context(), "SELECT owner, deadline FROM "+d.table()+" WHERE session = 'ann'").Scan(&owner, &deadline))
		assert.False(t, owner.Valid || deadline.Valid, "the lock is still in the row")

		require.NoError(t, store.Delete(t.Context(), "ann"))
		_, unlock = mustLock(t, store, "ann")
		m.failAfter(times(1, releases, errCut))
		unlock()
		assert.Zero(t, rows(t, d, db), "after an unlock whose answer was lost")
	})
}

// Ten waiters poll for ten seconds, less and less often, and write nothing.
func TestWaitersLookSeldomAndWriteNothing(t *testing.T) {
	d := newSQLite(t)
	synctest.Test(t, func(t *testing.T) {
		db, m := meddle(t, d)
		store := newStoreOn(t, d, db, 0)
		_, unlock := mustLock(t, store, "ann")
		defer unlock()
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
		defer cancel()
		var wg sync.WaitGroup
		for range 10 {
			wg.Go(func() {
				_, _, err := store.Lock(ctx, "ann")
				assert.ErrorIs(t, err, context.DeadlineExceeded)
			})
		}
		wg.Wait()
		assert.Equal(t, 11, m.count(takes), "one try of each, and the holder's")
		assert.Greater(t, m.count(looks), 10*100)
		assert.Less(t, m.count(looks), 10*220)
	})
}

// Of many who wait, nobody needs the lock then. Each looks at the token instead.
func TestAFreeLockIsNotTakenOnceTheTokenHasChanged(t *testing.T) {
	onEach(t, func(t *testing.T, d database) {
		holder, admin := newStore(t, d, 0), d.connect(t)
		for name, change := range map[string]string{
			"replaced":           `token = '{"access_token":"x"}', changed_by = 'another'`,
			"deleted":            `token = NULL`,
			"replaced by a tool": `token = '{"access_token":"x"}', changed_by = NULL`,
		} {
			require.NoError(t, holder.Save(t.Context(), "ann", token("1")))
			_, unlock := mustLock(t, holder, "ann")
			db, m := meddle(t, d)
			waiter := newStoreOn(t, d, db, 0)
			ended := make(chan error, 1)
			go func() {
				_, _, err := waiter.Lock(t.Context(), "ann")
				ended <- err
			}()
			require.Eventually(t, func() bool { return m.count(looks) > 1 }, time.Minute, time.Millisecond)
			mustExec(t, admin, "UPDATE "+d.table()+" SET "+change+", owner = NULL, deadline = NULL WHERE session = 'ann'")
			err := <-ended
			assert.ErrorIs(t, err, reauth.ErrChanged, name)
			assert.EqualError(t, err, `sqlstore: lock session "ann": the stored token has changed`)
			assert.Equal(t, 1, m.count(takes), name)
			unlock()
		}
	})
}

// Of many processes that need a token, one refreshes for 200 ms. What the others send depends
// on that time, and not on their number.
func TestWhatAWaiterSendsDoesNotGrowWithTheirNumber(t *testing.T) {
	for _, waiters := range []int{10, 200} {
		d := newSQLite(t)
		synctest.Test(t, func(t *testing.T) {
			db, m := meddle(t, d)
			db.SetMaxOpenConns(4)
			holder := newStoreOn(t, d, db, 0)
			held, unlock := mustLock(t, holder, "ann")
			before := m.all()
			var wg sync.WaitGroup
			for range waiters {
				store := newStoreOn(t, d, db, 0)
				wg.Go(func() {
					_, _, err := store.Lock(t.Context(), "ann")
					assert.ErrorIs(t, err, reauth.ErrChanged)
					mustHold(t, store, "ann", "access-1")
				})
			}
			time.Sleep(200 * time.Millisecond)
			require.NoError(t, holder.Save(held, "ann", token("1")))
			unlock()
			wg.Wait()
			each := float64(m.all()-before) / float64(waiters)
			t.Logf("%.1f statements of each of %d", each, waiters)
			assert.Less(t, each, 45.0)
			assert.Equal(t, 1+waiters, m.count(takes), "nobody else has tried to take the lock")
		})
	}
}

// Nobody tells waiters that the holder has died. However rarely they poll by then, they
// poll when its lease expires, or would have been renewed, to the millisecond, which is
// the unit of the database.
func TestAWaiterLooksWhenTheLockMayHaveRunOut(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		db := new(script)
		store := scriptedStore(t, db)
		for _, lease := range []time.Duration{20 * time.Millisecond, 15 * time.Second, 15*time.Second + 50*time.Millisecond, time.Minute} {
			ends := time.Now().Truncate(time.Millisecond).Add(lease)
			db.answer(func(_ context.Context, purpose string) error {
				left := ends.Sub(time.Now().Truncate(time.Millisecond))
				switch {
				case purpose == looks:
					return number(left.Milliseconds())
				case purpose == takes && left > 0:
					return errNoRow
				}
				return nil
			})
			ctx, cancel := context.WithTimeout(t.Context(), time.Hour)
			_, unlock, err := store.Lock(ctx, "ann")
			cancel()
			require.NoError(t, err)
			assert.Equal(t, ends, time.Now().Truncate(time.Millisecond), "a lease of %v", lease)
			unlock()
		}
	})
}

// A process that died has left its lock. Waiters poll as soon as it has expired.
func TestALockThatNobodyRenewsRunsOut(t *testing.T) {
	onEach(t, func(t *testing.T, d database) {
		db, m := meddle(t, d)
		store := newStoreOn(t, d, db, 100*time.Millisecond)
		m.failBefore(always(renews, errCut))
		m.failAfter(always(releases, errCut))
		held, _ := mustLock(t, store, "ann")
		other := newStore(t, d, 0)
		heldNext, unlock := mustLock(t, other, "ann")
		defer unlock()
		assert.Error(t, store.Save(held, "ann", token("late")))
		require.NoError(t, other.Save(heldNext, "ann", token("1")))
		mustHold(t, other, "ann", "access-1")
	})
}

func TestNoRowsPileUp(t *testing.T) {
	onEach(t, func(t *testing.T, d database) {
		db := d.connect(t)
		store, tool := newStoreOn(t, d, db, 0), newStoreOn(t, d, db, 0)

		_, unlock := mustLock(t, store, "locked only")
		unlock()
		assert.Zero(t, rows(t, d, db), "after a lock under which nothing was stored")

		_, unlock = mustLock(t, store, "lost")
		mustExec(t, db, "UPDATE "+d.table()+" SET deadline = 1")
		require.NoError(t, tool.Delete(t.Context(), "lost"))
		assert.Zero(t, rows(t, d, db), "after a Delete where a dead holder's lock was left")
		unlock()

		require.NoError(t, tool.Save(t.Context(), "kept", token("1")))
		_, unlock = mustLock(t, store, "kept")
		unlock()
		assert.Equal(t, 1, rows(t, d, db))
		mustHold(t, store, "kept", "access-1")
	})
}

// The row of a token that was deleted stays for a minute, so that those who look for changes
// at intervals see it. Then the next who deletes a token removes it.
func TestRowsOfDeletedTokensDoNotPileUp(t *testing.T) {
	for name, signOut := range map[string]func(t *testing.T, store *sqlstore.Store, session string){
		"without a lock": func(t *testing.T, store *sqlstore.Store, session string) {
			require.NoError(t, store.Save(t.Context(), session, token("1")))
			require.NoError(t, store.Delete(t.Context(), session))
		},
		"under a lock": func(t *testing.T, store *sqlstore.Store, session string) {
			held, unlock := mustLock(t, store, session)
			require.NoError(t, store.Save(held, session, token("1")))
			require.NoError(t, store.Delete(held, session))
			unlock()
		},
		"past a lock": func(t *testing.T, store *sqlstore.Store, session string) {
			_, unlock := mustLock(t, store, session)
			require.NoError(t, store.Save(t.Context(), session, token("1")))
			require.NoError(t, store.Delete(t.Context(), session))
			unlock()
		},
	} {
		t.Run(name, func(t *testing.T) {
			onEach(t, func(t *testing.T, d database) {
				db := d.connect(t)
				deleted := func() int {
					return count(t, db, "SELECT COUNT(*) FROM "+d.table()+" WHERE deleted_at IS NOT NULL AND token IS NULL")
				}
				for i := range 3 {
					signOut(t, newStoreOn(t, d, db, 0), fmt.Sprint("session", i))
				}
				require.Equal(t, 3, deleted(), "they stay for a while")
				_, unlock := mustLock(t, newStoreOn(t, d, db, 0), "session0")
				unlock()
				require.Equal(t, 3, deleted(), "a lock changes nothing")
				require.NoError(t, newStoreOn(t, d, db, 0).Save(t.Context(), "session1", token("back")))

				minuteLater := "UPDATE " + d.table() + " SET deleted_at = deleted_at - 60001"
				_, unlock = mustLock(t, newStoreOn(t, d, db, 0), "session2")
				mustExec(t, db, minuteLater)
				signOut(t, newStoreOn(t, d, db, 0), "another")
				assert.Equal(t, 2, deleted(), "session2 is locked, and another is new")
				unlock()
				mustExec(t, db, minuteLater)
				signOut(t, newStoreOn(t, d, db, 0), "another")
				assert.Equal(t, 1, deleted())
				mustHold(t, newStoreOn(t, d, db, 0), "session1", "access-back")
			})
		})
	}
}

// However many rows there are, each statement removes a few.
func TestManyRowsOfDeletedTokensAreRemovedInBatches(t *testing.T) {
	onEach(t, func(t *testing.T, d database) {
		store, db := newStore(t, d, 0), d.connect(t)
		for i := range 120 {
			mustExec(t, db, fmt.Sprintf("INSERT INTO %s (session, version, saved_at, deleted_at) VALUES ('s%d', 1, %d, %[3]d)", d.table(), i, i))
		}
		for _, left := range []int{70, 20, 0, 0} {
			require.NoError(t, store.Save(t.Context(), "ann", token("1")))
			require.NoError(t, store.Delete(t.Context(), "ann"))
			assert.Equal(t, left, count(t, db, "SELECT COUNT(*) FROM "+d.table()+" WHERE deleted_at < 1000"))
		}
	})
}

// A session signs in and out in several processes at once, in every possible way.
func TestNoRowIsLeftBehindByARace(t *testing.T) {
	onEach(t, func(t *testing.T, d database) {
		var wg sync.WaitGroup
		for range 3 {
			store := newStore(t, d, 0)
			wg.Go(func() {
				for range 20 {
					held, unlock, err := lockAgain(t.Context(), store, "ann")
					if !assert.NoError(t, err) {
						return
					}
					assert.NoError(t, store.Save(held, "ann", token("1")))
					unlock()
				}
			})
			wg.Go(func() {
				for range 40 {
					assert.NoError(t, store.Delete(t.Context(), "ann"))
				}
			})
		}
		wg.Wait()
		require.NoError(t, newStore(t, d, 0).Delete(t.Context(), "ann"))
		assert.Zero(t, rows(t, d, d.connect(t)))
	})
}

type sqlStateError string

func (e sqlStateError) Error() string    { return "refused" }
func (e sqlStateError) SQLState() string { return string(e) }

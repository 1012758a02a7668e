package redisstore

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"github.com/redis/go-redis/v9"
)

// Purge deletes the sessions whose token was last saved longer than olderThan ago, and
// returns how many. It tells those who call [Store.Watch], also with this Store. It leaves
// alone a session that somebody has locked, and a token that was saved meanwhile. A token
// that an earlier version or another program has stored has no time. It gets that of the
// first Purge.
//
// Purge goes through all keys of Redis with SCAN, a thousand at a time, and reads each
// token. In a cluster it does so on all masters at once. It is not needed with Options.TTL.
//
// If Purge fails, the count is of what it has deleted by then.
func (s *Store) Purge(ctx context.Context, olderThan time.Duration) (int, error) {
	if s.bad != nil {
		return 0, s.bad
	}
	if olderThan <= 0 {
		return 0, fmt.Errorf("redisstore: Purge: olderThan is %v, but must be positive", olderThan)
	}
	before := time.Now().Add(-olderThan).UnixMilli()
	var deleted atomic.Int64
	scan := func(ctx context.Context, node redis.Cmdable) error {
		keys := node.Scan(ctx, 0, glob(s.prefix+sessionTag)+"*"+glob(tokenSuffix), 1000).Iterator()
		for keys.Next(ctx) {
			session := strings.TrimSuffix(strings.TrimPrefix(keys.Val(), s.prefix+sessionTag), tokenSuffix)
			gone, err := s.purge(ctx, session, before)
			if err != nil {
				return err
			}
			if gone {
				deleted.Add(1)
			}
		}
		return keys.Err()
	}
	_, err := do(ctx, func(ctx context.Context) (struct{}, error) {
		if c, ok := s.client.(cluster); ok { // of which a SCAN would reach only one node
			return struct{}{}, c.ForEachMaster(ctx, func(ctx context.Context, node *redis.Client) error { return scan(ctx, node) })
		}
		return struct{}{}, scan(ctx, s.client)
	})
	if err != nil {
		err = fmt.Errorf("redisstore: purge: %w", err)
	}
	return int(deleted.Load()), err
}

// purge deletes the token of a session if it was saved before that time, in milliseconds
// since 1970, and reports whether it did.
func (s *Store) purge(ctx context.Context, session string, before int64) (bool, error) {
	keys := s.keys(session)
	text, err := s.run(ctx, loadScript, []string{keys.token}).Text()
	switch {
	case errors.Is(err, redis.Nil), err != nil && code(err) == "WRONGTYPE":
		return false, nil
	case err != nil:
		return false, err
	}
	saved, ok := savedAt(text)
	replacement := ""
	switch {
	case !ok:
		if _, err := decode(text); err != nil {
			return false, nil // somebody has to look at it
		}
		replacement = withSavedAt(withoutSavedAt(text), time.Now())
	case saved >= before:
		return false, nil
	}
	done, err := s.run(ctx, purgeScript, []string{keys.token, keys.lock},
		text, replacement, s.changes(), nobody+session, changedMark(s.database)).Int64()
	return err == nil && done == 1 && replacement == "", err
}

// nobody takes the place of a Store's id in messages that concern all.
var nobody = strings.Repeat("-", 26)

// savedAt returns when a token was saved, in milliseconds since 1970.
func savedAt(text string) (int64, bool) {
	var stored struct {
		SavedAt *int64 `json:"saved_at"`
	}
	if json.Unmarshal([]byte(text), &stored) != nil || stored.SavedAt == nil {
		return 0, false
	}
	return *stored.SavedAt, true
}

// withSavedAt adds the time to the JSON of a token.
func withSavedAt(token string, t time.Time) string {
	return `{"saved_at":` + strconv.FormatInt(t.UnixMilli(), 10) + "," + strings.TrimLeft(token, " \t\r\n")[1:]
}

// withoutSavedAt removes a member of that name which is not such a time, for example because
// another program means something else by it. Of two members the last counts.
func withoutSavedAt(token string) string {
	var members map[string]json.RawMessage
	if json.Unmarshal([]byte(token), &members) != nil {
		return token
	}
	n := len(members)
	maps.DeleteFunc(members, func(name string, _ json.RawMessage) bool { return strings.EqualFold(name, "saved_at") })
	text, err := json.Marshal(members)
	if err != nil || len(members) == n {
		return token
	}
	return string(text)
}

// glob returns a pattern that matches text alone.
func glob(text string) string {
	return strings.NewReplacer(`\`, `\\`, `*`, `\*`, `?`, `\?`, `[`, `\[`, `]`, `\]`, `^`, `\^`).Replace(text)
}

package sqlstore_test

import (
	"context"
	"crypto/sha256"
	"database/sql"
	"database/sql/driver"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/reauth-go/reauth"
	pg "github.com/reauth-go/reauth/internal/postgres"
	"github.com/reauth-go/reauth/sqlstore"
)

// A deafConnector belongs to a database that must not be used.
type deafConnector struct{ t *testing.T }

func (c deafConnector) Driver() driver.Driver { return nil }
func (c deafConnector) Connect(context.Context) (driver.Conn, error) {
	c.t.Error("the database was connected to")
	return nil, errors.New("no")
}

func TestNewDoesNotTalkToTheDatabase(t *testing.T) {
	db := sql.OpenDB(deafConnector{t})
	defer db.Close()
	for _, opts := range []*sqlstore.Options{nil, {}, {Table: "auth.tokens", Lease: 100 * time.Millisecond}} {
		store, err := sqlstore.New(db, sqlstore.PostgreSQL, opts)
		require.NoError(t, err)
		assert.NotNil(t, store)
	}
}

func TestNewNamesEveryArgumentThatCannotBeUsed(t *testing.T) {
	_, err := sqlstore.New(nil, 0, &sqlstore.Options{Table: "tokens; --", Lease: -time.Second})
	for _, text := range []string{
		"sqlstore: the *sql.DB is nil", "sqlstore: the dialect is Dialect(0)", `sqlstore: Options.Table is "tokens; --"`,
		"sqlstore: Options.Lease is -1s",
	} {
		assert.ErrorContains(t, err, text)
	}

	db := sql.OpenDB(deafConnector{t})
	defer db.Close()
	for _, dialect := range []sqlstore.Dialect{-1, 0, 4} {
		_, err := sqlstore.New(db, dialect, nil)
		assert.ErrorContains(t, err, fmt.Sprintf("sqlstore: the dialect is Dialect(%d)", int(dialect)))
	}
	_, err = sqlstore.New(db, sqlstore.SQLite, &sqlstore.Options{Lease: 100*time.Millisecond - 1})
	assert.ErrorContains(t, err, "sqlstore: Options.Lease is 99.999999ms, but must be at least 100ms")
	for _, table := range []string{
		".", "a.", ".a", "a.b.c", "a b", "1a", "a.1b", "a-b", "a\"b", "a'b", "a;b", "a$1", "{now}", "é", "a\x00", " a", "a\n",
		strings.Repeat("a", 64), "a." + strings.Repeat("b", 64),
	} {
		_, err := sqlstore.New(db, sqlstore.PostgreSQL, &sqlstore.Options{Table: table})
		assert.ErrorContains(t, err, fmt.Sprintf("sqlstore: Options.Table is %q", table))
	}
}

func TestOptionsAreCopied(t *testing.T) {
	d := newSQLite(t)
	opts := &sqlstore.Options{Table: d.table()}
	store, err := sqlstore.New(d.connect(t), d.dialect(), opts)
	require.NoError(t, err)
	opts.Table = "another"
	require.NoError(t, store.Save(t.Context(), "ann", token("1")))
}

// A database would misread these names if they were not quoted, or not quoted well.
func TestTheTableMayHaveAnyNameThatIsAnIdentifier(t *testing.T) {
	onEach(t, func(t *testing.T, d database) {
		db := d.connect(t)
		schema := map[sqlstore.Dialect]string{sqlstore.PostgreSQL: "Auth_1", sqlstore.SQLite: "main", sqlstore.MySQL: "reauth"}[d.dialect()]
		if d.dialect() == sqlstore.PostgreSQL {
			mustExec(t, db, `CREATE SCHEMA "Auth_1"`)
		}
		for _, table := range []string{"order", "Tokens", "_t", "excluded", strings.Repeat("t", 63), schema + ".user", schema + ".session"} {
			store, err := sqlstore.New(db, d.dialect(), &sqlstore.Options{Table: table})
			require.NoError(t, err)
			require.NoError(t, store.CreateTable(t.Context()), table)
			require.NoError(t, store.Save(t.Context(), "ann", token("1")))
			held, unlock := mustLock(t, store, "ann")
			require.NoError(t, store.Save(held, "ann", token(table)))
			unlock()
			mustHold(t, store, "ann", "access-"+table)
			require.NoError(t, store.Delete(t.Context(), "ann"))
			assert.Zero(t, count(t, db, `SELECT COUNT(*) FROM "`+strings.ReplaceAll(table, ".", `"."`)+`" WHERE token IS NOT NULL`))
		}
	})
}

func TestATableThatIsMissingIsAnError(t *testing.T) {
	onEach(t, func(t *testing.T, d database) {
		store, err := sqlstore.New(d.connect(t), d.dialect(), &sqlstore.Options{Table: "nowhere"})
		require.NoError(t, err)
		_, _, err = store.Load(t.Context(), "ann")
		assert.ErrorContains(t, err, `sqlstore: load session "ann": `)
		assert.ErrorContains(t, store.Save(t.Context(), "ann", token("1")), `sqlstore: save session "ann": `)
		assert.ErrorContains(t, store.Delete(t.Context(), "ann"), `sqlstore: delete session "ann": `)
		_, _, err = store.Lock(t.Context(), "ann")
		assert.ErrorContains(t, err, `sqlstore: lock session "ann": `)
		assert.ErrorContains(t, err, "nowhere")
	})
}

func TestCreateTableByTwentyAtOnce(t *testing.T) {
	onEach(t, func(t *testing.T, d database) {
		for round := range 5 {
			var wg sync.WaitGroup
			for range 20 {
				store, err := sqlstore.New(d.connect(t), d.dialect(), &sqlstore.Options{Table: fmt.Sprintf("created_%s_%d", d.table(), round)})
				require.NoError(t, err)
				wg.Go(func() { assert.NoError(t, store.CreateTable(t.Context())) })
			}
			wg.Wait()
		}
	})
}

func TestCreateTableByTwentyAtOnceWithoutABusyTimeout(t *testing.T) {
	d := newSQLiteWith(t, "")
	var wg sync.WaitGroup
	for range 20 {
		store, err := sqlstore.New(d.connect(t), d.dialect(), &sqlstore.Options{Table: "tokens"})
		require.NoError(t, err)
		wg.Go(func() { assert.NoError(t, store.CreateTable(t.Context())) })
	}
	wg.Wait()
}

func TestCreateTableLeavesWhatIsThere(t *testing.T) {
	onEach(t, func(t *testing.T, d database) {
		store := newStore(t, d, 0)
		require.NoError(t, store.Save(t.Context(), "ann", token("1")))
		require.NoError(t, store.CreateTable(t.Context()))
		mustHold(t, store, "ann", "access-1")
	})
}

func TestCreateTableTellsOfATableThatIsAnother(t *testing.T) {
	onEach(t, func(t *testing.T, d database) {
		db := d.connect(t)
		mustExec(t, db, "CREATE TABLE another (session VARCHAR(200) PRIMARY KEY, token TEXT)")
		store, err := sqlstore.New(db, d.dialect(), &sqlstore.Options{Table: "another"})
		require.NoError(t, err)
		assert.ErrorContains(t, store.CreateTable(t.Context()), "sqlstore: create table another: ")
	})
}

func TestCreateTableEndsWithItsContext(t *testing.T) {
	onEach(t, func(t *testing.T, d database) {
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		assert.ErrorIs(t, newStore(t, d, 0).CreateTable(ctx), context.Canceled)
	})
}

// A service's user often may only read and write.
func TestCreateTableNeedsNoRightToCreateWhereTheTableIs(t *testing.T) {
	d := newPostgres(t).(postgres)
	db := d.connect(t)
	db.SetMaxOpenConns(1)
	user := "u_" + d.name
	mustExec(t, db, `CREATE ROLE `+user)
	mustExec(t, db, `GRANT SELECT, INSERT, UPDATE, DELETE ON `+d.name+` TO `+user)
	mustExec(t, db, `SET ROLE `+user)
	require.NoError(t, newStoreOn(t, d, db, 0).CreateTable(t.Context()))

	store, err := sqlstore.New(db, d.dialect(), &sqlstore.Options{Table: "new_" + d.name})
	require.NoError(t, err)
	assert.ErrorContains(t, store.CreateTable(t.Context()), "permission denied")
}

// CreateTable creates the table that the README shows.
func TestTheTableInTheReadmeIsTheOneCreated(t *testing.T) {
	readme, err := os.ReadFile("README.md")
	require.NoError(t, err)
	onEach(t, func(t *testing.T, d database) {
		ddl := regexp.MustCompile("(?s)```sql\n-- " + d.dialect().String() + "\n(.*?)```").FindSubmatch(readme)
		require.NotNil(t, ddl)
		db := d.connect(t)
		mustExec(t, db, "DROP TABLE "+d.table())
		for statement := range strings.SplitSeq(strings.TrimSpace(string(ddl[1])), ";") {
			if statement != "" {
				mustExec(t, db, strings.ReplaceAll(statement, "reauth_sessions", d.table()))
			}
		}
		byHand := columns(t, d, db)
		mustExec(t, db, "DROP TABLE "+d.table())
		require.NoError(t, newStoreOn(t, d, db, 0).CreateTable(t.Context()))
		assert.Equal(t, columns(t, d, db), byHand)
	})
}

// columns describes the columns of a table.
func columns(t *testing.T, d database, db *sql.DB) (out []string) {
	t.Helper()
	query := `SELECT name || ' ' || type || ' ' || "notnull" || ' ' || pk FROM pragma_table_info($1)`
	if d.dialect() == sqlstore.PostgreSQL {
		query = `SELECT a.attname || ' ' || format_type(a.atttypid, a.atttypmod) || ' ' || a.attnotnull || ' ' || a.attcollation || ' ' || COALESCE(i.indisprimary, false)
			FROM pg_attribute a LEFT JOIN pg_index i ON i.indrelid = a.attrelid AND a.attnum = ANY (i.indkey)
			WHERE a.attrelid = to_regclass($1) AND a.attnum > 0 ORDER BY a.attnum`
	}
	if d.dialect() == sqlstore.MySQL {
		query = `SELECT CONCAT_WS(' ', column_name, column_type, is_nullable, column_key, collation_name)
			FROM information_schema.columns WHERE table_schema = DATABASE() AND table_name = $1 ORDER BY ordinal_position`
	}
	found, err := db.QueryContext(t.Context(), asOf(db, query), d.table())
	require.NoError(t, err)
	defer found.Close()
	for found.Next() {
		var text string
		require.NoError(t, found.Scan(&text))
		out = append(out, text)
	}
	require.NoError(t, found.Err())
	require.Len(t, out, 10)
	return out
}

func TestTheTableIsReadable(t *testing.T) {
	onEach(t, func(t *testing.T, d database) {
		store, db := newStore(t, d, 0), d.connect(t)
		long := strings.Repeat("a", 200)
		for session, key := range map[string]string{
			"ann":             "ann",
			"":                "",
			" a~'\"; --":      " a~'\"; --",
			long:              long,
			long + "a":        "",
			"sha256:abc":      "",
			"é":               "sha256:4a99557e4033c3539de2eb65472017cad5f9557f7a0625a09f1c3f6e2ba69c4c",
			"a\x00b":          "",
			"a\x7f":           "",
			"line\nand\ntext": "",
			"\xff":            "sha256:a8100ae6aa1940d0b663bb31cd466142ebbdbd5187131b92d93818987832eb89",
		} {
			if key == "" && session != "" {
				key = fmt.Sprintf("sha256:%x", sha256.Sum256([]byte(session)))
			}
			tok := reauth.Token{AccessToken: "a", TokenType: "Bearer", Expiry: time.Date(2030, 1, 2, 3, 4, 5, 0, time.UTC), Extra: map[string]string{"scope": "<read>"}}
			require.NoError(t, store.Save(t.Context(), session, tok))
			var found, text string
			require.NoError(t, db.QueryRowContext(t.Context(), "SELECT session, token FROM "+d.table()+" WHERE token IS NOT NULL").Scan(&found, &text))
			assert.Equal(t, key, found)
			assert.JSONEq(t, `{"access_token":"a","token_type":"Bearer","expiry":"2030-01-02T03:04:05Z","extra":{"scope":"<read>"}}`, text)
			require.NoError(t, store.Delete(t.Context(), session))
		}
	})
}

func TestARowWithoutATokenIsAnErrorThatDoesNotShowIt(t *testing.T) {
	onEach(t, func(t *testing.T, d database) {
		store, db := newStore(t, d, 0), d.connect(t)
		for _, text := range []string{"", "secret", `{"access_token":"secret"`, `{"access_token":{"secret":1}}`, `{"expiry":"secret"}`, `["secret"]`} {
			require.NoError(t, store.Save(t.Context(), "ann", token("1")))
			mustExec(t, db, "UPDATE "+d.table()+" SET token = $1 WHERE session = 'ann'", text)
			_, ok, err := store.Load(t.Context(), "ann")
			assert.False(t, ok)
			assert.EqualError(t, err, `sqlstore: load session "ann": the stored value is not the JSON of a token`)
			require.NoError(t, store.Delete(t.Context(), "ann"))
		}
	})
}

func TestATokenThatIsNotTextIsNotStored(t *testing.T) {
	store := newStore(t, newSQLite(t), 0)
	require.NoError(t, store.Save(t.Context(), "ann", token("1")))
	for _, tok := range []reauth.Token{
		{AccessToken: "a\xff"}, {RefreshToken: "a\xff"}, {AccessToken: "a", TokenType: "a\xff"},
		{AccessToken: "a", Extra: map[string]string{"a\xff": "b"}}, {AccessToken: "a", Extra: map[string]string{"a": "b\xff"}},
	} {
		assert.ErrorContains(t, store.Save(t.Context(), "ann", tok), "is not UTF-8")
	}
	mustHold(t, store, "ann", "access-1")
}

// Databases quote the values that they refuse.
func TestNoTokenInTheErrorsOfTheDatabase(t *testing.T) {
	secret := reauth.Token{
		AccessToken: "qZ7secret-access-token", RefreshToken: "xK3secret-refresh-token", Extra: map[string]string{"id_token": "wV9secret-id-token"},
	}
	ddl := func(token, check string) string {
		blob := "BYTEA" // which SQLite takes for a number that may also be a BLOB
		if strings.HasSuffix(check, " ") {
			blob = "BLOB"
		}
		return `CREATE TABLE refusing (session VARCHAR(200) PRIMARY KEY, token ` + token + `, version BIGINT NOT NULL, writes BIGINT NOT NULL DEFAULT 0, owner VARCHAR(200), deadline BIGINT,
			saved_at BIGINT, deleted_at BIGINT, changed_by TEXT, name ` + blob + check + `)`
	}
	tables := map[sqlstore.Dialect][]string{
		sqlstore.PostgreSQL: {
			ddl("TEXT", ", CHECK (length(token) < 10)"),
			ddl("TEXT CHECK (token IS NULL)", ""),
			ddl("BIGINT", ""),
			ddl("BOOLEAN", ""),
			ddl("TIMESTAMP", ""),
			ddl("VARCHAR(10)", ""),
			ddl("BIGINT[]", ""),
		},
		sqlstore.SQLite: {
			ddl("TEXT", ", CHECK (length(token) < 10)"),
			ddl("TEXT CHECK (json_extract('{\"' || token, '$') = 1)", ""),
			ddl("TEXT CHECK (json_extract('{}', token) = 1)", ""), // bad JSON path: '{"access_token":…
		},
		sqlstore.MySQL: {
			ddl("TEXT", ", CHECK (length(token) < 10) "),
			ddl("TEXT CHECK (token IS NULL)", " "),
			ddl("BIGINT", " "), // Incorrect integer value: '{"access_token":…
			ddl("DATETIME", " "),
			ddl("VARCHAR(10)", " "),
			ddl("VARBINARY(2000) UNIQUE", ", CHECK (token = session) "),
		},
	}
	show := func(t *testing.T, err error) {
		t.Helper()
		require.Error(t, err)
		for ; err != nil; err = errors.Unwrap(err) {
			for _, verb := range []string{"%v", "%+v", "%#v", "%q"} {
				text := fmt.Sprintf(verb, err)
				assert.False(t, strings.Contains(text, "secret"), "%s of a %T shows a token", verb, err)
			}
		}
	}
	onEach(t, func(t *testing.T, d database) {
		db := d.connect(t)
		for _, ddl := range tables[d.dialect()] {
			mustExec(t, db, ddl)
			store, err := sqlstore.New(db, d.dialect(), &sqlstore.Options{Table: "refusing"})
			require.NoError(t, err)
			err = store.Save(t.Context(), "ann", secret)
			show(t, err)
			held, unlock := mustLock(t, store, "ann")
			show(t, store.Save(held, "ann", secret))
			assert.NoError(t, held.Err(), "it is not the lease that is wrong")
			unlock()
			mustExec(t, db, "DROP TABLE refusing")
		}
	})
}

func TestNoPasswordInTheErrorsOfTheDriver(t *testing.T) {
	d := newPostgres(t).(postgres)
	elsewhere := *d.Server.Server
	elsewhere.Port = closedPort(t)
	s := &server{&pg.Server{Server: &elsewhere, Password: d.Password}}
	p := postgres{s, d.name}
	store := newStore(t, p, 0)
	_, _, err := store.Load(t.Context(), "ann")
	require.Error(t, err)
	_, _, lockErr := store.Lock(t.Context(), "ann")
	for _, err := range []error{err, lockErr, store.Save(t.Context(), "ann", token("1")), store.Delete(t.Context(), "ann"), store.CreateTable(t.Context())} {
		for _, verb := range []string{"%v", "%+v", "%#v"} {
			assert.False(t, strings.Contains(fmt.Sprintf(verb, err), s.Password), "%s shows the password", verb)
		}
	}
	assert.False(t, strings.Contains(fmt.Sprintf("%v %+v %#v", store, store, store), s.Password))
}

func TestFormatShowsDialectAndTable(t *testing.T) {
	store := newStore(t, newSQLite(t), 0)
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%d"} {
		assert.Equal(t, "*sqlstore.Store[SQLite, table reauth_sessions]", fmt.Sprintf(verb, store))
	}
}

// With a pooler, pgx must not prepare statements, and in the simple protocol parameters
// have no types.
func TestEveryModeOfPgxWillDo(t *testing.T) {
	d := newPostgres(t).(postgres)
	for _, mode := range []pgx.QueryExecMode{
		pgx.QueryExecModeCacheStatement, pgx.QueryExecModeCacheDescribe, pgx.QueryExecModeDescribeExec,
		pgx.QueryExecModeExec, pgx.QueryExecModeSimpleProtocol,
	} {
		t.Run(mode.String(), func(t *testing.T) {
			store := newStoreOn(t, d, d.connectVia(t, "", mode), 1500*time.Millisecond)
			require.NoError(t, store.CreateTable(t.Context()))
			tok := reauth.Token{AccessToken: `a'\"$1 ?`, Extra: map[string]string{"odd": "' \\ \" \n \x00 é"}}
			require.NoError(t, store.Save(t.Context(), "it's", tok))
			held, unlock := mustLock(t, store, "it's")
			mustBeLocked(t, store, "it's")
			require.NoError(t, store.Save(held, "it's", tok))
			got, ok, err := store.Load(held, "it's")
			require.NoError(t, err)
			require.True(t, ok)
			assert.Equal(t, tok, got)
			granted := deadline(t, d)
			require.Eventually(t, func() bool { return deadline(t, d) > granted }, 30*time.Second, 10*time.Millisecond, "it is not renewed")
			require.NoError(t, store.Delete(held, "it's"))
			unlock()
			require.NoError(t, store.Delete(t.Context(), "it's"))
			assert.Zero(t, rows(t, d, d.connect(t)))
		})
	}
}

// deadline returns the deadline of the only row in a table.
func deadline(t *testing.T, d database) (ms int64) {
	t.Helper()
	db := d.connect(t)
	defer db.Close()
	require.NoError(t, db.QueryRowContext(t.Context(), "SELECT deadline FROM "+d.table()+" WHERE deadline IS NOT NULL").Scan(&ms))
	return ms
}

// A database with serializable transactions refuses some statements only because others
// run at the same time.
func TestASerializableDatabaseWillDo(t *testing.T) {
	d := newPostgres(t).(postgres)
	counts := map[bool]int{}
	var mu sync.Mutex
	var wg sync.WaitGroup
	for range 8 {
		db := d.connect(t)
		db.SetMaxOpenConns(1)
		mustExec(t, db, "SET default_transaction_isolation = 'serializable'")
		store := newStoreOn(t, d, db, time.Minute)
		wg.Go(func() {
			for range 20 {
				held, unlock, err := lockAgain(t.Context(), store, "ann")
				if !assert.NoError(t, err) {
					return
				}
				err = store.Save(held, "ann", token("1"))
				mu.Lock()
				counts[err == nil]++
				mu.Unlock()
				unlock()
			}
		})
	}
	wg.Wait()
	assert.Equal(t, map[bool]int{true: 160}, counts)
}

// Some databases have a column type for JSON.
func TestTheTokenMayBeJSONB(t *testing.T) {
	d := newPostgres(t).(postgres)
	mustExec(t, d.connect(t), "ALTER TABLE "+d.name+" ALTER COLUMN token TYPE JSONB USING token::jsonb")
	store := newStore(t, d, 0)
	require.NoError(t, store.Save(t.Context(), "ann", token("1")))
	held, unlock := mustLock(t, store, "ann")
	defer unlock()
	require.NoError(t, store.Save(held, "ann", token("2")))
	mustHold(t, store, "ann", "access-2")
}

func TestATokenReadsWhatXOAuth2HasWritten(t *testing.T) {
	d := newSQLite(t)
	text, err := json.Marshal(map[string]any{"access_token": "a", "token_type": "bearer", "refresh_token": "r", "expiry": "0001-01-01T00:00:00Z", "expires_in": 3600})
	require.NoError(t, err)
	mustExec(t, d.connect(t), "INSERT INTO "+d.table()+" (session, token, version) VALUES ('ann', $1, 1)", string(text))
	mustHold(t, newStore(t, d, 0), "ann", "a")
}

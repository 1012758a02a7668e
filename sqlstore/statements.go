package sqlstore

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"regexp"
	"strconv"
	"strings"
)

// statements are all statements that are sent to the database, each by itself and
// outside of any transaction.
//
// A row is locked while its deadline is in the future. owner identifies the holder and
// is random for each lock. version counts the locks. The holder can write as long as
// owner and version are unchanged, whatever is written without the lock. The deadline
// does not matter for that. After it has passed others may take the lock, but until one
// does nobody has held it in between, and the holder may go on.
//
// Any statement may have to be sent again if it is not known whether it has arrived, and
// the first one may still arrive much later, when a silent network delivers what it held
// back. Therefore statements under a lock leave its version unchanged, and writes counts
// the tokens that the holder stores, so that a late one does not replace the next, and
// the same one is stored once.
//
// Each write of a token, with or without the lock, leaves a mark of its own in changed_by,
// and the time in saved_at. The row of a deleted token stays for a while, so that others
// can see that it was deleted. deleted_at is when, and NULL in the row of a token.
type statements struct {
	settings, create    statement
	indexes, upgrade    []statement
	probe, probeFirst   statement
	edition, mark       statement
	load, read, save    statement
	clear, sweep        statement
	old, tidy           statement
	upgraded            statement
	unused, purge       statement
	firstDead, nextDead statement
	bury                statement
	changes, name       statement
	firstPage, nextPage statement
	take, left, release statement
	renew, write        statement
}

// A statement is SQL in one dialect. The zero statement is one that a dialect does not need.
type statement struct {
	text string

	// order has the number of the argument at each of its places, for a dialect whose
	// parameters have no numbers. Nil means that the arguments are sent as they are.
	order []int

	// tells says that what the statement tells of its row comes as the ID of an inserted
	// row, and 0 if there is no row. Otherwise it comes as a row, if anything does.
	tells bool
}

func (st statement) arguments(args []any) []any {
	if st.order == nil {
		return args
	}
	placed := make([]any, len(st.order))
	for i, n := range st.order {
		placed[i] = args[n-1]
	}
	return placed
}

// What the release of a lock tells of its row.
const (
	hasToken   = 1
	neverHad   = 2 // a token
	wasDeleted = 3
)

const (
	// schemaVersion is the version of the table's columns. The table of the first edition
	// had no version.
	schemaVersion = 2

	// schemaKey is the key of the row whose version is that of the columns, and whose
	// saved_at is when it was made or upgraded. No session has this key.
	schemaKey = hashed + "schema"

	// keepDeleted is how long the row of a deleted token stays, in milliseconds, for those
	// who look for changes at intervals.
	keepDeleted = 60_000

	// batch is how many rows a statement deletes at most, so that it is short.
	batch = 50
)

func newStatements(d Dialect, table string, notify bool) (statements, error) {
	quoted, err := quoteTable(d, table)
	if err != nil {
		return statements{}, err
	}
	in := replacer(d, table, quoted)
	switch d {
	case SQLite:
		return sqliteStatements(in), nil
	case MySQL:
		return mysqlStatements(in), nil
	default:
		return postgresStatements(in, notify), nil
	}
}

// replacer returns a function that fills in what differs between tables, and numbers
// between braces such as {batch}.
func replacer(d Dialect, table, quoted string) func(sql string) statement {
	var keys []string
	for i := range batch {
		keys = append(keys, "$"+strconv.Itoa(i+1))
	}
	r := strings.NewReplacer(
		"{table}", quoted,
		"{now}", d.now(),
		"{standby}", d.standby(),
		"{free}", "COALESCE(deadline, 0) <= "+d.now(),
		"{schema}", "'"+schemaKey+"'",
		"{schemaVersion}", strconv.Itoa(schemaVersion),
		"{saved index}", indexName(d, table, "saved_at"),
		"{deleted index}", indexName(d, table, "deleted_at"),
		"{channel}", "'"+channel(table)+"'",
		"{pageSize}", strconv.Itoa(pageSize),
		"{mostChanges}", strconv.Itoa(mostChanges),
		"{keepDeleted}", strconv.Itoa(keepDeleted),
		"{batch}", strconv.Itoa(batch),
		"{keys}", strings.Join(keys, ", "),
		"{after keys 1}", "$"+strconv.Itoa(batch+1),
		"{after keys 2}", "$"+strconv.Itoa(batch+2),
		"{after keys 3}", "$"+strconv.Itoa(batch+3),
	)
	return func(sql string) statement { return d.statement(r.Replace(sql)) }
}

// now is the SQL for the milliseconds since 1970, by the database's clock when the
// expression is evaluated, which is after any wait for a lock. MySQL's is that of the
// statement's beginning.
func (d Dialect) now() string {
	switch d {
	case SQLite:
		return `CAST((julianday('now') - 2440587.5) * 86400000 AS INTEGER)`
	case MySQL: // UNIX_TIMESTAMP(NOW(3)) would be wrong when the local time is set back in autumn
		return `TIMESTAMPDIFF(MICROSECOND, '1970-01-01', UTC_TIMESTAMP(3)) DIV 1000`
	}
	return `CAST(EXTRACT(EPOCH FROM clock_timestamp()) * 1000 AS BIGINT)`
}

// standby is the SQL for a text if the server may lack what was written, because it is a
// replica, and for NULL if not. In MySQL a server that is read-only is taken for one, because
// no query that everybody may send tells. The variable is a number, or a word in later versions.
func (d Dialect) standby() string {
	switch d {
	case SQLite:
		return `NULL`
	case MySQL:
		return `CASE WHEN CAST(@@global.read_only AS CHAR) NOT IN ('OFF', '0') THEN 'standby' END`
	}
	return `CASE WHEN pg_is_in_recovery() THEN 'standby' END`
}

var parameterRE = regexp.MustCompile(`\$([0-9]+)`)

// statement returns a statement whose parameters were written as $1, $2.
func (d Dialect) statement(sql string) statement {
	switch d {
	case SQLite:
		return statement{text: parameterRE.ReplaceAllString(sql, "?$1")}
	case MySQL:
		order := []int{}
		text := parameterRE.ReplaceAllStringFunc(sql, func(parameter string) string {
			n, _ := strconv.Atoi(parameter[1:])
			order = append(order, n)
			return "?"
		})
		return statement{text: text, order: order}
	}
	return statement{text: sql}
}

// longestIdentifier is the length to which PostgreSQL truncates longer identifiers, with
// only a notice.
const longestIdentifier = 63

// quoteTable returns a table's name, with or without a schema, for use in SQL.
func quoteTable(d Dialect, name string) (string, error) {
	parts := strings.Split(name, ".")
	if len(parts) > 2 {
		return "", errors.New("a table's name can have only one dot, after its schema")
	}
	for i, part := range parts {
		switch {
		case part == "":
			return "", errors.New("a part of it is empty")
		case len(part) > longestIdentifier:
			return "", fmt.Errorf("a part of it is longer than %d bytes", longestIdentifier)
		case part[0] >= '0' && part[0] <= '9':
			return "", errors.New("a part of it begins with a digit")
		}
		for _, c := range []byte(part) {
			if c != '_' && (c < '0' || c > '9') && (c < 'A' || c > 'Z') && (c < 'a' || c > 'z') {
				return "", errors.New("it may contain only ASCII letters, digits and underscores")
			}
		}
		parts[i] = d.quote(part)
	}
	return strings.Join(parts, "."), nil
}

func (d Dialect) quote(identifier string) string {
	if d == MySQL { // with the SQL mode ANSI_QUOTES, too
		return "`" + identifier + "`"
	}
	return `"` + identifier + `"`
}

// indexName returns the name of an index of a table, for use in SQL. An index is in the
// schema of its table. SQLite wants to be told so, and PostgreSQL not.
func indexName(d Dialect, table, column string) string {
	schema, name, ok := strings.Cut(table, ".")
	if !ok {
		schema, name = "", table
	}
	index := name + "_" + column
	if len(index) > longestIdentifier {
		index = shortened(name, "_"+column)
	}
	if d == SQLite && schema != "" {
		return d.quote(schema) + "." + d.quote(index)
	}
	return d.quote(index)
}

// shortened returns a name with an end for what has a name that is too long for that.
func shortened(name, end string) string {
	sum := sha256.Sum256([]byte(name))
	return name[:32] + "_" + hex.EncodeToString(sum[:8]) + end
}

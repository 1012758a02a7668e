package reauth_test

import (
	"bytes"
	"go/ast"
	"go/parser"
	"go/token"
	"go/types"
	"maps"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

const module = "github.com/reauth-go/reauth"

// mayImport is which packages of this module a package may import. A package that
// is not listed here is not part of the product.
var mayImport = map[string][]string{
	"internal/ascii":       {},
	"internal/body":        {},
	"internal/challenge":   {"internal/ascii"},
	"internal/evidence":    {},
	"internal/throttle":    {},
	"internal/tokenfile":   {},
	"internal/expiry":      {},
	"internal/redact":      {"internal/ascii"},
	"internal/settings":    {"internal/ascii", "internal/redact"},
	"internal/origin":      {"internal/ascii", "internal/redact"},
	".":                    {"internal/ascii", "internal/body", "internal/challenge", "internal/evidence", "internal/expiry", "internal/origin", "internal/redact", "internal/settings", "internal/throttle", "internal/tokenfile"},
	"internal/tokenserver": {".", "internal/ascii", "internal/body", "internal/expiry", "internal/origin", "internal/redact"},
	"oauth":                {".", "internal/ascii", "internal/challenge", "internal/origin", "internal/redact", "internal/settings", "internal/tokenfile", "internal/tokenserver"},
	"jsonauth":             {".", "internal/ascii", "internal/redact", "internal/settings", "internal/tokenserver"},
	"cookieauth":           {".", "internal/ascii", "internal/expiry", "internal/redact", "internal/settings", "internal/tokenserver"},
	"sealedstore":          {"."},
}

func TestPackagesImportWhatTheyMay(t *testing.T) {
	for dir, allowed := range mayImport {
		imported := map[string]bool{}
		for name, file := range sources(t, dir, parser.ImportsOnly) {
			for _, spec := range file.Imports {
				full, err := strconv.Unquote(spec.Path.Value)
				require.NoError(t, err)
				short, ours := strings.CutPrefix(full+"/", module+"/")
				if !ours {
					continue
				}
				short = path.Clean(short)
				imported[short] = true
				assert.Contains(t, allowed, short, "%s imports it", path.Join(dir, name))
			}
		}
		for _, short := range allowed {
			assert.True(t, imported[short], "%s does not import %s any more", dir, short)
		}
	}
}

// layers are the files of this package from the bottom up. A file calls functions of its
// own layer and of those below.
var layers = [][]string{
	{"doc.go", "token.go", "event.go", "errors.go", "singleflight.go"},
	{"store.go", "credential.go", "context.go", "tokenfile.go"},
	{"state.go", "refused.go"},
	{"cached.go", "sessions.go"},
	{"lease.go"},
	{"signin.go"},
	{"flight.go", "refresh.go", "save.go"},
	{"session.go", "transport.go"},
	{"config.go"},
}

// upwards are the calls of a function in a layer above, and why there is one.
var upwards = map[string]string{
	"cached.go: depart":        "a rule asks for a flight, which is started with the lock held",
	"sessions.go: depart":      "Wait starts the flight that saves what is pending",
	"cached.go: stillHas":      "a pending save keeps its lease",
	"cached.go: brought":       "a refusal may have come after the sign-in of Config.SignIn that it needed",
	"cached.go: releaseLocked": "a pending save that is gone gives its lease back",
}

// usedBy is who may refer to a type at all.
var usedBy = map[string][]string{
	"Transport":     {"transport.go", "session.go", "config.go"},
	"Session":       {"transport.go", "session.go"},
	"state":         {"state.go", "refused.go", "save.go", "transport.go", "session.go", "cached.go", "sessions.go", "flight.go", "refresh.go", "signin.go"},
	"outcome":       {"flight.go", "refresh.go", "save.go"},
	"lease":         {"state.go", "cached.go", "lease.go", "signin.go", "flight.go", "refresh.go", "save.go"},
	"cachedSession": {"cached.go", "save.go", "sessions.go", "lease.go", "flight.go", "signin.go", "session.go", "transport.go", "config.go"},
}

func TestDataFlowsOneWay(t *testing.T) {
	files := sources(t, ".", 0)
	layerOf := map[string]int{}
	for i, layer := range layers {
		for _, name := range layer {
			layerOf[name] = i
		}
	}
	assert.ElementsMatch(t, slices.Collect(maps.Keys(files)), slices.Collect(maps.Keys(layerOf)))

	found := map[string]bool{}
	for at, obj := range references(t, files) {
		from, to := at.Filename, position(obj).Filename
		switch obj := obj.(type) {
		case *types.Func:
			if up := from + ": " + obj.Name(); layerOf[from] < layerOf[to] && !isOfInterface(obj) {
				found[up] = true
				assert.Contains(t, upwards, up, "%s calls %s of %s, which is above", at, obj.Name(), to)
			}
		case *types.TypeName:
			if users, ok := usedBy[obj.Name()]; ok {
				assert.Contains(t, users, from, "%s refers to %s", at, obj.Name())
			}
		}
	}
	assert.Equal(t, slices.Sorted(maps.Keys(upwards)), slices.Sorted(maps.Keys(found)))
}

// A state has no lock, no clock and no I/O.
func TestStateIsAValue(t *testing.T) {
	file := sources(t, ".", 0)["state.go"]
	var imports []string
	for _, spec := range file.Imports {
		imports = append(imports, spec.Path.Value)
	}
	assert.Equal(t, []string{`"slices"`, `"time"`, `"github.com/reauth-go/reauth/internal/evidence"`}, imports)
	ast.Inspect(file, func(n ast.Node) bool {
		if sel, ok := n.(*ast.SelectorExpr); ok {
			if pkg, ok := sel.X.(*ast.Ident); ok && pkg.Name == "time" {
				assert.Contains(t, []string{"Duration", "Second", "Minute", "Hour"}, sel.Sel.Name)
			}
		}
		_, starts := n.(*ast.GoStmt)
		assert.False(t, starts, "it starts a goroutine")
		return true
	})
}

// A user's own types can do whatever the built-in ones can.
func TestBuiltInTypesAreNotToldApart(t *testing.T) {
	builtIn := []string{"HeaderCredential", "RefresherFunc", "MemoryStore"}
	for _, file := range sources(t, ".", 0) {
		ast.Inspect(file, func(n ast.Node) bool {
			var asked []ast.Expr
			switch n := n.(type) {
			case *ast.TypeAssertExpr:
				asked = []ast.Expr{n.Type}
			case *ast.TypeSwitchStmt:
				for _, clause := range n.Body.List {
					asked = append(asked, clause.(*ast.CaseClause).List...)
				}
			}
			for _, typ := range asked {
				if pointer, ok := typ.(*ast.StarExpr); ok {
					typ = pointer.X
				}
				if name, ok := typ.(*ast.Ident); ok {
					assert.NotContains(t, builtIn, name.Name, "%s", fileSet.Position(n.Pos()))
				}
			}
			return true
		})
	}
}

func TestRootCanBeTakenInAtAGlance(t *testing.T) {
	files := sources(t, ".", 0)
	assert.LessOrEqual(t, len(files), 21) // tokenfile.go is a refresher, and none of the machinery
	var exported []string
	for name, file := range files {
		source, err := os.ReadFile(name)
		require.NoError(t, err)
		if lines := bytes.Count(source, []byte("\n")); name != "transport.go" {
			assert.LessOrEqual(t, lines, 400, name)
		}
		for _, d := range file.Decls {
			for _, ident := range declared(d) {
				if ident.IsExported() {
					exported = append(exported, ident.Name)
				}
			}
		}
	}
	// The last is TokenFile: what most pods need must be found where Refresher is.
	assert.LessOrEqual(t, len(exported), 42, "%d exported names: %v", len(exported), exported)
}

// declared returns the top-level names of a declaration.
func declared(d ast.Decl) (names []*ast.Ident) {
	switch d := d.(type) {
	case *ast.FuncDecl:
		if d.Recv == nil {
			names = append(names, d.Name)
		}
	case *ast.GenDecl:
		for _, spec := range d.Specs {
			switch spec := spec.(type) {
			case *ast.TypeSpec:
				names = append(names, spec.Name)
			case *ast.ValueSpec:
				names = append(names, spec.Names...)
			}
		}
	}
	return names
}

var fileSet = token.NewFileSet()

func position(obj types.Object) token.Position { return fileSet.Position(obj.Pos()) }

// sources parses the files of a package, without its tests.
func sources(t *testing.T, dir string, mode parser.Mode) map[string]*ast.File {
	t.Helper()
	names, err := filepath.Glob(filepath.Join(filepath.FromSlash(dir), "*.go"))
	require.NoError(t, err)
	files := map[string]*ast.File{}
	for _, name := range names {
		if !strings.HasSuffix(name, "_test.go") {
			files[filepath.Base(name)], err = parser.ParseFile(fileSet, name, nil, mode)
			require.NoError(t, err)
		}
	}
	require.NotEmpty(t, files, dir)
	return files
}

// references returns what the identifiers of this package's files refer to, if that is
// declared in this package. Other packages are left unknown, and what is wrong about the
// files because of that is ignored.
func references(t *testing.T, files map[string]*ast.File) map[token.Position]types.Object {
	t.Helper()
	info := &types.Info{Uses: map[*ast.Ident]types.Object{}}
	config := types.Config{Importer: unknown{}, Error: func(error) {}}
	pkg, _ := config.Check(module, fileSet, slices.Collect(maps.Values(files)), info)
	found := map[token.Position]types.Object{}
	for ident, obj := range info.Uses {
		if obj.Pkg() == pkg {
			found[fileSet.Position(ident.Pos())] = obj
		}
	}
	require.NotEmpty(t, found)
	return found
}

type unknown struct{}

func (unknown) Import(importPath string) (*types.Package, error) {
	pkg := types.NewPackage(importPath, path.Base(importPath))
	pkg.MarkComplete()
	return pkg, nil
}

// isOfInterface reports whether f is a method of an interface: then it is not known
// which function is called.
func isOfInterface(f *types.Func) bool {
	recv := f.Signature().Recv()
	return recv != nil && types.IsInterface(recv.Type())
}

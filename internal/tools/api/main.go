// Command api writes down what packages export, a line for each name, field and method, in
// the manner of the files in Go's own folder api:
//
//	api PACKAGE...
//
// The order is that of the names, so that a change of the exports is a change of these lines
// and nothing else is.
package main

import (
	"fmt"
	"go/types"
	"log"
	"os"
	"slices"
	"strings"

	"golang.org/x/tools/go/packages"
)

func main() {
	log.SetFlags(0)
	log.SetPrefix("api: ")
	loaded, err := packages.Load(&packages.Config{Mode: packages.NeedName | packages.NeedTypes | packages.NeedExportFile}, os.Args[1:]...)
	if err != nil {
		log.Fatal(err)
	}
	if packages.PrintErrors(loaded) > 0 {
		os.Exit(1)
	}
	for _, p := range loaded {
		lines := exports(p.Types)
		slices.Sort(lines)
		for _, line := range slices.Compact(lines) {
			fmt.Printf("pkg %s, %s\n", p.PkgPath, line)
		}
	}
}

// exports returns a line for each thing that importers of a package can name.
func exports(p *types.Package) (lines []string) {
	within := func(other *types.Package) string {
		if other == p {
			return ""
		}
		return other.Name()
	}
	for _, name := range p.Scope().Names() {
		object := p.Scope().Lookup(name)
		if !object.Exported() {
			continue
		}
		named, ok := object.(*types.TypeName)
		switch {
		case !ok:
			line := types.ObjectString(object, within)
			if c, ok := object.(*types.Const); ok {
				line = fmt.Sprintf("const %s %s = %s", name, types.TypeString(c.Type(), within), c.Val().ExactString())
			}
			lines = append(lines, line)
		default:
			lines = append(lines, ofType(named, within)...)
		}
	}
	return lines
}

func ofType(named *types.TypeName, within types.Qualifier) (lines []string) {
	name, under := named.Name(), named.Type().Underlying()
	switch t := under.(type) {
	case *types.Struct:
		lines = append(lines, fmt.Sprintf("type %s struct", name))
		if !types.Comparable(t) {
			lines = append(lines, fmt.Sprintf("type %s struct, not comparable", name))
		}
		for field := range t.Fields() {
			if field.Exported() {
				lines = append(lines, fmt.Sprintf("type %s struct, %s %s", name, field.Name(), types.TypeString(field.Type(), within)))
			}
		}
	case *types.Interface:
		lines = append(lines, fmt.Sprintf("type %s interface", name))
		for method := range t.Methods() {
			what := types.TypeString(method.Type(), within)
			lines = append(lines, fmt.Sprintf("type %s interface, %s%s", name, method.Name(), strings.TrimPrefix(what, "func")))
		}
	default:
		lines = append(lines, fmt.Sprintf("type %s %s", name, types.TypeString(under, within)))
	}
	if types.IsInterface(under) {
		return lines
	}
	onValue := types.NewMethodSet(named.Type())
	for method := range types.NewMethodSet(types.NewPointer(named.Type())).Methods() {
		if !method.Obj().Exported() {
			continue
		}
		receiver := "*" + name
		if onValue.Lookup(nil, method.Obj().Name()) != nil {
			receiver = name
		}
		what := types.TypeString(method.Obj().Type(), within)
		lines = append(lines, fmt.Sprintf("method (%s) %s%s", receiver, method.Obj().Name(), strings.TrimPrefix(what, "func")))
	}
	return lines
}

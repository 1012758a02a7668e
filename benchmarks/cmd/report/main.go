// Command report measures the figures of this module and writes them where they are
// shown: the tables in README.md, the table in docs/benchmarks.md of the root module,
// and the pictures.
//
//	GOWORK=off go run ./cmd/report         # measure, then write
//	GOWORK=off go run ./cmd/report -draw   # write what was measured last
//
// Run it in the folder of the module. The measurements are kept in testdata, in
// bench.txt, which benchstat can read, and outcomes.jsonl. After writing everything
// it fails if a figure is not within its limit.
package main

import (
	"flag"
	"fmt"
	"os"
)

func main() {
	runs := flag.Int("n", 10, "how often to run the benchmarks")
	benchtime := flag.String("benchtime", "100ms", "how long to run each of them, as for go test")
	draw := flag.Bool("draw", false, "measure nothing: write what was measured last")
	flag.Parse()
	if err := report(*runs, *benchtime, *draw); err != nil {
		fmt.Fprintln(os.Stderr, "report:", err)
		os.Exit(1)
	}
}

func report(runs int, benchtime string, draw bool) error {
	if !draw {
		if err := measure(runs, benchtime); err != nil {
			return err
		}
	}
	f, err := readFigures()
	if err != nil {
		return err
	}
	if err := writeTables(f); err != nil {
		return err
	}
	if err := drawPictures(f); err != nil {
		return err
	}
	return f.check(os.Stdout)
}

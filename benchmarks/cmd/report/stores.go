package main

import (
	"bytes"
	"fmt"
	"image/color"
	"math"
	"strconv"
	"time"

	"gonum.org/v1/plot"
	"gonum.org/v1/plot/plotter"
	"gonum.org/v1/plot/text"
	"gonum.org/v1/plot/vg"
	"gonum.org/v1/plot/vg/draw"
)

const (
	storesFile  = "testdata/stores.txt"
	earlierFile = "testdata/stores-earlier.txt" // of a version that did not look before it locked; not measured again
	storeRuns   = 3

	callsPerReplica = "calls/replica"
	msToLast        = "ms-to-last"
)

// The stores in the order in which they are shown, and the modules with their benchmarks.
var (
	stores = []struct{ library, title string }{
		{"redis", "Redis"}, {"postgresql", "PostgreSQL"}, {"mariadb", "MariaDB"}, {"sqlite", "SQLite"}, {"files", "files"},
	}
	storeModules  = []string{"redisstore", "sqlstore", "filestore"}
	storeReplicas = []int{10, 50, 100, 200, 400}
)

// measureStores runs the benchmark of each store that many replicas share.
func measureStores() ([]byte, error) {
	var text []byte
	for range storeRuns {
		for _, module := range storeModules {
			out, err := commandIn("../"+module, "go", "test", "-run", "^$", "-bench", "^BenchmarkReplicas$", "-benchtime", "1x", ".")
			if err != nil {
				return nil, err
			}
			for line := range bytes.Lines(out) {
				if bytes.HasPrefix(line, []byte("Benchmark")) {
					text = append(text, line...)
				}
			}
		}
	}
	return text, nil
}

// ofReplicas names the benchmark of a store that so many replicas share.
func ofReplicas(store string, replicas int) benchmark {
	return benchmark{"Replicas", store, strconv.Itoa(replicas)}
}

// stores returns the table of what a refresh costs that many replicas need.
func (f *figures) stores() string {
	head := []string{"replicas"}
	for _, s := range stores {
		head = append(head, s.title)
	}
	t := newTable(head...)
	for _, n := range storeReplicas {
		row := []string{thousands(n)}
		for _, s := range stores {
			b := ofReplicas(s.library, n)
			row = append(row, fmt.Sprintf("%.1f, %s", f.median(b, callsPerReplica), span(rough(f.median(b, msToLast)))))
		}
		t.row(row...)
	}
	return t.String()
}

// rough rounds milliseconds, because machines are noisy.
func rough(ms float64) time.Duration {
	d := time.Duration(ms * float64(time.Millisecond))
	switch {
	case d < 10*time.Millisecond:
		return d.Round(time.Millisecond)
	case d < 100*time.Millisecond:
		return d.Round(5 * time.Millisecond)
	case d < time.Second:
		return d.Round(10 * time.Millisecond)
	}
	return d.Round(100 * time.Millisecond)
}

// drawStores shows how long the last of many replicas waits, in this version and in one
// that did not look before it locked.
func drawStores(f *figures, c draw.Canvas) error {
	c = heading(c, "One refresh, many replicas",
		"time from the first replica's answer to the last one's, when all find the shared token refused at once; lower is better")
	legend(c, []swatch{{"this version", ours}, {"an earlier one, which locked without looking first", others}})
	c = draw.Crop(c, 0, 0, 0, -24)
	each := (c.Max.X - c.Min.X) / vg.Length(len(stores))
	for i, s := range stores {
		area := draw.Canvas{Canvas: c.Canvas, Rectangle: vg.Rectangle{
			Min: vg.Point{X: c.Min.X + vg.Length(i)*each, Y: c.Min.Y},
			Max: vg.Point{X: c.Min.X + vg.Length(i+1)*each - 8, Y: c.Max.Y},
		}}
		title := style(10.5, ink, text.XCenter, text.YTop)
		area.FillText(title, vg.Point{X: (area.Min.X + area.Max.X) / 2, Y: area.Max.Y}, s.title)
		area = draw.Crop(area, 0, 0, 0, -18)

		p := plot.New()
		p.BackgroundColor = paper
		axis(&p.X, "")
		axis(&p.Y, "")
		p.X.Min, p.X.Max, p.Y.Min, p.Y.Max = -0.2, float64(len(storeReplicas))-0.8, 0, 4
		p.X.Padding, p.Y.Padding = 0, 0
		var counts, times []plot.Tick
		for j, n := range storeReplicas {
			counts = append(counts, plot.Tick{Value: float64(j), Label: strconv.Itoa(n)})
		}
		for exponent, label := range []string{"1 ms", "10 ms", "0.1 s", "1 s", "10 s"} {
			times = append(times, plot.Tick{Value: float64(exponent), Label: label})
			p.Add(level{float64(exponent), hair})
		}
		p.X.Tick.Marker, p.Y.Tick.Marker = plot.ConstantTicks(counts), plot.ConstantTicks(times)
		p.X.Tick.Label.Font.Size, p.Y.Tick.Label.Font.Size = 8, 8
		for _, version := range []struct {
			library string
			shade   color.RGBA
		}{{s.library + "-earlier", others}, {s.library, ours}} {
			var points plotter.XYs
			for j, n := range storeReplicas {
				if ms := f.median(ofReplicas(version.library, n), msToLast); !math.IsNaN(ms) {
					points = append(points, plotter.XY{X: float64(j), Y: math.Log10(max(ms, 1))})
				}
			}
			if len(points) == 0 {
				continue
			}
			line, dots, err := plotter.NewLinePoints(points)
			if err != nil {
				return err
			}
			line.Color, line.Width = version.shade, 1.5
			dots.Color, dots.Shape, dots.Radius = version.shade, draw.CircleGlyph{}, 2
			p.Add(line, dots)
		}
		p.Draw(area)
	}
	return nil
}

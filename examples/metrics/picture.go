package main

import (
	"context"
	"fmt"
	"html"
	"io"
	"math"
	"os"
	"os/exec"
	"strings"
	"time"

	"go.opentelemetry.io/otel/metric"
)

// drawDashboard plays the story while a Prometheus scrapes it, asks that Prometheus for every
// panel, and draws the answers as dashboard.svg.
func drawDashboard(ctx context.Context, out io.Writer, meters metric.MeterProvider, target string) error {
	program, err := exec.LookPath("prometheus")
	if err != nil {
		return fmt.Errorf("%w; apt-get install prometheus", err)
	}
	d, err := loadDashboard()
	if err != nil {
		return err
	}
	p, err := startPrometheus(ctx, program, target, time.Second)
	if err != nil {
		return err
	}
	defer p.stop()
	began := time.Now()
	fmt.Fprintln(out, "this takes", storyLength)
	if err := play(ctx, meters, storyLength); err != nil {
		return err
	}
	svg, err := picture(ctx, d, p, began, began.Add(storyLength), "8s")
	if err != nil {
		return err
	}
	return os.WriteFile("dashboard.svg", []byte(svg), 0o644)
}

const (
	panelWidth, panelHeight = 440.0, 200.0
	left, right             = 48.0, 12.0
	top, bottom             = 46.0, 42.0 // of a panel, for its title and its legend
	heading                 = 64.0       // of the picture
)

var colours = []string{"#0a7ea4", "#cf222e", "#2da44e", "#e3a008", "#8250df", "#6e7781"}

// picture draws the panels of d, two in a row, from what Prometheus answers.
func picture(ctx context.Context, d dashboard, p *server, begin, end time.Time, interval string) (string, error) {
	var b strings.Builder
	width, height := 2*panelWidth, heading+panelHeight*float64((len(d.Panels)+1)/2)
	fmt.Fprintf(&b, `<svg xmlns="http://www.w3.org/2000/svg" width="%g" height="%g" viewBox="0 0 %[1]g %g" font-family="Arial,Helvetica,sans-serif" font-size="11" fill="#24292f">`+"\n", width, height, height)
	fmt.Fprintf(&b, `<rect width="%g" height="%g" fill="#ffffff"/>`+"\n", width, height)
	text(&b, 16, 24, "start", 16, "#24292f", d.Title)
	var acts []string
	for i, a := range story {
		acts = append(acts, fmt.Sprintf("%d %s", i+1, a.title))
	}
	text(&b, 16, 44, "start", 10, "#6e7781", strings.Join(acts, " · "))
	for i, panel := range d.Panels {
		var curves []line
		for _, t := range panel.Targets {
			found, err := p.query(ctx, t.query(interval), begin, end)
			if err != nil {
				return "", err
			}
			for _, c := range found {
				curves = append(curves, line{t.legend(c.Labels), c.Values})
			}
		}
		fmt.Fprintf(&b, `<g transform="translate(%g %g)">`+"\n", panelWidth*float64(i%2), heading+panelHeight*float64(i/2))
		drawPanel(&b, panel, curves, seconds64(begin), seconds64(end))
		b.WriteString("</g>\n")
	}
	b.WriteString("</svg>\n")
	return b.String(), nil
}

type line struct {
	name   string
	points []point
}

func seconds64(t time.Time) float64 { return float64(t.UnixMilli()) / 1000 }

func drawPanel(b *strings.Builder, p panel, curves []line, begin, end float64) {
	highest := 0.0
	for _, c := range curves {
		for _, v := range c.points {
			if !math.IsNaN(v.value) && !math.IsInf(v.value, 0) {
				highest = max(highest, v.value)
			}
		}
	}
	step := tick(highest)
	ceiling := max(math.Ceil(highest/step), 1) * step
	x := func(at float64) float64 { return left + (at-begin)/(end-begin)*(panelWidth-left-right) }
	y := func(v float64) float64 { return panelHeight - bottom - v/ceiling*(panelHeight-top-bottom) }

	text(b, 16, 18, "start", 12, "#24292f", p.Title)
	for v := 0.0; v <= ceiling*1.001; v += step {
		fmt.Fprintf(b, `<path d="M%.1f %.1fH%.1f" stroke="#d8dee4" stroke-width="0.5"/>`+"\n", left, y(v), panelWidth-right)
		text(b, left-5, y(v)+4, "end", 10, "#6e7781", unit(v, p.FieldConfig.Defaults.Unit))
	}
	for i, a := range story {
		at := x(begin + a.at*(end-begin))
		fmt.Fprintf(b, `<path d="M%.1f %.1fV%.1f" stroke="#6e7781" stroke-width="0.75" stroke-dasharray="2 3"/>`+"\n", at, top-8, panelHeight-bottom)
		text(b, at, top-11, "middle", 9, "#6e7781", fmt.Sprint(i+1))
	}
	along := left
	for i, c := range curves {
		colour := colours[i%len(colours)]
		var path strings.Builder
		last := math.Inf(-1)
		for _, v := range c.points {
			if math.IsNaN(v.value) || math.IsInf(v.value, 0) {
				continue
			}
			verb := "L"
			if v.at-last > 1.5 { // there is a gap
				verb = "M"
			}
			fmt.Fprintf(&path, "%s%.1f %.1f", verb, x(v.at), y(v.value))
			last = v.at
		}
		fmt.Fprintf(b, `<path d="%s" fill="none" stroke="%s" stroke-width="1.5" stroke-linejoin="round"/>`+"\n", path.String(), colour)
		fmt.Fprintf(b, `<rect x="%.1f" y="%.1f" width="12" height="3" fill="%s"/>`+"\n", along, panelHeight-22, colour)
		text(b, along+16, panelHeight-18, "start", 10, "#24292f", c.name)
		along += 30 + 5.2*float64(len(c.name))
	}
}

func text(b *strings.Builder, x, y float64, anchor string, size int, fill, s string) {
	fmt.Fprintf(b, `<text x="%.1f" y="%.1f" text-anchor="%s" font-size="%d" fill="%s">%s</text>`+"\n", x, y, anchor, size, fill, html.EscapeString(s))
}

// tick is a round step, of which up to five reach highest.
func tick(highest float64) float64 {
	if highest <= 0 {
		return 1
	}
	power := math.Pow(10, math.Floor(math.Log10(highest)))
	for _, m := range []float64{0.2, 0.5, 1, 2} {
		if highest <= 5*m*power {
			return m * power
		}
	}
	return 2 * power
}

func unit(v float64, of string) string {
	switch {
	case of == "ops":
		return fmt.Sprintf("%.3g/s", v)
	case of == "s" && v > 0 && v < 1:
		return fmt.Sprintf("%.3g ms", v*1000)
	case of == "s":
		return fmt.Sprintf("%.3g s", v)
	}
	return fmt.Sprintf("%.3g", v)
}

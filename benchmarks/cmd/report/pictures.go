package main

import (
	"bytes"
	"fmt"
	"image/color"
	"math"
	"os"
	"strings"
	"time"

	"gonum.org/v1/plot"
	"gonum.org/v1/plot/font"
	"gonum.org/v1/plot/plotter"
	"gonum.org/v1/plot/text"
	"gonum.org/v1/plot/vg"
	"gonum.org/v1/plot/vg/draw"
	"gonum.org/v1/plot/vg/vgsvg"

	"github.com/reauth-go/reauth/benchmarks"
)

// The pictures have a background of their own, so that they can be read on a page
// of any colour.
var (
	paper  = rgb(0xffffff)
	ink    = rgb(0x24292f)
	faint  = rgb(0x6e7781)
	hair   = rgb(0xd8dee4)
	ours   = rgb(0x0a7ea4)
	others = rgb(0x9aa5b1)
	good   = rgb(0x2da44e)
	bad    = rgb(0xcf222e)
	amber  = rgb(0xe3a008)
)

func rgb(v uint32) color.RGBA {
	return color.RGBA{R: uint8(v >> 16), G: uint8(v >> 8), B: uint8(v), A: 0xff}
}

const (
	width = 760 // of every picture, in points
	names = 152 // of that, for the names of the libraries
)

func drawPictures(f *figures) error {
	plot.DefaultFont = font.Font{Typeface: "Liberation", Variant: "Sans"}
	plotter.DefaultFont = plot.DefaultFont
	for _, picture := range []struct {
		name   string
		height vg.Length
		draw   func(*figures, draw.Canvas) error
	}{
		{"libraries", 330, drawLibraries},
		{"storm", 560, drawStorm},
		{"rollover", 420, drawRollover},
		{"stores", 300, drawStores},
	} {
		canvas := vgsvg.New(width, picture.height)
		c := draw.New(canvas)
		c.FillPolygon(paper, rectangle(c.Min.X, c.Min.Y, c.Max.X, c.Max.Y))
		if err := picture.draw(f, c); err != nil {
			return fmt.Errorf("picture %s: %w", picture.name, err)
		}
		var svg bytes.Buffer
		if _, err := canvas.WriteTo(&svg); err != nil {
			return err
		}
		// Liberation Sans has the metrics of Arial, which more readers have.
		shown := strings.ReplaceAll(svg.String(), "font-family:Liberation Sans", "font-family:'Liberation Sans',Arial,Helvetica,sans-serif")
		if err := os.WriteFile("pictures/"+picture.name+".svg", []byte(shown), 0o644); err != nil {
			return err
		}
	}
	return nil
}

// drawLibraries shows the cost of a request with each library, as a multiple of the
// floor's.
func drawLibraries(f *figures, c draw.Canvas) error {
	c = heading(c, "The cost that a library adds to a request",
		"time with a fresh token and no body, as a multiple of the floor's; lower is better")
	p := plot.New()
	p.BackgroundColor = paper
	p.HideY()
	axis(&p.X, "")
	p.X.Min = 0
	rows := shown[1:]
	p.Y.Min, p.Y.Max = -0.6, float64(len(rows))-0.4
	p.X.Padding, p.Y.Padding = 0, 0
	longest := 0.0
	for i, s := range rows {
		y := float64(len(rows) - 1 - i)
		fill := others
		switch s.library {
		case "reauth":
			fill = ours
		case "floor":
			fill = hair
		}
		for j, scene := range []string{hotScenes[0], hotScenes[1]} {
			b := benchmark{"HotPath", s.library, scene}
			ratio := f.ratio(b, benchmark{"HotPath", "floor", scene})
			longest = max(longest, ratio)
			top := y + 0.36 - 0.36*float64(j)
			shade := fill
			if j == 1 {
				shade = lighter(fill)
			}
			p.Add(bar{0, ratio, top - 0.32, top, shade})
			p.Add(caption{ratio, top - 0.16, fmt.Sprintf("%.2f: %s with %s headers", ratio, duration(f.median(b, nanoseconds)), []string{"3", "12"}[j]), ink, text.XLeft})
		}
	}
	p.X.Max = longest * 1.36
	p.Add(upright{1, faint})
	p.X.Tick.Marker = plot.ConstantTicks(every(math.Ceil(longest/12), longest))
	c, left := beside(c)
	data := p.DataCanvas(c)
	for i, s := range rows {
		lane(left, data, p, float64(len(rows)-1-i), plain(s.title), s.library == "reauth")
	}
	p.Draw(c)
	return nil
}

// drawStorm shows 10,000 callers whose token is refused or has expired, and 50 with a
// token server that fails.
func drawStorm(f *figures, c draw.Canvas) error {
	c = heading(c, "A storm, moment by moment",
		"virtual time: the API answers after 10 ms, a refresh takes 200 ms")
	legend(c, []swatch{{"refused by the API (401)", bad}, {"waiting for a refresh", amber}, {"answered", good}, {"waiting for a call that fails", faint}})
	c = draw.Crop(c, 0, 0, 0, -24)
	height := c.Max.Y - c.Min.Y
	panels := []struct {
		title, scenario string
		share           vg.Length     // of the height
		shown, tick     time.Duration // on the axis
	}{
		{"10,000 callers, whose token the API refuses (with the one challenge that azcore acts on)", "storm-refused", 0.37, 200 * time.Millisecond, 50 * time.Millisecond},
		{"10,000 callers, whose token is known to have expired", "storm-ended", 0.315, 200 * time.Millisecond, 50 * time.Millisecond},
		{"50 callers, whose token has expired, and a token server that fails", "failing-token-server", 0.315, 10 * time.Second, 2 * time.Second},
	}
	top := c.Max.Y
	for _, panel := range panels {
		bottom := top - panel.share*height
		area := draw.Canvas{Canvas: c.Canvas, Rectangle: vg.Rectangle{Min: vg.Point{X: c.Min.X, Y: bottom}, Max: vg.Point{X: c.Max.X, Y: top}}}
		top = bottom
		var outcomes []benchmarks.Outcome
		for _, s := range shown {
			if o, ok := f.outcome(panel.scenario, s.library); ok {
				outcomes = append(outcomes, o)
			}
		}
		drawLanes(area, panel.title, outcomes, panel.shown, panel.tick)
	}
	return nil
}

// drawLanes shows one scenario, a lane for each library.
func drawLanes(c draw.Canvas, title string, outcomes []benchmarks.Outcome, shown, tick time.Duration) {
	end := shown * 8 / 5 // with room for the text of a lane

	c.FillText(style(11, ink, text.XLeft, text.YTop), vg.Point{X: c.Min.X, Y: c.Max.Y - 6}, title)
	c = draw.Crop(c, 0, 0, 0, -24)
	p := plot.New()
	p.BackgroundColor = paper
	p.HideY()
	axis(&p.X, "")
	p.X.Min, p.X.Max = 0, end.Seconds()
	p.Y.Min, p.Y.Max = -0.5, float64(len(outcomes))-0.5
	p.X.Padding, p.Y.Padding = 0, 0
	var ticks []plot.Tick
	for d := time.Duration(0); d <= shown; d += tick {
		ticks = append(ticks, plot.Tick{Value: d.Seconds(), Label: span(d)})
	}
	p.X.Tick.Marker = plot.ConstantTicks(ticks)
	for i, o := range outcomes {
		y := float64(len(outcomes) - 1 - i)
		low, high := y-0.3, y+0.3
		for _, s := range o.Spans {
			fill := map[string]color.RGBA{
				benchmarks.SpanRefused: bad, benchmarks.SpanRefresh: amber, benchmarks.SpanAnswered: good, benchmarks.SpanFailed: faint,
			}[s.Kind]
			until := s.End
			if s.Kind == benchmarks.SpanFailed {
				until -= end / 800 // so that calls can be told apart
			}
			p.Add(bar{s.Start.Seconds(), until.Seconds(), low, high, fill})
		}
		p.Add(caption{o.Last.Seconds() + end.Seconds()/120, y, verdict(o), ink, text.XLeft})
	}
	c, left := beside(c)
	data := p.DataCanvas(c)
	for i, o := range outcomes {
		lane(left, data, p, float64(len(outcomes)-1-i), titleOf(o.Library), o.Library == "reauth")
	}
	p.Draw(c)
}

// verdict describes how a storm ended.
func verdict(o benchmarks.Outcome) string {
	switch {
	case o.Answered == o.Callers:
		return fmt.Sprintf("%s, all answered at %s", count(o.Refreshes, "refresh", "refreshes"), span(o.Last))
	case o.Refused == o.Callers:
		return fmt.Sprintf("no refresh, all get the 401 at %s", span(o.Last))
	}
	return fmt.Sprintf("%s, last error at %s", count(o.Refreshes, "call", "calls"), span(o.Last))
}

// drawRollover shows how long requests take while their token is replaced repeatedly.
func drawRollover(f *figures, c draw.Canvas) error {
	c = heading(c, "Latency across rollovers",
		"the slowest request of each second; 100 requests a second, tokens of one minute, an API of 10 ms, refreshes of 200 ms; virtual time")
	type row struct {
		title string
		o     benchmarks.Outcome
	}
	var rows []row
	if o, ok := f.outcome("rollover", "none"); ok {
		rows = append(rows, row{"reauth, a token that does not expire", o})
	}
	for _, s := range shown {
		if o, ok := f.outcome("rollover", s.library); ok {
			rows = append(rows, row{plain(s.title), o})
		}
	}
	height := (c.Max.Y - c.Min.Y - 16) / vg.Length(len(rows))
	for i, r := range rows {
		last := i == len(rows)-1
		area := draw.Canvas{Canvas: c.Canvas, Rectangle: vg.Rectangle{
			Min: vg.Point{X: c.Min.X, Y: c.Max.Y - vg.Length(i+1)*height},
			Max: vg.Point{X: c.Max.X, Y: c.Max.Y - vg.Length(i)*height},
		}}
		if last {
			area.Min.Y -= 16 // for the labels of the axis
		}
		p := plot.New()
		p.BackgroundColor = paper
		axis(&p.X, "")
		axis(&p.Y, "")
		p.X.Min, p.X.Max = 0, float64(len(r.o.Seconds))*1.3
		p.Y.Min, p.Y.Max = 0, 250
		p.X.Padding, p.Y.Padding = 0, 0
		var minutes []plot.Tick
		for s := 0; s <= len(r.o.Seconds); s += 60 {
			t := plot.Tick{Value: float64(s)}
			if last {
				t.Label = fmt.Sprintf("%d min", s/60)
			}
			minutes = append(minutes, t)
		}
		p.X.Tick.Marker = plot.ConstantTicks(minutes)
		p.Y.Tick.Marker = plot.ConstantTicks([]plot.Tick{{Value: 0, Label: "0"}, {Value: 100, Label: "100"}, {Value: 200, Label: "200 ms"}})
		p.Add(level{100, hair}, level{200, hair})
		fill := others
		if r.o.Library == "reauth" {
			fill = ours
		}
		for from := 0; from < len(r.o.Seconds); {
			to := from + 1
			for to < len(r.o.Seconds) && r.o.Seconds[to] == r.o.Seconds[from] {
				to++
			}
			p.Add(bar{float64(from), float64(to), 0, float64(r.o.Seconds[from].Milliseconds()), fill})
			from = to
		}
		right := float64(len(r.o.Seconds)) * 1.02
		p.Add(caption{right, 150, "worst " + span(r.o.Worst), ink, text.XLeft})
		p.Add(caption{right, 70, "99.9 % within " + span(r.o.P999), faint, text.XLeft})
		p.Y.Tick.Label.Font.Size = 8
		area = draw.Crop(area, 0, 0, 0, -10)
		area, left := beside(area)
		lane(left, p.DataCanvas(area), p, 100, r.title, r.o.Library == "reauth")
		p.Draw(area)
	}
	return nil
}

// heading writes a title and a line below it, and returns the rest of the canvas.
func heading(c draw.Canvas, title, line string) draw.Canvas {
	c = draw.Crop(c, 18, -18, 14, -16)
	big := style(16, ink, text.XLeft, text.YTop)
	big.Font.Weight = 2 // bold
	c.FillText(big, vg.Point{X: c.Min.X, Y: c.Max.Y}, title)
	c.FillText(style(10.5, faint, text.XLeft, text.YTop), vg.Point{X: c.Min.X, Y: c.Max.Y - 23}, line)
	return draw.Crop(c, 0, 0, 0, -46)
}

// A swatch is an entry of a legend.
type swatch struct {
	title string
	fill  color.RGBA
}

// legend writes what the colours mean in one line at the top of the canvas.
func legend(c draw.Canvas, swatches []swatch) {
	x := c.Min.X
	for _, s := range swatches {
		c.FillPolygon(s.fill, rectangle(x, c.Max.Y-10, x+10, c.Max.Y))
		st := style(10, ink, text.XLeft, text.YCenter)
		c.FillText(st, vg.Point{X: x + 15, Y: c.Max.Y - 5}, s.title)
		x += 15 + st.Width(s.title) + 22
	}
}

// beside splits off the room for the names of the libraries.
func beside(c draw.Canvas) (rest, left draw.Canvas) {
	return draw.Crop(c, names, 0, 0, 0), draw.Crop(c, 0, -(c.Max.X - c.Min.X - names), 0, 0)
}

// lane writes the name of what is drawn at y of the plot.
func lane(left, data draw.Canvas, p *plot.Plot, y float64, name string, bold bool) {
	s := style(10.5, ink, text.XLeft, text.YCenter)
	if bold {
		s.Font.Weight = 2
		s.Color = ours
	}
	_, toY := p.Transforms(&data)
	left.FillText(s, vg.Point{X: left.Min.X, Y: toY(y)}, name)
}

func axis(a *plot.Axis, label string) {
	a.Label.Text = label
	a.Color = hair
	a.Tick.Color = hair
	a.Tick.Length = 3
	a.Tick.Label.Color = faint
	a.Tick.Label.Font.Size = 9
}

func style(points vg.Length, fill color.Color, x text.XAlignment, y text.YAlignment) text.Style {
	f := plot.DefaultFont
	f.Size = points
	return text.Style{Color: fill, Font: f, XAlign: x, YAlign: y, Handler: plot.DefaultTextHandler}
}

// every returns ticks in steps up to the end.
func every(step, end float64) []plot.Tick {
	var ticks []plot.Tick
	for v := 0.0; v <= end; v += step {
		ticks = append(ticks, plot.Tick{Value: v, Label: fmt.Sprintf("%g", v)})
	}
	return ticks
}

// A bar is a rectangle, in the plot's own units.
type bar struct {
	left, right, low, high float64
	fill                   color.RGBA
}

// Plot implements [plot.Plotter].
func (b bar) Plot(c draw.Canvas, p *plot.Plot) {
	x, y := p.Transforms(&c)
	c.FillPolygon(b.fill, rectangle(x(b.left), y(b.low), x(b.right), y(b.high)))
}

// A caption is a line of text in a plot.
type caption struct {
	x, y  float64
	text  string
	fill  color.RGBA
	align text.XAlignment
}

// Plot implements [plot.Plotter].
func (t caption) Plot(c draw.Canvas, p *plot.Plot) {
	x, y := p.Transforms(&c)
	c.FillText(style(9.5, t.fill, t.align, text.YCenter), vg.Point{X: x(t.x) + 5, Y: y(t.y)}, t.text)
}

// An upright is a line across the plot at x.
type upright struct {
	x    float64
	fill color.RGBA
}

// Plot implements [plot.Plotter].
func (u upright) Plot(c draw.Canvas, p *plot.Plot) {
	x, _ := p.Transforms(&c)
	line := draw.LineStyle{Color: u.fill, Width: 0.75, Dashes: []vg.Length{3, 3}}
	c.StrokeLine2(line, x(u.x), c.Min.Y, x(u.x), c.Max.Y)
}

// A level is a line across the plot at y.
type level struct {
	y    float64
	fill color.RGBA
}

// Plot implements [plot.Plotter].
func (l level) Plot(c draw.Canvas, p *plot.Plot) {
	_, y := p.Transforms(&c)
	c.StrokeLine2(draw.LineStyle{Color: l.fill, Width: 0.5}, c.Min.X, y(l.y), c.Max.X, y(l.y))
}

func rectangle(left, low, right, high vg.Length) []vg.Point {
	return []vg.Point{{X: left, Y: low}, {X: right, Y: low}, {X: right, Y: high}, {X: left, Y: high}}
}

// lighter mixes a colour with as much white.
func lighter(c color.RGBA) color.RGBA {
	half := func(v uint8) uint8 { return uint8((int(v) + 255) / 2) }
	return color.RGBA{R: half(c.R), G: half(c.G), B: half(c.B), A: c.A}
}

func titleOf(library string) string {
	for _, s := range shown {
		if s.library == library {
			return plain(s.title)
		}
	}
	return library
}

// plain is a title without Markdown.
func plain(title string) string { return strings.Trim(title, "*") }

// Metrics has a Prometheus endpoint for what reauth does, and a dashboard for Grafana.
//
//	go run ./examples/metrics
//
// starts a token server, an API, and three replicas of a program that calls it for forty
// users. Every two minutes they go through the same faults. Prometheus scrapes the address
// that the program prints. With -once, a few seconds of it, and then the metrics are printed.
package main

import (
	"bufio"
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/signal"
	"strings"
	"syscall"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"
	exporter "go.opentelemetry.io/otel/exporters/prometheus"
	"go.opentelemetry.io/otel/sdk/metric"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	context.AfterFunc(ctx, stop) // a second signal ends the program at once
	if err := run(ctx, os.Stdout, os.Args[1:]); err != nil && !errors.Is(err, flag.ErrHelp) {
		fmt.Fprintln(os.Stderr, "metrics:", err)
		stop()
		os.Exit(1)
	}
}

func run(ctx context.Context, out io.Writer, args []string) error {
	flags := flag.NewFlagSet("metrics", flag.ContinueOnError)
	listen := flags.String("listen", "127.0.0.1:9464", "the address of the Prometheus endpoint")
	once := flags.Bool("once", false, "go through the faults once, in seconds, and print the metrics")
	draw := flags.Bool("draw", false, "go through the faults once, with a Prometheus of its own, and draw dashboard.svg")
	if err := flags.Parse(args); err != nil {
		return err
	}
	if *once || *draw {
		*listen = "127.0.0.1:0"
	}

	// The metrics: OpenTelemetry's SDK, read by Prometheus.
	registry := prometheus.NewRegistry()
	reader, err := exporter.New(exporter.WithRegisterer(registry), exporter.WithoutScopeInfo())
	if err != nil {
		return err
	}
	meters := metric.NewMeterProvider(metric.WithReader(reader))
	listener, err := net.Listen("tcp", *listen)
	if err != nil {
		return err
	}
	mux := http.NewServeMux()
	mux.Handle("GET /metrics", promhttp.HandlerFor(registry, promhttp.HandlerOpts{}))
	page := &http.Server{Handler: mux, ReadHeaderTimeout: time.Minute}
	defer page.Close()
	go func() { _ = page.Serve(listener) }() // until Close
	target := listener.Addr().String()

	switch {
	case *draw:
		return drawDashboard(ctx, out, meters, target)
	case *once:
		if err := play(ctx, meters, 5*time.Second); err != nil {
			return err
		}
		return printMetrics(ctx, out, target)
	}
	fmt.Fprintf(out, "Prometheus endpoint: http://%s/metrics\n", target)
	for ctx.Err() == nil {
		if err := play(ctx, meters, storyLength); err != nil && ctx.Err() == nil {
			return err
		}
	}
	return nil
}

// printMetrics prints what a scrape has about reauth, without the buckets of histograms.
func printMetrics(ctx context.Context, out io.Writer, target string) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+target+"/metrics", nil)
	if err != nil {
		return err
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	lines := bufio.NewScanner(resp.Body)
	for lines.Scan() {
		if line := lines.Text(); strings.HasPrefix(line, "reauth_") && !strings.Contains(line, "_bucket{") {
			fmt.Fprintln(out, line)
		}
	}
	return lines.Err()
}

// Package otelhttp uses reauth between two transports of OpenTelemetry's otelhttp.
package otelhttp

import (
	"net/http"
	"slices"

	"go.opentelemetry.io/contrib/instrumentation/net/http/otelhttp"
	"go.opentelemetry.io/otel/metric/noop"

	"github.com/reauth-go/reauth"
)

// New returns a Transport for cfg, and a client that uses it. A call of the client is a
// span, which lasts as long as its caller waits. Below that is a span for each time that
// the request is sent: two, if the first was refused. The API gets the context of those,
// and the metrics count them.
//
// A refresh is a span if the Refresher's client has an otelhttp transport too. It is then
// below the call that started it, even if others wait for it as well.
func New(cfg reauth.Config, opts ...otelhttp.Option) (*http.Client, *reauth.Transport, error) {
	cfg.Base = otelhttp.NewTransport(cfg.Base, opts...)
	transport, err := reauth.New(cfg)
	if err != nil {
		return nil, nil, err
	}
	// The metrics of both have the same name. Those of calls would count each twice.
	above := append(slices.Clip(opts), otelhttp.WithMeterProvider(noop.NewMeterProvider()))
	return &http.Client{Transport: otelhttp.NewTransport(transport, above...)}, transport, nil
}

package command

import (
	"context"
	"log/slog"
	"strings"
	"time"

	"go.opentelemetry.io/otel"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/exporters/otlp/otlptrace/otlptracehttp"
	"go.opentelemetry.io/otel/sdk/resource"
	"go.opentelemetry.io/otel/sdk/trace"
)

// flushTime is how long the last spans may take on their way when kedge ends.
const flushTime = 5 * time.Second

// sendTraces sends the spans of this process to a collector until the func that
// it returns is called. A collector that does not answer harms nothing: its
// spans are lost, and the log says so.
func sendTraces(ctx context.Context, endpoint string, log *slog.Logger) (stop func(), err error) {
	// As OTEL_EXPORTER_OTLP_ENDPOINT does, the URL may leave the path of traces out.
	const path = "/v1/traces"
	endpoint = strings.TrimSuffix(strings.TrimSuffix(endpoint, "/"), path) + path
	exporter, err := otlptracehttp.New(ctx, otlptracehttp.WithEndpointURL(endpoint), otlptracehttp.WithTimeout(flushTime))
	if err != nil {
		return nil, usagef("telemetry.otlpEndpoint: %v", err)
	}
	provider := trace.NewTracerProvider(trace.WithBatcher(exporter), trace.WithResource(resource.NewSchemaless(
		attribute.String("service.name", "kedge"), attribute.String("service.version", Version),
	)))
	otel.SetErrorHandler(otel.ErrorHandlerFunc(func(err error) { log.Warn("traces not sent", "err", err) }))
	otel.SetTracerProvider(provider)
	return func() {
		ctx, cancel := context.WithTimeout(context.Background(), flushTime)
		defer cancel()
		if err := provider.Shutdown(ctx); err != nil {
			log.Warn("traces not sent", "err", err)
		}
	}, nil
}

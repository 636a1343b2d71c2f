package syncer

import (
	"context"

	"go.opentelemetry.io/otel"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/trace"

	"github.com/kedge-sync/kedge"
)

var tracer = otel.Tracer("github.com/kedge-sync/kedge/syncer")

// span begins a span of the run: "run", "entity" or "page". The names in it are
// those of the config and the mapping.
func (r *run) span(ctx context.Context, name string, attrs ...attribute.KeyValue) (context.Context, trace.Span) {
	ctx, span := tracer.Start(ctx, name)
	if span.IsRecording() {
		span.SetAttributes(attribute.String("run", r.id), attribute.String("integration", r.name))
		span.SetAttributes(attrs...)
	}
	return ctx, span
}

// span begins a span of the entity.
func (e *entity) span(ctx context.Context, name string, d Direction) (context.Context, trace.Span) {
	return e.run.span(ctx, name, attribute.String("entity", e.plan.Name), attribute.String("direction", string(d)))
}

// endSpan ends a span; of an error it tells the kind.
func endSpan(span trace.Span, err error) {
	if err != nil {
		span.SetStatus(codes.Error, kedge.KindOf(err).String())
	}
	span.End()
}

package httpclient

import (
	"net/http"

	"go.opentelemetry.io/otel"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/trace"
)

var tracer = otel.Tracer("github.com/kedge-sync/kedge/internal/httpclient")

// roundTrip sends r once, in a span from its begin to the header of the answer.
// The span names the connection and never the address.
func (c *Client) roundTrip(r *http.Request) (*http.Response, error) {
	ctx, span := tracer.Start(r.Context(), "request", trace.WithSpanKind(trace.SpanKindClient))
	defer span.End()
	if !span.IsRecording() {
		return c.base.RoundTrip(r)
	}
	span.SetAttributes(attribute.String("connection", c.opts.Name), attribute.String("http.request.method", r.Method))
	resp, err := c.base.RoundTrip(r.WithContext(ctx))
	switch {
	case err != nil:
		span.SetStatus(codes.Error, "no answer")
	default:
		span.SetAttributes(attribute.Int("http.response.status_code", resp.StatusCode))
		if resp.StatusCode >= 400 {
			span.SetStatus(codes.Error, http.StatusText(resp.StatusCode))
		}
	}
	return resp, err
}

package odata

import (
	"context"
	"net/http"
	"slices"
	"strings"

	"github.com/kedge-sync/kedge"
	"github.com/kedge-sync/kedge/connectors/odata/csdl"
	"github.com/kedge-sync/kedge/internal/httpclient"

	codec "github.com/kedge-sync/kedge/connectors/odata/batch"
)

// batchFormat settles in which form n requests about e go to the service
// together; 0 means that they do not.
func (d *Driver) batchFormat(ctx context.Context, m *metadata, e *entity, n int) (codec.Format, error) {
	switch e.opts.Batch {
	case none:
		return 0, nil
	case multipart:
		return codec.Multipart, nil
	case asJSON:
		return codec.JSON, nil
	}
	if n < 2 {
		return 0, nil
	}
	format := d.announcedFormat(m)
	known := d.findings.get(ctx, m.model.Hash, wholeService, d.env.Now())
	switch {
	case format == 0 || known.Batch == failed:
		return 0, nil
	case known.Batch == found:
		return format, nil
	}
	why, err := d.testBatch(ctx, e, format)
	switch {
	case kedge.KindOf(err) == kedge.Transient && statusOf(err) != 0:
		return 0, nil // it fails today; without batches it may go on
	case err != nil:
		return 0, err
	}
	result := found
	if why != "" {
		result, format = failed, 0
	}
	d.findings.update(ctx, m.model.Hash, wholeService, d.env.Now(), func(f *finding) { f.Batch, f.BatchWhy = result, why })
	return format, nil
}

// announcedFormat is the form of batches that the metadata speaks for.
func (d *Driver) announcedFormat(m *metadata) codec.Format {
	support := m.model.Batch
	asked := func(media string) bool {
		return slices.ContainsFunc(support.Formats, func(f string) bool { return strings.HasPrefix(strings.ToLower(f), media) })
	}
	switch {
	case support.Supported == csdl.No:
		return 0
	case asked("application/json"):
		return codec.JSON
	case asked("multipart/mixed"):
		return codec.Multipart
	case m.model.Version == "4.01" && d.cfg.MaxVersion == "4.01":
		return codec.JSON
	}
	return codec.Multipart
}

// testBatch reads one row by a batch. why tells what is wrong, "" if nothing is.
func (d *Driver) testBatch(ctx context.Context, e *entity, format codec.Format) (why string, err error) {
	company, err := d.companyPath(ctx)
	if err != nil {
		return "", err
	}
	w := &writer{d: d, e: e, company: company}
	var q query
	e.selection(&q, nil)
	q.add("$top", "1")
	r := &request{method: http.MethodGet, path: w.setPath("", &q), effect: httpclient.Read}
	answer, a := d.sendBatch(ctx, opBatch, format, []*request{r}, false, d.plainJSON.Load())
	if a != nil && a.status == 0 {
		switch kedge.KindOf(a.err) {
		case kedge.Invalid, kedge.TooLarge:
			return "the answer to a batch cannot be read", nil
		}
		return "", a.err
	}
	why = "the service has no batches"
	if a == nil {
		one := answer.Single(1, false)[0]
		if one.State == codec.Answered && one.Part.Status == http.StatusOK {
			return "", nil
		}
		why, a = "a batch with one read did not answer it", replyOf(one.Part)
	}
	if a.status >= 400 {
		switch e := w.fault(r, a); e.Kind {
		case kedge.Transient, kedge.Throttled, kedge.Unauthorized:
			return "", e
		}
	}
	return why, nil
}

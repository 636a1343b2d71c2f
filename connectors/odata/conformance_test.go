package odata_test

import (
	"context"
	"maps"
	"testing"

	"github.com/kedge-sync/kedge"
	"github.com/kedge-sync/kedge/connectors"
	"github.com/kedge-sync/kedge/connectors/conntest"
	"github.com/kedge-sync/kedge/internal/odatatest"
)

// A system is a service as the kit wants it.
type system struct {
	t       testing.TB
	service *odatatest.Service
	url     string
	options map[string]any
}

func (s *system) Driver() connectors.Driver {
	options := map[string]any{"auth": map[string]any{"type": "basic", "username": "kit", "password": kitPassword}}
	maps.Copy(options, s.options)
	return newDriver(s.t, s.url, options)
}

const kitPassword = "kit-password-0815"

func (s *system) Secrets() []string { return []string{kitPassword} }

func (s *system) Put(_ context.Context, entity string, records ...kedge.Record) error {
	return s.service.Put(entity, records...)
}

func (s *system) Delete(_ context.Context, entity string, keys ...kedge.Key) error {
	return s.service.Delete(entity, keys...)
}

func (s *system) Calls() int { return s.service.Calls() }

func (s *system) Hold(_ context.Context, entity string, r kedge.Record) (func() error, error) {
	commit, err := s.service.Hold(entity, r)
	return func() error { commit(); return nil }, err
}

func (s *system) Fail(f conntest.Fault) (func(), bool) {
	return s.service.Fail(odatatest.Failure{Status: f.Status, RetryAfter: f.RetryAfter, Text: f.Text, Cut: f.Cut, Garbage: f.Garbage}), true
}

// LoseReply cuts the answers, which come after the work was done.
func (s *system) LoseReply() func() {
	return s.service.Fail(odatatest.Failure{Cut: true})
}

// forgetful is a system whose history can be forgotten.
type forgetful struct{ *system }

func (s forgetful) Expire(context.Context, string) error {
	s.service.Expire()
	return nil
}

func startSystem(o odatatest.Options, options map[string]any) func(testing.TB) conntest.System {
	return func(t testing.TB) conntest.System {
		o := o
		o.Entities = []kedge.Entity{conntest.Widgets, conntest.Parts}
		s := odatatest.New(o)
		sys := &system{t: t, service: s, url: s.Start(t), options: options}
		if o.NoDelta || options["tracking"] == "watermark" || options["tracking"] == "full" {
			return sys
		}
		return forgetful{sys}
	}
}

// lacking are the checks that no OData service can run here.
func lacking() map[string]string {
	const noTx = "a service is not kedge's own database"
	return map[string]string{
		"life/Ack":        "nothing has to be told to a service",
		"write/ServerKey": "the service makes no keys that are texts",
		"write/Replay":    "the service does not know repeated requests",
		"tx/Rollback":     noTx, "tx/Neighbours": noTx, "tx/OneBadKeepsTx": noTx,
	}
}

func TestConformance(t *testing.T) {
	const (
		noDeletes = "a watermark does not report deletions"
		notYet    = "it is not known before the first read whether there are delta links"
		noHistory = "a watermark needs no history"
	)
	for name, tt := range map[string]struct {
		service odatatest.Options
		options map[string]any
		lacks   map[string]string
	}{
		"delta":                    {options: map[string]any{"tracking": "delta"}},
		"delta 4.01":               {service: odatatest.Options{Version: odatatest.V401}, options: map[string]any{"tracking": "delta"}},
		"auto":                     {lacks: map[string]string{"delta/Deletes": notYet}},
		"watermark":                {options: map[string]any{"tracking": "watermark"}, lacks: map[string]string{"delta/Deletes": noDeletes, "delta/Expired": noHistory}},
		"repeatable":               {service: odatatest.Options{Repeatable: true}, options: map[string]any{"tracking": "delta", "batch": "none"}},
		"batches of JSON":          {service: odatatest.Options{Batch: "json"}, options: map[string]any{"tracking": "delta", "batch": "json"}},
		"batches of many parts":    {service: odatatest.Options{Batch: "multipart"}, options: map[string]any{"tracking": "delta", "batch": "multipart"}},
		"auto without delta links": {service: odatatest.Options{NoDelta: true}, lacks: map[string]string{"delta/Deletes": noDeletes, "delta/Expired": noHistory}},
	} {
		t.Run(name, func(t *testing.T) {
			lacks := lacking()
			maps.Copy(lacks, tt.lacks)
			if tt.service.Repeatable {
				delete(lacks, "write/Replay")
			}
			conntest.Run(t, conntest.Harness{Start: startSystem(tt.service, tt.options), Lacks: lacks})
		})
	}
}

// unfit are the quirks that no reader can hide, with the reason. TestQuirks
// has them in a story with a sweep, which heals what they lose.
var unfit = map[string]string{
	odatatest.OffsetTokens + "/delta":          "a tracked read has to follow the service's links, which lose rows",
	odatatest.DeltaForgets + "/delta":          "an empty delta cannot be told from no change",
	odatatest.BareID + "/delta":                "bare composite keys with commas are ambiguous",
	odatatest.IgnoreMaxPageSize + "/delta":     "the rest of an answer needs no request that could fail",
	odatatest.IgnoreMaxPageSize + "/watermark": "the rest of an answer needs no request that could fail",
	odatatest.OddConstraint + "/delta":         "without its constraint a lookup is another field",
	odatatest.OddConstraint + "/watermark":     "without its constraint a lookup is another field",
	odatatest.TextTimeCompare + "/watermark":   "a time filter finds too little, which is tested for the version field only",
}

// onlyFor are the quirks that matter to one way of tracking only.
var onlyFor = map[string]string{
	odatatest.EarlyDeltaLink: "delta", odatatest.DeltaIgnoresSelect: "delta", odatatest.DeltaOutsideFilter: "delta",
	odatatest.MixedRemoved: "delta", odatatest.NextAfterTop: "watermark", odatatest.NoOr: "watermark", odatatest.CaseInsensitive: "watermark",
}

// Each quirk of reading must not change what is read.
func TestConformanceWithQuirks(t *testing.T) {
	for _, quirk := range names(odatatest.ReadQuirks()) {
		for _, tracking := range []string{"delta", "watermark"} {
			if only := onlyFor[quirk]; unfit[quirk+"/"+tracking] != "" || only != "" && only != tracking {
				continue
			}
			lacks := lacking()
			options := map[string]any{"tracking": tracking}
			if tracking == "watermark" {
				lacks["delta/Deletes"] = "a watermark does not report deletions"
				lacks["delta/Expired"] = "a watermark needs no history"
			}
			switch quirk {
			case odatatest.NoOr:
				options["orFilters"] = false
			case odatatest.CaseInsensitive:
				options["pushStringNegation"], options["paging"] = false, "server"
				lacks["keys/Case"] = "keys that differ only in case cannot be there"
			}
			t.Run(quirk+"/"+tracking, func(t *testing.T) {
				o := odatatest.Options{Quirks: []string{quirk}, PageCap: 30}
				conntest.Run(t, conntest.Harness{Start: startSystem(o, options), Lacks: lacks})
			})
		}
	}
}

package ingest_test

import (
	"fmt"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/gorilla/mux"

	"github.com/kedge-sync/kedge/ingest"
	"github.com/kedge-sync/kedge/ingest/custom"
	"github.com/kedge-sync/kedge/internal/httpapi"
	"github.com/kedge-sync/kedge/internal/store/storetest"
)

func BenchmarkBulkNew(b *testing.B) {
	s := storetest.SQLite(b, ingest.Migrations()...)
	svc, err := ingest.New(ingest.Options{Store: s})
	if err != nil {
		b.Fatal(err)
	}
	ctx := b.Context()
	if _, err := svc.CreateGroup(ctx, ingest.Group{Name: "HR", Prefix: "hr"}); err != nil {
		b.Fatal(err)
	}
	if _, err := svc.CreateSchema(ctx, ingest.Schema{Group: "HR", Table: "employee", Schema: []byte(employeeSchema)}); err != nil {
		b.Fatal(err)
	}
	t, err := svc.Table(ctx, "employee")
	if err != nil {
		b.Fatal(err)
	}
	var list []string
	for i := range 3800 {
		list = append(list, fmt.Sprintf(`{"employeeId":"b%d","active":true,"salary":%d.50,"employee":{"username":"%s","email":"x%d"}}`, i, i, strings.Repeat("lorem ipsum ", 80), i))
	}
	body := []byte("[" + strings.Join(list, ",") + "]")
	b.ResetTimer()
	for n := range b.N {
		if _, err := svc.Push(ctx, &custom.Push{Op: custom.Bulk, Table: t, GroupKey: fmt.Sprint(n), Body: body, ConfirmRemoved: -1}); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(float64(b.Elapsed().Microseconds())/float64(b.N)/3800, "µs/row")
}

func BenchmarkUnchanged(b *testing.B) {
	s := storetest.SQLite(b, ingest.Migrations()...)
	svc, err := ingest.New(ingest.Options{Store: s})
	if err != nil {
		b.Fatal(err)
	}
	ctx := b.Context()
	if _, err := svc.CreateGroup(ctx, ingest.Group{Name: "HR", Prefix: "hr"}); err != nil {
		b.Fatal(err)
	}
	if _, err := svc.CreateSchema(ctx, ingest.Schema{Group: "HR", Table: "employee", Schema: []byte(employeeSchema)}); err != nil {
		b.Fatal(err)
	}
	if _, err := svc.CreateIntegration(ctx, ingest.Integration{Name: "x", Tables: []string{"hr_employee"}}); err != nil {
		b.Fatal(err)
	}
	k, err := svc.CreateKey(ctx, "x", ingest.Key{Name: "k"})
	if err != nil {
		b.Fatal(err)
	}
	r := mux.NewRouter()
	svc.Routes(r)
	h := httpapi.WithRequestID(r)
	text := strings.Repeat("lorem ipsum ", 80)
	var n atomic.Int64
	b.SetParallelism(32)
	b.ResetTimer()
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			i := n.Add(1) % 2000
			body := fmt.Sprintf(`{"employeeId":"b%d","active":true,"salary":%d.50,"employee":{"username":"%s","email":"x%d"}}`, i, i, text, i)
			req := httptest.NewRequest("POST", "/integration/custom-data/event/hr_employee", strings.NewReader(body))
			req.Header.Set("X-Ingest-Key", k.Key)
			rec := httptest.NewRecorder()
			h.ServeHTTP(rec, req)
			if rec.Code != 200 {
				b.Error(rec.Body.String())
			}
		}
	})
}

func BenchmarkEvents(b *testing.B) {
	s := storetest.SQLite(b, ingest.Migrations()...)
	svc, err := ingest.New(ingest.Options{Store: s})
	if err != nil {
		b.Fatal(err)
	}
	ctx := b.Context()
	if _, err := svc.CreateGroup(ctx, ingest.Group{Name: "HR", Prefix: "hr"}); err != nil {
		b.Fatal(err)
	}
	if _, err := svc.CreateSchema(ctx, ingest.Schema{Group: "HR", Table: "employee", Schema: []byte(employeeSchema)}); err != nil {
		b.Fatal(err)
	}
	t, err := svc.Table(ctx, "employee")
	if err != nil {
		b.Fatal(err)
	}
	text := strings.Repeat("lorem ipsum ", 80)
	var n atomic.Int64
	b.SetParallelism(32)
	b.ResetTimer()
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			i := n.Add(1)
			body := fmt.Appendf(nil, `{"employeeId":"b%d","active":true,"salary":%d.50,"employee":{"username":"%s","email":"x%d"}}`, i, i, text, i)
			if _, err := svc.Push(ctx, &custom.Push{Op: custom.Event, Table: t, Body: body, KeyID: "k", RequestID: "01a2324a-e5f5-72c4-9e35-7a1ac2580a21", ConfirmRemoved: -1}); err != nil {
				b.Error(err)
			}
		}
	})
}

package payload_test

import (
	"bytes"
	"encoding/json"
	"math"
	"net/http"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/kedge-sync/kedge"
	"github.com/kedge-sync/kedge/subscriptions/payload"
)

func message() *payload.Message {
	return &payload.Message{
		ID: payload.MessageID(1042, "evt_1", "sub_1"), Type: "tasks.update", At: time.Date(2026, 3, 1, 9, 30, 0, 123e6, time.UTC), Sequence: 1042,
		Subscription: "sub_1", Account: "acme", User: "u7",
		Data: payload.Data{Event: "evt_1", Resource: "tasks/t-17", Key: []byte(`{"id":"t-17"}`), Operation: kedge.OpUpdate, Parent: "projects/proj1",
			Origin: "crm", Changed: []string{"status"}, Record: []byte(`{"id":"t-17","status":"done"}`)},
	}
}

func TestStandard(t *testing.T) {
	m := message()
	got := payload.Form{Method: "POST", Format: "standard"}.Request(m)
	want := `{"id":"` + m.ID + `","type":"tasks.update","timestamp":"2026-03-01T09:30:00.123Z","sequence":1042,"subscription":"sub_1","account":"acme","user":"u7",` +
		`"data":{"event":"evt_1","resource":"tasks/t-17","key":{"id":"t-17"},"operation":"update","parent":"projects/proj1","origin":"crm","changed":["status"],"record":{"id":"t-17","status":"done"}}}`
	if string(got.Body) != want || got.Header.Get("Content-Type") != "application/json" {
		t.Errorf("%s\n%s\nwant %s", got.Header, got.Body, want)
	}
	m.Gap, m.Collapsed = &payload.Gap{ID: 3, From: 7, To: 9, Count: -1, Reason: "dead"}, 5
	m.Data = payload.Data{Resource: "tasks/t-17", Transition: "left", Truncated: true, Link: "https://x/", Changed: []string{}}
	got = payload.Form{Method: "POST", Format: "standard"}.Request(m)
	if want := `"collapsed":5,"gap":{"id":3,"from":7,"to":9,"count":null,"reason":"dead"},"data":{"resource":"tasks/t-17","transition":"left","changed":[],"truncated":true,"link":"https://x/"}}`; !strings.HasSuffix(string(got.Body), want) {
		t.Errorf("%s\nwant %s", got.Body, want)
	}
}

func TestCloudEvents(t *testing.T) {
	m := message()
	m.Account = `ac"me 100% ü`
	m.Gap = &payload.Gap{From: 1, To: 2, Count: 2, Reason: "dead"}
	form := payload.Form{Method: "POST", Format: "cloudevents-structured", Source: "https://kedge.example.com"}
	got := form.Request(m)
	var ce map[string]any
	if err := json.Unmarshal(got.Body, &ce); err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]any{
		"specversion": "1.0", "id": m.ID, "source": "https://kedge.example.com/resources/tasks", "type": "kedge.tasks.update", "subject": "tasks/t-17",
		"time": "2026-03-01T09:30:00.123Z", "datacontenttype": "application/json", "sequence": "00000000000000001042", "account": m.Account, "subscription": "sub_1", "gapcount": "2",
	} {
		if ce[name] != want {
			t.Errorf("%s = %v, want %v", name, ce[name], want)
		}
	}
	if ct := got.Header.Get("Content-Type"); ct != "application/cloudevents+json" {
		t.Error(ct)
	}
	form.Format = "cloudevents-binary"
	got = form.Request(m)
	for name, want := range map[string]string{
		"ce-specversion": "1.0", "ce-type": "kedge.tasks.update", "ce-sequence": "00000000000000001042", "ce-account": "ac%22me%20100%25%20%C3%BC", "content-type": "application/json",
	} {
		if v := got.Header.Get(name); v != want {
			t.Errorf("%s = %q, want %q", name, v, want)
		}
	}
	var data map[string]any
	if err := json.Unmarshal(got.Body, &data); err != nil || data["resource"] != "tasks/t-17" || data["gap"] == nil {
		t.Errorf("%s, %v", got.Body, err)
	}
}

// URLs get logged, so a GET carries no more than ids.
func TestGET(t *testing.T) {
	got := payload.Form{Method: http.MethodGet, Format: "standard"}.Request(message())
	if len(got.Body) > 0 || got.Query.Encode() != "kedge_id="+message().ID+"&kedge_sequence=1042&kedge_type=tasks.update" {
		t.Errorf("%s %s", got.Query.Encode(), got.Body)
	}
}

func TestMessageID(t *testing.T) {
	id := payload.MessageID(1042, "evt_1", "sub_1")
	if seq, err := payload.SequenceOf(id); err != nil || seq != 1042 || len(id) != 36 {
		t.Errorf("%s: %d, %v", id, seq, err)
	}
	if payload.MessageID(1042, "evt_1", "sub_2") == id || payload.MessageID(1042, "evt_1", "sub_1") != id {
		t.Error("ids are not one per subscription")
	}
	for _, bad := range []string{"", "msg_", "msg_x", id + "a", strings.ToUpper(id), "evt_" + id[4:]} {
		if _, err := payload.SequenceOf(bad); err == nil {
			t.Errorf("%q was accepted", bad)
		}
	}
}

// Values come out of an image as they went in, with every digit.
func TestImage(t *testing.T) {
	names := []string{"bool", "int", "big", "dec", "exp", "float", "nan", "text", "bad", "time", "date", "bytes", "json", "null"}
	r := &kedge.Record{Fields: kedge.NewFields(append(names, "missing")...), Values: []kedge.Value{
		kedge.Bool(true), kedge.Int(42), kedge.Int(math.MaxInt64), kedge.Decimal("19.90"), kedge.Decimal("1e3"), kedge.Float(2.5), kedge.Float(math.NaN()),
		kedge.String("a\"<\u2028ü"), kedge.String("a\xffb"), kedge.Time(time.Date(2026, 3, 1, 0, 0, 0, 1, time.UTC)), kedge.Date(time.Date(2026, 3, 1, 0, 0, 0, 0, time.UTC)),
		kedge.Bytes([]byte{0, 255}), kedge.JSON(`{"a":[1.10]}`), kedge.Null(), {},
	}}
	image := payload.AppendImage(nil, append(names, "missing"), r)
	for _, tt := range []struct {
		strings bool
		want    string
	}{
		{false, `{"bool":true,"int":42,"big":9223372036854775807,"dec":19.90,"exp":1000,"float":2.5,"nan":"NaN","text":"a\"<` + "\u2028" + `ü","bad":"a` + "\ufffd" + `b","time":"2026-03-01T00:00:00.000000001Z","date":"2026-03-01","bytes":"AP8=","json":{"a":[1.10]},"null":null}`},
		{true, `{"bool":true,"int":42,"big":"9223372036854775807","dec":"19.90","exp":1000,"float":2.5,"nan":"NaN","text":"a\"<` + "\u2028" + `ü","bad":"a` + "\ufffd" + `b","time":"2026-03-01T00:00:00.000000001Z","date":"2026-03-01","bytes":"AP8=","json":{"a":[1.10]},"null":null}`},
	} {
		got, err := payload.View{Fields: names, StringNumbers: tt.strings}.Record(nil, image)
		if err != nil || string(got) != tt.want {
			t.Errorf("\n got %s, %v\nwant %s", got, err, tt.want)
		}
	}
	if got, err := (payload.View{Fields: []string{"int"}}).Record(nil, image); err != nil || string(got) != `{"int":42}` {
		t.Errorf("%s, %v", got, err)
	}
}

func FuzzRecord(f *testing.F) {
	f.Add("19.90", "text", int64(1), 2.5, []byte{1})
	f.Add("-0.000", "\xff\u2028\"\\", int64(math.MinInt64), math.Inf(1), []byte{})
	f.Add("1e-30", "", int64(1<<53+1), 1e300, []byte("x"))
	f.Fuzz(func(t *testing.T, decimal, text string, i int64, float float64, raw []byte) {
		if !kedge.ValidDecimal(decimal) {
			decimal = "0"
		}
		names := []string{"d", "s" + text, "i", "f", "b"}
		r := &kedge.Record{Fields: kedge.NewFields(names...), Values: []kedge.Value{kedge.Decimal(decimal), kedge.String(text), kedge.Int(i), kedge.Float(float), kedge.Bytes(raw)}}
		image := payload.AppendImage(nil, names, r)
		schema := &kedge.Entity{Fields: []kedge.Field{{Name: "d", Type: kedge.TypeDecimal}, {Name: "i", Type: kedge.TypeInt}, {Name: "f", Type: kedge.TypeFloat}, {Name: "b", Type: kedge.TypeBytes}}}
		back, err := payload.ReadImage(image, schema)
		if err != nil || !kedge.Equal(back.Get("d"), r.Values[0]) || !kedge.Equal(back.Get("i"), r.Values[2]) || !kedge.Equal(back.Get("f"), r.Values[3]) || !kedge.Equal(back.Get("b"), r.Values[4]) {
			t.Errorf("%s reads as %v, %v", image, back.Values, err)
		}
		for _, texts := range []bool{false, true} {
			m := message()
			m.Data.Record, err = payload.View{Fields: names, StringNumbers: texts}.Record(nil, image)
			if err != nil {
				t.Fatal(err)
			}
			for _, format := range []string{"standard", "cloudevents-structured", "cloudevents-binary"} {
				body := payload.Form{Method: "POST", Format: format}.Request(m).Body
				dec := json.NewDecoder(bytes.NewReader(body))
				dec.UseNumber()
				var v map[string]any
				if err := dec.Decode(&v); err != nil {
					t.Fatalf("%s: %v", body, err)
				}
				data := v
				if d, ok := v["data"].(map[string]any); ok {
					data = d
				}
				record := data["record"].(map[string]any)
				if got := text1(record["i"]); got != strconv.FormatInt(i, 10) {
					t.Errorf("integer %d came as %s", i, got)
				}
				if got := text1(record["d"]); !kedge.ValidDecimal(got) || kedge.CanonicalDecimal(got) != kedge.CanonicalDecimal(decimal) {
					t.Errorf("decimal %s came as %s", decimal, got)
				}
			}
		}
	})
}

func text1(v any) string {
	if n, ok := v.(json.Number); ok {
		return n.String()
	}
	s, _ := v.(string)
	return s
}

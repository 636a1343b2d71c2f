package ingest_test

import "testing"

func TestFirstEvents(t *testing.T) {
	each(t, func(w *world) {
		w.event("", `{"employeeId": "a", "salary": 19.90}`).is(200).has("id", "a", "result", "created", "seq", 1, "table", "hr_employee", "groupKey", "", "dryRun", false)
		w.event("", `{"salary": 19.9, "employeeId": "a"}`).is(200).has("result", "unchanged", "seq", 1)
		w.event("?groupKey=x", `{"employeeId": "a"}`).is(200).has("result", "created", "seq", 2, "groupKey", "x")
		w.event("", `{"employeeId": "a", "salary": 20}`).is(200).has("result", "updated", "seq", 3)
		w.bulk("", `[{"employeeId":"a","salary":1},{"employeeId":"b"},{"employeeId":"c"}]`).is(200).has("received", 3, "created", 2, "updated", 1, "removed", 0, "seq", 6)
		w.bulk("?event=nightly", `[{"employeeId":"a","salary":2},{"employeeId":"b","active":true},{"employeeId":"d"}]`).is(200).has("created", 1, "updated", 2, "removed", 1, "seq", 10)
		w.remove("", "a", "zz").is(200).has("removed", 1, "ignored", 1, "seq", 11)
		if got := w.count("SELECT count(*) FROM hr_employee"); got != 3 {
			t.Errorf("the view shows %d resources, want 3", got)
		}
		if got := w.count("SELECT count(*) FROM hr_employee_feed"); got != 5 {
			t.Errorf("the feed shows %d rows, want 5", got)
		}
	})
}

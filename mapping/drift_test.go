package mapping

import (
	"slices"
	"strings"
	"testing"

	"github.com/kedge-sync/kedge"
)

const driftRules = `    key: [{external: Id, local: id}]
    fields: [{external: Name, local: name}, {external: Amount, local: amount}, {external: Email, local: email, enabled: false}]
`

// drifted runs Drift and Compile after change was done to the live entities.
func drifted(t *testing.T, policy DriftPolicy, change func(ext, loc *kedge.Entity)) (Drifted, *Plan) {
	t.Helper()
	m, ext, loc := mappingFor(t, checkExternal, checkLocal, driftRules)
	m.Drift = policy
	_, extNow, locNow := mappingFor(t, slices.Clone(checkExternal), slices.Clone(checkLocal), driftRules)
	change(&extNow.Entities[0], &locNow.Entities[0])
	d := Drift(m, Schemas{ext, loc}, Schemas{extNow, locNow})
	plan, err := Compile(d.Mapping, extNow, locNow, noonUTC)
	if err != nil {
		t.Fatal(err)
	}
	if string(m.Marshal()) == "" || m.Entities[0].Fields[1].Disabled {
		t.Error("Drift changed the saved mapping")
	}
	return d, plan.Hold(d.Findings)
}

func drop(e *kedge.Entity, name string) {
	e.Fields = slices.DeleteFunc(e.Fields, func(f kedge.Field) bool { return f.Name == name })
}

func TestDrift(t *testing.T) {
	type change = func(ext, loc *kedge.Entity)
	same := func(_, _ *kedge.Entity) {}
	fresh := func(ext, loc *kedge.Entity) {
		ext.Fields, loc.Fields = append(ext.Fields, field("Phone", kedge.TypeString)), append(loc.Fields, field("phone", kedge.TypeString))
	}
	noAmount := func(ext, _ *kedge.Entity) { drop(ext, "Amount") }
	noEmail := func(ext, _ *kedge.Entity) { drop(ext, "Email") }
	noKey := func(ext, _ *kedge.Entity) { drop(ext, "Id") }
	noLocal := func(_, loc *kedge.Entity) { drop(loc, "name") }
	badType := func(ext, _ *kedge.Entity) { ext.Field("Amount").Type = kedge.TypeBool }
	longer := func(ext, _ *kedge.Entity) { ext.Field("Name").MaxLength = 500 }
	title := func(ext, _ *kedge.Entity) { ext.Field("Name").Title = "New title" }
	for _, tt := range []struct {
		name   string
		policy DriftPolicy
		change change
		held   bool
		local  string // local fields of the plan, if it is not held
		codes  []Code
	}{
		{"nothing changed, warn", DriftWarn, same, false, "id name amount", nil},
		{"new field, warn", DriftWarn, fresh, false, "id name amount", nil},
		{"new field, hold", DriftHold, fresh, false, "id name amount", nil},
		{"new field, adopt", DriftAdopt, fresh, false, "id name amount phone", []Code{FieldAdopted}},
		{"nothing changed, adopt", DriftAdopt, same, false, "id name amount", nil},
		{"missing field, warn", DriftWarn, noAmount, false, "id name", []Code{FieldSuspended}},
		{"missing field, adopt", DriftAdopt, noAmount, false, "id name", []Code{FieldSuspended}},
		{"missing field, hold", DriftHold, noAmount, true, "", []Code{FieldChanged}},
		{"missing unchecked field, hold", DriftHold, noEmail, false, "id name amount", nil},
		{"missing key, warn", DriftWarn, noKey, true, "", nil},
		{"missing local field, warn", DriftWarn, noLocal, true, "", nil},
		{"incompatible type, warn", DriftWarn, badType, true, "", nil},
		{"longer field, warn", DriftWarn, longer, false, "id name amount", nil},
		{"longer field, hold", DriftHold, longer, true, "", []Code{FieldChanged}},
		{"new title, hold", DriftHold, title, false, "id name amount", nil},
	} {
		t.Run(tt.name, func(t *testing.T) {
			d, plan := drifted(t, tt.policy, tt.change)
			var codes []Code
			for _, f := range d.Findings {
				codes = append(codes, f.Code)
			}
			if !slices.Equal(codes, tt.codes) {
				t.Errorf("findings %+v, want %v", d.Findings, tt.codes)
			}
			if (d.Adopted != nil) != slices.Contains(tt.codes, FieldAdopted) {
				t.Errorf("Adopted = %+v", d.Adopted)
			}
			if _, held := plan.Held["a"]; held != tt.held {
				t.Fatalf("held = %v (%+v), want %v", held, plan.Held, tt.held)
			}
			if tt.held {
				return
			}
			got := plan.Layers[0][0].LocalFields.Names()
			want := strings.Fields(tt.local)
			if !slices.Equal(slices.Sorted(slices.Values(got)), slices.Sorted(slices.Values(want))) {
				t.Errorf("local fields %v, want %v", got, want)
			}
		})
	}
}

// Without an earlier schema nothing counts as new or changed.
func TestDriftWithoutPast(t *testing.T) {
	for _, policy := range []DriftPolicy{DriftWarn, DriftHold, DriftAdopt} {
		m, ext, loc := mappingFor(t, checkExternal, checkLocal, driftRules)
		m.Drift = policy
		if d := Drift(m, Schemas{}, Schemas{ext, loc}); d.Mapping != m || d.Adopted != nil || d.Findings != nil {
			t.Errorf("%s: %+v, want the mapping as it is", policy, d)
		}
	}
}

func TestWithoutLocal(t *testing.T) {
	m, _, _ := mappingFor(t, checkExternal, checkLocal, `    key: [{external: Id, local: id}]
    alternateKeys: [[{external: Email, local: email}, {external: Name, local: name}], [{external: Name, local: name}]]
    fields: [{external: Name, local: name}, {external: Email, local: email}]
`)
	out, left := WithoutLocal(m, "a", "email")
	e := out.Entities[0]
	if len(left) != 1 || left[0].Code != FieldSuspended || left[0].Side != SideLocal || !e.Fields[1].Disabled || e.Fields[0].Disabled || len(e.AlternateKeys) != 1 {
		t.Errorf("left out %+v, entity %+v; want email and its alternate key gone", left, e)
	}
	if m.Entities[0].Fields[1].Disabled || len(m.Entities[0].AlternateKeys) != 2 {
		t.Error("the mapping itself was changed")
	}
	if _, left := WithoutLocal(m, "a", "id"); len(left) > 0 {
		t.Errorf("left out %+v, want nothing: a key is needed", left)
	}
	if _, left := WithoutLocal(m, "other", "email"); len(left) > 0 {
		t.Errorf("left out %+v of another entity", left)
	}
}

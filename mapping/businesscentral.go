package mapping

import (
	"fmt"
	"strings"

	"github.com/kedge-sync/kedge"
)

// Pairs that the reference product sets up for Business Central: the external
// entity, its local one, and fields as "external>local".
var businessCentral = []struct {
	external, local string
	fields          []string
}{
	{"RescoCustomer", "account", append(append([]string{}, addressFields...), "HomePage>websiteurl", "PrimaryContacNo>primarycontactid=RescoContact")},
	{"RescoContact", "contact", append(append([]string{}, addressFields...), "CustomerNo>parentcustomerid=RescoCustomer")},
	{"RescoServiceOrder", "fs_workorder", []string{"description>name", "CustomerNo>customerid=RescoCustomer"}},
}

var addressFields = []string{"Name>name", "Email>emailaddress1", "Address>address1_line1", "Address2>address1_line2", "City>address1_city",
	"State>address1_stateorprovince", "PostCode>address1_postalcode", "CountryRegionCode>address1_country", "PhoneNo>telephone1"}

const businessCentralKey = "integration_bc_pk"

// BusinessCentral returns the mapping that the reference product sets up by
// itself: account, contact and work order, as far as ext has them. External
// names are compared without case. Each entity is matched by its external key,
// kept in integration_bc_pk (…pk1, …pk2 and so on for a composite one).
func BusinessCentral(ext *kedge.Schema) *Mapping {
	m := &Mapping{Drift: DriftWarn, FirstSync: FirstMerge}
	for _, preset := range businessCentral {
		live := foldedEntity(ext, preset.external)
		if live == nil {
			continue
		}
		e := Entity{External: live.Name, Local: preset.local, Direction: Bidirectional, Key: businessCentralPairs(live)}.withDefaults()
		if f := foldedField(live, "RowVersionNumber"); f != nil {
			e.Version = f.Name
		}
		for _, text := range preset.fields {
			if f, ok := presetField(ext, live, text); ok {
				e.Fields = append(e.Fields, f)
			}
		}
		m.Entities = append(m.Entities, e)
	}
	return m
}

func businessCentralPairs(live *kedge.Entity) []KeyPair {
	names := live.Key
	if f := foldedField(live, "No"); f != nil && len(names) <= 1 {
		names = []string{f.Name}
	}
	pairs := make([]KeyPair, len(names))
	for i, name := range names {
		pairs[i] = KeyPair{External: name, Local: businessCentralKey}
		if len(names) > 1 {
			pairs[i].Local = fmt.Sprintf("%s%d", businessCentralKey, i+1)
		}
	}
	return pairs
}

// presetField reads "external>local" or "external>local=target".
func presetField(ext *kedge.Schema, live *kedge.Entity, text string) (Field, bool) {
	external, local, _ := strings.Cut(text, ">")
	local, target, lookup := strings.Cut(local, "=")
	found := foldedField(live, external)
	if found == nil {
		return Field{}, false
	}
	f := Field{External: []string{found.Name}, Local: local}.withDefaults()
	if lookup {
		to := foldedEntity(ext, target)
		if to == nil {
			return Field{}, false
		}
		f.Lookup = &LookupRule{Entity: presetLocal(target)}
		if no := foldedField(to, "No"); no != nil {
			f.Lookup.Fields = []string{no.Name}
		}
	}
	return f, true
}

func presetLocal(external string) string {
	for _, p := range businessCentral {
		if p.external == external {
			return p.local
		}
	}
	return ""
}

func foldedEntity(s *kedge.Schema, name string) *kedge.Entity {
	for i := range s.Entities {
		if strings.EqualFold(s.Entities[i].Name, name) {
			return &s.Entities[i]
		}
	}
	return nil
}

func foldedField(e *kedge.Entity, name string) *kedge.Field {
	for i := range e.Fields {
		if strings.EqualFold(e.Fields[i].Name, name) {
			return &e.Fields[i]
		}
	}
	return nil
}

// checkSupported notes entities of Business Central beyond the three that the
// reference product supports.
func (d *draft) checkSupported() {
	for _, p := range businessCentral {
		if foldedEntity(d.compiler.ext, p.external) == nil {
			return // not Business Central
		}
		if strings.EqualFold(d.rules.External, p.external) {
			return
		}
	}
	d.find(Finding{Code: UnsupportedEntity, Severity: SeverityNote, Side: SideExternal,
		Message: "of Business Central only account, contact and work order are officially supported"})
}

package odatatest

import (
	"context"
	"fmt"
	"math/rand/v2"
	"net/http"
	"strings"
	"sync"
	"time"

	"github.com/kedge-sync/kedge"
)

// A Flavor is the kind of product that a service resembles.
type Flavor string

// The flavors.
const (
	Generic         Flavor = ""                // root "/"
	BusinessCentral Flavor = "businesscentral" // root "/api/v2.0/", sets below companies(id), no deltas
	Dataverse       Flavor = "dataverse"       // root "/api/data/v9.2/", lookups named _x_value
)

// The versions of the protocol that a service can speak.
const (
	V40  = "4.0"
	V401 = "4.01"
)

// Options configure a [Service]. The zero value serves the demo data.
type Options struct {
	// Sets and Entities are what is served. An entity without a version field
	// gets two more: RowVersion and ModifiedAt. Defaults to DemoSets(Rows, Seed).
	Sets     []Set
	Entities []kedge.Entity

	Rows int    // customers of the demo data. Defaults to 1000
	Seed uint64 // of the demo data and of the faults

	Flavor    Flavor
	Version   string   // highest protocol version it speaks. Defaults to V40
	Companies []string // of BusinessCentral; the first one has the data. Defaults to two

	// PageCap is the greatest page; a client can only ask for smaller ones
	// with odata.maxpagesize. Defaults to 5000.
	PageCap int

	Delta DeltaForm
	Auth  Auth

	Quirks []string // see [Quirks]
	Faults []string // see [ParseFault]

	NoDelta   bool // no change tracking
	NoFilter  bool // $filter and $orderby are refused
	NoVersion bool // no version fields and no ETags

	NoUpsert    bool // a PATCH or PUT of an entity that does not exist is 404
	NeedIfMatch bool // a PATCH, PUT or DELETE without If-Match is 428
	Referential bool // a lookup that leads nowhere is 400
	Repeatable  bool // Repeatable Requests are supported, and announced

	// Batch is the format that $batch has: multipart, json or none. Defaults to
	// both, and to multipart with Dataverse.
	Batch    string
	BatchMax int // requests in a batch. Defaults to 1000, and to 100 with BusinessCentral

	// Bench keeps each answer to a read, ready to be sent again until
	// something is edited; see [Service.Prerender].
	Bench bool

	// ForeignURL is the origin of next links under the quirk foreign-links.
	// Defaults to "https://elsewhere.example".
	ForeignURL string

	// Now is the clock. Defaults to time.Now.
	Now func() time.Time
	// Wait waits for the fault slow. Defaults to a timer.
	Wait func(ctx context.Context, d time.Duration)
}

// A DeltaForm chooses between the forms that a delta may have (JSON Format
// 4.01, section 15). The form of deleted entities follows the version of the
// answer and the quirks mixed-removed and bare-id.
type DeltaForm struct {
	Partial   bool // changed entities hold their key and the changed properties only
	IDOnly    bool // with Partial: @odata.id instead of the key properties
	NoReason  bool // deleted entities without reason
	Predicate bool // ids of deleted entities as "customers('C1')" instead of a URL
	Links     bool // changed lookups are $link and $deletedLink objects too
	Nested    bool // changed lookups are Nav@delta in the changed entity too
	Keys      bool // deleted entities of 4.01 hold their key properties instead of an id
}

// A Service is an OData service in memory. It is safe for concurrent use.
type Service struct {
	opts   Options
	root   string // path of the service root, with slashes
	ns     string // schema namespace
	quirks map[string]bool

	mu        sync.RWMutex
	tables    []*table // in the order of the options
	companies []company
	// companyTable is the set "companies", or nil; it is in no company.
	companyTable *table
	seq          int64  // of the last commit
	epoch        int64  // of the tokens that are still known
	history      uint32 // names what seq counts, in tokens

	faults   *faults
	requests requestLog
	wrote    writeLog
	repeats  *repeats
	csrf     csrfSessions

	batches    int                // that were answered in pages
	batchPages map[string]*answer // of the quirk batch-next-link
	auth       *signIns
	bench      *answers
}

// New returns a service. It panics if options are wrong, which only a
// programmer can have caused; [Options.Check] tells before.
func New(o Options) *Service {
	if err := o.Check(); err != nil {
		panic(err)
	}
	o = o.withDefaults()
	s := &Service{opts: o, root: "/", ns: "Sample", history: rand.Uint32(), quirks: make(map[string]bool)}
	for _, q := range o.Quirks {
		s.quirks[q] = true
	}
	sets := o.Sets
	for i := range o.Entities {
		sets = append(sets, o.setOf(o.Entities[i]))
	}
	switch o.Flavor {
	case BusinessCentral:
		s.root, s.ns = "/api/v2.0/", "Microsoft.NAV"
		s.companies = newCompanies(o.Companies)
		s.companyTable = newTables([]Set{companySet(s.companies)}, s.ns, false)[0]
		s.companyTable.typeName = "company"
		s.opts.NoDelta, s.opts.NoUpsert = true, true
	case Dataverse:
		s.root, s.ns = "/api/data/v9.2/", "Microsoft.Dynamics.CRM"
		sets = dataverse(sets)
	}
	s.tables = newTables(sets, s.ns, o.NoVersion)
	s.faults = newFaults(o.Seed)
	if err := s.SetFaults(o.Faults...); err != nil {
		panic(err)
	}
	s.auth = newSignIns(o.Auth, o.Now)
	if o.Repeatable {
		s.repeats = &repeats{done: make(map[string]*repeat)}
	}
	if o.Bench {
		s.bench = &answers{}
	}
	return s
}

// Check returns what is wrong with o: an unknown quirk, fault, flavor or
// version.
func (o *Options) Check() error {
	for _, q := range o.Quirks {
		if !isQuirk(q) {
			return fmt.Errorf("unknown quirk %q; there are: %s", q, strings.Join(names(Quirks()), ", "))
		}
	}
	for _, f := range o.Faults {
		if _, err := ParseFault(f); err != nil {
			return err
		}
	}
	switch o.Flavor {
	case Generic, BusinessCentral, Dataverse, "generic":
	default:
		return fmt.Errorf("unknown flavor %q; there are: generic, businesscentral, dataverse", o.Flavor)
	}
	if o.Version != "" && o.Version != V40 && o.Version != V401 {
		return fmt.Errorf("unknown version %q; there are: 4.0, 4.01", o.Version)
	}
	switch o.Batch {
	case "", "multipart", "json", "none":
	default:
		return fmt.Errorf("unknown batch format %q; there are: multipart, json, none", o.Batch)
	}
	return o.Auth.check()
}

func (o Options) withDefaults() Options {
	if o.Flavor == "generic" {
		o.Flavor = Generic
	}
	if o.Version == "" {
		o.Version = V40
	}
	if o.PageCap <= 0 {
		o.PageCap = 5000
	}
	if o.Batch == "" && o.Flavor == Dataverse {
		o.Batch = "multipart"
	}
	if o.BatchMax <= 0 {
		o.BatchMax = 1000
		if o.Flavor == BusinessCentral {
			o.BatchMax = 100
		}
	}
	if o.Rows == 0 {
		o.Rows = 1000
	}
	if len(o.Sets) == 0 && len(o.Entities) == 0 {
		o.Sets = DemoSets(o.Rows, o.Seed)
	}
	if len(o.Companies) == 0 {
		o.Companies = []string{"CRONUS International Ltd.", "My Company"}
	}
	if o.ForeignURL == "" {
		o.ForeignURL = "https://elsewhere.example"
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.Wait == nil {
		o.Wait = wait
	}
	return o
}

func wait(ctx context.Context, d time.Duration) {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
	case <-t.C:
	}
}

// Root returns the path of the service root, such as "/api/v2.0/".
func (s *Service) Root() string { return s.root }

// Handler returns the service as a handler for the whole origin.
func (s *Service) Handler() http.Handler { return http.HandlerFunc(s.serve) }

func (s *Service) quirk(name string) bool { return s.quirks[name] }

package main

import (
	"fmt"
	"time"

	"github.com/kedge-sync/kedge"
	"github.com/kedge-sync/kedge/internal/odatatest"
)

// customers is the entity set of the benchmarks: 12 fields, about 450 bytes of
// JSON a row. It is not the demo's, because the floors decode exactly this.
func customers(rows int) odatatest.Set {
	text := func(name string, most int) kedge.Field {
		return kedge.Field{Name: name, Type: kedge.TypeString, MaxLength: most, Nullable: true}
	}
	return odatatest.Set{
		Entity: kedge.Entity{Name: "customers", Key: []string{"No"}, Version: "RowVersion", Fields: []kedge.Field{
			{Name: "No", Type: kedge.TypeString, MaxLength: 20},
			text("Name", 100), text("Street", 100), text("City", 50), text("PostCode", 20), text("Country", 30), text("Email", 80), text("Phone", 30),
			{Name: "Balance", Type: kedge.TypeDecimal, Precision: 18, Scale: 2, Nullable: true},
			{Name: "Blocked", Type: kedge.TypeBool},
			{Name: "RowVersion", Type: kedge.TypeInt, Computed: true},
			{Name: "ModifiedAt", Type: kedge.TypeTime, Computed: true},
		}},
		Modified: "ModifiedAt", Rows: rows, Row: customer,
	}
}

var (
	trades  = []string{"Trading", "Bakery", "Cycles", "Furniture", "Marine & Sons", "Gärten", `"Best" Coffee`, "Optics and Printing"}
	cities  = []string{"Atlanta, Georgia", "London, Greater London", "München, Oberbayern", "København, Hovedstaden", "Praha, Česko", "Málaga, Andalucía"}
	lands   = []string{"United States", "United Kingdom", "Deutschland", "Danmark", "Česko", "España"}
	firstAt = time.Date(2024, 1, 1, 8, 0, 0, 0, time.UTC)
)

// customer returns row i. Some have escapes, letters beyond ASCII and nulls.
func customer(i int) []kedge.Value {
	mix := uint32(i) * 2654435761 >> 8 // Knuth's multiplicative hash, so that neighbours differ
	at := int(mix) % len(cities)
	phone := kedge.Null()
	if i%10 != 3 {
		phone = kedge.String(fmt.Sprintf("+%02d (0) %03d %06d", mix%90+10, mix%1000, mix%1_000_000))
	}
	return []kedge.Value{
		kedge.String(fmt.Sprintf("C%09d", i+1)),
		kedge.String(fmt.Sprintf("%s International Holding %06d Ltd.", trades[mix%8], mix%1_000_000)),
		kedge.String(fmt.Sprintf("%d Old Harbour Street, Building %d", mix%300, mix%40)),
		kedge.String(cities[at]),
		kedge.String(fmt.Sprintf("%05d-%04d", mix%100_000, mix%10_000)),
		kedge.String(lands[at]),
		kedge.String(fmt.Sprintf("accounts.payable.%d@customer.example", i+1)),
		phone,
		kedge.Decimal(fmt.Sprintf("%d.%02d", mix%100_000, mix%100)),
		kedge.Bool(mix%20 == 0),
		kedge.Int(int64(i) + 1),
		kedge.Time(firstAt.Add(time.Duration(i) * time.Second)),
	}
}

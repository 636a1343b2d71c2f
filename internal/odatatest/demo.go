package odatatest

import (
	"fmt"
	"math/rand/v2"
	"strconv"
	"strings"
	"time"

	"github.com/kedge-sync/kedge"
)

// DemoSets returns the demo data: as many customers as rows, a contact for
// each second one, about as many orders, and two lines per order. The same
// rows and seed give the same data, on any machine.
//
// Customers and contacts point to each other, so that whoever copies both
// meets a cycle. Names hold quotes, slashes and letters of many scripts.
func DemoSets(rows int, seed uint64) []Set {
	d := demo{rows: rows, contacts: (rows + 1) / 2, seed: seed, width: max(5, len(strconv.Itoa(rows)))}
	return []Set{
		{Entity: customers(), Modified: modifiedName, Rows: d.rows, Row: d.customer},
		{Entity: contacts(), Modified: modifiedName, Rows: d.contacts, Row: d.contact},
		{Entity: orders(), Modified: modifiedName, Rows: d.rows, Row: d.order},
		{Entity: orderLines(), Modified: modifiedName, Rows: d.rows * 2, Row: d.orderLine},
	}
}

type demo struct {
	rows, contacts int
	seed           uint64
	width          int // of the numbers in keys, so that they sort as text
}

func text(name string, max int) kedge.Field {
	return kedge.Field{Name: name, Type: kedge.TypeString, MaxLength: max, Nullable: true}
}

func keyText(name string) kedge.Field {
	return kedge.Field{Name: name, Type: kedge.TypeString, MaxLength: 20, Immutable: true}
}

func lookup(name, entity string) kedge.Field {
	f := text(name, 20)
	f.Lookup = []kedge.LookupTarget{{Entity: entity, Field: "No"}}
	return f
}

func money(name string) kedge.Field {
	return kedge.Field{Name: name, Type: kedge.TypeDecimal, Precision: 18, Scale: 2, Nullable: true}
}

func customers() kedge.Entity {
	return kedge.Entity{Name: "customers", Key: []string{"No"}, Version: versionName, AlternateKeys: [][]string{{"Email"}}, Fields: append([]kedge.Field{
		keyText("No"), text("Name", 100), text("Email", 80), text("Phone", 30),
		text("Address/Street", 100), text("Address/City", 50), text("Address/PostCode", 20), text("Address/CountryRegionCode", 10),
		money("Balance"), {Name: "CreditLimit", Type: kedge.TypeInt, Nullable: true}, {Name: "Blocked", Type: kedge.TypeBool},
		lookup("PrimaryContactNo", "contacts"),
	}, versionFields()...)}
}

func contacts() kedge.Entity {
	return kedge.Entity{Name: "contacts", Key: []string{"No"}, Version: versionName, Fields: append([]kedge.Field{
		keyText("No"), text("Name", 100), text("Email", 80), lookup("CustomerNo", "customers"),
		{Name: "Birthday", Type: kedge.TypeDate, Nullable: true},
	}, versionFields()...)}
}

func orders() kedge.Entity {
	return kedge.Entity{Name: "orders", Key: []string{"No"}, Version: versionName, Fields: append([]kedge.Field{
		keyText("No"), lookup("CustomerNo", "customers"), {Name: "OrderDate", Type: kedge.TypeDate},
		{Name: "Status", Type: kedge.TypeString, Format: kedge.FormatEnum, Enum: states},
		{Name: "ID", Type: kedge.TypeString, Format: kedge.FormatGUID},
	}, versionFields()...)}
}

func orderLines() kedge.Entity {
	parent := lookup("OrderNo", "orders")
	parent.Nullable, parent.Immutable = false, true
	return kedge.Entity{Name: "orderLines", Key: []string{"OrderNo", "LineNo"}, Version: versionName, Fields: append([]kedge.Field{
		parent, {Name: "LineNo", Type: kedge.TypeInt, NativeType: "Edm.Int32", Immutable: true}, text("Description", 100),
		{Name: "Quantity", Type: kedge.TypeDecimal, Scale: -1, Nullable: true}, money("UnitPrice"),
	}, versionFields()...)}
}

var (
	firstNames = strings.Fields("Ada Björn Chloé Dmitri Émilie Fatma Grace Hélène Ivan José Keiko Lars Müjde Noor Олена Pavel Quinn Rosa Søren Tomáš Ülkü Vera Wang Xenia Yusuf Zoë 花子 太郎")
	lastNames  = strings.Split("O'Brien,van der Berg,Smith,Nguyễn,Garcia,Ivanova,Müller,Dvořák,Sato/Tanaka,D'Angelo,Kowalski,李,Öztürk,Jensen,Brown \"Buck\" Taylor,de la Cruz", ",")
	trades     = strings.Split("Trading,Bakery,Cycles,Furniture,Marine & Sons,Coffee,Optics,Printing,Tools,Gärten,50% Off Store,C#-Labs", ",")
	forms      = strings.Fields("Ltd. GmbH S.A. ApS A/S Inc. s.r.o. 株式会社")
	streets    = strings.Split("High Street,Hauptstraße,Rue de l'Église,Østergade,Via Roma,Calle Mayor,Nerudova,Atatürk Cd.", ",")
	cities     = strings.Split("Atlanta,GB-London,München,København,Praha,Málaga,İzmir,京都,L'Aquila,Saint-Étienne", ",")
	countries  = strings.Fields("US GB DE DK CZ ES TR JP IT FR")
	states     = strings.Fields("Open Released Shipped")
)

// demoStart is when the first row of each set was last changed; each further
// row is a second younger.
var demoStart = time.Date(2024, 1, 1, 8, 0, 0, 0, time.UTC)

// row returns the random source of a row, so that rows can be made in any order.
func (d *demo) row(set uint64, i int) *rand.Rand {
	return rand.New(rand.NewPCG(d.seed*8+set, uint64(i)))
}

func one(r *rand.Rand, list []string) string { return list[r.IntN(len(list))] }

func (d *demo) key(prefix string, i int) kedge.Value {
	return kedge.String(prefix + padded(i+1, d.width))
}

// padded returns n with zeros before it, in so many digits or more.
func padded(n, digits int) string {
	text := strconv.Itoa(n)
	return "00000000"[:max(0, min(8, digits-len(text)))] + text
}

func stamps(i int) []kedge.Value {
	return []kedge.Value{kedge.Time(demoStart.Add(time.Duration(i) * time.Second)), kedge.Int(int64(i) + 1)}
}

func cents(r *rand.Rand, most int) kedge.Value {
	n := r.IntN(most * 100)
	return kedge.Decimal(strconv.Itoa(n/100) + "." + padded(n%100, 2))
}

func (d *demo) customer(i int) []kedge.Value {
	r := d.row(0, i)
	last, place := one(r, lastNames), r.IntN(len(cities))
	contact := kedge.Null()
	if i%2 == 0 {
		contact = d.key("K", i/2)
	}
	phone := kedge.Null()
	if r.IntN(10) > 0 {
		phone = kedge.String("+" + strconv.Itoa(1+r.IntN(98)) + " " + padded(r.IntN(1000), 3) + " " + padded(r.IntN(1_000_000), 6))
	}
	limit := int64(r.IntN(100)) * 1000
	if i%1000 == 7 {
		limit = 9007199254740993 // one more than a float64 can count to
	}
	return append([]kedge.Value{
		d.key("C", i), kedge.String(last + " " + one(r, trades) + " " + one(r, forms)),
		kedge.String("office." + strconv.Itoa(i+1) + "@customer.example"), phone,
		kedge.String(one(r, streets) + " " + strconv.Itoa(1+r.IntN(200))), kedge.String(cities[place]),
		kedge.String(padded(r.IntN(100_000), 5)), kedge.String(countries[place]),
		cents(r, 100_000), kedge.Int(limit), kedge.Bool(r.IntN(20) == 0), contact,
	}, stamps(i)...)
}

func (d *demo) contact(i int) []kedge.Value {
	r := d.row(1, i)
	born := kedge.Null()
	if r.IntN(3) > 0 {
		born = kedge.Date(time.Date(1950+r.IntN(55), time.Month(1+r.IntN(12)), 1+r.IntN(28), 0, 0, 0, 0, time.UTC))
	}
	return append([]kedge.Value{
		d.key("K", i), kedge.String(one(r, firstNames) + " " + one(r, lastNames)),
		kedge.String("person." + strconv.Itoa(i+1) + "@contact.example"), d.key("C", min(i*2, d.rows-1)), born,
	}, stamps(i)...)
}

func (d *demo) order(i int) []kedge.Value {
	r := d.row(2, i)
	return append([]kedge.Value{
		d.key("S", i), d.key("C", r.IntN(d.rows)),
		kedge.Date(demoStart.AddDate(0, 0, -r.IntN(700))), kedge.String(one(r, states)),
		kedge.String(fmt.Sprintf("%08x-%04x-4%03x-8%03x-%012x", r.Uint32(), r.IntN(1<<16), r.IntN(1<<12), r.IntN(1<<12), r.Int64N(1<<48))),
	}, stamps(i)...)
}

func (d *demo) orderLine(i int) []kedge.Value {
	r := d.row(3, i)
	return append([]kedge.Value{
		d.key("S", i/2), kedge.Int(int64(i%2+1) * 10000), kedge.String(one(r, trades) + " item " + strconv.Itoa(r.IntN(1000))),
		kedge.Decimal(strconv.Itoa(1+r.IntN(50)) + "." + strconv.Itoa(r.IntN(10))), cents(r, 1000),
	}, stamps(i)...)
}

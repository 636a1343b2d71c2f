package syncer_test

import (
	"fmt"
	"slices"
	"strings"

	"github.com/kedge-sync/kedge"
	"github.com/kedge-sync/kedge/connectors"
)

// nothingLost compares with what both sides did since they were equal.
func (m *twoWay) nothingLost() {
	final := m.cards(here)
	for tag, was := range m.agreed {
		if m.edits[tag] == nil && final[tag] != was {
			m.fail("nobody edited %s, and it is %v instead of %v", tag, final[tag], was)
		}
	}
	for tag, sides := range m.edits {
		now, live := final[tag]
		switch l, r := &sides[here], &sides[there]; {
		case l.touched && r.touched && (l.structural || r.structural): // either may win
		case l.touched && r.touched:
			was := m.agreed[tag]
			m.oneOf(tag, now.name, was.name, l.names, r.names)
			m.oneOf(tag, now.balance, was.balance, l.balances, r.balances)
		default:
			alone := l
			if r.touched {
				alone = r
			}
			if live != alone.live || live && now.normal() != alone.card.normal() {
				m.fail("only one side touched %s: live %v %v, want %v %v", tag, live, now, alone.live, alone.card)
			}
		}
	}
}

// oneOf checks a field of a record that both sides edited: the last edit of a
// side counts, and that of the only one if the policy goes field by field.
func (m *twoWay) oneOf(tag, now, was string, local, remote []string) {
	var want []string
	for _, edits := range [][]string{local, remote} {
		if len(edits) > 0 {
			want = append(want, last(edits))
		}
	}
	if len(want) == 0 || m.merge == "record" || m.policy == "local_wins_full" {
		want = append(want, was)
	}
	for _, w := range want {
		if normalText(w) == normalText(now) {
			return
		}
	}
	m.fail("%s has %q, want one of %q", tag, now, want)
}

// normal is the card as a peer that normalises stores it.
func (c card) normal() card { return card{normalText(c.name), normalText(c.balance)} }

func normalText(s string) string {
	if whole, rest, found := strings.Cut(s, "."); found && len(rest) > 2 {
		return whole + "." + rest[:2]
	}
	return strings.TrimSpace(s)
}

// A copyOf is a record as one side has it.
type copyOf struct {
	id, no, tag string
	card        card
}

// copies returns the records of a side in the order of their tags.
func (m *twoWay) copies(side who) (list []copyOf) {
	if side == here {
		id, no := "id", "erp_no"
		if m.key == "shared" {
			id, no = "no", "no"
		}
		rows, err := m.store.DB().QueryContext(m.t.Context(), fmt.Sprintf("SELECT %s, coalesce(%s, ''), tag, name, CAST(balance AS text) FROM customer ORDER BY tag, 1", id, no))
		m.check(err)
		defer rows.Close()
		for rows.Next() {
			var c copyOf
			m.check(rows.Scan(&c.id, &c.no, &c.tag, &c.card.name, &c.card.balance))
			list = append(list, c)
		}
		m.check(rows.Err())
		return list
	}
	page, err := m.source.Driver.ReadPage(m.t.Context(), connectors.ReadRequest{Entity: "customers", Fields: []string{"No", "Contact", "Name", "Balance"}, Size: 1000})
	m.check(err)
	for _, r := range page.Records {
		no := r.Values[0].Text()
		list = append(list, copyOf{no, no, r.Values[1].Text(), card{r.Values[2].Text(), r.Values[3].Text()}})
	}
	slices.SortFunc(list, func(a, b copyOf) int { return strings.Compare(a.tag, b.tag) })
	return list
}

func (m *twoWay) cards(side who) map[string]card {
	cards := map[string]card{}
	for _, c := range m.copies(side) {
		cards[c.tag] = c.card
	}
	return cards
}

// lines are the records of a side as both sides should have them.
func (m *twoWay) lines(side who) (lines []string) {
	for _, c := range m.copies(side) {
		lines = append(lines, fmt.Sprintf("%s %s %q %s", c.no, c.tag, c.card.name, c.card.balance))
	}
	return lines
}

// named returns the record of a side with a tag.
func (m *twoWay) named(side who, tag string) copyOf {
	for _, c := range m.copies(side) {
		if c.tag == tag {
			return c
		}
	}
	m.fail("no record %s", tag)
	return copyOf{}
}

func (m *twoWay) create(side who, tag string, c card) {
	m.n++
	no := tag
	if side == there {
		if m.key == "made" {
			no = fmt.Sprintf("R%d", m.n)
		}
		m.putFields("customers", []string{no, tag, c.name, c.balance}, "No", "Contact", "Name", "Balance")
		return
	}
	id := fmt.Sprintf("00000000-0000-7000-8000-%012d", m.n)
	switch m.key {
	case "shared":
		m.exec("INSERT INTO customer (no, tag, name, balance) VALUES (?, ?, ?, ?)", no, tag, c.name, c.balance)
	case "matched":
		m.exec("INSERT INTO customer (id, erp_no, tag, name, balance) VALUES (?, ?, ?, ?, ?)", id, no, tag, c.name, c.balance)
	default:
		m.exec("INSERT INTO customer (id, tag, name, balance) VALUES (?, ?, ?, ?)", id, tag, c.name, c.balance)
	}
}

func (m *twoWay) edit(side who, tag, field, text string) {
	if side == here {
		m.exec("UPDATE customer SET "+field+" = ? WHERE tag = ?", text, tag)
		return
	}
	c := m.named(there, tag)
	if field == "name" {
		c.card.name = text
	} else {
		c.card.balance = text
	}
	m.putFields("customers", []string{c.no, tag, c.card.name, c.card.balance}, "No", "Contact", "Name", "Balance")
}

func (m *twoWay) remove(side who, tag string) {
	if side == here {
		m.exec("DELETE FROM customer WHERE tag = ?", tag)
		return
	}
	for _, c := range m.copies(there) {
		if c.tag == tag {
			m.delete(kedge.NewKey(kedge.String(c.no)))
		}
	}
}

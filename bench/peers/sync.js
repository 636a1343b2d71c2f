// Makes rows the same on both sides, edits a half of them on each side, and
// prints how many milliseconds one sync both ways takes then.
//
//     node sync.js FOLDER SERVER ROWS
const PouchDB = require('pouchdb');

const [folder, server, count] = process.argv.slice(2);
const local = new PouchDB(folder + '/local');
const remote = new PouchDB(server + '/customers');

const row = (i) => ({
  _id: 'C' + String(i + 1).padStart(9, '0'),
  name: `Trading International Holding ${i} Ltd.`, street: `${i % 300} Old Harbour Street, Building ${i % 40}`,
  city: 'London, Greater London', post_code: '00000-0000', country: 'United Kingdom',
  email: `accounts.payable.${i}@customer.example`, phone: '+10 (0) 000 000000', balance: '100.25', blocked: false,
  row_version: i, modified_at: '2024-01-01T08:00:00Z',
});

// edit changes the rows whose number has this remainder.
async function edit(db, remainder) {
  const docs = (await db.allDocs({ include_docs: true })).rows.map((r) => r.doc);
  await db.bulkDocs(docs.filter((d) => d.row_version % 2 === remainder).map((d) => ({ ...d, name: d.name + '.' })));
}

async function edited(db) {
  return (await db.allDocs({ include_docs: true })).rows.filter((r) => r.doc.name.endsWith('Ltd..')).length;
}

(async () => {
  await local.bulkDocs(Array.from({ length: Number(count) }, (_, i) => row(i)));
  await local.sync(remote);
  await edit(local, 0);
  await edit(remote, 1);
  const begin = process.hrtime.bigint();
  await local.sync(remote);
  const took = process.hrtime.bigint() - begin;
  for (const db of [local, remote]) {
    if (await edited(db) !== Number(count)) throw new Error('not all edits have arrived');
  }
  console.log(Number(took / 1000000n));
})().catch((err) => { console.error(err); process.exit(1); });

// A foreign OData service for the checks: simple-odata-server with nedb in
// memory, on a free port of the loopback, whose URL is its first line.
"use strict";
const http = require("node:http");
const Datastore = require("@seald-io/nedb");
const ODataServer = require("simple-odata-server");
const Adapter = require("simple-odata-server-nedb");

const model = {
  namespace: "Shop",
  entityTypes: {
    Customer: {
      _id: { type: "Edm.String", key: true, nullable: false },
      Name: { type: "Edm.String" },
      City: { type: "Edm.String" },
      Credit: { type: "Edm.Int32" },
      Blocked: { type: "Edm.Boolean" },
    },
  },
  entitySets: { customers: { entityType: "Shop.Customer" } },
};

const db = new Datastore({ inMemoryOnly: true });
const customers = [];
for (let i = 1; i <= 25; i++) {
  customers.push({
    _id: `C${String(i).padStart(3, "0")}`,
    Name: `Customer ${i} & Söhne`,
    City: i % 5 === 0 ? null : `City ${i % 4}`,
    Credit: i * 1000 - 3000,
    Blocked: i % 3 === 0,
  });
}

const server = http.createServer();
server.listen(0, "127.0.0.1", async () => {
  await db.insertAsync(customers);
  const url = `http://127.0.0.1:${server.address().port}`;
  const odata = ODataServer(url).model(model).adapter(Adapter((set, done) => done(null, db)));
  server.on("request", (req, res) => odata.handle(req, res));
  console.log(url + "/");
});

// Another foreign OData service: SAP's Fiori mock server with the model and the
// rows in mock/, on a free port of the loopback, whose URL is its first line.
"use strict";
const http = require("node:http");
const path = require("node:path");
const { default: FEMockserver } = require("@sap-ux/fe-mockserver-core");

// Its ETags hold backslashes and it never matches one that it gave out, so it
// gives out none.
const root = path.join(__dirname, "mock");
const mock = new FEMockserver({
  services: [{ urlPath: "/shop", metadataPath: path.join(root, "metadata.xml"), mockdataPath: root, watch: false, debug: false, noETag: true }],
  plugins: [],
  annotations: [],
});
mock.isReady.then(() => {
  const router = mock.getRouter();
  const server = http.createServer((req, res) => {
    router(req, res, () => {
      res.statusCode = 404;
      res.end();
    });
  });
  server.listen(0, "127.0.0.1", () => console.log(`http://127.0.0.1:${server.address().port}/shop/`));
});

// Converts the CSDL XML file argv[2] to CSDL JSON with odata-csdl, on stdout.
const fs = require("fs");
const { xml2json } = require("odata-csdl");
const messages = [];
const json = xml2json(fs.readFileSync(process.argv[2]), { messages });
for (const m of messages) process.stderr.write(JSON.stringify(m) + "\n");
process.stdout.write(JSON.stringify(json));

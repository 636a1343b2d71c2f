// Validates values with ajv (JSON Schema 2020-12). Each line of stdin is
// {"schema": …, "values": […]}; each line of stdout an array of booleans, or
// {"error": …} for a schema that ajv does not compile.
const Ajv = require("ajv/dist/2020");
const options = { strict: false, validateFormats: false, logger: false };
const shared = new Ajv({ ...options, addUsedSchema: false }); // compiling the metaschema takes long
const lines = require("readline").createInterface({ input: process.stdin });
lines.on("line", (line) => {
  const { schema, values } = JSON.parse(line);
  let answer;
  const ajv = /"\$(id|ref|dynamicRef)"/.test(line) ? new Ajv(options) : shared;
  try {
    const validate = ajv.compile(schema);
    answer = values.map((v) => validate(v));
  } catch (e) {
    answer = { error: String(e.message) };
  }
  process.stdout.write(JSON.stringify(answer) + "\n");
});

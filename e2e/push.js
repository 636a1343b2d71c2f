// Checks pushes with programs that are not kedge's. Each line of stdin is a
// check; each line of stdout is {"ok": true, "value": …} or {"ok": false,
// "error": …}.
const { Webhook } = require("standardwebhooks");
const { HTTP } = require("cloudevents");
const crypto = require("node:crypto");
const Ajv = require("ajv/dist/2020");

const checks = {
  // at, in milliseconds, is when the receiver looks at its clock
  standard({ secret, headers, body, at }) {
    const now = Date.now;
    Date.now = () => at;
    const RealDate = Date;
    global.Date = class extends RealDate {
      constructor(...args) { args.length ? super(...args) : super(at); }
      static now() { return at; }
    };
    try {
      return new Webhook(secret).verify(Buffer.from(body, "base64").toString(), headers);
    } finally {
      global.Date = RealDate;
      Date.now = now;
    }
  },
  // v1a of Standard Webhooks: ed25519 over id.timestamp.body
  v1a({ publicKey, headers, body }) {
    const raw = Buffer.from(publicKey.replace("whpk_", ""), "base64");
    const key = crypto.createPublicKey({ key: { kty: "OKP", crv: "Ed25519", x: raw.toString("base64url") }, format: "jwk" });
    const signed = Buffer.concat([Buffer.from(`${headers["webhook-id"]}.${headers["webhook-timestamp"]}.`), Buffer.from(body, "base64")]);
    for (const part of headers["webhook-signature"].split(" ")) {
      const [version, sig] = part.split(",");
      if (version === "v1a" && crypto.verify(null, signed, key, Buffer.from(sig, "base64"))) return true;
    }
    throw new Error("no signature matches");
  },
  cloudevents({ headers, body }) {
    const event = HTTP.toEvent({ headers, body: Buffer.from(body, "base64").toString() });
    event.validate();
    return event.toJSON();
  },
  schema({ schema, body }) {
    const ajv = new Ajv({ strict: true, allowUnionTypes: true, validateFormats: false });
    const validate = ajv.compile(schema);
    if (!validate(JSON.parse(Buffer.from(body, "base64").toString()))) throw new Error(ajv.errorsText(validate.errors));
    return true;
  },
};

require("readline").createInterface({ input: process.stdin }).on("line", (line) => {
  const check = JSON.parse(line);
  let answer;
  try {
    answer = { ok: true, value: checks[check.check](check) };
  } catch (e) {
    answer = { ok: false, error: String(e.message) };
  }
  process.stdout.write(JSON.stringify(answer) + "\n");
});

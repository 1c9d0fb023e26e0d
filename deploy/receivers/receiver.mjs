/*
 * Receive CDRs from cdr-forwarder: verify each request, store each CDR once, and answer 2xx only when it is on disk.
 *
 *     CDR_WEBHOOK_SECRET=whsec_… CDR_STORE=cdrs.jsonl node receiver.mjs 127.0.0.1:9000
 *
 * It needs Node ≥ 18 and nothing else. Run it behind TLS. One process may write to a store, no more.
 */
import { createHash, createHmac, timingSafeEqual } from "node:crypto";
import { open } from "node:fs/promises";
import { createServer } from "node:http";

const TOLERANCE = 300; // seconds that the sender's clock may differ from ours; keep both synchronised
const LARGEST = 4 * 1024 * 1024; // bytes; what is larger becomes a dead letter, so stay well above the largest CDR

/** Return the keys of whsec_… secrets. While a secret is changed there are two of them, separated by a space. */
function keysOf(secrets) {
  const keys = secrets.split(/\s+/).filter(Boolean).map((one) => Buffer.from(one.replace(/^whsec_/, ""), "base64"));
  if (keys.length === 0 || keys.some((key) => key.length < 16)) {
    throw new Error("CDR_WEBHOOK_SECRET must be the secret of the forwarder: whsec_…");
  }
  return keys;
}

/** Verify a request as Standard Webhooks says: any signature by any key will do. Compares in constant time. */
function isAuthentic(headers, body, keys) {
  const { "webhook-id": id = "", "webhook-timestamp": timestamp = "", "webhook-signature": signatures = "" } = headers;
  if (!id || !/^[0-9]{1,12}$/.test(timestamp) || Math.abs(Date.now() / 1000 - Number(timestamp)) > TOLERANCE) {
    return false;
  }
  let authentic = false;
  for (const key of keys) {
    const hmac = createHmac("sha256", key).update(`${id}.${timestamp}.`, "latin1").update(body);
    const expected = Buffer.from(`v1,${hmac.digest("base64")}`);
    for (const signature of signatures.split(" ").map((text) => Buffer.from(text, "latin1"))) {
      authentic = (signature.length === expected.length && timingSafeEqual(signature, expected)) || authentic;
    }
  }
  return authentic;
}

/** Return the id that the forwarder gives to a CDR. In an envelope it stands beside it, and this checks it. */
function idOf(cdr) {
  return `cdr_${createHash("sha256").update(cdr).digest("hex").slice(0, 32)}`;
}

const TOKEN = /\\.|["[\]{},]/gs;
const ENVELOPE = /^\{"id":"(cdr_[0-9a-f]{32})","attempt":[0-9]+,"source":"[^"]*","cdr":(.*)\}$/s;

/**
 * Return the bytes of each element of a JSON array, as text whose characters are bytes; none where it is not whole.
 * From what a parser returns, nobody can make the same bytes again. To work with values: JSON.parse, and each element's
 * `id` and `cdr`.
 */
function elementsOf(array) {
  const elements = [];
  let depth = 0;
  let begin = 1;
  let inString = false;
  for (const { 0: token, index } of array.matchAll(TOKEN)) {
    inString = inString !== (token === '"');
    if (inString || token === '"') {
      continue;
    }
    depth += token === "[" || token === "{" ? 1 : token === "]" || token === "}" ? -1 : 0;
    if (depth === 0 || (depth === 1 && token === ",")) {
      elements.push(array.slice(begin, index));
      begin = index + 1;
    }
  }
  return depth === 0 && begin === array.length ? elements : [];
}

/** Return id and bytes of each CDR in the body. A batch is known by its webhook-id, which is signed. */
function cdrsOf(id, type, body) {
  if (!id.startsWith("batch_")) {
    return [{ id, cdr: body }];
  }
  const text = body.toString("latin1");
  const withId = (one, cdr = Buffer.from(one, "latin1")) => ({ id: idOf(cdr), cdr });
  if (type.includes("ndjson") || !text.startsWith("[")) {
    return text.replace(/\n$/, "").split("\n").map((line) => withId(line));
  }
  const elements = elementsOf(text);
  const enveloped = elements.map((element) => ENVELOPE.exec(element)).filter(Boolean);
  return enveloped.length === elements.length
    ? enveloped.map(([, name, cdr]) => ({ id: name, cdr: Buffer.from(cdr, "latin1") }))
    : elements.map((element) => withId(element));
}

/**
 * Keeps CDRs in a file, one JSON object a line, and their ids in memory: enough for a million CDRs or so. Node has a
 * database of its own only from version 22 on (`node:sqlite`). With PostgreSQL (package `pg`), the class is this, with
 * the ids of a batch in one order, so that no two requests deadlock:
 *
 *     CREATE TABLE cdr (webhook_id TEXT PRIMARY KEY, received_at TIMESTAMPTZ DEFAULT now(), body BYTEA NOT NULL);
 *     const rows = "SELECT * FROM unnest($1::text[], $2::bytea[])";
 *     await pool.query(`INSERT INTO cdr (webhook_id, body) ${rows} ON CONFLICT DO NOTHING`, [ids, bodies]);
 */
class Store {
  #ids = new Set();
  #last = Promise.resolve(); // what is being read or written: one after the other

  open(path) {
    this.#last = this.#read(path);
    return this.#last;
  }

  /** Resolves when all are on disk. Does nothing for those that are there already. */
  keep(cdrs) {
    const kept = this.#last.then(() => {
      const fresh = new Map(cdrs.filter(({ id }) => !this.#ids.has(id)).map(({ id, cdr }) => [id, cdr]));
      return fresh.size && this.#append(fresh);
    });
    this.#last = kept.catch(() => {});
    return kept;
  }

  async #read(path) {
    this.file = await open(path, "a+");
    const content = await this.file.readFile();
    this.size = 0;
    for (let end; (end = content.indexOf("\n", this.size)) !== -1; this.size = end + 1) {
      this.#ids.add(JSON.parse(content.subarray(this.size, end)).webhook_id);
    }
  }

  async #append(fresh) {
    const lines = Buffer.from([...fresh].map(([id, cdr]) => `${JSON.stringify(lineOf(id, cdr))}\n`).join(""));
    await this.file.truncate(this.size); // part of them, of a crash or of a full disk, was never answered 2xx
    await this.file.appendFile(lines);
    await this.file.datasync();
    this.size += lines.length;
    for (const id of fresh.keys()) {
      this.#ids.add(id);
    }
  }
}

function lineOf(id, cdr) {
  const text = cdr.toString();
  const content = Buffer.from(text).equals(cdr) ? { cdr: text } : { cdr_base64: cdr.toString("base64") };
  return { webhook_id: id, received_at: new Date(), ...content };
}

/** Return the body, or null where it is too large. It is read to its end: else its sender would see no answer. */
async function bodyOf(request) {
  const pieces = [];
  let size = 0;
  for await (const piece of request) {
    size += piece.length;
    if (size <= LARGEST) {
      pieces.push(piece);
    }
  }
  return size <= LARGEST ? Buffer.concat(pieces) : null;
}

/** Handle one request, and return the status of its answer. */
async function statusFor(request) {
  if (request.method !== "POST") {
    return 405;
  }
  const body = await bodyOf(request);
  if (body === null) {
    return 413;
  }
  if (!isAuthentic(request.headers, body, keys)) {
    return 401;
  }
  const cdrs = cdrsOf(request.headers["webhook-id"], request.headers["content-type"] ?? "", body);
  if (cdrs.length === 0 || Number(request.headers["webhook-count"] ?? cdrs.length) !== cdrs.length) {
    return 400; // a batch that is not whole
  }
  await store.keep(cdrs);
  return 204;
}

const keys = keysOf(process.env.CDR_WEBHOOK_SECRET ?? "");
const store = new Store();

const server = createServer(async (request, response) => {
  const status = await statusFor(request).catch((error) => {
    console.error(`not stored: ${error.message}`);
    return 503; // not stored, so not 2xx: the forwarder keeps it
  });
  response.writeHead(status, status === 204 ? {} : { "content-length": 0, connection: "close" }).end();
});
server.keepAliveTimeout = 60_000; // longer than the forwarder keeps an idle connection
const [, host, port] = process.argv[2].match(/^(.*):(\d+)$/);
// It listens first: a second process on this port ends here, before it touches the file.
server.listen(Number(port), host, () => store.open(process.env.CDR_STORE ?? "cdrs.jsonl"));

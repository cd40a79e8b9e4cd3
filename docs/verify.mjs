// A second verifier of batch files: docs/format.md as a program. It imports nothing of Aegis and no package, only Node's own
// modules (Node 26: its OpenSSL has ML-DSA, SLH-DSA and KECCAK-256), so it shares no mistake with `aegisd verify`; a test
// holds the two against each other on a thousand altered files. The tables of preimages and refusals it reads in format.md,
// the shape of a file in schema/batch.json: if the page were wrong, nothing would verify.
//
//   node docs/verify.mjs [--allow-simulated] [--root FILE.pem]… [--at TIME] [--json] FILE…
//
// Exit codes: 0 all verified, 1 some refused, 2 usage. Out of its scope, so judge it elsewhere (`aegisd verify`): evidence
// other than TDX quotes of version 4, which it refuses; Intel's collateral (TCB status,
// advisories, revocation lists, identity of the quoting enclave), of which it sees only the shape; which enclave and log are
// meant (it prints them); what a transaction asks of a chain beyond its RLP, chain, fee and signer; several files at once.
import { createPublicKey, verify as isSignature, X509Certificate } from 'node:crypto';
import { readFileSync } from 'node:fs';
import process from 'node:process';
import { parseArgs } from 'node:util';
import { bytes, decodeTransaction, hash, hex, keccak, need, number, recover, uint } from './ethereum.mjs';
import { checkPlatforms } from './quote.mjs';

// ---- Bytes and digests (format.md §1, §2)
const sha512 = (...parts) => hash('sha512', ...parts);
const base64 = (text) => Buffer.from(text, 'base64');
const iso = (time_ms) => (time_ms < 253_402_300_800_000 ? new Date(time_ms).toISOString() : 'beyond RFC 3339');
const NONE = hex(Buffer.alloc(64));

const page = readFileSync(new URL('format.md', import.meta.url), 'utf8');
const PREIMAGES = Object.fromEntries(
  [...page.matchAll(/^\| `aegis\/([\w-]+)\/v1` \| `(.+?)` \|/gm)].map(([, kind, list]) => [kind, list.split(', ')]),
);
const REFUSALS = new Map([...page.matchAll(/^\| (\d+) \| `(\w+)` \|/gm)].map(([, code, name]) => [Number(code), name]));

/** SHA-512(T ‖ T ‖ abi.encode(fields)): bytes as they are, an integer as a word. */
function digest(kind, fields) {
  const tag = sha512(`aegis/${kind}/v1`);
  const words = PREIMAGES[kind].map((field) => {
    const [type, name] = field.split(' ');
    return type.startsWith('bytes') ? bytes(fields[name]) : uint(uintBound(fields[name], type), 32);
  });
  return hex(sha512(tag, tag, ...words));
}
const uintBound = (value, type) => number(uint(value, Number(type.slice(4)) / 8));

function keysetDigest(keyset) {
  const keys = PREIMAGES.keyset.slice(5).map((field) => field.split(' ')[1]);
  const hashes = keys.map((name) => [name, keyset[name] === null ? NONE : hex(sha512(base64(keyset[name])))]);
  return digest('keyset', { ...keyset, ...Object.fromEntries(hashes) });
}

function envelopeId(tx, { chain_id, log_id }) {
  const refs_root = rootOf(tx.asset_refs.map((id) => Buffer.from(id)));
  const aad = digest('envelope-aad', { ...tx, chain_id, log_id, scheme: tx.scheme === 'ecies' ? 1 : 0, refs_root });
  return digest('envelope-id', { ...tx, aad }).slice(0, 66);
}

// ---- Trees (format.md §3; RFC 9162 §2.1)
const leafHash = (entry) => sha512(Buffer.of(0), entry);
const nodeHash = (left, right) => sha512(Buffer.of(1), left, right);
const split = (size) => 2 ** (Math.ceil(Math.log2(size)) - 1);

function treeHash(entries) {
  if (entries.length < 2) return entries.length === 0 ? sha512('') : leafHash(entries[0]);
  const left = split(entries.length);
  return nodeHash(treeHash(entries.slice(0, left)), treeHash(entries.slice(left)));
}
const rootOf = (entries) => hex(treeHash(entries));

/** The root that a path leads to, taking the tree of `size` leaves apart from above. */
function climb(path, leaf, index, size) {
  need((size === 1) === (path.length === 0) && index < size, 'inclusion_path');
  if (size === 1) return leaf;
  const [left, below, sibling] = [split(size), path.slice(0, -1), path.at(-1)];
  if (index < left) return nodeHash(climb(below, leaf, index, left), sibling);
  return nodeHash(sibling, climb(below, leaf, index - left, size - left));
}

// ---- Shape: docs/schema/batch.json. Every value has one spelling (format.md §1)
const SCHEMA = JSON.parse(readFileSync(new URL('schema/batch.json', import.meta.url), 'utf8'));
const objectType = (v) => (v === null ? 'null' : Array.isArray(v) ? 'array' : 'object');
const [TYPES, STATES] = ['asset_type', 'migration_state'].map(
  (name) => SCHEMA.$defs.TouchedAsset.properties[name].enum,
);
const typeOf = (v) => (typeof v === 'object' ? objectType(v) : Number.isSafeInteger(v) ? 'integer' : typeof v);

function matches(schema, value) {
  if (schema.$ref !== undefined) return matches(SCHEMA.$defs[schema.$ref.split('/').at(-1)], value);
  if (schema.anyOf !== undefined) return schema.anyOf.some((one) => matches(one, value));
  if ('const' in schema || 'enum' in schema) return (schema.enum ?? [schema.const]).includes(value);
  const type = typeOf(value);
  if (type !== schema.type || Object.is(value, -0)) return false;
  if (type === 'integer') return value >= schema.minimum && value <= schema.maximum;
  const size = type === 'object' ? Object.keys(value).length : value?.length;
  if (size < (schema.minLength ?? schema.minItems) || size > (schema.maxLength ?? schema.maxItems)) return false;
  if (type === 'string') return value.isWellFormed() && new RegExp(schema.pattern ?? '').test(value);
  if (type === 'array') return value.every((member) => matches(schema.items, member));
  if (type !== 'object') return true;
  const known = (key) => Object.hasOwn(schema.properties, key) && matches(schema.properties[key], value[key]);
  return schema.required.every((key) => Object.hasOwn(value, key)) && Object.keys(value).every(known);
}

// ---- The file (format.md §5, §6)
const isDistinct = (values) => new Set(values).size === values.length;

function checkHeader({ header, ...file }) {
  need(file.batch_id === digest('batch', header), 'batch_id');
  need(file.height === header.height && `${file.block_number}` === header.block_number, 'height, block_number');
  need(file.timestamp === iso(header.timestamp_ms), 'timestamp');
  need((header.height === 0) === (header.parent_digest === NONE), 'header.parent_digest');
  need((header.algorithms & 3) === 3 && header.algorithms >= 4 === (file.ecdsa_sig !== null), 'header.algorithms');
  need(file.risk_assessment.score === header.risk_score, 'risk_assessment.score');
  const checkpoint = file.migration_checkpoint;
  need(header.checkpoint_digest === (checkpoint === null ? NONE : checkpointDigest(checkpoint)), 'checkpoint_digest');
  if (checkpoint === null) return;
  const { log_id, block_number, epoch, pqc_signature } = checkpoint;
  need(log_id === header.log_id && block_number <= header.height && epoch <= header.epoch, 'migration_checkpoint');
  need((epoch === header.epoch) === (pqc_signature !== null), 'migration_checkpoint.pqc_signature');
}

function checkpointDigest({ checkpoint_id, timestamp, ...fields }) {
  return digest('checkpoint', {
    ...{ ...fields, checkpoint_id: hex(sha512(checkpoint_id)), timestamp_ms: Date.parse(timestamp) },
  });
}

const ENTRIES = {
  order: ({ envelope_id, admission_sequence }) => [uint(admission_sequence, 8), bytes(envelope_id)],
  refused: ({ envelope_id, code }) => [bytes(envelope_id), uint(code, 2)],
  tx: ({ envelope_id, order_index, raw }) => [bytes(envelope_id), uint(order_index, 4), bytes(raw)],
  assets: ({ asset_id, policy_digest, asset_type, migration_state }) => {
    const numbers = { type: TYPES.indexOf(asset_type), state: STATES.indexOf(migration_state) };
    return [bytes(digest('asset', { asset_id: hex(sha512(asset_id)), policy_digest, ...numbers }))];
  },
};

function checkContent({ header, order, refused, transactions, asset_protections: assets }) {
  const declared = transactions.flatMap(({ asset_refs }) => asset_refs);
  const isPlaced = ({ asset_id: id }, i) => declared.includes(id) && (i === 0 || assets[i - 1].asset_id < id);
  need(assets.every(isPlaced), 'asset_protections');
  for (const [name, list] of Object.entries({ order, refused, tx: transactions, assets })) {
    const root = rootOf(list.map((entry) => Buffer.concat(ENTRIES[name](entry))));
    need(header[`${name}_root`] === root && (header[`${name}_count`] ?? list.length) === list.length, `${name}_root`);
  }
  const ids = order.map(({ envelope_id }) => envelope_id);
  need(isDistinct(ids) && isDistinct(order.map(({ admission_sequence }) => admission_sequence)), 'order: twice');
  const places = refused.map(({ envelope_id }) => ids.indexOf(envelope_id));
  const isCommitted = places.every((place, i) => place > (places[i - 1] ?? -1));
  const isNamed = refused.every(({ code, reason }) => REFUSALS.get(code) === reason);
  need(isCommitted && isNamed, 'refused');
  const settled = [...refused, ...transactions].map(({ envelope_id }) => envelope_id);
  need(isDistinct(settled) && settled.length === order.length, 'order: neither executed nor refused, or both');

  const opened = transactions.map((tx) => {
    need(ids[tx.order_index] === tx.envelope_id && tx.envelope_id === envelopeId(tx, header), 'envelope_id');
    const labels = [tx.tx_id ?? '', ...tx.asset_refs].map((label) => Buffer.byteLength(label));
    need(Math.max(...labels) <= 128 && isDistinct(tx.asset_refs), 'asset_refs');
    const { chain, hash, sender, tip, nonce } = decodeTransaction(bytes(tx.raw));
    need(tx.epoch <= header.epoch && `${chain}` === header.chain_id && tx.priority_fee === `${tip}`, 'transaction');
    need(tx.tx_hash === hash && tx.sender === sender, 'tx_hash, sender');
    return { nonce, sender, hash, place: tx.order_index };
  });
  need(isDistinct(opened.map((tx) => tx.hash)), 'transactions: twice');
  // Committed order, but that a sender's transaction comes after those of its own with lower nonces.
  const before = (a, b) => (a.nonce < b.nonce ? -1 : a.nonce > b.nonce ? 1 : a.place - b.place);
  const own = (tx) => opened.filter((other) => other.sender === tx.sender && before(other, tx) <= 0);
  const turn = new Map(opened.map((tx) => [tx, Math.max(...own(tx).map(({ place }) => place))]));
  const sorted = opened.toSorted((a, b) => turn.get(a) - turn.get(b) || before(a, b));
  need(sorted.map((tx) => tx.hash).join() === opened.map((tx) => tx.hash).join(), 'transactions: order of execution');
}

// ---- What vouches for it (format.md §4, §6, §7)
function checkSigned(algorithm, raw, kind, message, signature) {
  const key = createPublicKey({ key: base64(raw), format: 'raw-public', asymmetricKeyType: algorithm });
  const context = Buffer.from(`aegis/${kind}/v1`);
  need(isSignature(null, bytes(message), { key, context }, base64(signature)), `${algorithm} over ${kind}`);
}

function checkSignatures({ header, keyset, migration_checkpoint, ml_dsa_sig, ecdsa_sig, slh_dsa_sig }, batch, head) {
  const signs = (algorithm, name, kind, message, signature) =>
    checkSigned(algorithm, keyset[name], kind, message, signature);
  signs('ml-dsa-87', 'ml_dsa_87', 'batch', batch, ml_dsa_sig.signature);
  signs('ml-dsa-87', 'ml_dsa_87', 'seal', head, slh_dsa_sig.ml_dsa_signature);
  signs('slh-dsa-sha2-256s', 'slh_dsa_sha2_256s', 'seal', head, slh_dsa_sig.signature);
  const certified = migration_checkpoint?.pqc_signature ?? null;
  if (certified !== null)
    signs('ml-dsa-87', 'ml_dsa_87', 'checkpoint', checkpointDigest(migration_checkpoint), certified);
  if (ecdsa_sig === null) return;
  const domain = 'EIP712Domain(string name,string version,uint256 chainId)';
  const separator = keccak(keccak(domain), keccak('Aegis'), keccak('1'), uint(header.chain_id, 32));
  const type = keccak('Batch(uint64 height,bytes32 digestHi,bytes32 digestLo)');
  const signed = keccak(Buffer.of(0x19, 1), separator, keccak(type, uint(header.height, 32), bytes(batch)));
  const [sig, v] = [bytes(ecdsa_sig.signature), bytes(ecdsa_sig.signature)[64]];
  const key = recover(signed, number(sig.subarray(0, 32)), number(sig.subarray(32, 64)), v - 27);
  const point = Buffer.concat([Buffer.of(4), key]).toString('base64');
  need((v === 27 || v === 28) && keyset.secp256k1 === point, 'ecdsa_sig');
}

function checkSeal({ header, keyset, slh_dsa_sig, attestation }, batch, now_ms) {
  const { seal, leaf_index, inclusion_path } = slh_dsa_sig;
  for (const name of ['chain_id', 'log_id', 'epoch']) need(keyset[name] === header[name], `keyset.${name}`);
  need(seal.log_id === header.log_id && seal.epoch === header.epoch, 'seal');
  const second = attestation.phala_redundancy;
  const earned = second?.role === 'witness' ? 1 : 0;
  need((seal.providers === 3) === (second !== null) && seal.freshness <= earned, 'seal.providers, seal.freshness');
  need(seal.keyset_digest === keysetDigest(keyset) && seal.timestamp_ms <= now_ms + 300_000, 'seal');
  const leaf = leafHash(Buffer.concat([Buffer.of(0), bytes(batch)]));
  need(hex(climb(inclusion_path.map(bytes), leaf, leaf_index, seal.size)) === seal.root, 'inclusion_path');
  const lifetime_ms = attestation.not_after_ms - seal.timestamp_ms;
  need(lifetime_ms > 0 && lifetime_ms <= 86_400_000, 'attestation.not_after_ms');
}

/** What the quotes must say: this head, this keyset, each platform in its own role. Where the primary had failed, the second stands alone. */
function checkEvidence({ attestation, keyset, slh_dsa_sig: { seal } }, head, options) {
  const { not_after_ms, phala_redundancy: second } = attestation;
  const about = { subject: head, keyset_digest: keysetDigest(keyset), not_after_ms };
  const purpose = seal.providers === 2 ? 5 : 1;
  const quotes = [{ said: attestation, report_data: digest('quote', { ...about, purpose, nonce: NONE }) }];
  if (second === null) return checkPlatforms(quotes, keyset.key_source, seal.providers, options);
  need((second.role === 'witness') === (second.witness !== undefined), 'phala_redundancy.role');
  const parts = second.witness === undefined ? [] : [sha512(base64(second.witness.key))];
  if (second.worker_id !== null || second.enclave_id !== null) {
    const names = [second.worker_id ?? '', second.enclave_id ?? ''].map((name) => Buffer.from(name));
    parts.push(...names.flatMap((name) => [uint(name.length, 4), name]));
  }
  const nonce = parts.length === 0 ? NONE : hex(sha512(...parts));
  const said = { ...second, aegis_verification: second.phala_verification };
  const report_data = digest('quote', { ...about, purpose: second.witness === undefined ? 5 : 4, nonce });
  if (second.witness !== undefined) checkAcknowledgement(seal, second.witness);
  return checkPlatforms([...quotes, { said, report_data }], keyset.key_source, seal.providers, options);
}

/** The witness has followed the log up to this head, and no other of its size. */
function checkAcknowledgement({ log_id, size, root }, { key, acknowledgement }) {
  const witness_key = hex(sha512(base64(key)));
  const message = digest('witness', { kind: 2, log_id, number: size, count: 0, root, witness_key });
  checkSigned('ml-dsa-87', key, 'witness', message, acknowledgement);
}

const UNCHECKED = 'whether you want this log_id and this mrtd, and the collateral: TCB status, advisories, revocation';
function judge(file, options) {
  need(matches(SCHEMA, file) && file.slh_dsa_sig !== null && file.attestation !== null, 'schema, or unsealed');
  const [batch, head] = [file.batch_id, digest('seal', file.slh_dsa_sig.seal)];
  checkHeader(file);
  checkContent(file);
  checkSeal(file, batch, options.now_ms);
  checkSignatures(file, batch, head);
  const simulated = checkEvidence(file, head, options);
  const { measurements, phala_redundancy: second } = file.attestation;
  const platforms = { mrtd: measurements.mrtd, second_mrtd: second?.measurements.mrtd ?? null };
  const { height, log_id } = file.header;
  return { ok: true, height, log_id, ...platforms, simulated, unchecked: UNCHECKED };
}

function attempt(act) {
  try {
    return act();
  } catch (error) {
    return { ok: false, reason: error.message };
  }
}

/** @returns a verdict, as verify.d.mts has it. Never throws */
export const verify = (file, options) => attempt(() => judge(file, options));

/** Twice a key, 1.0 for 1 or an escape that need not be: not what JSON.stringify writes, white space apart. */
function parse(text) {
  const file = JSON.parse(text);
  need(JSON.stringify(file) === text.replace(/("(?:[^"\\]|\\.)*")|\s+/g, '$1'), 'JSON: another spelling');
  return file;
}

function main() {
  const [flag, text] = [{ type: 'boolean' }, { type: 'string' }];
  const known = { root: { ...text, multiple: true }, at: text, json: flag, 'allow-simulated': flag };
  const { values, positionals } = parseArgs({ allowPositionals: true, options: known });
  const roots = values.root?.map((path) => new X509Certificate(readFileSync(path)).raw);
  const now_ms = values.at ? Date.parse(values.at) : Date.now();
  const options = { roots, now_ms, allow_simulated: values['allow-simulated'] };
  need(positionals.length > 0 && Number.isFinite(now_ms), 'usage: node docs/verify.mjs [options] FILE…');
  const texts = positionals.map((path) => readFileSync(path, 'utf8'));
  const files = texts.map((text, i) => ({ file: positionals[i], ...attempt(() => judge(parse(text), options)) }));
  if (values.json) console.log(JSON.stringify(files, null, 2));
  else for (const { file, ...verdict } of files) console.log(file, verdict);
  process.exitCode = files.every(({ ok }) => ok) ? 0 : 1;
}

if (import.meta.main) {
  try {
    main();
  } catch (error) {
    console.error(error.message);
    process.exitCode = 2;
  }
}

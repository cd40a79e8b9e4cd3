// Writes docs/api.md: `npm run docs`. What can be derived is: errors from problem.ts, refusals from refusal.ts, close codes from the
// feed. The list of routes is here, because it has an example for each; tests hold it against the app and run every example.
import { writeFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { ACTS } from '../../actors/act.ts';
import { CLOSE_CODES, type CloseReason, ENTRY_TYPES } from '../../actors/feed.ts';
import { REFUSALS, type Refusal } from '../../actors/refusal.ts';
import { ALARMS } from '../../client/auditor.ts';
import { PROBLEMS, type ProblemCode } from './problem.ts';
import type { Role } from './token.ts';

export const GUIDE_FILE = fileURLToPath(new URL('../../docs/api.md', import.meta.url));

interface Example {
  readonly route: `${'GET' | 'POST' | 'PUT' | 'PATCH' | 'DELETE'} /${string}`;
  readonly role: 'public' | Role;
  readonly answer: string;
  readonly curl: string;
}

const open = (route: Example['route'], answer: string, curl: string): Example => ({
  route,
  role: 'public',
  answer,
  curl: `curl -s ${curl}`,
});

/** The body of the deployment guide. */
/** Of the key whose seed is 32 bytes of 7. */
const NAME = 'k51qzi5uqu5dm0t4vbwri4lkg76q03b4x9tsvekgvbu4zli6454ff7w8wdosa4';
const REGISTRATION = JSON.stringify({
  asset_id: 'token_001',
  asset_type: 'OnChainToken',
  chain_id: 16584,
  contract_address: '0x72fc1db108e68afbfe8c251829cefeeff109b7d4',
  access_policy: { requires_pqc: true, requires_tee: true, risk_threshold: 5000 },
});

/** `$AEGIS` is the daemon's URL, `$ID` an envelope id, `state` its state folder. */
export const EXAMPLES: readonly Example[] = [
  open(
    'POST /transactions',
    '202 with a receipt; the envelope is durable. One envelope, or an array (below)',
    "-H 'content-type: application/json' -d @envelope.json $AEGIS/transactions",
  ),
  open(
    'GET /transactions/{id}',
    'What became of it, by envelope id or transaction hash: `pending`, `ordered`, `sequenced`, `refused`; whether it is sealed',
    '$AEGIS/transactions/$ID',
  ),
  open('GET /sequencer/status', 'Pool, heights, log, epoch, faults', '$AEGIS/sequencer/status'),
  open('GET /batches/recent', 'The newest batch files, 10 or `count` (at most 50)', '"$AEGIS/batches/recent?count=2"'),
  open('GET /batches/{height}', 'A batch file; immutable once it is sealed', '$AEGIS/batches/0'),
  open(
    'GET /batches/headers',
    'Headers of batches, from height `from` on (at most 100)',
    '"$AEGIS/batches/headers?from=0&limit=2"',
  ),
  open(
    'GET /log/head',
    'The newest seal with signatures, evidence and keyset, and where the log stands',
    '$AEGIS/log/head',
  ),
  open(
    'GET /log/inclusion',
    'Proof that a leaf (`leaf_index`, or `height` of a batch) is in a head (`size`)',
    '"$AEGIS/log/inclusion?height=0"',
  ),
  open(
    'GET /log/consistency',
    'Proof that the head of size `to` continues that of size `from`',
    '"$AEGIS/log/consistency?from=1"',
  ),
  open(
    'GET /log/entries',
    'What is in the log, from leaf `from` on (at most 1,000 entries)',
    '"$AEGIS/log/entries?from=0&limit=2"',
  ),
  open('GET /log/tile/{level}/{index}', 'A full tile of the tree: 256 hashes (below)', '$AEGIS/log/tile/0/0 -o tile'),
  open(
    'GET /log/tile/{level}/{index}.p/{width}',
    'The beginning of a tile: `width` hashes',
    '$AEGIS/log/tile/0/0.p/2 -o tile',
  ),
  open('GET /log/seals', 'Heads that were sealed, of a size above `after` (at most 100)', '"$AEGIS/log/seals?after=0"'),
  open('GET /log/seals/{size}', 'The seal of a size, as `sealed` of `/log/head`', '$AEGIS/log/seals/2'),
  open('GET /epochs', 'Epochs of keys, newest first', '$AEGIS/epochs'),
  open('GET /epochs/rotations', 'The rotation log, newest first', '$AEGIS/epochs/rotations'),
  open('GET /epochs/{epoch}/keyset', 'Public keys with the quote that binds them', '$AEGIS/epochs/1/keyset'),
  open(
    'GET /attestation',
    'A quote over the active keyset and your `nonce` (1 to 64 bytes, hex)',
    '"$AEGIS/attestation?nonce=c0ffee"',
  ),
  open(
    'GET /public-key',
    'The key that IPNS keys are encrypted to in an `epoch`, 130 hex digits',
    '"$AEGIS/public-key?epoch=1"',
  ),
  open('GET /admin/keys', 'The admins of the log, whose signed orders are executed', '$AEGIS/admin/keys'),
  open(
    'GET /admin/orders',
    'Orders that were executed, behind the leaf `after` (20 or `limit`, at most 100)',
    '"$AEGIS/admin/orders?limit=10"',
  ),
  open(
    'GET /qrm/risk',
    'The score that orders the next batch, what it comes from, what it did; `explain=1` for what each threat does to it ([risk.md](risk.md))',
    '"$AEGIS/qrm/risk?explain=1"',
  ),
  open(
    'GET /qrm/history',
    'What the score was, at `from`, then every `step`, until `to`, in Unix milliseconds',
    '"$AEGIS/qrm/history"',
  ),
  open('GET /health', 'The process lives', '$AEGIS/health'),
  open('GET /ready', '200, or 503 with reasons', '$AEGIS/ready'),
  open('GET /feed', 'WebSocket (below)', '$AEGIS/feed'),
  open(
    'GET /feed/entries',
    'A page of the journal behind the cursor `after`',
    '"$AEGIS/feed/entries?after=0&limit=10"',
  ),
  open('GET /openapi.json', 'This, for programs: OpenAPI 3.1', '$AEGIS/openapi.json'),
  {
    route: 'GET /metrics',
    role: 'metrics',
    answer: 'Prometheus metrics',
    curl: 'curl -s -H "Authorization: Bearer $(cat state/admin.token)" $AEGIS/metrics',
  },
  {
    route: 'POST /batches/cut',
    role: 'admin',
    answer: 'Cuts a batch now; its height, or null when nothing is pending',
    curl: 'curl -s -X POST --unix-socket state/aegisd.sock http://aegisd/batches/cut',
  },
  {
    route: 'POST /epochs/rotate',
    role: 'admin',
    answer:
      '202 with the rotation that it announces; `reason` is `manual` or `compromise`, `delay_blocks` may put it off',
    curl: `curl -s -H 'content-type: application/json' -d '{"reason":"manual"}' --unix-socket state/aegisd.sock http://aegisd/epochs/rotate`,
  },
  {
    route: 'POST /assets/register',
    role: 'admin',
    answer: '201 with the asset as it is protected from now on ([assets.md](assets.md)); the log has an entry of it',
    curl: `curl -s -H "Authorization: Bearer $(cat state/admin.token)" -H 'content-type: application/json' -d '${REGISTRATION}' $AEGIS/assets/register`,
  },
  open(
    'GET /assets/protection/{id}',
    'Policy and state of an asset; what is enforced, not only what was asked for',
    '$AEGIS/assets/protection/token_001',
  ),
  open(
    'GET /assets',
    'Assets by `type` and `state`, in pages (100 or `limit`, at most 1,000) behind `after`',
    '"$AEGIS/assets?type=OnChainToken&state=Active"',
  ),
  {
    route: 'PATCH /assets/{id}/policy',
    role: 'admin',
    answer: 'Replaces what the body names, and shows the asset; an entry of the log',
    curl: `curl -s -X PATCH -H 'content-type: application/json' -d '{"allowed_operations":["transfer","encrypt","decrypt","rewrap"]}' --unix-socket state/aegisd.sock http://aegisd/assets/token_001/policy`,
  },
  {
    route: 'POST /assets/{id}/encrypt',
    role: 'data',
    answer:
      'The body, of any size, as an encrypted stream ([format.md](format.md) §12); also `names` and `worker`, if granted',
    curl: "printf hello | curl -s -X POST -H 'content-type: application/octet-stream' --data-binary @- --unix-socket state/aegisd.sock http://aegisd/assets/token_001/encrypt -o sealed",
  },
  {
    route: 'POST /assets/{id}/decrypt',
    role: 'data',
    answer: 'What was encrypted; the connection is reset where a later part turns out not to be that',
    curl: "curl -s -X POST -H 'content-type: application/octet-stream' --data-binary @sealed --unix-socket state/aegisd.sock http://aegisd/assets/token_001/decrypt",
  },
  {
    route: 'POST /assets/{id}/rewrap',
    role: 'data',
    answer: 'Moves the data key to the active epoch',
    curl: 'curl -s -X POST --unix-socket state/aegisd.sock http://aegisd/assets/token_001/rewrap',
  },
  {
    route: 'POST /migration/start',
    role: 'admin',
    answer:
      'Begins a migration of all assets, which are frozen until it ends; `senders` are whose transactions belong to it',
    curl: 'curl -s -X POST -H "Authorization: Bearer $(cat state/admin.token)" $AEGIS/migration/start',
  },
  open(
    'GET /handover',
    'Whether this enclave hands its log over to another, who may succeed it, and the newest handover of the log, sealed',
    '$AEGIS/handover',
  ),
  {
    route: 'POST /admin/handover',
    role: 'admin',
    answer: 'Lets a successor come that an admin’s order in force allows; `successor_url` is where clients go on',
    curl: `curl -s -X POST -H 'content-type: application/json' -d '{"successor_url": "https://next.example"}' --unix-socket state/aegisd.sock http://aegisd/admin/handover`,
  },
  {
    route: 'DELETE /admin/handover',
    role: 'admin',
    answer: 'Lets no successor come any more; one that is there gets nothing more, and everything goes on here',
    curl: 'curl -s -X DELETE --unix-socket state/aegisd.sock http://aegisd/admin/handover',
  },
  open(
    'GET /migration/status',
    'The newest migration with its checkpoint, and the last checkpoints',
    '$AEGIS/migration/status',
  ),
  open(
    'GET /migration/checkpoints/{id}',
    'A signed checkpoint with its seal; `aegisd migrate export` puts its snapshots to it',
    '$AEGIS/migration/checkpoints/$CHECKPOINT',
  ),
  open(
    'GET /migration/checkpoints/{id}/snapshots',
    'A part of its snapshots, of as many as `parts` says, from 0',
    '"$AEGIS/migration/checkpoints/$CHECKPOINT/snapshots?part=0"',
  ),
  {
    route: 'POST /migration/rollback',
    role: 'admin',
    answer: 'Gives the migration up: every asset is what it was',
    curl: `curl -s -X POST -d '{"checkpoint_id": "'$CHECKPOINT'"}' --unix-socket state/aegisd.sock http://aegisd/migration/rollback`,
  },
  {
    route: 'POST /migration/complete',
    role: 'admin',
    answer: 'Completes the migration that runs, for good: its assets count as migrated',
    curl: `curl -s -X POST -d '{"checkpoint_id": "'$CHECKPOINT'"}' --unix-socket state/aegisd.sock http://aegisd/migration/complete`,
  },
  {
    route: 'POST /admin/backup',
    role: 'admin',
    answer: 'Copies the store into the state folder while it runs; `aegisd backup` moves it where you want it',
    curl: 'curl -s -X POST --unix-socket state/aegisd.sock http://aegisd/admin/backup',
  },
  {
    route: 'DELETE /assets/{id}',
    role: 'admin',
    answer:
      'Removes an asset; with `lose_key=true` also one whose data could not be read any more. An entry of the log',
    curl: 'curl -s -X DELETE --unix-socket state/aegisd.sock "http://aegisd/assets/token_001?lose_key=true"',
  },
  {
    route: 'POST /names',
    role: 'names',
    answer:
      '201 with the name, 200 for one that was enrolled; an array of up to 200 is answered entry by entry ([names.md](names.md))',
    curl: "curl -s -H 'content-type: application/json' -d @enrolment.json --unix-socket state/aegisd.sock http://aegisd/names",
  },
  {
    route: 'GET /names',
    role: 'names',
    answer: 'Enrolled names by `state`, in pages (100 or `limit`, at most 1,000) behind `after`',
    curl: 'curl -s --unix-socket state/aegisd.sock "http://aegisd/names?state=stale"',
  },
  {
    route: 'GET /names/{name}',
    role: 'names',
    answer: 'Where a name stands, and its newest record',
    curl: `curl -s --unix-socket state/aegisd.sock http://aegisd/names/${NAME}`,
  },
  {
    route: 'PUT /names/{name}/record',
    role: 'names',
    answer: 'Takes a newer record of the owner, which goes out at once',
    curl: `curl -s -X PUT -H 'content-type: application/json' -d @record.json --unix-socket state/aegisd.sock http://aegisd/names/${NAME}/record`,
  },
  {
    route: 'DELETE /names/{name}',
    role: 'names',
    answer: 'Removes the key; what is published ends by itself',
    curl: `curl -s -X DELETE --unix-socket state/aegisd.sock http://aegisd/names/${NAME}`,
  },
  {
    route: 'GET /admin/republish-health',
    role: 'admin',
    answer: 'How republishing goes: how many names wait, fail and are stale, and when the first record ends',
    curl: 'curl -s --unix-socket state/aegisd.sock http://aegisd/admin/republish-health',
  },
  {
    route: 'POST /republish',
    role: 'worker',
    answer: 'The worker protocol, where `names.worker` allows it: signs up to 100 entries, never of enrolled names',
    curl: "curl -s -H 'content-type: application/json' -d @entries.json --unix-socket state/aegisd.sock http://aegisd/republish",
  },
  {
    route: 'POST /qrm/indicators',
    role: 'admin',
    answer: 'Reports threats, one or an array, all or none ([risk.md](risk.md))',
    curl: "curl -s -H 'content-type: application/json' -d @indicator.json --unix-socket state/aegisd.sock http://aegisd/qrm/indicators",
  },
  {
    route: 'GET /qrm/indicators',
    role: 'admin',
    answer: 'The threats that are kept, behind `after`, and the feeds',
    curl: 'curl -s --unix-socket state/aegisd.sock http://aegisd/qrm/indicators',
  },
  {
    route: 'POST /qrm/indicators/{id}/withdraw',
    role: 'admin',
    answer: 'Takes back one that was reported here',
    curl: 'curl -s -X POST --unix-socket state/aegisd.sock http://aegisd/qrm/indicators/mine/withdraw',
  },
  {
    route: 'POST /qrm/simulation/start',
    role: 'admin',
    answer: 'Plays a simulated threat from a `seed`, a round every `interval_ms`, where `risk.simulation` allows it',
    curl: 'curl -s -X POST --unix-socket state/aegisd.sock "http://aegisd/qrm/simulation/start?seed=1&interval_ms=600000"',
  },
  {
    route: 'POST /qrm/simulation/stop',
    role: 'admin',
    answer: 'Ends it and takes its threats away',
    curl: 'curl -s -X POST --unix-socket state/aegisd.sock http://aegisd/qrm/simulation/stop',
  },
  {
    route: 'POST /admin/orders',
    role: 'admin',
    answer: 'Executes an order that an admin has signed (below), once',
    curl: "curl -s -H 'content-type: application/json' -d @order.json --unix-socket state/aegisd.sock http://aegisd/admin/orders",
  },
];

/** What can be wrong with a submission, and how it shows. Each is a case of transactions.test.ts. */
const BAD_INPUT: readonly (readonly [what: string, shows: readonly (ProblemCode | Refusal)[]])[] = [
  ['an empty body', ['empty_body']],
  ['10 MB', ['body_too_large']],
  ['no JSON, or not in UTF-8', ['invalid_json']],
  ['another media type, or a compressed body', ['unsupported_media_type']],
  ['a field of a wrong type, out of range, or not spelled canonically', ['invalid_body']],
  ['a field that is missing, or an unknown key', ['invalid_body']],
  ['an array of none, or of too many', ['too_many_envelopes']],
  ['an unknown or retired epoch', ['epoch_not_accepted']],
  ['a full pool', ['mempool_full']],
  ['more than the allowance', ['rate_limited']],
  ['encrypted to a wrong key', ['unopenable']],
  ['a truncated or bit-flipped ciphertext', ['unopenable']],
  ['altered public fields on a known ciphertext', ['unopenable', 'aad_mismatch']],
  ['a plaintext that is no transaction, or is followed by more', ['malformed_transaction']],
  ['a transaction of another type, or without a chain id', ['unsupported_type', 'unprotected']],
  ['a transaction of another chain', ['wrong_chain']],
  ['a transaction without a sender, or with a high s', ['bad_signature']],
  ['a declared fee that is not the fee of the transaction', ['claim_mismatch']],
  ['a transaction that was sequenced before, in a new envelope', ['replayed']],
];

function shown(code: ProblemCode | Refusal): string {
  if (code in PROBLEMS) return `${PROBLEMS[code as ProblemCode][0]} \`${code}\``;
  return `202, then refused: ${REFUSALS[code as Refusal][0]} \`${code}\``;
}

/** Why the feed ended a connection, and what to do. */
export const CLOSES: Readonly<Record<CloseReason, readonly [meaning: string, remedy: string]>> = {
  server_closing: ['The daemon ends.', 'Connect again later, with your cursor.'],
  read_only: ['You sent a message, or a flood of pings; the feed takes none.', 'Only read; submit to `/transactions`.'],
  store_unavailable: [
    'The journal cannot be read at the moment.',
    'Connect again later, with your cursor. Operator: the log says why.',
  ],
  consumer_too_slow: [
    'You did not take `feed.buffered_bytes_max` bytes within `feed.idle_ping_ms`.',
    'Connect again, with your cursor; read before you process, or ask for fewer `types`.',
  ],
  future_cursor: [
    'No entry has this cursor yet.',
    'It is of another daemon, or of a store that was lost: compare log_id.',
  ],
  outdated_cursor: [
    'What lies behind the cursor has been pruned.',
    '`/feed/entries` names the oldest that is kept; the rest is in /batches and /log/entries.',
  ],
};

/** With columns in line, as the formatter would have them. */
export function table(head: readonly string[], rows: readonly (readonly (string | number)[])[]): string {
  const cells = [head, ...rows].map((row) => row.map(String));
  const widths = head.map((_, column) => Math.max(...cells.map((row) => row[column]!.length)));
  const line = (row: readonly string[]) => `| ${row.map((cell, i) => cell.padEnd(widths[i]!)).join(' | ')} |`;
  const [first, ...rest] = cells.map(line);
  return [first, line(widths.map((width) => '-'.repeat(width))), ...rest].join('\n');
}

const code = (name: string) => `\`${name}\``;

/** Of an act, beside its type. */
const membersOf = (shape: object) =>
  Object.keys(shape)
    .filter((name) => name !== 'type')
    .map(code)
    .join(', ');

/** The whole page. */
export function guide(): string {
  return `<!-- Made by daemon/api/guide.ts: npm run docs -->
# The API

HTTP and a WebSocket feed on \`api.listen\`, and the same on the unix socket \`api.socket\` in the state folder. Bodies and answers are JSON, one spelling
throughout: integers up to 32 bits, heights, sizes and \`*_ms\` as numbers, wider ones as decimal strings, digests and ids as
lower-case 0x-hex, signatures and keys as padded base64. Unknown keys and parameters are refused. There is no CORS.

Public routes need nothing. The others answer whoever can open the unix socket (mode 0600), and over TCP a bearer token of their role or
of \`admin\`: \`<role>.token\` in \`$CREDENTIALS_DIRECTORY\`, or \`admin.token\` in the state folder, which the first start makes.

## Routes

${table(
  ['route', 'who', 'answer'],
  EXAMPLES.map(({ route, role, answer }) => [`\`${route}\``, role, answer]),
)}

\`\`\`sh
AEGIS=http://127.0.0.1:5050
${EXAMPLES.map(({ curl }) => curl).join('\n')}
\`\`\`

An \`envelope.json\` comes from the client library; \`aegisd send\` does all of it at once:

\`\`\`ts
import { encryptEnvelope } from './client/seal.ts';
const { keyset } = await (await fetch(\`\${AEGIS}/epochs/1/keyset\`)).json(); // verify it before you rely on it
const envelope = await encryptEnvelope({ keyset, raw }); // raw: the signed EIP-2718 bytes
\`\`\`

### Arrays

\`POST /transactions\` takes up to \`api.envelopes_max\` envelopes at once. The answer is an array as long, each element in the place of its
envelope: \`{"status": 202, "envelope_id", "tx_id"?, "receipt"}\`, or the problem that the envelope would have got alone, with fields
named like \`[3].priority_fee\`. The answer as a whole is 202 when at least one was admitted, else it has the status of the first element.

### The allowance

Each client address (of IPv6, each /64) may submit \`api.rate_limit_per_s\` envelopes a second, \`api.rate_limit_burst\` at once. An envelope that is
refused after it was ordered costs \`api.refused_penalty\` more, a quote over a nonce 50. Beyond that: 429 with \`Retry-After\`. The same is heard by
an address that has \`mempool.client_max\` envelopes waiting or \`feed.client_max\` places of the feed; connections beyond \`api.client_connections_max\` are closed.

## Errors

Every error is an RFC 9457 problem, \`application/problem+json\`: \`type\`, \`title\`, \`status\`, a stable \`code\`, \`remedy\` (what to do next), and where it
helps \`detail\`, \`field\`, \`position\`, \`retry_after_s\`, \`current_epoch\`, \`keyset_digest\`, \`size\`, \`oldest\`, \`newest\`, \`leaf_index\`.

Answers carry \`x-request-id\`, the name of its request in the daemon's log: your own, where you sent one of at most 64 letters,
digits and \`_.:-\`; otherwise one that the daemon made.

${table(
  ['status', 'code', 'meaning', 'what to do'],
  Object.entries(PROBLEMS)
    .sort(([, [a]], [, [b]]) => a - b)
    .map(([code, [status, ...texts]]) => [status, `\`${code}\``, ...texts]),
)}

## Refusals

What shows only when an envelope is opened cannot be an answer to its submission: it got a receipt and is ordered like any other. Then
\`GET /transactions/{id}\` says \`"status": "refused"\` with \`code\` and \`reason\`, and the batch lists it, signed.

${table(
  ['code', 'reason', 'meaning', 'what to do'],
  Object.entries(REFUSALS).map(([reason, [code, ...texts]]) => [code, `\`${reason}\``, ...texts]),
)}

### Bad input, case by case

${table(
  ['what is wrong', 'how it shows'],
  BAD_INPUT.map(([what, codes]) => [what, codes.map(shown).join('; ')]),
)}

The same envelope again is no mistake: it gets its first receipt. Under \`x-wing\` the declared fields are authenticated with the
ciphertext, so one that was altered on the way shows as \`unopenable\`; under \`ecies\` it shows as \`aad_mismatch\`.

## The log

Every batch digest and every keyset is a leaf of one append-only Merkle tree (RFC 9162 with SHA-512); a seal signs its head. Whoever keeps one
head and asks for consistency with each later one holds the daemon to its whole history:

\`\`\`sh
curl -s $AEGIS/log/head > kept.json
npx aegisd verify --allow-simulated --since kept.json --url $AEGIS   # later: history has only grown
npx aegisd audit --allow-simulated --url $AEGIS --state auditor.json # the same all the time, and every entry besides
\`\`\`

What is kept is a head with all that it takes to verify it, [\`schema/head.json\`](schema/head.json). \`verify --since\` refuses by the first four
names below, \`audit\` ends with an alarm by any of them, one JSON line and a file with both heads:

${table(
  ['alarm', 'what was seen'],
  Object.entries(ALARMS).map(([code, sentence]) => [`\`${code}\``, sentence]),
)}

A mirror takes the entries or, after c2sp.org/tlog-tiles, the hashes: tile \`index\` of level L holds the hashes of complete subtrees
\`256 · index\` to \`256 · index + 255\` of 256^L leaves each, 64 bytes a hash; level 0 holds leaf hashes, and \`.p/{width}\` is the beginning
of a tile that is not full yet. Here an index is one plain number. Entries, tiles, headers and seals that a seal covers never change and are
marked so: \`Cache-Control: immutable\`. What is newer is \`no-cache\`.

## Orders

What lowers security takes more than the admin's token: an order that one of the admins of \`admin.keys\` has signed with ML-DSA-87, for this log, once, for
at most 30 days. One signature is enough. \`aegisd admin keygen\`, \`sign\` and \`submit\` make it and hand it in ([cli.md](cli.md)); what is signed is on
[format.md](format.md) §2. A key in an HSM signs the digest that \`aegisd admin digest\` prints (ML-DSA-87, pure, context \`aegis/order/v1\`), and
\`attach\` puts the two together. The first start fixes the admins for good, so make the keys before it. An executed order is an entry of the log of kind \`policy\`, and \`/admin/orders\` has it whole, so that anybody
can check it against \`/admin/keys\`, whose digest is such an entry, too. \`act\` is one of:

${table(
  ['`type`', 'members', 'what it does'],
  ACTS.map(({ shape, description = '' }) => [code(shape.type.value), membersOf(shape), description]),
)}

An act that this version cannot do yet is refused with \`act_not_supported\`.

## The feed

\`ws://127.0.0.1:5050/feed?cursor=N&types=a,b\` sends every entry of the journal behind cursor N as a JSON text \`{"cursor", "type", "at_ms", "data"}\`:
in order, without a gap, and only what is durable. Without \`cursor\` it begins now; \`cursor=0\` is the beginning. Keep the last cursor that you have
dealt with and give it when you connect again. Types: ${ENTRY_TYPES.map((type) => `\`${type}\``).join(', ')}.

${table(
  ['close code', 'reason', 'meaning', 'what to do'],
  (Object.keys(CLOSES) as CloseReason[]).map((reason) => [CLOSE_CODES[reason], `\`${reason}\``, ...CLOSES[reason]]),
)}

A handshake that is refused is answered over HTTP with a problem: \`invalid_query\`, \`feed_full\` beyond \`feed.clients_max\`, or
\`rate_limited\` beyond \`feed.client_max\` of one address.
`;
}

if (import.meta.main) writeFileSync(GUIDE_FILE, guide());

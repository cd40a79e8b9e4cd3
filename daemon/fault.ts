/**
 * A fault is "the world failed": a disk, a lock, a worker, a guest agent. It is thrown; the runtime retries it with backoff or, at
 * boot, the operator reads it. Rejections (what a client did wrong) are values and never come through here.
 *
 * One class, one table of codes: a new code is one entry of `FAULTS`, from which docs/errors.md is made. Messages are sentences
 * for an operator that say what to do; details never hold secrets or record values.
 */

type Detail = { readonly [name: string]: unknown };

/** What went wrong and where; then what to do about it. One entry per code. */
export const FAULTS = {
  store_io: [
    (d) => `The store could not ${d.operation ?? 'write'}${at(d)}: ${d.reason ?? 'input/output error'}.`,
    'Nothing was acknowledged; a running daemon tries again. Look at the disk: space, mount options, owner, health.',
  ],
  store_locked: [
    (d) => `The store${at(d)} is in use by ${d.pid ? `process ${d.pid}` : 'another process'}.`,
    'Stop that daemon, or choose another state_dir.',
  ],
  store_newer: [
    (d) => `The store${at(d)} was written by a newer version (schema ${d.found}; this program knows ${d.known}).`,
    'Run the newer program.',
  ],
  store_older: [
    (d) => `The store${at(d)} has schema ${d.found} and there is no migration from it to ${d.known}.`,
    'Run the release in between first.',
  ],
  store_wrong_key: [
    (d) => `The store${at(d)} was sealed under another key.`,
    'Give the key source (or the root) that made it.',
  ],
  store_corrupt: [
    (d) => `The store${at(d)} is damaged: ${d.reason ?? 'a record does not open'}${where(d)}.`,
    'Restore a backup or another copy; do not sign with this one.',
  ],
  store_foreign: [(d) => `The store${at(d)} belongs to something else: ${d.reason}.`, 'Use another state_dir.'],
  store_rolled_back: [
    (d) =>
      `The store${at(d)} is older than its own marks: ${d.kind} ${d.number} was reached and the store ${d.reason ?? 'does not hold it'}.`,
    "Restore the newest copy. Where that is lost, aegisd resolve-restore brings this one forward over what was published since, by an admin's order.",
  ],
  store_busy: [
    (d) => `The store has ${d.waiting} steps waiting for the disk, which is its bound.`,
    'Try again; a disk that is this slow needs a look.',
  ],
  store_held: [
    () => 'The state of this enclave is being handed over to a successor, or was.',
    'Go on at the successor; if the handover fails, this enclave takes everything again.',
  ],
  store_closed: [() => 'The store is closed.', 'Nothing: the daemon is ending, and the next start goes on.'],
  watermark_missing: [
    (d) => `The watermark file${at(d)} is ${d.reason ?? 'missing'} though the store has promised signatures.`,
    'Restore the file; or, when you are sure that no newer copy of this store exists, start once with --accept-missing-watermark.',
  ],
  watermark_unknown: [
    (d) => `The store holds no such promise: ${d.kind} ${d.number} must be committed before it is signed.`,
    'Nothing was signed. Report it: the order of steps was wrong, or the store was changed from outside.',
  ],
  worker_failed: [
    (d) => `The worker failed at ${d.job ?? 'its job'}: ${d.reason ?? 'no reason given'}.`,
    'It is tried again. If it goes on, look at memory and at workers.task_timeout_ms.',
  ],
  quote_failed: [
    (d) => `The provider ${d.provider ?? ''} gave no quote: ${d.reason ?? 'no reason given'}.`,
    'A running daemon asks again, and seals wait until then; mend the platform, or the file that is named.',
  ],
  quote_busy: [
    (d) => `${d.waiting} requests wait for a quote, which is the bound.`,
    'Try again; if it goes on, somebody asks for many quotes over nonces: see api.rate_limit_per_s.',
  ],
  key_source_failed: [
    (d) => `The key source ${d.source ?? ''} gave no key: ${d.reason ?? 'no reason given'}.`,
    'Restore what the keys came from: without it the store cannot be read, and with another it is another log.',
  ],
  key_source_changed: [
    (d) =>
      `The key source ${d.source ?? ''} is another than the one that made the keys of this state folder: ${d.reason}.`,
    'Run where those keys were made; other keys are another log, so a new beginning takes a state_dir of its own.',
  ],
  guest_agent_timeout: [
    (d) => `The guest agent${at(d)} did not answer ${d.method} within ${d.timeout_ms} ms.`,
    'See that it runs; the socket is keys.dstack_socket, the patience keys.timeout_ms.',
  ],
  guest_agent_failed: [
    (d) => `The guest agent${at(d)} failed ${d.method}: ${d.reason ?? 'no reason given'}.`,
    'See that it runs, and that keys.dstack_socket is its socket.',
  ],
  simulator_endpoint: [
    (d) =>
      `DSTACK_SIMULATOR_ENDPOINT is set in the environment while ${d.reason}: everyone knows the keys of a simulator.`,
    'Unset it; a simulator on purpose is keys.source = "dstack" with its socket, in development.',
  ],
  admins_changed: [
    (d) => `The configuration names ${d.found} as admin, but genesis fixed ${d.fixed}.`,
    'Put the admin.keys of genesis back; other admins are another log, so they take a state_dir of their own.',
  ],
  self_test_failed: [
    (d) =>
      `The start-up self-test failed: ${list(d.primitives)} gave wrong answers${d.engine ? ` (signing.engine = "${d.engine}")` : ''}.`,
    'Nothing was signed. Reinstall this version; if it fails again, try the other engine, and another machine.',
  ],
  witness_failed: [
    (d) => `The witness at ${d.url} failed: ${d.reason ?? 'no reason given'}.`,
    'It is asked again; until then orders and heads wait where attestation.witness is "required". See that it runs and is reached, and that attestation.policy allows it.',
  ],
  witness_conflict: [
    (d) => `The witness has seen another history of this log than this store holds: ${d.reason}.`,
    'Nothing is signed. This store is a copy from earlier, or another daemon runs on one: stop this one and restore the newest copy, or let the other go on; where the newest is lost, aegisd resolve-restore brings this one forward. Only if the witness is what was damaged, begin a new one and start once with --accept-new-witness.',
  ],
  witness_changed: [
    (d) => `The witness at ${d.url} has another key than the one that this store remembers.`,
    'Put the right one there; or, when you have replaced it on purpose, start once with --accept-new-witness.',
  ],
  witness_rolled_back: [
    (d) => `The witness at ${d.url} has followed ${d.found} entries of the log, but acknowledged ${d.size} before.`,
    'It runs on a copy from earlier: restore its newest; or, when that is lost, start this daemon once with --accept-new-witness.',
  ],
  succession_failed: [
    (d) => `The state of the predecessor at ${d.url} was not taken: ${d.reason}.`,
    'Nothing is signed here. See that it is the right one and runs, that its handover is open, and that each allows the other.',
  ],
  succession_unfinished: [
    (d) => `The store${at(d)} holds the state of a predecessor that was not seen to end.`,
    'Start with --successor-of and the URL of the predecessor, which may have ended for this enclave alone.',
  ],
  handed_over: [
    (d) => `This enclave has handed its log over: the successor at ${d.url} holds the sealed entry that says so.`,
    'Nothing is signed here. This store is a copy from before: take it away, and let the successor go on.',
  ],
  token_invalid: [(d) => `The token file${at(d)} holds no token: ${d.reason}.`, 'Mend it or take it away.'],
  clock_held: [
    () => "The host's clock was set, and nobody who may has agreed: no record of a name is signed.",
    'Set it right; or have an admin sign that it is right: aegisd admin sign with the act accept_clock.',
  ],
  listen_failed: [
    (d) => `Cannot listen on ${d.address}: ${d.reason ?? 'the address is in use'}.`,
    'Free the address, or choose another with api.listen or api.socket.',
  ],
} satisfies Record<string, readonly [sentence: (detail: Detail) => string, remedy: string]>;

export type FaultCode = keyof typeof FAULTS;
export type FaultDetail = { readonly code: FaultCode; readonly [name: string]: unknown };

/** The one class of failures of the world. `code` is stable; `detail` is for logs; `cause` is what was caught. */
export class Fault extends Error {
  readonly code: FaultCode;
  readonly detail: FaultDetail;

  constructor(detail: FaultDetail, options?: { cause?: unknown }) {
    const [sentence, remedy] = FAULTS[detail.code];
    super(`${sentence(detail)} ${remedy}`, options);
    this.name = 'Fault';
    this.code = detail.code;
    this.detail = detail;
  }
}

/** ` at FOLDER`, when the detail knows where. */
function at(detail: Detail): string {
  return typeof detail.path === 'string' ? ` at ${detail.path}` : '';
}

function list(names: unknown): string {
  return Array.isArray(names) ? names.join(', ') : 'a primitive';
}

/** ` (table T, key K, page N)`, as far as the detail knows. */
function where(detail: Detail): string {
  const parts = ['table', 'key', 'page'].filter((name) => detail[name] !== undefined);
  return parts.length === 0 ? '' : ` (${parts.map((name) => `${name} ${detail[name]}`).join(', ')})`;
}

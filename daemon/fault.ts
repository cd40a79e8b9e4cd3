/**
 * A fault is "the world failed": a disk, a lock, a worker, a guest agent. It is thrown; the runtime retries it with backoff or, at
 * boot, the operator reads it. Rejections (what a client did wrong) are values and never come through here.
 *
 * One class, one table of codes: a new code is one line in `sentences`. Messages are sentences for an operator; details never hold
 * secrets or record values.
 */

type Detail = { readonly [name: string]: unknown };

/** Says what was wrong, where, and what would be right. One line per code. */
const sentences = {
  store_io: (d: Detail) =>
    `The store could not ${d.operation ?? 'write'}${at(d)}: ${d.reason ?? 'input/output error'}. Nothing was acknowledged; it is tried again.`,
  store_locked: (d: Detail) =>
    `The store${at(d)} is in use by ${d.pid ? `process ${d.pid}` : 'another process'}. Stop that daemon, or choose another folder.`,
  store_newer: (d: Detail) =>
    `The store${at(d)} was written by a newer version (schema ${d.found}; this program knows ${d.known}). Run the newer program.`,
  store_older: (d: Detail) =>
    `The store${at(d)} has schema ${d.found} and there is no migration from it to ${d.known}. Run the release in between first.`,
  store_wrong_key: (d: Detail) =>
    `The store${at(d)} was sealed under another key. Give the key source (or the root) that made it.`,
  store_corrupt: (d: Detail) =>
    `The store${at(d)} is damaged: ${d.reason ?? 'a record does not open'}${where(d)}. Restore a backup or another copy; do not sign with this one.`,
  store_foreign: (d: Detail) => `The store${at(d)} belongs to something else: ${d.reason}. Use another state_dir.`,
  store_rolled_back: (d: Detail) =>
    `The store${at(d)} is older than its own marks: ${d.kind} ${d.number} was reached and the store ${d.reason ?? 'does not hold it'}. Restore the newest copy.`,
  store_busy: (d: Detail) => `The store has ${d.waiting} steps waiting for the disk, which is its bound; try again.`,
  store_closed: () => 'The store is closed.',
  watermark_missing: (d: Detail) =>
    `The watermark file${at(d)} is ${d.reason ?? 'missing'} though the store has promised signatures. Restore the file; or, when you are sure that no newer copy of this store exists, start once with --accept-missing-watermark.`,
  watermark_unknown: (d: Detail) =>
    `The store holds no such promise: ${d.kind} ${d.number} must be committed before it is signed.`,
  disk_low: (d: Detail) => `The disk${at(d)} has ${d.free_bytes} bytes left, below ${d.free_bytes_min}.`,
  worker_failed: (d: Detail) => `The worker failed at ${d.job ?? 'its job'}: ${d.reason ?? 'no reason given'}.`,
  quote_failed: (d: Detail) => `The provider ${d.provider ?? ''} gave no quote: ${d.reason ?? 'no reason given'}.`,
  quote_busy: (d: Detail) => `${d.waiting} requests wait for a quote, which is the bound; try again.`,
  key_source_failed: (d: Detail) => `The key source ${d.source ?? ''} gave no key: ${d.reason ?? 'no reason given'}.`,
  self_test_failed: (d: Detail) =>
    `The start-up self-test failed: ${list(d.primitives)} gave wrong answers${d.engine ? ` (signing.engine = "${d.engine}")` : ''}. Nothing was signed. Reinstall this version; if it fails again, try the other engine, and another machine.`,
  token_invalid: (d: Detail) => `The token file${at(d)} holds no token: ${d.reason}. Mend it or take it away.`,
  listen_failed: (d: Detail) => `Cannot listen on ${d.address}: ${d.reason ?? 'the address is in use'}.`,
} satisfies Record<string, (detail: Detail) => string>;

export type FaultCode = keyof typeof sentences;
export type FaultDetail = { readonly code: FaultCode; readonly [name: string]: unknown };

/** The one class of failures of the world. `code` is stable; `detail` is for logs; `cause` is what was caught. */
export class Fault extends Error {
  readonly code: FaultCode;
  readonly detail: FaultDetail;

  constructor(detail: FaultDetail, options?: { cause?: unknown }) {
    super(sentences[detail.code](detail), options);
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

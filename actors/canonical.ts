/**
 * One text for one value, whatever the order and layout that it came in: what `config_digest` in a seal hashes, and of an
 * admin's order the act. RFC 8785 (JCS) for the kinds of value that those have, plus bigints, which are written as decimal
 * strings as everywhere else in our JSON. What has no canonical form is refused rather than dropped.
 */

/** Settings and acts are a few levels deep; anything much deeper is a cycle. */
const DEPTH_MAX = 32;

/**
 * Canonical JSON: members sorted by UTF-16 code units (RFC 8785 §3.2.3), no white space, ES numbers (§3.2.2.3).
 *
 * @param value       null, booleans, finite numbers, bigints, well-formed strings, arrays and plain objects of those
 * @throws TypeError  for anything else: undefined, NaN, dates, functions, lone surrogates, cycles
 */
export function canonicalJson(value: unknown): string {
  return write(value, 0);
}

function write(value: unknown, depth: number): string {
  if (depth > DEPTH_MAX) throw new TypeError(`no canonical JSON beyond ${DEPTH_MAX} levels`);
  if (value === null || typeof value === 'boolean') return String(value);
  if (typeof value === 'bigint') return `"${value}"`;
  // JSON.stringify writes numbers and strings as RFC 8785 does: both defer to ECMAScript.
  if (typeof value === 'number' && Number.isFinite(value)) return JSON.stringify(value);
  if (typeof value === 'string' && value.isWellFormed()) return JSON.stringify(value);
  if (Array.isArray(value)) return `[${Array.from(value, (item) => write(item, depth + 1)).join(',')}]`;
  if (isPlain(value)) return `{${members(value, depth).join(',')}}`;
  throw new TypeError(`no canonical JSON for ${typeof value === 'string' ? 'a lone surrogate' : typeof value}`);
}

function members(value: Record<string, unknown>, depth: number): string[] {
  const keys = Object.keys(value).sort();
  return keys.map((key) => `${write(key, depth + 1)}:${write(value[key], depth + 1)}`);
}

function isPlain(value: unknown): value is Record<string, unknown> {
  if (typeof value !== 'object' || value === null) return false;
  const prototype = Object.getPrototypeOf(value);
  return prototype === Object.prototype || prototype === null;
}

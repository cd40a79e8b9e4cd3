// What the functions of the client library return: what went well, or a refusal with a stable code. Expected failures are
// values, so that a wallet can tell a full pool from a forged receipt; `orThrow` is for those who want an exception.

export interface Refused<Code extends string = string> {
  readonly ok: false;
  readonly code: Code;
  /** Path of the value that is wrong, or the URL that was asked. */
  readonly field: string;
  readonly message: string;
}

export function refused<Code extends string>(code: Code, field: string, message: string): Refused<Code> {
  return { ok: false, code, field, message };
}

/** What `orThrow` throws; `outcome` has whatever else the refusal said. */
export class RefusedError extends Error {
  readonly code: string;
  readonly field: string;
  readonly outcome: Refused;
  constructor(outcome: Refused) {
    super(`${outcome.code}: ${outcome.field === '' ? '' : `${outcome.field}: `}${outcome.message}`);
    this.name = 'RefusedError';
    this.code = outcome.code;
    this.field = outcome.field;
    this.outcome = outcome;
  }
}

/**
 * ```ts
 * const { keyset } = orThrow(await fetchKeyset(url, { policy }));
 * ```
 *
 * @throws {RefusedError}
 */
export function orThrow<T extends { readonly ok: boolean }>(outcome: T | Refused): Extract<T, { readonly ok: true }> {
  if (!outcome.ok) throw new RefusedError(outcome as Refused);
  return outcome as Extract<T, { readonly ok: true }>;
}

// Bearer tokens by role (DESIGN §11): who may use what over TCP. They come from credential files, are kept as digests alone and
// compared in constant time. A request without a good token hears 401 whatever it sent; nothing here can make it a 500.
import { createHash, randomBytes, timingSafeEqual } from 'node:crypto';
import { chmodSync, closeSync, constants, fstatSync, openSync, readFileSync, statSync, writeFileSync } from 'node:fs';
import type { IncomingMessage } from 'node:http';
import { join, resolve } from 'node:path';
import { Fault } from '../fault.ts';

export const ROLES = ['admin', 'data', 'names', 'worker', 'metrics'] as const;
export type Role = (typeof ROLES)[number];

/** Below this a token could be guessed. */
const TOKEN_CHARACTERS_MIN = 32;
const TOKEN_CHARACTERS_MAX = 512;
const TOKEN_BYTES = 32;
const FILE_BYTES_MAX = 4_096;

export interface Tokens {
  /** The role that a request's token has; undefined without a good one. */
  roleOf(request: Pick<IncomingMessage, 'headers' | 'rawHeaders'>): Role | undefined;
  /** Where the admin's token lies: told to the operator, never its value. */
  readonly admin_path: string;
}

/**
 * Reads `$CREDENTIALS_DIRECTORY/<role>.token` of every role and `<state_dir>/admin.token`, which is made (mode 0600) when it is
 * not there.
 *
 * @throws {Fault} token_invalid  a file that is there but holds no token: an empty one must not open the door
 */
export function loadTokens(options: { state_dir: string; credentials_directory?: string | undefined }): Tokens {
  const admin_path = join(resolve(options.state_dir), 'admin.token');
  const known: { role: Role; digest: Buffer }[] = [];
  const add = (role: Role, path: string) => {
    const token = read(path);
    if (token !== undefined) known.push({ role, digest: digestOf(token) });
    return token !== undefined;
  };
  if (options.credentials_directory) {
    for (const role of ROLES) add(role, join(options.credentials_directory, `${role}.token`));
  }
  if (!add('admin', admin_path)) {
    create(admin_path);
    add('admin', admin_path);
  }
  if ((statSync(admin_path).mode & 0o077) !== 0) chmodSync(admin_path, 0o600);
  return { admin_path, roleOf: (request) => match(known, bearerOf(request)) };
}

/** All are compared, so that time tells nothing about which one is close. */
function match(known: readonly { role: Role; digest: Buffer }[], token: string | undefined): Role | undefined {
  if (token === undefined) return undefined;
  const digest = digestOf(token);
  let found: Role | undefined;
  for (const entry of known) if (timingSafeEqual(entry.digest, digest)) found ??= entry.role;
  return found;
}

/** RFC 6750 §2.1. Node keeps the first of several Authorization headers, so the raw ones are counted: two are none. */
function bearerOf({ headers, rawHeaders }: Pick<IncomingMessage, 'headers' | 'rawHeaders'>): string | undefined {
  const { authorization } = headers;
  if (typeof authorization !== 'string' || authorization.length > TOKEN_CHARACTERS_MAX) return undefined;
  const count = rawHeaders.filter((name, i) => i % 2 === 0 && name.toLowerCase() === 'authorization').length;
  if (count > 1) return undefined;
  return /^bearer +([\x21-\x7e]+)$/i.exec(authorization)?.[1];
}

function read(path: string): string | undefined {
  const token = textOf(path);
  if (token === undefined) return undefined;
  if (token.length < TOKEN_CHARACTERS_MIN || !/^[\x21-\x7e]{1,500}$/.test(token)) {
    const reason = `expected ${TOKEN_CHARACTERS_MIN} to 500 printable characters without spaces`;
    throw new Fault({ code: 'token_invalid', path, reason });
  }
  return token;
}

/** Undefined where there is no file. A pipe that nobody writes to would hold the start for ever, so only files are read. */
function textOf(path: string): string | undefined {
  let file: number | undefined;
  try {
    file = openSync(path, constants.O_RDONLY | constants.O_NONBLOCK);
    const stat = fstatSync(file);
    if (!stat.isFile()) throw new Error('not a file');
    if (stat.size > FILE_BYTES_MAX) throw new Error(`more than ${FILE_BYTES_MAX} bytes`);
    return readFileSync(file, 'utf8').trim();
  } catch (cause) {
    if ((cause as NodeJS.ErrnoException).code === 'ENOENT') return undefined;
    throw new Fault({ code: 'token_invalid', path, reason: (cause as Error).message }, { cause });
  } finally {
    if (file !== undefined) closeSync(file);
  }
}

/** @throws {Fault} token_invalid */
function create(path: string): void {
  try {
    writeFileSync(path, `${randomBytes(TOKEN_BYTES).toString('hex')}\n`, { mode: 0o600, flag: 'wx' });
  } catch (cause) {
    throw new Fault(
      { code: 'token_invalid', path, reason: `none can be made, ${(cause as Error).message}` },
      { cause },
    );
  }
}

function digestOf(token: string): Buffer {
  return createHash('sha256').update(token, 'utf8').digest();
}

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

interface Options {
  readonly state_dir: string;
  readonly credentials_directory?: string | undefined;
  /** A file that was replaced, what became of it: never what is in it. */
  readonly warn?: (detail: object, message: string) => void;
}

/**
 * Reads `$CREDENTIALS_DIRECTORY/<role>.token` of every role and `<state_dir>/admin.token`, which is made (mode 0600) when it is
 * not there. A file that is replaced counts from the next request on, and what it held before counts no more.
 *
 * @throws {Fault} token_invalid  a file that is there but holds no token: an empty one must not open the door
 */
export function loadTokens({ state_dir, credentials_directory, warn = () => {} }: Options): Tokens {
  const admin_path = join(resolve(state_dir), 'admin.token');
  const files: TokenFile[] = [];
  if (credentials_directory) {
    for (const role of ROLES) files.push(new TokenFile(role, join(credentials_directory, `${role}.token`)));
  }
  const admin = new TokenFile('admin', admin_path);
  if (admin.digest === undefined) {
    create(admin_path);
    admin.refresh();
  }
  files.push(admin);
  if ((statSync(admin_path).mode & 0o077) !== 0) chmodSync(admin_path, 0o600);
  return {
    admin_path,
    roleOf: (request) => {
      const token = bearerOf(request);
      if (token === undefined) return undefined;
      for (const file of files) follow(file, warn);
      return match(files, token);
    },
  };
}

/** One file, as it was when it was last looked at. */
class TokenFile {
  readonly role: Role;
  readonly path: string;
  /** Of the token; undefined where there is none. */
  digest: Buffer | undefined;
  #seen: string | undefined;

  constructor(role: Role, path: string) {
    this.role = role;
    this.path = path;
    this.refresh();
  }

  /** @returns whether it is another than it was. @throws {Fault} token_invalid, and then it holds none */
  refresh(): boolean {
    const seen = lookOf(this.path);
    if (seen === this.#seen) return false;
    this.#seen = seen;
    this.digest = undefined;
    const token = read(this.path);
    if (token !== undefined) this.digest = digestOf(token);
    return true;
  }
}

/** A rename brings another inode, and a write in place a later time. What can't be looked at, reading it says. */
function lookOf(path: string): string | undefined {
  try {
    const found = statSync(path, { bigint: true, throwIfNoEntry: false });
    return found && [found.dev, found.ino, found.size, found.mtimeNs, found.ctimeNs].join();
  } catch {
    return 'hidden';
  }
}

function follow(file: TokenFile, warn: NonNullable<Options['warn']>): void {
  const { role, path } = file;
  try {
    if (!file.refresh()) return;
    const message =
      file.digest === undefined ? 'a token is gone' : 'a token was replaced: the one before counts no more';
    warn({ role, path }, message);
  } catch (error) {
    if (!(error instanceof Fault)) throw error;
    warn({ role, path, err: error }, 'a token was replaced by what is none: nobody has this role by it');
  }
}

/** All are compared, so that time tells nothing about which one is close. */
function match(known: readonly TokenFile[], token: string): Role | undefined {
  const digest = digestOf(token);
  let found: Role | undefined;
  for (const entry of known) {
    if (entry.digest !== undefined && timingSafeEqual(entry.digest, digest)) found ??= entry.role;
  }
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

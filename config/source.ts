/**
 * Reads one TOML file into plain tables. Called by the loader for the defaults and for the operator's file.
 * Promises a ConfigError that names the file for whatever can go wrong with it: missing, unreadable, not a file,
 * too large, not UTF-8, not TOML (with line and column).
 */
import { readFileSync, statSync } from 'node:fs';
import { parse, stringify, TomlError, type TomlTable } from 'smol-toml';
import { ConfigError } from './error.ts';

/** A configuration is written by hand; what is larger is some other file. */
const FILE_BYTES_MAX = 1_048_576;

const reasons: Readonly<Record<string, string>> = {
  ENOENT: 'no such file',
  ENOTDIR: 'no such file (a part of its path is not a folder)',
  EACCES: 'permission denied',
  ELOOP: 'too many symbolic links',
  ENAMETOOLONG: 'the path is too long',
};

export interface Source {
  /** As messages name it. */
  readonly name: string;
  readonly text: string;
  /** Integers are bigints, floats numbers. Tables have no prototype. */
  readonly table: TomlTable;
}

function refuse(name: string, message: string, cause?: unknown): never {
  throw new ConfigError([{ file: name, line: 0, column: 0, key: '', message }], { cause });
}

function read(path: string, name: string): Uint8Array {
  try {
    // Before it is opened: opening a pipe that nobody writes would wait for ever.
    const stats = statSync(path);
    if (stats.isDirectory()) refuse(name, 'expected a TOML file, found a folder');
    if (!stats.isFile()) refuse(name, 'expected a regular file, found a pipe, socket or device');
    if (stats.size <= FILE_BYTES_MAX) return readFileSync(path);
    return refuse(name, `expected at most ${FILE_BYTES_MAX} bytes, found ${stats.size}`);
  } catch (cause) {
    if (cause instanceof ConfigError) throw cause;
    const code = (cause as NodeJS.ErrnoException).code ?? String(cause);
    return refuse(name, `cannot be read: ${reasons[code] ?? code}`, cause);
  }
}

function decode(bytes: Uint8Array, name: string): string {
  try {
    return new TextDecoder('utf-8', { fatal: true }).decode(bytes);
  } catch (cause) {
    return refuse(name, 'expected UTF-8 text', cause);
  }
}

/**
 * @param path  of the file, absolute or relative to the working directory
 * @param name  how messages call it
 * @throws ConfigError  one issue
 */
export function readSource(path: string, name: string): Source {
  const text = decode(read(path, name), name);
  try {
    return { name, text, table: parse(text, { integersAsBigInt: true }) };
  } catch (cause) {
    if (!(cause instanceof TomlError)) return refuse(name, 'expected TOML, nested less deeply', cause);
    // Only the first line: the rest quotes the file, and what is broken there could be a secret.
    const reason = cause.message.split('\n', 1)[0]!.replace('Invalid TOML document: ', '');
    const { line, column } = cause;
    throw new ConfigError([{ file: name, line, column, key: '', message: `not TOML: ${reason}` }], { cause });
  }
}

/**
 * Settings that a program gives, as if they stood in a file: messages show them as the lines that they would be.
 *
 * @throws ConfigError  one issue, when a value has no form in TOML
 */
export function settingsSource(settings: object, name = 'settings'): Source {
  try {
    const text = stringify(writable(settings));
    return { name, text, table: parse(text, { integersAsBigInt: true }) };
  } catch (cause) {
    const reason = cause instanceof Error ? cause.message.split('\n', 1)[0] : 'unreadable';
    return refuse(name, `expected tables of numbers, texts and truth values: ${reason}`, cause);
  }
}

const INTEGER_MAX = 2n ** 63n - 1n;

/** What TOML can't write as an integer becomes text, which every key that can be so wide takes; what is undefined is left out. */
function writable(value: unknown): unknown {
  if (value === null) throw new TypeError('null is no value');
  if (typeof value === 'bigint' && value > INTEGER_MAX) return String(value);
  if (typeof value !== 'object' || Array.isArray(value) || value instanceof Date) return value;
  const entries = Object.entries(value).filter(([, each]) => each !== undefined);
  return Object.fromEntries(entries.map(([key, each]) => [key, writable(each)]));
}

/**
 * Makes the effective settings: the repository's own sequencer.toml, the operator's file over it, $STATE_DIRECTORY
 * over that. Called by `aegisd start`, `check-config` and each reload. Promises either a valid, frozen Config or a
 * ConfigError with every issue at once; it changes nothing, so a reload can keep the old settings.
 */
import { isAbsolute, relative, resolve } from 'node:path';
import { fileURLToPath } from 'node:url';
import type { TomlTable, TomlValue } from 'smol-toml';
import type { z } from 'zod';
import { conflicts } from './conflict.ts';
import { ConfigError, type Issue } from './error.ts';
import { type Position, type Positions, pathKey, positions, shorten } from './position.ts';
import { CONFIG_KEYS, type Config, type Settings, schema } from './schema.ts';
import { readSource, type Source, settingsSource } from './source.ts';
import { nearest } from './suggestion.ts';

/** The defaults: they ship beside the code and are read like any other file. */
export const DEFAULTS_FILE = fileURLToPath(new URL('../sequencer.toml', import.meta.url));

export interface LoadOptions {
  /** The operator's file; without it the defaults are all there is. */
  readonly file?: string | undefined;
  /** A program's own, over the file. */
  readonly settings?: Settings | undefined;
  /** Only STATE_DIRECTORY is read. Default: the process's own. */
  readonly environment?: Readonly<Record<string, string | undefined>>;
  /** What else may be wrong with settings that are right by themselves: the loader adds where. */
  readonly check?: ((config: Config) => readonly Flaw[]) | undefined;
}

/** Something wrong that the schema can't know. */
export interface Flaw {
  /** From the section on; it may lie deeper than a setting. */
  readonly path: Path;
  /** What would be right. */
  readonly message: string;
  /** Nothing knows this key, so what stands behind it is not shown. */
  readonly unknown?: boolean;
}

export interface Loaded {
  readonly config: Config;
  /** Where the settings came from, later over earlier: files, and `$STATE_DIRECTORY` where it was used. */
  readonly sources: string[];
}

type Path = readonly (string | number)[];

/** Something wrong, before it is known where: the first spot that the operator's own file sets is reported. */
interface Finding {
  readonly spots: readonly { readonly path: Path; readonly message: string }[];
  readonly unknown?: boolean;
}

const isTable = (value: unknown): value is TomlTable =>
  typeof value === 'object' && value !== null && !Array.isArray(value) && !(value instanceof Date);

/** Tables merge, anything else replaces. No prototypes, so a key named `__proto__` is a key like any other. */
function merge(under: TomlTable, over: TomlTable): TomlTable {
  const merged: TomlTable = Object.assign(Object.create(null), under);
  for (const [key, value] of Object.entries(over)) {
    const old = merged[key];
    merged[key] = isTable(old) && isTable(value) ? merge(old, value) : value;
  }
  return merged;
}

const at = (table: unknown, path: Path): unknown =>
  path.reduce<unknown>((value, key) => (isTable(value) && Object.hasOwn(value, key) ? value[key] : undefined), table);

function unknownKey(section: Path, key: string): Finding {
  const [name] = section as readonly string[];
  const allowed = name === undefined ? Object.keys(schema.shape) : CONFIG_KEYS.flatMap((known) => inside(known, name));
  const elsewhere = CONFIG_KEYS.filter((known) => known.endsWith(`.${key}`));
  const meant = nearest(key, allowed) ?? elsewhere[0] ?? nearest([...section, key].join('.'), CONFIG_KEYS);
  const hint = meant === undefined ? '' : `, did you mean ${meant}?`;
  const message = `unknown ${name === undefined ? 'table' : 'key'}${hint} (allowed: ${allowed.join(', ')})`;
  return { spots: [{ path: [...section, key], message }], unknown: true };
}

function inside(key: string, section: string): string[] {
  return key.startsWith(`${section}.`) ? [key.slice(section.length + 1)] : [];
}

function findings(issue: z.core.$ZodIssue): Finding[] {
  const path = issue.path.map(String);
  if (issue.code === 'unrecognized_keys') return issue.keys.map((key) => unknownKey(path, key));
  return [{ spots: [{ path, message: issue.message }] }];
}

/** Puts the default in the place of each wrong value, so that the rules between the right ones can still be asked. */
function repair(merged: TomlTable, defaults: TomlTable, wrong: readonly Finding[]): TomlTable {
  const repaired = merge(merged, {});
  for (const { spots, unknown } of wrong) {
    const [section = '', key] = spots[0]!.path as readonly string[];
    const old = repaired[section];
    // A copy: what is repaired here must not reach the tables of the source.
    const [table, name] = isTable(old) && key !== undefined ? [{ ...old }, key] : [repaired, section];
    if (table !== repaired) repaired[section] = table;
    const original = at(defaults, spots[0]!.path);
    if (unknown || original === undefined) delete table[name];
    else table[name] = original as TomlValue;
  }
  return repaired;
}

function disagreements(merged: TomlTable, defaults: TomlTable, wrong: readonly Finding[]): Finding[] {
  const repaired = schema.safeParse(repair(merged, defaults, wrong));
  if (!repaired.success) return [];
  const bad = new Set(wrong.map(({ spots }) => spots[0]!.path.join('.')));
  return conflicts(repaired.data)
    .filter((spots) => spots.every(({ key }) => !bad.has(key) && !bad.has(key.split('.')[0]!)))
    .map((spots) => ({ spots: spots.map(({ key, message }) => ({ path: key.split('.'), message })) }));
}

const partText = (part: string): string => (/^[\w-]+$/.test(part) ? part : JSON.stringify(part));
const keyText = (path: Path): string =>
  path.map((part, i) => (typeof part === 'number' ? `[${part}]` : `${i === 0 ? '' : '.'}${partText(part)}`)).join('');

/** Finds the place to report: the last source that sets one of the spots, else the innermost table that it would stand in. */
function locate({ spots, unknown = false }: Finding, sources: readonly { source: Source; places: Positions }[]): Issue {
  for (const { source, places } of sources.toReversed()) {
    for (const { path, message } of spots) {
      const position = places.get(pathKey(path));
      if (position) return issue(source, path, position, message, unknown);
    }
  }
  const { path, message } = spots[0]!;
  for (let depth = path.length - 1; depth > 0; depth--) {
    for (const { source, places } of sources.toReversed()) {
      const parent = places.get(pathKey(path.slice(0, depth)));
      if (parent) return { file: source.name, ...parent.key, key: keyText(path), message };
    }
  }
  return { file: sources.at(-1)!.source.name, line: 0, column: 0, key: keyText(path), message };
}

function issue(source: Source, path: Path, position: Position, message: string, unknown: boolean): Issue {
  const { value } = position;
  const known = { file: source.name, key: shorten(keyText(path)), message };
  if (unknown || value === undefined) return { ...known, ...position.key };
  return { ...known, line: value.line, column: value.column, value: value.text };
}

function validate(merged: TomlTable, sources: readonly Source[], check: LoadOptions['check']): Config {
  const parsed = schema.safeParse(merged);
  const wrong = parsed.success ? [] : parsed.error.issues.flatMap(findings);
  const flaws = parsed.success ? (check?.(parsed.data) ?? []) : [];
  const all = [
    ...[...wrong, ...disagreements(merged, sources[0]!.table, wrong)],
    ...flaws.map(({ unknown = false, ...spot }) => ({ spots: [spot], unknown })),
  ];
  if (parsed.success && all.length === 0) return parsed.data;
  const located = sources.map((source) => ({ source, places: positions(source.text) }));
  const issues = all.map((finding) => locate(finding, located));
  issues.sort((a, b) => a.file.localeCompare(b.file) || a.line - b.line || a.column - b.column);
  throw new ConfigError(issues);
}

/** Absolute paths of this installation are long and say little: what lies below the working directory is cut. */
function nameOf(path: string): string {
  const name = relative(process.cwd(), path);
  return name.startsWith('..') || isAbsolute(name) ? path : name;
}

function freeze(config: Config): Config {
  for (const section of Object.values(config)) {
    for (const value of Object.values(section)) Object.freeze(value);
    Object.freeze(section);
  }
  return Object.freeze(config);
}

/** $STATE_DIRECTORY as a table to merge; undefined where it is unset or the operator has named a folder. */
function stateDirectory(
  merged: TomlTable,
  defaults: TomlTable,
  environment: LoadOptions['environment'],
): TomlTable | undefined {
  // systemd separates several folders with colons; the first one is ours.
  const folder = environment?.STATE_DIRECTORY?.split(':')[0];
  const path = ['daemon', 'state_dir'];
  return folder && at(merged, path) === at(defaults, path) ? { daemon: { state_dir: folder } } : undefined;
}

/**
 * Loads the settings, or tells everything that is wrong with them.
 *
 * @throws ConfigError  every issue with file, line, column and key; a file that can't be read or parsed is one issue
 * @example
 * const { config } = loadConfig({ file: '/etc/aegis/sequencer.toml' });
 * config.seal.interval_ms; // 1000
 */
export function loadConfig({ file, settings, environment = process.env, check }: LoadOptions = {}): Loaded {
  const defaults = readSource(DEFAULTS_FILE, nameOf(DEFAULTS_FILE));
  // An operator who names the defaults themselves hasn't set anything.
  const own = file !== undefined && resolve(file) !== DEFAULTS_FILE ? [readSource(file, file)] : [];
  const files = [defaults, ...own, ...(settings === undefined ? [] : [settingsSource(settings)])];
  const sources = files.map(({ name }) => name);
  const merged = files.map(({ table }) => table).reduce(merge);
  const moved = stateDirectory(merged, defaults.table, environment);
  if (moved) sources.push('$STATE_DIRECTORY');
  return { config: freeze(validate(merge(merged, moved ?? {}), files, check)), sources };
}

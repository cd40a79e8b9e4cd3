/**
 * Where each key and value of a TOML text stands. Only the loader asks, and only after something was found wrong:
 * the parser that keeps positions is loaded then, so that a good start doesn't pay for it.
 */
import { createRequire } from 'node:module';
import type { AST } from 'toml-eslint-parser';

export interface Place {
  /** From 1. */
  readonly line: number;
  /** From 1. */
  readonly column: number;
}

export interface Position {
  /** Where the key (or the table's header) stands. */
  readonly key: Place;
  /** Where its value starts, and how it is written; absent for tables made by a header or a dotted key. */
  readonly value?: Place & { readonly text: string };
}

/** By `pathKey`. */
export type Positions = ReadonlyMap<string, Position>;

const TEXT_MAX = 60;

/** That of `attestation.policy.measurements[0].mrtd`: no issue lies deeper, and a hostile file can't make us remember every prefix of a long path. */
const DEPTH_MAX = 5;

/** Keys may hold dots and quotes, so a path is told apart by its JSON. */
export const pathKey = (path: readonly PropertyKey[]): string => JSON.stringify(path.map(String));

/** Cuts to one short line. */
export function shorten(text: string): string {
  const [line = ''] = text.split(/\r?\n/, 1);
  return line === text && line.length <= TEXT_MAX ? text : `${line.slice(0, TEXT_MAX)}…`;
}

const place = (node: AST.TOMLNode): Place => ({ line: node.loc.start.line, column: node.loc.start.column + 1 });
const names = (key: AST.TOMLKey): string[] =>
  key.keys.map((part) => (part.type === 'TOMLBare' ? part.name : part.value));

/** A value as it is written; only the brackets of lists and tables, which could hold anything. */
function show(node: AST.TOMLContentNode, text: string): string {
  if (node.type === 'TOMLValue') return shorten(text.slice(...node.range));
  return node.type === 'TOMLArray' ? '[…]' : '{…}';
}

/**
 * @param text  of a file that smol-toml has accepted
 * @returns     positions of every table and key; empty if this second parser refuses what the first took
 */
export function positions(text: string): Positions {
  const found = new Map<string, Position>();
  const add = (path: readonly PropertyKey[], position: Position) => {
    for (let depth = 1; depth <= Math.min(path.length, DEPTH_MAX); depth++) {
      const key = pathKey(path.slice(0, depth));
      if (depth === path.length) found.set(key, position);
      else if (!found.has(key)) found.set(key, { key: position.key });
    }
  };
  const visit = (nodes: readonly (AST.TOMLKeyValue | AST.TOMLTable)[], base: readonly PropertyKey[]) => {
    for (const node of nodes) {
      if (node.type === 'TOMLTable') {
        add(node.resolvedKey, { key: place(node.key) });
        visit(node.body, node.resolvedKey);
        continue;
      }
      const path = [...base, ...names(node.key)];
      const written = show(node.value, text);
      add(path, { key: place(node.key), value: { ...place(node.value), text: written } });
      inside(node.value, path);
    }
  };
  /** Values in a list have no place of their own: what is wrong with one is told of the list. */
  const inside = (node: AST.TOMLContentNode, path: readonly PropertyKey[]) => {
    if (path.length >= DEPTH_MAX) return;
    if (node.type === 'TOMLInlineTable') visit(node.body, path);
    if (node.type === 'TOMLArray') for (const [i, element] of node.elements.entries()) inside(element, [...path, i]);
  };
  try {
    // Not `import()`, which would make every load asynchronous for the sake of the failing ones.
    const parser = createRequire(import.meta.url)('toml-eslint-parser') as typeof import('toml-eslint-parser');
    // With a line end: toml-eslint-parser 1.0.3 gives an empty range to a single 0 that ends the text.
    visit(parser.parseTOML(`${text}\n`, { tomlVersion: '1.1' }).body[0].body, []);
  } catch {
    // A position is a help, not a promise: the issue itself is reported all the same.
  }
  return found;
}

// Every way in which a JSON document can be altered by one value, for tests that claim to notice each of them.

export interface Alteration {
  /** `transactions[].sender`: indices left out, so that alike leaves share a name. */
  readonly leaf: string;
  /** `transactions[3].sender: a character in the middle`. */
  readonly name: string;
  /** Alters a copy of the document in place. */
  readonly apply: (copy: unknown) => void;
}

type Path = readonly (string | number)[];

/** Numbers by one, strings by one character, booleans, null, elements dropped, doubled, swapped, keys added and removed. */
export function* alterations(value: unknown, path: Path = []): Generator<Alteration> {
  for (const [what, other] of others(value)) yield at(path, what, (parent, key) => write(parent, key, other));
  if (typeof value !== 'object' || value === null) return;
  if (Array.isArray(value)) yield* ofArray(value, path);
  else yield* ofObject(value as Record<string, unknown>, path);
}

function* ofArray(value: readonly unknown[], path: Path): Generator<Alteration> {
  const change = (what: string, edit: (array: unknown[]) => void) =>
    at(path, what, (parent, key) => edit((parent as Record<string | number, unknown[]>)[key]!));
  yield change('a string appended', (array) => array.push('x'));
  yield change('null appended', (array) => array.push(null));
  for (let i = 0; i < value.length; i++) {
    yield change(`element ${i} dropped`, (array) => array.splice(i, 1));
    yield change(`element ${i} doubled`, (array) => array.splice(i, 0, structuredClone(array[i])));
    if (i > 0)
      yield change(`elements ${i - 1} and ${i} swapped`, (array) => array.splice(i - 1, 2, array[i], array[i - 1]));
    yield* alterations(value[i], [...path, i]);
  }
}

function* ofObject(value: Record<string, unknown>, path: Path): Generator<Alteration> {
  const inside = (what: string, edit: (object: Record<string, unknown>) => void) =>
    at(path, what, (parent, key) => edit((parent as Record<string | number, Record<string, unknown>>)[key]!));
  for (const name of ['extra', '', '__proto__', 'toString']) {
    yield inside(`key "${name}" added`, (object) => write(object, name, 1));
  }
  for (const key of Object.keys(value)) {
    yield inside(`key ${key} removed`, (object) => delete object[key]);
    yield* alterations(value[key], [...path, key]);
  }
}

/** Values near a leaf, and of other types in place of anything. */
function* others(value: unknown): Generator<[what: string, other: unknown]> {
  if (typeof value === 'number') {
    yield ['one more', value + 1];
    yield ['one less', value - 1];
    yield ['as a string', String(value)];
    yield ['and a half', value + 0.5];
    if (value === 0) yield ['signed', -0];
  } else if (typeof value === 'string') {
    yield* otherStrings(value);
  } else if (typeof value === 'boolean') {
    yield ['flipped', !value];
  } else if (value === null) {
    for (const other of [0, '', 'x', false, {}, []]) yield [`${JSON.stringify(other)} for null`, other];
  }
  if (value !== null) yield ['null', null];
}

function* otherStrings(value: string): Generator<[what: string, other: string]> {
  const places = new Map([
    ['a character at the start', 0],
    ['a character after 0x', 2],
    ['a character in the middle', value.length >> 1],
    ['a character near the end', value.length - 3],
    ['the last character', value.length - 1],
  ]);
  for (const [what, i] of places) {
    if (i >= 0 && i < value.length) yield [what, value.slice(0, i) + successor(value[i]!) + value.slice(i + 1)];
  }
  yield ['a character appended', `${value}0`];
  yield ['a space appended', `${value} `];
  if (value !== '') yield ['the last character cut', value.slice(0, -1)];
  if (value !== value.toUpperCase()) yield ['in upper case', value.toUpperCase()];
  if (value !== '') yield ['empty', ''];
}

/** Another character of the same kind, so that the alphabet of hex, base64, dates and words still holds. */
function successor(character: string): string {
  const row = ['0123456789', 'abcdef', 'ghijklmnopqrstuvwxyz', 'ABCDEFGHIJKLMNOPQRSTUVWXYZ'].find((r) =>
    r.includes(character),
  );
  return row === undefined ? (character === '=' ? 'A' : '0') : row[(row.indexOf(character) + 1) % row.length]!;
}

/** Own properties even where assignment would do something else. */
function write(target: unknown, key: string | number, value: unknown): void {
  Object.defineProperty(target, key, { value, writable: true, enumerable: true, configurable: true });
}

function at(path: Path, what: string, edit: (parent: unknown, key: string | number) => void): Alteration {
  const spell = (index: (i: number) => string) =>
    path
      .map((key) => (typeof key === 'number' ? index(key) : `.${key}`))
      .join('')
      .replace(/^\./, '');
  return {
    leaf: spell(() => '[]'),
    name: `${spell((i) => `[${i}]`) || '$'}: ${what}`,
    apply: (copy) => {
      // The document itself stands under a key too, so that it can be altered like any value in it.
      let parent: unknown = copy;
      const full = ['document', ...path];
      for (const key of full.slice(0, -1)) parent = (parent as Record<string | number, unknown>)[key];
      edit(parent, full.at(-1)!);
    },
  };
}

/** A copy of the document with one alteration. */
export function altered<T>(document: T, alteration: Alteration): T {
  const copy = { document: structuredClone(document) };
  alteration.apply(copy);
  return copy.document;
}

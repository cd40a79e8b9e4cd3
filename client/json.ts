// Reads JSON where one value must have one spelling. JSON.parse keeps the last of two equal keys and reads 1.0, 1e0 and -0 as
// whole numbers, so two readers of one file could see two documents. `aegisd verify` reads files and policies with it.

export type Parsed =
  | { readonly ok: true; readonly value: unknown }
  | { readonly ok: false; readonly field: string; readonly message: string };

/** The list or object that the scan is in. */
interface Frame {
  /** null in a list. */
  readonly keys: Set<string> | null;
  key: string;
  index: number;
  expectsKey: boolean;
}

/**
 * JSON in which no key is there twice and every number is an integer in its one form. White space and escapes are free.
 *
 * @returns the value; or the first place that is wrong. Never throws
 */
export function parseStrict(text: string): Parsed {
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch (cause) {
    // V8 quotes what it met, and a file may be of any size and content.
    const message = cause instanceof SyntaxError ? cause.message.slice(0, 120) : 'unreadable';
    return { ok: false, field: '$', message: `not JSON: ${message}` };
  }
  const wrong = scan(text);
  return wrong === null ? { ok: true, value } : { ok: false, ...wrong };
}

/** Walks text that is known to be JSON, so it needs no grammar: only where keys and numbers are. */
function scan(text: string): { field: string; message: string } | null {
  const frames: Frame[] = [];
  let at = 0;
  while (at < text.length) {
    const frame = frames.at(-1);
    const character = text[at]!;
    if (character === '"') {
      const end = endOfString(text, at);
      if (frame?.expectsKey) {
        frame.key = JSON.parse(text.slice(at, end)) as string;
        frame.expectsKey = false;
        if (frame.keys!.has(frame.key)) return { field: pathOf(frames), message: 'the key is there twice' };
        frame.keys!.add(frame.key);
      }
      at = end;
      continue;
    }
    if (character === '-' || (character >= '0' && character <= '9')) {
      const end = endOfNumber(text, at);
      const number = text.slice(at, end);
      if (!/^(?:0|-?[1-9][0-9]*)$/.test(number)) {
        return { field: pathOf(frames), message: `${number.slice(0, 40)} is not an integer in its one form` };
      }
      at = end;
      continue;
    }
    if (character === '{') frames.push({ keys: new Set(), key: '', index: 0, expectsKey: true });
    else if (character === '[') frames.push({ keys: null, key: '', index: 0, expectsKey: false });
    else if (character === '}' || character === ']') frames.pop();
    else if (character === ',') {
      if (frame!.keys === null) frame!.index += 1;
      else frame!.expectsKey = true;
    }
    at += 1;
  }
  return null;
}

/** After the closing quote: the first that no odd run of backslashes escapes. */
function endOfString(text: string, start: number): number {
  let quote = text.indexOf('"', start + 1);
  for (; quote !== -1; quote = text.indexOf('"', quote + 1)) {
    let slashes = 0;
    while (text[quote - 1 - slashes] === '\\') slashes += 1;
    if (slashes % 2 === 0) return quote + 1;
  }
  return text.length;
}

function endOfNumber(text: string, start: number): number {
  let end = start;
  while (end < text.length && /[-+.0-9eE]/.test(text[end]!)) end += 1;
  return end;
}

function pathOf(frames: readonly Frame[]): string {
  return fieldPath(frames.map(({ keys, key, index }) => (keys === null ? index : key)));
}

/** `transactions[3].sender`, `header["odd key"]`; the document itself is `$`. */
export function fieldPath(path: readonly PropertyKey[]): string {
  const text = path.map((key) => {
    if (typeof key === 'number') return `[${key}]`;
    const name = String(key);
    return /^\w{1,64}$/.test(name) ? `.${name}` : `[${JSON.stringify(name.slice(0, 64))}]`;
  });
  // A path of any depth, in a message of bounded length.
  return text.length === 0 ? '$' : text.slice(0, 16).join('').replace(/^\./, '');
}

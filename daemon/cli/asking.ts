// What all commands share that ask a running daemon: where it is, whose token speaks to it, and how what comes of it is told: on
// standard output as lines or as one JSON document, with exit code 0, 1 when it was refused and 2 for a mistake of the caller.
import { readFileSync } from 'node:fs';
import type { z } from 'zod';
import { type Connection, connect, RequestError } from './connection.ts';
import { printable } from './entry.ts';
import { reportUsage, sizeOf, UsageError } from './file.ts';
import { EXIT } from './program.ts';

export interface Common {
  readonly config?: string;
  readonly url?: string;
  readonly tokenFile?: string;
  readonly json?: boolean;
}

/** What a command has done, for people and for programs. */
export interface Outcome {
  readonly answer: unknown;
  readonly lines: readonly string[];
  /** False where a part was refused. */
  readonly ok?: boolean;
}

const TOKEN_BYTES_MAX = 4_096;

/** @param act  undefined where it has said everything itself */
export function ask(
  options: Common,
  act: (daemon: Connection) => Promise<Outcome | undefined>,
  about: { keepAlive?: boolean; timeout_ms?: number } = {},
): Promise<number> {
  return reporting(options.json, async () => {
    const token = options.tokenFile === undefined ? {} : { token: readToken(options.tokenFile) };
    const daemon = connect({ ...options, ...token, ...about });
    try {
      return await act(daemon);
    } catch (error) {
      if (!(error instanceof RequestError)) throw error;
      process.stderr.write(`${daemon.where}: ${error.message}\n`);
      return REFUSED;
    } finally {
      daemon.close();
    }
  });
}

/** One request whose answer has one shape. */
export function askFor<T>(
  options: Common,
  shape: z.ZodType<T>,
  request: (daemon: Connection) => Promise<unknown>,
  lines: (answer: T) => readonly string[],
): Promise<number> {
  return ask(options, async (daemon) => {
    const parsed = shape.safeParse(await request(daemon));
    if (!parsed.success) throw new RequestError('unexpected_answer', 'what answers is none that is right');
    return { answer: parsed.data, lines: lines(parsed.data) };
  });
}

const REFUSED: Outcome = { answer: undefined, lines: [], ok: false };

/** @returns the exit code. @throws what is neither a mistake of the caller nor a refusal */
export async function reporting(json: boolean | undefined, act: () => Promise<Outcome | undefined>): Promise<number> {
  try {
    const outcome = await act();
    const text = outcome === undefined ? '' : textOf(outcome, json === true);
    if (text !== '') process.stdout.write(`${text}\n`);
    return outcome?.ok === false ? EXIT.refused : EXIT.ok;
  } catch (error) {
    if (error instanceof UsageError) {
      reportUsage(error, json === true);
      return EXIT.usage;
    }
    if (!(error instanceof RequestError)) throw error;
    process.stderr.write(`${error.message}\n`);
    return EXIT.refused;
  }
}

function textOf({ answer, lines }: Outcome, json: boolean): string {
  if (!json) return lines.map(printable).join('\n');
  return answer === undefined ? '' : JSON.stringify(answer);
}

/** @throws {UsageError} */
function readToken(path: string): string {
  if (sizeOf(path) > TOKEN_BYTES_MAX) throw new UsageError(path, '', 'too large for a token');
  try {
    return readFileSync(path, 'utf8').trim();
  } catch (error) {
    throw new UsageError(path, '', (error as Error).message);
  }
}

// `aegisd backup` copies the store of a running daemon, `aegisd restore` puts a copy back where none runs. A restored store that is older than
// what was signed is refused at the next start by its watermark; `--seal` says so before, by a head that somebody has kept.
import { cpSync, existsSync, renameSync, rmSync } from 'node:fs';
import { join, resolve } from 'node:path';
import { SignedHead } from '../../actors/head.ts';
import { loadConfig } from '../../config/load.ts';
import { TakenBackup } from '../api/backup.ts';
import { restore as putBack } from '../backup.ts';
import { connect, RequestError } from './connection.ts';
import { printable } from './entry.ts';
import { readDocument, reportUsage, UsageError } from './file.ts';
import { EXIT } from './program.ts';

interface Common {
  readonly config?: string;
  readonly json?: boolean;
}

/** A large store takes its time. */
const TIMEOUT_MS = 3_600_000;
const HEAD_BYTES_MAX = 4 * 1_048_576;

export async function backup(options: Common & { readonly out: string }): Promise<number> {
  const out = resolve(options.out);
  if (existsSync(out)) return misused(options, options.out, 'it is there already, and a backup never overwrites');
  const daemon = connect({ ...options, timeout_ms: TIMEOUT_MS });
  try {
    const { folder, bytes, manifest } = await daemon.post('/admin/backup', undefined, TakenBackup);
    move(folder, out);
    const answer = { out, bytes, ...manifest };
    const line = `${out}: ${bytes} bytes, log of ${manifest.log_size} leaves, ${manifest.sealed} of them sealed`;
    process.stdout.write(`${options.json === true ? JSON.stringify(answer) : printable(line)}\n`);
    return EXIT.ok;
  } catch (error) {
    if (!(error instanceof RequestError)) throw error;
    process.stderr.write(`${daemon.where}: ${error.message}\n`);
    return EXIT.refused;
  } finally {
    daemon.close();
  }
}

export async function restore(options: Common & { readonly from: string; readonly seal?: string }): Promise<number> {
  try {
    const kept = options.seal === undefined ? undefined : readSeal(options.seal);
    const { config } = loadConfig(options.config === undefined ? {} : { file: options.config });
    const folder = join(resolve(config.daemon.state_dir), 'store');
    const outcome = putBack(resolve(options.from), folder, kept, Date.now());
    if (!outcome.ok) {
      process.stderr.write(`${options.from}: ${outcome.code}: ${printable(outcome.detail)}; nothing was changed\n`);
      return EXIT.refused;
    }
    const { manifest, before } = outcome;
    const lines = [
      `${folder}: restored from ${options.from}, taken ${manifest.taken_at}, log of ${manifest.log_size} leaves`,
      ...(before === null ? [] : [`  what was there is ${before}`]),
      '  the next start refuses it where its watermark, or the lack of one, says that more may have been signed',
    ];
    process.stdout.write(
      `${options.json === true ? JSON.stringify({ folder, before, ...manifest }) : lines.map(printable).join('\n')}\n`,
    );
    return EXIT.ok;
  } catch (error) {
    if (!(error instanceof UsageError)) throw error;
    reportUsage(error, options.json === true);
    return EXIT.usage;
  }
}

/** Of any head that was kept, by anybody: it can only keep an old backup out. */
function readSeal(path: string): { log_id: string; size: number } {
  const parsed = SignedHead.safeParse(readDocument(path, HEAD_BYTES_MAX));
  if (parsed.success) return parsed.data.seal;
  throw new UsageError(path, parsed.error.issues[0]!.path.join('.'), 'expected `sealed` of GET /log/head');
}

/** A rename where it is the same disk. */
function move(from: string, to: string): void {
  try {
    renameSync(from, to);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'EXDEV') throw error;
    cpSync(from, to, { recursive: true, errorOnExist: true, force: false });
    rmSync(from, { recursive: true });
  }
}

function misused(options: Common, file: string, message: string): number {
  reportUsage(new UsageError(file, '', message), options.json === true);
  return EXIT.usage;
}

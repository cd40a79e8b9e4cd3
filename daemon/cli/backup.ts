// `aegisd backup` copies the store of a running daemon, `aegisd restore` puts a copy back where none runs. A restored store that is older than
// what was signed is refused at the next start by its watermark; `--seal` says so before, by a head that somebody has kept.
import { cpSync, existsSync, renameSync, rmSync } from 'node:fs';
import { dirname, join, resolve } from 'node:path';
import { SignedHead } from '../../actors/head.ts';
import { loadConfig } from '../../config/load.ts';
import { TakenBackup } from '../api/backup.ts';
import { restore as putBack } from '../backup.ts';
import { ask, type Common, reporting } from './asking.ts';
import { printable } from './entry.ts';
import { readDocument, UsageError } from './file.ts';

/** A large store takes its time. */
const TIMEOUT_MS = 3_600_000;
const HEAD_BYTES_MAX = 4 * 1_048_576;

export async function backup(options: Common & { readonly out: string }): Promise<number> {
  const out = resolve(options.out);
  return ask(
    options,
    async (daemon) => {
      if (existsSync(out)) throw new UsageError(options.out, '', 'it is there already, and a backup never overwrites');
      // Not made: where the disk of backups is not mounted, the copy would go to another.
      if (!existsSync(dirname(out))) throw new UsageError(options.out, '', `expected that ${dirname(out)} is there`);
      const { folder, bytes, manifest } = await daemon.post('/admin/backup', undefined, TakenBackup);
      move(folder, out);
      const line = `${out}: ${bytes} bytes, log of ${manifest.log_size} leaves, ${manifest.sealed} of them sealed`;
      return { answer: { out, bytes, ...manifest }, lines: [line] };
    },
    { timeout_ms: TIMEOUT_MS },
  );
}

export async function restore(options: Common & { readonly from: string; readonly seal?: string }): Promise<number> {
  return reporting(options.json, async () => {
    const kept = options.seal === undefined ? undefined : readSeal(options.seal);
    const { config } = loadConfig(options.config === undefined ? {} : { file: options.config });
    const folder = join(resolve(config.daemon.state_dir), 'store');
    const outcome = putBack(resolve(options.from), folder, kept, Date.now());
    if (!outcome.ok) {
      process.stderr.write(`${options.from}: ${outcome.code}: ${printable(outcome.detail)}; nothing was changed\n`);
      return { answer: undefined, lines: [], ok: false };
    }
    const { manifest, before } = outcome;
    const lines = [
      `${folder}: restored from ${options.from}, taken ${manifest.taken_at}, log of ${manifest.log_size} leaves`,
      ...(before === null ? [] : [`  what was there is ${before}`]),
      '  the next start refuses it where its watermark, or the lack of one, says that more may have been signed;',
      '  then `aegisd resolve-restore` brings it forward over what was published since',
    ];
    return { answer: { folder, before, ...manifest }, lines };
  });
}

/** Of any head that was kept, by anybody: it can only keep an old backup out. */
function readSeal(path: string): { log_id: string; size: number } {
  const kept = readDocument(path, HEAD_BYTES_MAX) as { sealed?: unknown } | null;
  const parsed = SignedHead.safeParse(kept?.sealed ?? kept);
  if (parsed.success) return parsed.data.seal;
  throw new UsageError(path, parsed.error.issues[0]!.path.join('.'), 'expected a head, as GET /log/head gives it');
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

// A bundle on the disk: all of its files in a new folder, or nothing. Never over anything that is there, since that could be what
// somebody has deployed.
import { chmodSync, lstatSync, mkdirSync, mkdtempSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { basename, dirname, join, resolve } from 'node:path';
import type { BundleFile } from './plan.ts';

/**
 * @param out  a folder that is not there yet, in one that is
 * @returns    false, having written nothing, where something is there
 * @throws {NodeJS.ErrnoException} having written nothing
 */
export function writeBundle(out: string, files: readonly BundleFile[]): boolean {
  const target = resolve(out);
  if (lstatSync(target, { throwIfNoEntry: false }) !== undefined) return false;
  const made = mkdtempSync(join(dirname(target), `.${basename(target)}-`));
  try {
    for (const { path, text, executable } of files) {
      const file = join(made, path);
      mkdirSync(dirname(file), { recursive: true });
      writeFileSync(file, text, { flag: 'wx' });
      // Whatever the umask is.
      chmodSync(file, executable ? 0o755 : 0o644);
    }
    chmodSync(made, 0o755);
    // Over an empty folder that came meanwhile, and over nothing else.
    renameSync(made, target);
    return true;
  } catch (error) {
    rmSync(made, { recursive: true, force: true });
    throw error;
  }
}

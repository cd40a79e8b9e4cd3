// What the demos have in common: folders of their own, one of them for what they leave, lines for who watches, a sentence where what they
// need fails, and, for those that check something, checks with a name that held or did not, a verdict as the last line, and an
// exit code that is 0 only if every check held.
import { mkdir, mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { RequestError } from '../cli/connection.ts';
import { EXIT } from '../cli/program.ts';

export interface SceneOptions {
  /** Where batch files and logs are kept; nowhere where left out. */
  readonly keep?: string;
  /** One JSON document in place of the lines. */
  readonly json?: boolean;
}

/** Where a demo plays. */
export interface Stage {
  readonly folder: string;
  readonly state_dir: string;
  say(line: string): void;
}

export interface Scene extends Stage {
  check(what: string, held: boolean): void;
}

/** @param play  gives the exit code. @returns it, or that of a refusal where what the demo needs fails */
export async function stage(options: SceneOptions, play: (stage: Stage) => Promise<number>): Promise<number> {
  const say = (line: string) => void (options.json !== true && process.stdout.write(`${line}\n`));
  const folder = resolve(options.keep ?? (await mkdtemp(join(tmpdir(), 'aegis-demo-'))));
  await mkdir(folder, { recursive: true });
  const state_dir = await mkdtemp(join(tmpdir(), 'aegis-'));
  try {
    return await play({ folder, state_dir, say });
  } catch (error) {
    if (!(error instanceof RequestError)) throw error;
    process.stderr.write(`demo: ${error.message}\n`);
    return EXIT.refused;
  } finally {
    await rm(state_dir, { recursive: true, force: true });
    if (options.keep === undefined) await rm(folder, { recursive: true, force: true });
  }
}

/** @param title  of the verdict. @returns the exit code */
export function perform(options: SceneOptions, title: string, play: (scene: Scene) => Promise<void>): Promise<number> {
  return stage(options, async (place) => {
    const checks: { what: string; held: boolean }[] = [];
    await play({ ...place, check: (what, held) => void checks.push({ what, held }) });
    const failed = checks.filter(({ held }) => !held);
    const ok = checks.length > 0 && failed.length === 0;
    if (options.json === true) process.stdout.write(`${JSON.stringify({ ok, checks })}\n`);
    for (const { what } of failed) process.stderr.write(`demo: did not hold: ${what}\n`);
    const verdict = ok ? `Verified: all ${checks.length} checks held` : `FAILED: ${failed.length} checks`;
    place.say(`\n${verdict}, ${title}.`);
    return ok ? EXIT.ok : EXIT.refused;
  });
}

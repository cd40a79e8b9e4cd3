// `aegisd import FILE`: the upgrade from the deprecated Phala sequencer. Reads its state, registers its assets with a running daemon, one
// after the other, and reports every item: what was taken, what was not, and why. It may be run again: an asset that is
// registered as it says is taken already.
import { type LegacyLine, LegacyState, readLegacy } from '../../actors/legacy.ts';
import { Shown } from '../api/assets.ts';
import { type Outcome, reporting } from './asking.ts';
import { type Connection, connect, RequestError } from './connection.ts';
import { readDocument, UsageError } from './file.ts';

interface Options {
  readonly config?: string;
  readonly dryRun?: boolean;
  readonly json?: boolean;
}

const FILE_BYTES_MAX = 64 * 1_048_576;
/** What ends the import: everything behind it would meet the same. */
const ENDS = ['not_running', 'forbidden_socket', 'unreachable', 'timeout', 'migration_running', 'store_unavailable'];

/** @returns 1 where an asset was not taken; what can never be taken counts for nothing */
export function importState(file: string, options: Options): Promise<number> {
  return reporting(options.json, async () => {
    const parsed = LegacyState.safeParse(readDocument(file, FILE_BYTES_MAX));
    if (!parsed.success) {
      const issue = parsed.error.issues[0]!;
      throw new UsageError(file, issue.path.join('.'), issue.message);
    }
    const { assets, lines } = readLegacy(parsed.data);
    const report: LegacyLine[] = [...lines];
    const daemon = options.dryRun === true ? undefined : connect({ ...options, keepAlive: true });
    let ended: RequestError | undefined;
    try {
      for (const { asset_id, registration, lines: own } of assets) {
        if (registration !== undefined) report.push(await register(daemon, asset_id, registration));
        report.push(...own);
      }
    } catch (error) {
      if (!(error instanceof RequestError)) throw error;
      ended = error;
    } finally {
      daemon?.close();
    }
    const taken = report.filter(({ outcome }) => outcome === 'taken').length;
    // What was taken until then is told all the same.
    if (ended !== undefined) process.stderr.write(`${ended.message}\n`);
    return { ...told(report, taken, assets.length, options), ok: ended === undefined && taken === assets.length };
  });
}

async function register(daemon: Connection | undefined, asset_id: string, registration: object): Promise<LegacyLine> {
  const item = `assets ${asset_id}`;
  if (daemon === undefined) return { item, outcome: 'taken', reason: 'it would be registered' };
  try {
    const { leaf_index } = await daemon.post('/assets/register', registration, Shown);
    return { item, outcome: 'taken', reason: `registered, entry ${leaf_index} of the log` };
  } catch (error) {
    if (!(error instanceof RequestError) || ENDS.includes(error.code)) throw error;
    return { item, outcome: 'not_taken', reason: error.message };
  }
}

function told(report: readonly LegacyLine[], taken: number, count: number, { dryRun }: Options): Outcome {
  const answer = { assets: count, taken, not_taken: count - taken, dry_run: dryRun === true, report };
  const lines = report.map(({ item, outcome, reason }) => `${outcome.padEnd(9)} ${item}: ${reason}`);
  lines.push(`${taken} of ${count} assets ${dryRun === true ? 'would be taken' : 'taken'}`);
  return { answer, lines };
}

// `aegisd import FILE`: the upgrade from the deprecated Phala sequencer. Reads its state, registers its assets with a running daemon, one
// after the other, and reports every item: what was taken, what was not, and why. It may be run again: an asset that is
// registered as it says is taken already.
import { type LegacyLine, LegacyState, readLegacy } from '../../actors/legacy.ts';
import { Shown } from '../api/assets.ts';
import { type Connection, connect, RequestError } from './connection.ts';
import { printable } from './entry.ts';
import { readDocument, reportUsage, UsageError } from './file.ts';
import { EXIT } from './program.ts';

interface Options {
  readonly config?: string;
  readonly dryRun?: boolean;
  readonly json?: boolean;
}

const FILE_BYTES_MAX = 64 * 1_048_576;
/** What ends the import: everything behind it would meet the same. */
const ENDS = ['not_running', 'forbidden_socket', 'unreachable', 'timeout', 'migration_running', 'store_unavailable'];

/** @returns 1 where an asset was not taken; what can never be taken counts for nothing */
export async function importState(file: string, options: Options): Promise<number> {
  try {
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
    write(report, taken, assets.length, options);
    // What was taken until then is told all the same.
    if (ended !== undefined) throw ended;
    return taken === assets.length ? EXIT.ok : EXIT.refused;
  } catch (error) {
    if (error instanceof RequestError) {
      process.stderr.write(`${error.message}\n`);
      return EXIT.refused;
    }
    if (!(error instanceof UsageError)) throw error;
    reportUsage(error, options.json === true);
    return EXIT.usage;
  }
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

function write(report: readonly LegacyLine[], taken: number, count: number, options: Options): void {
  const summary = { assets: count, taken, not_taken: count - taken, dry_run: options.dryRun === true };
  const lines = report.map(({ item, outcome, reason }) => `${outcome.padEnd(9)} ${item}: ${reason}`);
  lines.push(`${taken} of ${count} assets ${options.dryRun === true ? 'would be taken' : 'taken'}`);
  const text = options.json === true ? JSON.stringify({ ...summary, report }) : lines.map(printable).join('\n');
  process.stdout.write(`${text}\n`);
}

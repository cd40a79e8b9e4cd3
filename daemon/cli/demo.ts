// `aegisd demo`: the main path on real input. Starts a daemon of its own on a free port with a temporary store, signs
// transactions as wallets do, encrypts half each way, submits them over HTTP, follows the feed until every one is in a sealed
// batch, and has every batch file verified by a fresh process. Exit 0 only if all verified.
import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import type { BatchFile } from '../../actors/batch.ts';
import type { Envelope } from '../../actors/envelope.ts';
import { encryptEnvelope } from '../../client/seal.ts';
import { type Child, run, startDaemon } from '../demo/child.ts';
import { type Followed, follow } from '../demo/following.ts';
import { type SceneOptions, stage } from '../demo/scene.ts';
import { signTransactions } from '../demo/wallet.ts';
import { type Connection, connect } from './connection.ts';
import { attestedKeyset } from './keyset.ts';
import { EXIT } from './program.ts';

interface Options extends SceneOptions {
  readonly transactions: number;
}

export interface Report {
  transactions: number;
  refused: number;
  batches: string[];
  verified: boolean;
  latency_ms: Record<string, number>;
}

/** As many as a wallet service would send at once; small enough that several batches come of it. */
const BODY_ENVELOPES = 20;
const TIMEOUT_MS = 120_000;

export function demo(options: Options): Promise<number> {
  return stage(options, async ({ folder, state_dir, say }) => {
    const daemon = await startDaemon(state_dir, join(folder, 'daemon.log'));
    say(`daemon    ${daemon.url}, log ${daemon.log_id.slice(0, 18)}…, SIMULATED platform`);
    let report: Report;
    try {
      report = await mainPath(daemon, folder, options.transactions, say);
    } finally {
      await daemon.stop();
    }
    report.verified = await verifyFresh(report.batches, say);
    if (options.json === true) process.stdout.write(`${JSON.stringify(report)}\n`);
    else say(table(report, options.keep === undefined ? undefined : folder));
    const complete = report.transactions === options.transactions && report.refused === 0;
    return report.verified && complete ? EXIT.ok : EXIT.refused;
  });
}

export async function mainPath(
  daemon: Child,
  folder: string,
  count: number,
  say: (line: string) => void,
): Promise<Report> {
  const connection = connect({ url: daemon.url });
  const { keyset } = await attestedKeyset(connection);
  const signed = await signTransactions(count, Number(keyset.chain_id));
  const envelopes = await Promise.all(
    signed.map((raw, i) =>
      encryptEnvelope({ keyset, raw, scheme: i % 2 === 0 ? 'x-wing' : 'ecies', tx_id: `demo-${i}` }),
    ),
  );
  say(`wallets   ${count} transactions signed (types 0, 1, 2), half encrypted with X-Wing, half with ECIES`);

  const feed = await follow(daemon.url, count, TIMEOUT_MS);
  const admitted = await submit(connection, envelopes);
  say(`admitted  ${admitted.length} receipts`);
  const followed = await feed.done;
  const batches = await save(connection, folder, followed.heights);
  say(`sealed    ${batches.files.length} batches, ${batches.transactions} transactions`);
  return {
    transactions: batches.transactions,
    refused: batches.refused,
    batches: batches.files,
    verified: false,
    latency_ms: latencies(admitted, followed),
  };
}

interface Admitted {
  envelope_id: string;
  sent: number;
  answered: number;
}

async function submit(connection: Connection, envelopes: readonly Envelope[]): Promise<Admitted[]> {
  const admitted: Admitted[] = [];
  for (let from = 0; from < envelopes.length; from += BODY_ENVELOPES) {
    const body = envelopes.slice(from, from + BODY_ENVELOPES);
    const sent = performance.now();
    const answers = await connection.post<{ status: number; envelope_id: string }[]>('/transactions', body);
    const answered = performance.now();
    for (const { status, envelope_id } of answers) if (status === 202) admitted.push({ envelope_id, sent, answered });
  }
  return admitted;
}

async function save(connection: Connection, folder: string, heights: readonly number[]) {
  const files: string[] = [];
  let transactions = 0;
  let refused = 0;
  for (const height of heights) {
    const batch = await connection.get<BatchFile>(`/batches/${height}`);
    const file = join(folder, `batch-${height}.json`);
    await writeFile(file, JSON.stringify(batch));
    files.push(file);
    transactions += batch.transactions.length;
    refused += batch.refused.length;
  }
  return { files, transactions, refused };
}

async function verifyFresh(files: readonly string[], say: (line: string) => void): Promise<boolean> {
  const { code } = await run(['verify', '--allow-simulated', '--json', ...files]);
  say(`verified  by a fresh process: ${code === EXIT.ok ? 'every batch' : 'NOT every batch'}`);
  return files.length > 0 && code === EXIT.ok;
}

/** What a client sees: from sending the request to the answer, and to hearing of the batch and of its seal. */
function latencies(admitted: readonly Admitted[], followed: Followed): Record<string, number> {
  const figures: Record<string, number> = {};
  const put = (name: string, values: number[]) => {
    values.sort((a, b) => a - b);
    for (const p of [50, 99]) {
      const value = values[Math.min(values.length - 1, Math.floor((values.length * p) / 100))] ?? Number.NaN;
      figures[`${name}_p${p}`] = Math.round(value * 10) / 10;
    }
  };
  put(
    'admit',
    admitted.map(({ sent, answered }) => answered - sent),
  );
  const since = (events: ReadonlyMap<string, number>) =>
    admitted.flatMap(({ envelope_id, sent }) => {
      const at = events.get(envelope_id);
      return at === undefined ? [] : [at - sent];
    });
  put('signed', since(followed.signed));
  put('sealed', since(followed.sealed));
  return figures;
}

export function table(report: Report, folder: string | undefined): string {
  const { latency_ms } = report;
  const row = (name: string) =>
    `  ${name.padEnd(8)}${String(latency_ms[`${name}_p50`]).padStart(10)}${String(latency_ms[`${name}_p99`]).padStart(10)}`;
  return [
    '',
    `  ms since sent  p50       p99`,
    row('admit'),
    row('signed'),
    row('sealed'),
    '',
    `${report.verified ? 'Verified' : 'NOT verified'}: ${report.transactions} transactions in ${report.batches.length} batches, ${report.refused} refused.`,
    ...(folder === undefined ? [] : [`The batch files are in ${folder}.`]),
  ].join('\n');
}

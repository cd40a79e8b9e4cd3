// What clients feel of a rotation: a real daemon under load announces an epoch and executes it. Cutting rests from the old epoch's last
// batch to the new one's first, because the old one seals all that it has cut; admission goes on. No envelope may be lost or refused.
// Floor: the one SLH-DSA signature that the pause waits for.
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import type { Keyset } from '../actors/keyset.ts';
import { connect } from '../daemon/cli/connection.ts';
import { type Child, startDaemon } from '../daemon/demo/child.ts';
import { heard } from '../daemon/demo/following.ts';
import { Load } from '../daemon/demo/load.ts';
import { type Figure, median } from './figure.ts';
import { bareSlhDsa, type Entry, sealedJournal } from './pipeline.ts';

/** Before the rotation and behind it. */
const CALM_MS = 3_000;
const TIMEOUT_MS = 120_000;
const SETTINGS = `rate_limit_per_s = 0
[rotation]
delay_blocks = 3
delay_max_s = 30
`;

/** The journal begins with that of the first epoch. */
const isExecuted = ({ type, data }: { readonly type: string; readonly data: unknown }) =>
  type === 'rotation_executed' && (data as { to_epoch: number }).to_epoch === 2;

export async function run(): Promise<Figure[]> {
  const folder = await mkdtemp(join(tmpdir(), 'aegis-bench-'));
  const daemon = await startDaemon(folder, join(folder, 'daemon.log'), SETTINGS);
  try {
    return await rotated(daemon, join(folder, 'sequencer.toml'));
  } finally {
    await daemon.kill();
    await rm(folder, { recursive: true, force: true });
  }
}

async function rotated({ url }: Child, config: string): Promise<Figure[]> {
  const admin = connect({ config });
  const { keyset } = await admin.get<{ keyset: Keyset }>('/epochs/1/keyset');
  const load = new Load({ url, keyset, body_envelopes: 8, pause_ms: 10 });
  await delay(CALM_MS);
  const calm = load.answered_ms.length;
  await admin.post('/epochs/rotate', {});
  const { cursor } = await heard(url, 0, isExecuted, TIMEOUT_MS);
  await heard(url, cursor, ({ type }) => type === 'txs_ordered', TIMEOUT_MS);
  const after = load.answered_ms.length;
  await delay(CALM_MS);
  await load.stop();
  const entries = await sealedJournal(admin);
  const { pause_ms, usual_ms } = pauseOf(entries);
  const slh = bareSlhDsa();
  const lost = lostOf(entries, load);
  return [
    { name: 'rotation, cutting rests', value: pause_ms, unit: 'ms', floor: slh, ratio: pause_ms / slh },
    { name: 'rotation, between two cuts otherwise, p50', value: usual_ms, unit: 'ms' },
    { name: 'rotation, slowest admission', value: Math.max(...load.answered_ms.slice(calm, after)), unit: 'ms' },
    { name: 'rotation, slowest admission before', value: Math.max(...load.answered_ms.slice(0, calm)), unit: 'ms' },
    {
      name: `rotation, of ${load.receipts.size} receipts lost or refused`,
      value: lost,
      unit: '',
      reach: '0',
      met: lost === 0 && load.receipts.size > 0,
    },
  ];
}

/** By the journal's times of the cuts. */
function pauseOf(entries: readonly Entry[]): { pause_ms: number; usual_ms: number } {
  const { first_height } = entries.find(isExecuted)!.data as { first_height: number };
  const cuts = new Map<number, number>();
  for (const { type, at_ms, data } of entries) {
    const { height } = data as { height: number };
    if (type === 'txs_ordered' && !cuts.has(height)) cuts.set(height, at_ms);
  }
  const between = (height: number) => cuts.get(height)! - cuts.get(height - 1)!;
  const others = [...cuts.keys()].filter((height) => height > 0 && height !== first_height);
  return { pause_ms: between(first_height), usual_ms: median(others.map(between)) };
}

/** Receipts whose envelope is in no batch, and envelopes that were not admitted or not opened. */
function lostOf(entries: readonly Entry[], load: Load): number {
  const ordered = new Set<string>();
  let unopened = 0;
  for (const { type, data } of entries) {
    const { order = [], refused = [] } = data as { order?: { envelope_id: string }[]; refused?: unknown[] };
    if (type === 'txs_ordered') for (const { envelope_id } of order) ordered.add(envelope_id);
    if (type === 'batch_created') unopened += refused.length;
  }
  const missing = [...load.receipts.keys()].filter((id) => !ordered.has(id)).length;
  return missing + load.refused.length + load.unanswered + unopened;
}

if (import.meta.main) console.table(await run());

// `aegisd demo --handover`: a loaded daemon hands its log over to a second process, on another platform with another root and another
// image, while wallets go on submitting. An auditor follows across, fresh processes verify every batch before and after under what they
// know of the handover, and every receipt must be kept. Exit 0 only if all of it held.
import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import type { BatchFile } from '../../actors/batch.ts';
import { HandoverStatus } from '../../actors/handover.ts';
import { type Child, run, startDaemon, startSuccessor } from '../demo/child.ts';
import { type Enclaves, freeAddress, makeEnclaves } from '../demo/enclaves.ts';
import { Load } from '../demo/load.ts';
import { perform, type Scene, type SceneOptions } from '../demo/scene.ts';
import type { Status } from '../status.ts';
import { connect, RequestError } from './connection.ts';
import { attestedKeyset } from './keyset.ts';
import { EXIT } from './program.ts';

const ASSETS = 100;
const CALM_MS = 3_000;
const POLL_MS = 20;
const SETTINGS = 'rate_limit_per_s = 0\n';
/** What a wallet meets while nobody can take what it sends: it sends it again. */
const PASSING: ReadonlySet<string> = new Set(['handover_running', 'handed_over', 'draining']);

export function handoverDemo(options: SceneOptions): Promise<number> {
  return perform(options, 'a handover to another enclave under load', async (scene) => {
    const enclaves = makeEnclaves(scene.state_dir);
    const { folder, say } = scene;
    const old = await startDaemon(
      enclaves.folderOf('old'),
      join(folder, 'old.log'),
      enclaves.settingsOf('old', SETTINGS),
    );
    say(`old       ${old.url}, log ${old.log_id.slice(0, 18)}…, SIMULATED platform, image "old"`);
    let next: Child | undefined;
    try {
      const { keyset } = await attestedKeyset(connect({ url: old.url }));
      const load = new Load({ url: old.url, keyset, body_envelopes: 4, pause_ms: 100 });
      try {
        next = await handOver(scene, enclaves, old, load);
        await delay(CALM_MS);
      } finally {
        await load.stop();
      }
      await judge(scene, old, next, load);
    } finally {
      await next?.kill();
      await old.kill();
    }
  });
}

async function handOver(
  { folder, state_dir, say, check }: Scene,
  enclaves: Enclaves,
  old: Child,
  load: Load,
): Promise<Child> {
  const admin = connect({ config: join(enclaves.folderOf('old'), 'sequencer.toml') });
  for (let i = 0; i < ASSETS; i++) {
    const access_policy = { requires_pqc: false, requires_tee: false, risk_threshold: 10_000 };
    await admin.post('/assets/register', { asset_id: `file-${i}`, asset_type: 'OffChainFile', access_policy });
  }
  await delay(CALM_MS);
  await audit(old.url, state_dir, check, 'the log is one history before');
  const listen = await freeAddress();
  const settings = enclaves.settingsOf('new', SETTINGS);
  const begun = performance.now();
  const at = () => `${String(Math.round(performance.now() - begun)).padStart(6)} ms`;
  const successor = startSuccessor(enclaves.folderOf('new'), join(folder, 'new.log'), settings, old.url, listen);
  say(`${at()}  a second process starts, image "new", with a root of its own`);
  await admin.post('/admin/handover', { successor_url: `http://${listen}` });
  await delay(CALM_MS);
  const { state } = await statusOf(old);
  check('nobody takes over without an order of an admin', state === 'open');
  say(`${at()}  the handover is open: no order names image "new", so nothing happens`);
  await admin.post('/admin/orders', await enclaves.order(old.log_id));
  say(`${at()}  an admin's signed order lets image "new" succeed`);
  const before = load.receipts.size;
  let paused = 0;
  let ended = 0;
  let watching = true;
  const watch = async () => {
    while (watching) {
      const { state } = await statusOf(old);
      if (state === 'transferring' && paused === 0) {
        paused = performance.now();
        say(`${at()}  its evidence has verified: admission pauses after ${before} receipts and more`);
      }
      if (state === 'ended' && ended === 0) {
        ended = performance.now();
        say(`${at()}  the old enclave has ended`);
      }
      await delay(POLL_MS);
    }
  };
  const watched = watch();
  const next = await successor.listening;
  watching = false;
  await watched;
  load.url = next.url;
  const pause_ms = Math.round(performance.now() - (paused || ended));
  say(`${at()}  the new one goes on at ${next.url}; nothing was admitted for ${pause_ms} ms`);
  check('the old enclave has ended', ended > 0);
  // The older keyset is in grace there; soon wallets take the new one.
  await delay(CALM_MS);
  load.keyset = (await attestedKeyset(connect({ url: next.url }))).keyset;
  check('the new epoch is attested', load.keyset.epoch === 2);
  return next;
}

const statusOf = ({ url }: Child) => connect({ url }).get('/handover', HandoverStatus);

async function audit(url: string, state_dir: string, check: Scene['check'], what: string): Promise<void> {
  const state = join(state_dir, 'audit.json');
  const { code } = await run(['audit', '--once', '--state', state, '--url', url, '--allow-simulated']);
  check(what, code === EXIT.ok);
}

async function judge({ folder, state_dir, say, check }: Scene, old: Child, next: Child, load: Load): Promise<void> {
  const daemon = connect({ url: next.url });
  const refused = load.refused.filter((code) => !PASSING.has(code));
  say(
    `load      ${load.receipts.size} receipts, ${load.refused.length} sent on or asked to wait, ${refused.length} refused`,
  );
  check(`nothing was refused but for the pause: ${refused.join()}`, refused.length === 0 && load.receipts.size > 0);
  for (;;) {
    const { sequencer, log } = await daemon.get<Status>('/sequencer/status');
    if (sequencer.mempool_size + sequencer.ordered_queue === 0 && log.size === log.sealed) break;
    await delay(POLL_MS);
  }
  await audit(next.url, state_dir, check, 'an auditor follows the log from one enclave to the other');
  say('audited   from the old enclave to the new one: one history');
  const document = join(folder, 'handover.json');
  await writeFile(document, JSON.stringify(await statusOf(old)));
  const files: string[] = [];
  const places = new Map<string, number>();
  const epochs = new Set<number>();
  const count = (await daemon.get<Status>('/sequencer/status')).sequencer.batch_count;
  for (let height = 0; height < count; height++) {
    const batch = await daemon.get<BatchFile>(`/batches/${height}`);
    const file = join(folder, `batch-${height}.json`);
    await writeFile(file, JSON.stringify(batch));
    files.push(file);
    epochs.add(batch.header.epoch);
    for (const { envelope_id } of batch.transactions) places.set(envelope_id, (places.get(envelope_id) ?? 0) + 1);
  }
  const { code } = await run(['verify', '--allow-simulated', '--handover', document, '--json', ...files]);
  say(
    `verified  ${count} batches of ${epochs.size} epochs by a fresh process: ${code === EXIT.ok ? 'all' : 'NOT all'} of them`,
  );
  check('every batch of both enclaves verifies', code === EXIT.ok && epochs.size === 2);
  const lost = [...load.receipts.keys()].filter((id) => places.get(id) !== 1);
  check(`every receipt was kept, once: ${lost.length} not`, lost.length === 0);
  const told = await connect({ url: old.url })
    .post('/transactions', [])
    .catch((error: unknown) => error);
  check('the old enclave sends clients on', told instanceof RequestError && told.code === 'handed_over');
  say(`old       ${told instanceof RequestError ? told.message : 'was NOT refused'}`);
}

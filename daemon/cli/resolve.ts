// `aegisd resolve-restore`: brings a store that was restored from a backup, and that a start refuses as older than what it signed, forward over
// what was published since. Without an order it prints the act that an admin has to sign, and changes nothing; with that order it
// executes it. No daemon runs meanwhile: the store's own lock sees to it. docs/migration.md tells the whole way.
import { existsSync } from 'node:fs';
import { join, resolve } from 'node:path';
import { canonicalJson } from '../../actors/canonical.ts';
import { Order } from '../../actors/order.ts';
import { loadConfig } from '../../config/load.ts';
import type { Config } from '../../config/schema.ts';
import { loadEngine } from '../../workers/engine.ts';
import { slhDsaKey } from '../../workers/slhdsa.ts';
import { signReceipt } from '../intake.ts';
import { deriveEpoch, deriveReceiptKey, keysetOf, storeKey } from '../keys/keyring.ts';
import { openKeySource } from '../keys/open.ts';
import type { KeySource } from '../keys/source.ts';
import { openOrders, requireOrder } from '../orders.ts';
import { readPublication, type Signers, unsigned } from '../publication.ts';
import { PublicationError } from '../publishedfile.ts';
import { keysetRecord, meta } from '../records.ts';
import { asOrdered, type Forward, tryForward } from '../resolution.ts';
import { Runtime } from '../runtime.ts';
import { MIGRATIONS, SCHEMA_VERSION } from '../schema.ts';
import { openStore, type Store } from '../store.ts';
import { readPosition } from '../watermark.ts';
import { type Outcome, reporting } from './asking.ts';
import { readDocument, UsageError } from './file.ts';

interface Options {
  readonly config?: string;
  readonly json?: boolean;
  readonly published: string;
  readonly order?: string;
}

const ORDER_BYTES_MAX = 65_536;

type Signer = NonNullable<ReturnType<Signers['get']>>;
type Promised = Parameters<Forward['receipt']>[0];

export function resolveRestore(options: Options): Promise<number> {
  return reporting(options.json, async () => {
    const order = options.order === undefined ? undefined : readOrder(options.order);
    const { config } = loadConfig(options.config === undefined ? {} : { file: options.config });
    const state_dir = resolve(config.daemon.state_dir);
    const folder = join(state_dir, 'store');
    if (!existsSync(join(folder, 'data.mdb'))) throw new UsageError(folder, '', 'there is no store');
    const source = await openKeySource({ config, state_dir });
    const store = await openStore({
      folder,
      key: await storeKey(source),
      ...config.store,
      schema: { version: SCHEMA_VERSION, migrations: MIGRATIONS },
      put_back: true,
    });
    try {
      const forward = await prepare(options.published, store, source, config);
      if (typeof forward === 'string') return refused(forward);
      return order === undefined ? await tell(store, forward) : await execute(store, forward, order, config);
    } catch (error) {
      if (error instanceof PublicationError) return refused(error.message);
      throw error;
    } finally {
      await store.close();
    }
  });
}

/** @returns what is wrong with what was published */
async function prepare(path: string, store: Store, source: KeySource, config: Config): Promise<Forward | string> {
  const { log_id } = meta(store, 'genesis');
  const { active: epoch } = meta(store, 'epoch');
  const { size, sealed } = meta(store, 'log');
  const { signed: next_height } = meta(store, 'heights');
  const digestAt = (leaf_index: number) => store.get('log', leaf_index)!.digest;
  const publication = await readPublication(path, { log_id, size, sealed, next_height, digestAt });
  const signers = new Map([[epoch, keysetRecord(store, epoch)!]]) as Map<number, Signer>;
  const receipts = new Map([[epoch, await deriveReceiptKey(source, epoch)]]);
  for (const [digest, keyset] of publication.keysets) {
    if (keyset.epoch <= epoch) continue;
    const keys = await deriveEpoch(source, keyset.epoch, keyset.secp256k1 !== null, slhDsaKey);
    const { chain_id } = meta(store, 'genesis');
    const own = keysetOf(keys, source.name, { chain_id, log_id }, keyset.not_before_ms).digest === digest;
    if (!own) return `${path}: the keyset of epoch ${keyset.epoch} is not of the root of this store`;
    signers.set(keyset.epoch, { keyset, digest });
    receipts.set(keyset.epoch, keys.receipt);
  }
  const wrong = unsigned(publication, signers, await loadEngine(config.signing.engine));
  if (wrong !== undefined) return `${path}: ${wrong}`;
  const marks = (await readPosition(store)) ?? { batch: undefined, head: undefined };
  const receipt = (promise: Promised) => signReceipt({ log_id, ...promise }, receipts.get(promise.epoch)!);
  return { publication, marks, receipt };
}

async function tell(store: Store, forward: Forward): Promise<Outcome> {
  const brought = await tryForward(runtimeOf(store), forward);
  if (!brought.ok) return refused(brought.detail);
  const { act } = brought;
  const { log_id } = meta(store, 'genesis');
  const said = [
    `The store has ${act.from_size} entries of the log; ${act.to_size - act.from_size} more were published and will be taken.`,
    `Then batches are signed from height ${act.next_height} on, and heads of more than ${act.heads_above} entries.`,
    `The feed goes on behind cursor ${store.journalHead().cursor}: whoever has read beyond it begins again there.`,
    'What was never published stays lost: envelopes that waited, assets and names since the backup, orders of other kinds.',
    `An admin signs it with: aegisd admin sign --log-id ${log_id} --act @FILE --key KEY, and --order executes it.`,
  ];
  process.stderr.write(`${said.join('\n')}\n`);
  return { answer: act, lines: [canonicalJson(act)] };
}

async function execute(store: Store, forward: Forward, order: Order, config: Config): Promise<Outcome> {
  const runtime = runtimeOf(store);
  const orders = await openOrders({
    ...{ runtime, store, config, log: meta(store, 'genesis'), now: Date.now, onExecuted: () => {} },
    prepare: (step, act) => {
      if (act.type !== 'resolve_restore') return { ok: false, detail: 'expected an order of the type resolve_restore' };
      return asOrdered(step, forward, act);
    },
    acts: {
      resolve_restore(step, ordered) {
        requireOrder(ordered, step, 'resolve_restore');
        return { ok: true };
      },
    },
  });
  const outcome = await orders.execute(order);
  if (!outcome.ok) return refused(`${outcome.code}${'detail' in outcome ? `: ${outcome.detail}` : ''}`);
  const { executed } = outcome;
  const line = `resolved  the store goes on with entry ${executed.leaf_index} of the log, which is this order; start the daemon`;
  return { answer: executed, lines: [line] };
}

function runtimeOf(store: Store): Runtime {
  const ended = (error: unknown) => {
    throw error;
  };
  const silent = { warn: () => {}, error: () => {} };
  return new Runtime({ store, log: silent, fatal: ended });
}

function refused(detail: string): Outcome {
  process.stderr.write(`${detail}; nothing was changed\n`);
  return { answer: undefined, lines: [], ok: false };
}

function readOrder(path: string): Order {
  const parsed = Order.safeParse(readDocument(path, ORDER_BYTES_MAX));
  if (parsed.success) return parsed.data;
  const issue = parsed.error.issues[0]!;
  throw new UsageError(path, issue.path.join('.'), issue.message);
}

// What a successor makes of the state that it is given (DESIGN §8): writes each chunk into its own store, sealed under its own root,
// with every secret of assets and names wrapped anew by its own epoch; then holds the whole against what a stranger would: the journal's
// chain, the tree of the log up to the sealed root, every batch's digest and parent, the keys of every epoch that opens. What it
// can't open stays as it was wrapped, and is counted.
import { createHash } from 'node:crypto';
import { batchDigest, ZERO_DIGEST } from '../../actors/digest.ts';
import { fromHex, hex, uintBytes, utf8 } from '../../actors/encoding.ts';
import type { SignedHead } from '../../actors/head.ts';
import { append, LOG_KINDS, logLeaf, rootAt } from '../../actors/tree.ts';
import type { Config } from '../../config/schema.ts';
import type { Pool } from '../../workers/pool.ts';
import { openAdmins } from '../admins.ts';
import { nextTurn } from '../checkpoints.ts';
import { inGrace } from '../epoch.ts';
import { openInherited, wrapInherited } from '../keys/inherited.ts';
import { type EpochKeys, readingOf } from '../keys/keyring.ts';
import type { KeySource } from '../keys/source.ts';
import { batchRecord, keysetRecord, meta } from '../records.ts';
import type { Row, Store } from '../store.ts';
import { nameKind, sealedKind } from '../wrapkinds.ts';
import { idIn, kindIn, type WrapKeys, type WrapKind } from '../wraps.ts';
import { type End, readChunk } from './rows.ts';
import { hashState } from './state.ts';

interface Modules {
  readonly store: Store;
  readonly source: KeySource;
  readonly pool: Pool;
  readonly config: Config;
  /** Of the epoch to come. */
  readonly keys: EpochKeys;
}

/** The state is not what an enclave of this log would hand over; it is dropped. */
export class Unfit extends Error {}

const EPOCH_BYTES = 4;
/** What is verified before others have their turn: entries of the log, batches. */
const PAGE = 1_000;
const BATCHES = 20;

export class Adoption {
  readonly #modules: Modules;
  readonly #transcript = createHash('sha512');
  readonly #reading = new Map<number, WrapKeys>();
  readonly #kinds: ReadonlyMap<string, WrapKind>;
  readonly #counts = new Map<number, Map<string, number>>();
  #end: End | undefined;
  #moved = 0;
  unopened = 0;

  constructor(modules: Modules) {
    this.#modules = modules;
    const kinds = [sealedKind('asset', modules.pool), nameKind(modules.pool)];
    this.#kinds = new Map(kinds.map((kind) => [kind.kind, kind]));
  }

  /** @param bytes  of one chunk, in their order; they are wiped. @throws {Unfit} @throws {Fault} of the store, of a thread */
  async take(bytes: Uint8Array): Promise<void> {
    this.#transcript.update(bytes);
    try {
      const { rows, keys, end } = readChunk(bytes);
      const own = [...(await this.#inherit(keys)), ...(await this.#rewrapped(rows))];
      if (own.length > 0) this.#modules.store.adopt(own);
      this.#end = end ?? this.#end;
    } catch (error) {
      if (error instanceof TypeError || error instanceof RangeError) throw new Unfit(error.message);
      throw error;
    } finally {
      bytes.fill(0);
    }
  }

  /** Reading keys of the predecessor's epochs: in memory for the wraps that follow, and wrapped into the store. */
  async #inherit(keys: ReadonlyMap<number, Uint8Array>): Promise<Row[]> {
    const rows: Row[] = [];
    for (const [epoch, secrets] of keys) {
      const { public: half, ...reading } = readingOf(epoch, secrets);
      this.#reading.set(epoch, { ...reading, public: half });
      const value = await wrapInherited(this.#modules.source, epoch, secrets);
      rows.push({ table: 'inherited', key: uintBytes(epoch, 8), value });
    }
    return rows;
  }

  /** Rows as they are, and wraps under the epoch to come, with their index. */
  async #rewrapped(rows: readonly Row[]): Promise<Row[]> {
    const others = rows.filter(({ table }) => table !== 'wraps');
    const wraps = rows.filter(({ table }) => table === 'wraps').map(readWrap);
    const moved: Row[] = [];
    for (const group of Map.groupBy(wraps, ({ epoch, name }) => `${epoch} ${kindIn(name)}`).values()) {
      for (const { name, epoch, wrapped } of await this.#move(group)) {
        const record = new Uint8Array(EPOCH_BYTES + wrapped.length);
        record.set(uintBytes(epoch, EPOCH_BYTES));
        record.set(wrapped, EPOCH_BYTES);
        const place = new Uint8Array(8 + utf8(name).length);
        place.set(uintBytes(epoch, 8));
        place.set(utf8(name), 8);
        moved.push({ table: 'wraps', key: utf8(name), value: record });
        moved.push({ table: 'wrap_epochs', key: place, value: new Uint8Array(0) });
        this.#count(epoch, kindIn(name));
      }
    }
    return [...others, ...moved];
  }

  /** @param wraps  of one epoch and kind */
  async #move(wraps: readonly NamedWrap[]): Promise<NamedWrap[]> {
    const { keys: to } = this.#modules;
    const [first] = wraps;
    const from = this.#reading.get(first!.epoch);
    const kind = this.#kinds.get(kindIn(first!.name));
    if (from === undefined || kind === undefined) {
      this.unopened += wraps.length;
      return [...wraps];
    }
    const moved: NamedWrap[] = [];
    for (let at = 0; at < wraps.length; at += kind.rows_max) {
      const part = wraps.slice(at, at + kind.rows_max);
      const answers = await kind.rewrap(
        part.map(({ name, wrapped }) => ({ id: idIn(name), wrapped })),
        from,
        to,
      );
      part.forEach((wrap, i) => {
        const wrapped = answers[i] ?? null;
        if (wrapped === null) this.unopened += 1;
        else this.#moved += 1;
        moved.push(wrapped === null ? wrap : { ...wrap, epoch: to.epoch, wrapped });
      });
    }
    return moved;
  }

  #count(epoch: number, kind: string): void {
    const kinds = this.#counts.get(epoch) ?? new Map<string, number>();
    this.#counts.set(epoch, kinds.set(kind, (kinds.get(kind) ?? 0) + 1));
  }

  /**
   * All chunks are there: writes what follows from them, and verifies the whole.
   *
   * @param head  the newest seal of the predecessor, which was verified
   * @throws {Unfit} where they are not one state of this log
   */
  async finish(head: SignedHead): Promise<{ transcript: string; state_hash: string; asset_count: number }> {
    const { store } = this.#modules;
    const end = this.#end;
    if (end === undefined) throw new Unfit('the last chunk says nothing');
    const counts = Object.fromEntries([...this.#counts].map(([epoch, kinds]) => [epoch, Object.fromEntries(kinds)]));
    const wraps = { counts, moved: this.#moved };
    store.adopt([{ table: 'meta', key: utf8('wraps'), value: utf8(JSON.stringify(wraps)) }], end.journal);
    await store.verifyAdopted();
    await verifyLog(store, head);
    await verifyBatches(store);
    await this.#verifyKeys();
    openAdmins(store, this.#modules.config.admin.keys);
    const state = await hashState(store);
    if (state.state_hash !== end.state_hash || state.asset_count !== end.asset_count) {
      throw new Unfit('the assets are not those of the predecessor');
    }
    return { transcript: hex(this.#transcript.digest()), ...state };
  }

  /** What opens in every epoch that is not retired is what was published. */
  async #verifyKeys(): Promise<void> {
    const { store, source } = this.#modules;
    for (const epoch of [...inGrace(store), meta(store, 'epoch').active]) {
      const published = keysetRecord(store, epoch)?.keyset;
      const half = await openInherited(store, source, epoch);
      const same = (['x_wing', 'ecies', 'names'] as const).every((name) => half?.public[name] === published?.[name]);
      if (half === undefined || !same) throw new Unfit(`the keys of epoch ${epoch} are not those that were published`);
    }
  }
}

interface NamedWrap {
  readonly name: string;
  readonly epoch: number;
  readonly wrapped: Uint8Array;
}

function readWrap({ key, value }: Row): NamedWrap {
  const epoch = new DataView(value.buffer, value.byteOffset, value.byteLength).getUint32(0);
  return { name: new TextDecoder().decode(key), epoch, wrapped: value.slice(EPOCH_BYTES) };
}

/** The entries give the root that is sealed, and the kept subtrees are theirs. */
async function verifyLog(store: Store, { seal }: SignedHead): Promise<void> {
  const { size, sealed, sealing } = meta(store, 'log');
  if (size !== seal.size || sealed !== seal.size || sealing !== null || meta(store, 'genesis').log_id !== seal.log_id) {
    throw new Unfit('the log is not that of the seal');
  }
  const frontier = new Map<string, Uint8Array>();
  const read = (level: number, index: number) => {
    const hash = frontier.get(`${level}/${index}`);
    if (hash === undefined) throw new Unfit('the log has no such subtree');
    return hash;
  };
  let index = 0;
  for (let start = 0; start < size; start += PAGE) {
    await nextTurn();
    for (const [at, { kind, digest }] of store.range('log', {
      start,
      end: Math.min(size, start + PAGE),
      limit: PAGE,
    })) {
      if (at !== index) throw new Unfit(`the log has no entry ${index}`);
      for (const node of append(index, logLeaf(LOG_KINDS[kind]!, fromHex(digest)), read)) {
        frontier.set(`${node.level}/${node.index}`, node.hash);
        const kept = store.get('nodes', [node.level, node.index]);
        if (kept === undefined || hex(kept) !== hex(node.hash))
          throw new Unfit('a subtree of the log is not its entries');
        // What a larger subtree covers is needed no more.
        if (node.level > 0) {
          frontier.delete(`${node.level - 1}/${2 * node.index}`);
          frontier.delete(`${node.level - 1}/${2 * node.index + 1}`);
        }
      }
      index += 1;
    }
  }
  if (index !== size || hex(rootAt(size, read)) !== seal.root)
    throw new Unfit('the entries do not give the sealed root');
}

/** Every batch is the entry of the log that it says, and follows the one before. */
async function verifyBatches(store: Store): Promise<void> {
  const { signed, cut, parent_digest } = meta(store, 'heights');
  if (signed !== cut) throw new Unfit('a batch is on its way');
  let parent = hex(ZERO_DIGEST);
  for (let height = 0; height < signed; height++) {
    // A record may hold thousands of transactions.
    if (height % BATCHES === 0) await nextTurn();
    const { header, digest, leaf_index } = batchRecord(store, height);
    const entry = leaf_index === null ? undefined : store.get('log', leaf_index);
    const found = header === null ? undefined : hex(batchDigest(header));
    const isIn = entry !== undefined && LOG_KINDS[entry.kind] === 'batch' && entry.digest === digest;
    if (found !== digest || !isIn || header?.height !== height || header.parent_digest !== parent) {
      throw new Unfit(`batch ${height} is not the one of the log`);
    }
    parent = digest!;
  }
  if (parent !== parent_digest) throw new Unfit('the newest batch is not the one that comes next');
}

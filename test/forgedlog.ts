// A log outside the daemon, signed by real keys, and a server that shows it as a daemon would: what auditors are tried
// against. Tests fork it, put it back, and lie with it in every way that the holder of the keys could.
import { randomBytes } from 'node:crypto';
import { once } from 'node:events';
import { createServer } from 'node:http';
import type { Header } from '../actors/batch.ts';
import { batchDigest, keysetDigest, ZERO_DIGEST } from '../actors/digest.ts';
import { fromHex, hex } from '../actors/encoding.ts';
import type { LogEntry, SignedHead } from '../actors/head.ts';
import type { Head } from '../actors/seal.ts';
import { consistencyPath, EMPTY_ROOT, logLeaf, readerOf, rootAt } from '../actors/tree.ts';
import { type Enclave, NOW_MS, sealLog } from './forge.ts';

export class ForgedLog {
  readonly enclave: Enclave;
  entries: LogEntry[] = [];
  headers: Header[] = [];
  seals: SignedHead[] = [];

  constructor(enclave: Enclave) {
    this.enclave = enclave;
    this.append('epoch', hex(keysetDigest(enclave.keyset)));
  }

  /** Shares nothing with this one but the keys. */
  fork(): ForgedLog {
    const { entries, headers, seals } = structuredClone({ ...this, enclave: null });
    return Object.assign(new ForgedLog(this.enclave), { entries, headers, seals });
  }

  append(kind: LogEntry['kind'], digest: string): void {
    this.entries.push({ leaf_index: this.entries.length, kind, digest });
  }

  /** @param settings  what the header says else than the truth */
  batch(settings: Partial<Header> = {}): Header {
    const { keyset } = this.enclave;
    const last = this.headers.at(-1);
    const header: Header = {
      version: 1,
      chain_id: keyset.chain_id,
      log_id: keyset.log_id,
      height: last === undefined ? 0 : last.height + 1,
      parent_digest: hex(last === undefined ? ZERO_DIGEST : batchDigest(last)),
      block_number: '0',
      timestamp_ms: NOW_MS,
      epoch: keyset.epoch,
      order_count: 1,
      order_root: hex(randomBytes(64)),
      tx_count: 0,
      tx_root: hex(EMPTY_ROOT),
      refused_root: hex(EMPTY_ROOT),
      assets_root: hex(EMPTY_ROOT),
      risk_score: 0,
      ordering_mode: 3,
      algorithms: 3,
      checkpoint_digest: hex(ZERO_DIGEST),
      ...settings,
    };
    this.headers.push(header);
    this.append('batch', hex(batchDigest(header)));
    return header;
  }

  get leaves(): Uint8Array[] {
    return this.entries.map(({ kind, digest }) => logLeaf(kind, fromHex(digest)));
  }

  seal(settings: Partial<Head> = {}): SignedHead {
    const head = sealLog(this.enclave, this.leaves, settings);
    this.seals.push(head);
    return head;
  }

  /** What GET of this path answers; undefined where a daemon would answer 404. */
  answer(path: string, query: { readonly [name: string]: number }): unknown {
    const read = readerOf(this.leaves);
    const root = (size: number) => hex(rootAt(size, read));
    const { from = 0, to = 0, after = 0, limit = 100 } = query;
    switch (path) {
      case '/log/head': {
        const size = this.entries.length;
        return { log_id: this.enclave.keyset.log_id, size, root: root(size), sealed: this.seals.at(-1) ?? null };
      }
      case '/log/consistency': {
        if (to > this.entries.length || from > to) return undefined;
        const consistency_path = consistencyPath(from, to, read).map(hex);
        return { from, to, from_root: root(from), to_root: root(to), consistency_path };
      }
      case '/log/entries':
        return { entries: this.entries.slice(from, from + limit) };
      case '/batches/headers':
        return { headers: this.headers.slice(from, from + limit) };
      case '/log/seals': {
        const listed = this.seals.filter(({ seal }) => seal.size > after).slice(0, limit);
        return { seals: listed.map(({ seal, digest }) => ({ seal, digest })) };
      }
      default:
        return this.seals.find(({ seal }) => path === `/log/seals/${seal.size}`);
    }
  }
}

export interface LogServer extends AsyncDisposable {
  readonly url: string;
  /** What it shows; tests change it between looks. `undefined` answers are 404. */
  show: Pick<ForgedLog, 'answer'>;
}

export async function serveLog(log: Pick<ForgedLog, 'answer'>): Promise<LogServer> {
  const server = createServer((request, response) => {
    const { pathname, searchParams } = new URL(request.url!, 'http://log');
    const query = Object.fromEntries([...searchParams].map(([name, value]) => [name, Number(value)]));
    const answer = shown.show.answer(pathname, query);
    response.writeHead(answer === undefined ? 404 : 200, { 'content-type': 'application/json' });
    response.end(JSON.stringify(answer ?? { code: 'leaf_not_found', title: 'There is none.', status: 404 }));
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  const { port } = server.address() as { port: number };
  const shown: LogServer = {
    url: `http://127.0.0.1:${port}`,
    show: log,
    async [Symbol.asyncDispose]() {
      server.closeAllConnections();
      server.close();
      await once(server, 'close');
    },
  };
  return shown;
}

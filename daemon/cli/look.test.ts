// An auditor against a server that has the log's real keys and lies with them, in every way that is told apart by name.
import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { hex } from '../../actors/encoding.ts';
import { Auditor, type AuditState } from '../../client/auditor.ts';
import { DEFAULT_POLICY } from '../../client/policy.ts';
import { type Enclave, makeEnclave, NOW_MS } from '../../test/forge.ts';
import { ForgedLog, type LogServer, serveLog } from '../../test/forgedlog.ts';
import { type Connection, connect } from './connection.ts';
import { look } from './look.ts';

const judgement = { policy: DEFAULT_POLICY, allow_simulated: true, now_ms: NOW_MS };

let enclave: Enclave;
let other: Enclave;
/** Sealed at 4 entries and at 7: keyset and six batches. */
let honest: ForgedLog;
/** Of the honest log at 4 entries. */
let kept: AuditState;
let server: LogServer;
let daemon: Connection;

beforeAll(async () => {
  [enclave, other] = await Promise.all([makeEnclave(), makeEnclave()]);
  honest = new ForgedLog(enclave);
  for (let i = 0; i < 3; i++) honest.batch();
  honest.seal();
  server = await serveLog(honest);
  daemon = connect({ url: server.url });
  const found = await look(daemon, null, judgement);
  if (!found.ok || found.state === null) throw new Error('the honest log is accepted');
  kept = found.state;
  for (let i = 0; i < 3; i++) honest.batch();
  honest.seal({ timestamp_ms: NOW_MS + 1 });
});
afterAll(() => server?.[Symbol.asyncDispose]());
beforeEach(() => {
  server.show = honest;
});

/** Shows something else than the honest log for some paths. */
function lie(answers: { readonly [path: string]: (honestly: unknown) => unknown }, log = honest): void {
  server.show = {
    answer(path, query) {
      const honestly = structuredClone(log.answer(path, query));
      return path in answers ? answers[path]!(honestly) : honestly;
    },
  };
}

const alarmOf = async (state: AuditState | null = kept) => {
  const found = await look(daemon, state, judgement);
  return found.ok ? 'none' : found.alarm.code;
};

describe('an honest log', () => {
  it('is followed from the beginning and from a kept state, to the same state', async () => {
    const [whole, later] = [await look(daemon, null, judgement), await look(daemon, kept, judgement)];
    expect(whole).toEqual(later);
    expect(whole).toMatchObject({ ok: true, isNew: true, state: { next_height: 6, head: { seal: { size: 7 } } } });
  });

  it('that has not grown is nothing new', async () => {
    const { state } = (await look(daemon, kept, judgement)) as { state: AuditState };
    expect(await look(daemon, state, judgement)).toEqual({ ok: true, state, isNew: false });
  });

  it('is taken in pages, the last of them short', async () => {
    const pages: string[] = [];
    server.show = {
      answer(path, query) {
        pages.push(path);
        return honest.answer(path, { ...query, limit: Math.min(query.limit ?? 100, 2) });
      },
    };
    expect(await alarmOf(null)).toBe('none');
    expect(pages.filter((path) => path === '/log/entries')).toHaveLength(4);
  });
});

describe('a log that is signed by the same keys', () => {
  it('history_forked: another log of the same size', async () => {
    const fork = new ForgedLog(enclave);
    for (let i = 0; i < 3; i++) fork.batch();
    fork.seal();
    server.show = fork;
    expect(await alarmOf()).toBe('history_forked');
  });

  it('head_conflict: the same size sealed again', async () => {
    const again = honest.fork();
    again.seal({ timestamp_ms: NOW_MS + 2 });
    const { state } = (await look(daemon, kept, judgement)) as { state: AuditState };
    server.show = again;
    expect(await alarmOf(state)).toBe('head_conflict');
  });

  it('history_shrank: an earlier state, or none', async () => {
    const { state } = (await look(daemon, kept, judgement)) as { state: AuditState };
    const before = honest.fork();
    before.entries.length = 4;
    before.seals.length = 1;
    server.show = before;
    expect(await alarmOf(state)).toBe('history_shrank');
    before.seals.length = 0;
    expect(await alarmOf(state)).toBe('history_shrank');
  });

  it('consistency_invalid: a longer log with another past', async () => {
    const fork = new ForgedLog(enclave);
    for (let i = 0; i < 4; i++) fork.batch();
    fork.seal();
    server.show = fork;
    expect(await alarmOf()).toBe('consistency_invalid');
  });

  it('wrong_log: another log', async () => {
    const log = new ForgedLog(other);
    for (let i = 0; i < 5; i++) log.batch();
    log.seal();
    server.show = log;
    expect(await alarmOf()).toBe('wrong_log');
  });

  it('root_mismatch: other entries than those that were sealed', async () => {
    const fork = honest.fork();
    fork.entries.length = 6;
    fork.headers.length = 5;
    fork.batch();
    server.show = {
      answer: (path, query) =>
        path === '/log/entries' || path === '/batches/headers' ? fork.answer(path, query) : honest.answer(path, query),
    };
    lieAboutSeals();
    expect(await alarmOf()).toBe('root_mismatch');

    /** Without a list of seals only the head tells. */
    function lieAboutSeals() {
      const { answer } = server.show;
      server.show = { answer: (path, query) => (path === '/log/seals' ? { seals: [] } : answer(path, query)) };
    }
  });

  it('head_conflict: two heads of one size, one in the list and one shown as the newest', async () => {
    const fork = honest.fork();
    fork.seals[1] = structuredClone(fork.seal({ timestamp_ms: NOW_MS + 5 }));
    lie({
      '/log/seals': () => fork.answer('/log/seals', { after: 4 }),
      '/log/seals/7': () => fork.seals[1],
    });
    expect(await alarmOf()).toBe('head_conflict');
  });

  it('head_conflict: a seal in between that is of another history', async () => {
    const fork = new ForgedLog(enclave);
    for (let i = 0; i < 4; i++) fork.batch();
    const stray = fork.seal();
    const [, newest] = honest.seals;
    const listed = [stray, newest!].map(({ seal, digest }) => ({ seal, digest }));
    lie({ '/log/seals': () => ({ seals: listed }), '/log/seals/5': () => stray });
    const found = await look(daemon, kept, judgement);
    expect(found).toMatchObject({ ok: false, alarm: { code: 'head_conflict' }, shown: { seal: stray.seal } });
    const unsigned = { ...stray, slh_dsa_sig: newest!.slh_dsa_sig };
    lie({ '/log/seals': () => ({ seals: listed }), '/log/seals/5': () => unsigned });
    expect(await alarmOf()).toBe('seal_conflict');
  });

  it('height_conflict: a height twice in the log', async () => {
    const fork = honest.fork();
    fork.batch({ height: 5, parent_digest: fork.headers[5]!.parent_digest });
    fork.seal({ timestamp_ms: NOW_MS + 3 });
    server.show = fork;
    expect(await alarmOf()).toBe('height_conflict');
  });

  it('height_conflict: another batch shown than the one in the log', async () => {
    const fork = honest.fork();
    fork.headers[4] = { ...fork.headers[4]!, tx_count: 1 };
    server.show = fork;
    const found = await look(daemon, kept, judgement);
    expect(found).toMatchObject({
      alarm: { code: 'height_conflict', message: expect.stringMatching(/^as batch 4 .* leaf 5 of its log/) },
    });
  });

  it('height_gap: a batch left out', async () => {
    const fork = honest.fork();
    fork.batch({ height: 7 });
    fork.seal({ timestamp_ms: NOW_MS + 3 });
    server.show = fork;
    expect(await alarmOf()).toBe('height_gap');
  });

  it('parent_mismatch: a batch that follows another', async () => {
    const fork = honest.fork();
    fork.batch({ parent_digest: hex(new Uint8Array(64)) });
    fork.seal({ timestamp_ms: NOW_MS + 3 });
    server.show = fork;
    expect(await alarmOf()).toBe('parent_mismatch');
  });

  it('keyset_unlogged: keys that the log does not name', async () => {
    const log = new ForgedLog(enclave);
    log.entries.length = 0;
    log.batch();
    log.seal();
    server.show = log;
    expect(await alarmOf(null)).toBe('keyset_unlogged');
  });
});

describe('answers that contradict themselves', () => {
  it('head_invalid: a head that does not verify', async () => {
    lie({
      '/log/head': (head) => {
        const { sealed } = head as { sealed: ForgedLog['seals'][0] };
        return { ...(head as object), sealed: { ...sealed, ml_dsa_sig: honest.seals[0]!.ml_dsa_sig } };
      },
    });
    const found = await look(daemon, kept, judgement);
    expect(found).toMatchObject({
      alarm: { code: 'head_invalid', message: expect.stringMatching(/^seal_ml_dsa_inv/) },
    });
    server.show = honest;
    const strict = await look(daemon, kept, { ...judgement, allow_simulated: false });
    expect(strict).toMatchObject({ alarm: { message: expect.stringMatching(/^simulated_evidence/) } });
  });

  it('leaf_conflict: entries out of place', async () => {
    lie({ '/log/entries': (page) => ({ entries: (page as { entries: unknown[] }).entries.slice(1) }) });
    expect(await alarmOf()).toBe('leaf_conflict');
  });
});

describe('a daemon that withholds', () => {
  it.each([
    ['a head', '/log/head', undefined],
    ['its proof', '/log/consistency', undefined],
    ['entries', '/log/entries', { entries: [] }],
    ['headers', '/batches/headers', { headers: [] }],
    ['the shape of an answer', '/log/entries', { entries: [{}] }],
    ['more than a page', '/log/entries', { entries: Array.from({ length: 1_001 }, () => ({})) }],
  ])('%s proves nothing and is told', async (_, path, answer) => {
    lie({ [path]: () => answer });
    await expect(look(daemon, kept, judgement)).rejects.toMatchObject({ name: 'RequestError' });
  });
});

describe('a kept state', () => {
  it('that was edited is noticed', () => {
    expect(new Auditor(kept).root).toBe(kept.head.seal.root);
    const frontier = [hex(new Uint8Array(64)), ...kept.frontier.slice(1)];
    expect(() => new Auditor({ ...kept, frontier })).toThrow('does not give the root');
    expect(() => new Auditor({ ...kept, frontier: [...kept.frontier, kept.frontier[0]!] })).toThrow();
    expect(() => new Auditor({ ...kept, frontier: [] })).toThrow();
  });
});

import { mkdtempSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { openStore, type Store } from './store.ts';
import { openWatermark, type Watermark, type WatermarkOptions } from './watermark.ts';

const digest = (n: number) => `0x${n.toString(16).padStart(128, '0')}`;

let folder: string;
let store: Store;
let watermark: Watermark | undefined;

async function open(from = folder): Promise<void> {
  store = await openStore({
    folder: from,
    key: new Uint8Array(32),
    map_bytes_max: 2 ** 26,
    free_bytes_min: 0,
    commit_steps_max: 100,
    retry_ms: 50,
    schema: { version: 1, migrations: [] },
  });
}

async function mark(options?: WatermarkOptions): Promise<Watermark> {
  watermark = await openWatermark(store, options);
  return watermark;
}

async function close(): Promise<void> {
  await watermark?.close();
  watermark = undefined;
  await store.close();
}

const promise = (kind: 'batch' | 'head', number: number) =>
  store.commit((tx) => tx.put('watermarks', `${kind}/${number}`, { digest: digest(number) }));

beforeEach(async () => {
  folder = mkdtempSync(join(tmpdir(), 'watermark-'));
  await open();
});

afterEach(async () => {
  await close();
  rmSync(folder, { recursive: true });
});

describe('permit', () => {
  it('permits what is committed, nothing else, and never two digests for one number', async () => {
    const w = await mark();
    await expect(w.permit('batch', 0, digest(0))).rejects.toMatchObject({ code: 'watermark_unknown' });
    await promise('batch', 0);
    await expect(w.permit('batch', 0, digest(1))).rejects.toMatchObject({ code: 'watermark_unknown' });
    await expect(w.permit('head', 0, digest(0))).rejects.toMatchObject({ code: 'watermark_unknown' });
    await w.permit('batch', 0, digest(0));
    await w.permit('batch', 0, digest(0));
    await expect(store.commit((tx) => tx.put('watermarks', 'batch/0', { digest: digest(9) }))).rejects.toThrow(
      'already promised',
    );
    await expect(store.commit((tx) => tx.remove('watermarks', 'batch/0'))).rejects.toThrow('for ever');
    expect(w.position()).toEqual({ batch: { number: 0, digest: digest(0) }, head: undefined });
    expect(statSync(join(folder, 'watermark')).mode & 0o777).toBe(0o600);
  });

  it('keeps the highest of each kind through opening again, and permits older ones still', async () => {
    const w = await mark();
    for (let n = 0; n < 12; n++) await promise(n % 3 === 0 ? 'head' : 'batch', n);
    await Promise.all(
      [11, 4, 7, 10, 1].map((n) => w.permit('batch', n, digest(n))).concat(w.permit('head', 9, digest(9))),
    );
    await close();
    await open();
    const again = await mark();
    expect(again.position()).toEqual({
      batch: { number: 11, digest: digest(11) },
      head: { number: 9, digest: digest(9) },
    });
    await again.permit('batch', 5, digest(5));
    expect(again.position().batch?.number).toBe(11);
  });
});

describe('opening', () => {
  it('refuses a store that is older than the file, or that says otherwise', async () => {
    const w = await mark();
    await promise('batch', 1);
    const backup = join(folder, 'backup');
    await store.backup(backup);
    await promise('batch', 2);
    await w.permit('batch', 2, digest(2));
    await close();
    const file = readFileSync(join(folder, 'watermark'));
    writeFileSync(join(backup, 'watermark'), file);
    await open(backup);
    await expect(mark()).rejects.toMatchObject({ code: 'store_rolled_back', detail: { kind: 'batch', number: 2 } });
    await store.commit((tx) => tx.put('watermarks', 'batch/2', { digest: digest(77) }));
    await expect(mark({ accept_missing: true })).rejects.toMatchObject({ code: 'store_rolled_back' });
  });

  it('takes a store that has promised more than was permitted', async () => {
    const w = await mark();
    await promise('batch', 1);
    await w.permit('batch', 1, digest(1));
    await promise('batch', 2);
    await close();
    await open();
    await (await mark()).permit('batch', 2, digest(2));
  });

  it('keeps the older slot when a write was torn', async () => {
    const w = await mark();
    for (const n of [1, 2]) {
      await promise('batch', n);
      await w.permit('batch', n, digest(n));
    }
    await close();
    const path = join(folder, 'watermark');
    const whole = readFileSync(path);
    for (const at of [3, 10, 40, 120, 200, 512 + 3, 512 + 10, 512 + 40, 512 + 120, 512 + 200]) {
      const torn = Buffer.from(whole);
      torn.fill(0xee, at, at + 20);
      writeFileSync(path, torn);
      await open();
      expect([1, 2]).toContain((await mark()).position().batch?.number);
      await close();
    }
    await open();
  });

  it('asks for a decision when the file is gone or damaged and the store has promised', async () => {
    const path = join(folder, 'watermark');
    await (await mark()).close();
    watermark = undefined;
    rmSync(path); // nothing was promised yet: it is made again
    await (await mark()).close();
    await promise('head', 4);
    for (const damage of [() => rmSync(path), () => writeFileSync(path, Buffer.alloc(1_024, 1))]) {
      damage();
      await expect(mark()).rejects.toMatchObject({ code: 'watermark_missing' });
    }
    const w = await mark({ accept_missing: true });
    await w.permit('head', 4, digest(4));
    await w.close();
    expect((await mark()).position().head?.number).toBe(4);
  });
});

// The file of a mirror, made from a real daemon: a run goes on where the last whole one ended and reads nothing before that, a new file
// begins where a backup has what lies before, and what was judged is held to when the file changes later.
import { mkdtempSync, readFileSync, rmSync, statSync, truncateSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, it, vi } from 'vitest';
import { enveloped, type House, openHouse } from '../../test/house.ts';
import { readPublication } from '../publication.ts';
import { type Kept, lastKept, PublicationError, type PublishedLine, publishedLines } from '../publishedfile.ts';
import { meta } from '../records.ts';
import { mirror } from './mirror.ts';

let folder: string;
let house: House;
let url: string;
/** After two batches that a head seals. */
let sealed: Kept;

beforeAll(async () => {
  folder = mkdtempSync(join(tmpdir(), 'aegis-mirror-'));
  house = await openHouse({ sequencer: { batch_interval_ms: 60_000, batch_size: 50 } });
  url = `http://127.0.0.1:${(await house.server.listen()).port}`;
  await sequenced();
  await sequenced();
  sealed = position();
});
afterAll(async () => {
  await house?.[Symbol.asyncDispose]();
  rmSync(folder, { recursive: true, force: true });
});

async function sequenced(): Promise<void> {
  const { sequencer } = house;
  await sequencer.submitEncrypted(await enveloped(sequencer));
  const height = (await sequencer.createBatch())!;
  await house.journaled('seal_created', (entry) => (entry.heights as number[]).includes(height));
}

function position(): Kept {
  const { store } = house.sequencer;
  const { size, sealed } = meta(store, 'log');
  const { log_id } = meta(store, 'genesis');
  return {
    log_id,
    entries: size,
    batches: meta(store, 'heights').signed,
    epochs: meta(store, 'epoch').active,
    sealed,
  };
}

const at = (name: string) => join(folder, name);
async function mirrored(name: string, from?: number): Promise<number> {
  const said = vi.spyOn(process.stdout, 'write').mockReturnValue(true);
  try {
    return await mirror({ url, out: at(name), json: true, ...(from !== undefined && { from }) });
  } finally {
    said.mockRestore();
  }
}
async function lines(name: string): Promise<PublishedLine[]> {
  const all: PublishedLine[] = [];
  for await (const { line } of publishedLines(at(name))) all.push(line);
  return all;
}
const indexes = (all: readonly PublishedLine[]) =>
  all.flatMap((line) => ('entry' in line ? line.entry.leaf_index : []));
const upTo = (end: number, start = 0) => Array.from({ length: end - start }, (_, index) => start + index);

it('keeps every entry once, batches without what the heads have, and how far it has come', async () => {
  expect(await mirrored('whole')).toBe(0);
  const all = await lines('whole');
  expect(indexes(all)).toEqual(upTo(sealed.entries));
  expect(all.flatMap((line) => ('batch' in line ? [[line.batch.height, line.batch.slh_dsa_sig]] : []))).toEqual([
    [0, null],
    [1, null],
  ]);
  expect(lastKept(at('whole'))).toEqual(sealed);
  const { size } = statSync(at('whole'));
  expect(await mirrored('whole')).toBe(0);
  expect(statSync(at('whole')).size).toBe(size);
});

it('goes on without reading what it has kept, but reads it where the last run was ended', async () => {
  expect(await mirrored('damaged')).toBe(0);
  expect(await mirrored('torn')).toBe(0);
  const text = readFileSync(at('damaged'), 'utf8');
  writeFileSync(at('damaged'), text.replace('{"batch":', '{"butch":'));
  truncateSync(at('torn'), statSync(at('torn')).size - 10);
  expect(lastKept(at('torn'))).toBeUndefined();
  await sequenced();
  expect([await mirrored('damaged'), await mirrored('torn')]).toEqual([0, 0]);
  const now = position();
  expect(now.batches).toBe(3);
  expect([lastKept(at('damaged')), lastKept(at('torn'))]).toEqual([now, now]);
  expect(indexes(await lines('torn'))).toEqual(upTo(now.entries));
});

it('begins where a backup has what lies before', async () => {
  if (position().batches < 3) await sequenced();
  expect(await mirrored('late', sealed.sealed)).toBe(0);
  const now = position();
  expect(indexes(await lines('late'))).toEqual(upTo(now.entries, sealed.sealed));
  const { log_id, entries: size, sealed: covered, batches: next_height } = sealed;
  const publication = await readPublication(at('late'), {
    ...{ log_id, size, sealed: covered, next_height },
    digestAt: (leaf_index) => house.sequencer.store.get('log', leaf_index)!.digest,
  });
  expect([...publication.batches.keys()]).toEqual(upTo(now.batches, sealed.batches));
  expect([...publication.heads.values()].at(-1)!.seal.size).toBe(now.sealed);
  const older = { log_id, size: size - 1, sealed: 0, next_height: 0, digestAt: () => '' };
  await expect(readPublication(at('late'), older)).rejects.toThrow(/comes where entry \d+ is expected$/);
  expect(await mirrored('never', now.entries + 1)).toBe(2);
});

it('is held to what was read of it first', async () => {
  expect(await mirrored('swapped')).toBe(0);
  const { log_id } = sealed;
  const whole = { log_id, size: 0, sealed: 0, next_height: 0, digestAt: () => '' };
  const { batches, heads } = await readPublication(at('swapped'), whole);
  const { sender } = batches.get(0)!.transactions[0]!;
  const text = readFileSync(at('swapped'), 'utf8');
  writeFileSync(at('swapped'), text.replace(sender, `0x${'11'.repeat(20)}`));
  expect(() => batches.get(0)).toThrow(PublicationError);
  expect(batches.get(1)!.height).toBe(1);
  truncateSync(at('swapped'), 100);
  expect(() => [...heads.values()]).toThrow(/changed while it was read$/);
});

// A handover between two enclaves in this process, over HTTP: two simulated platforms with roots of their own, two images, stores,
// threads and clients that are the real ones. What each message does when it is lost, doubled or forged is here too; processes that are
// killed are in test/succession.test.ts.
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { enveloped } from '../../test/house.ts';
import { allow, type Enclave, measurementOf, Platforms } from '../../test/succession.ts';
import { meta } from '../records.ts';

let platforms: Platforms;
beforeEach(() => {
  platforms = new Platforms();
});
afterEach(() => platforms[Symbol.asyncDispose]());

async function submitted({ sequencer }: Enclave, count: number): Promise<string[]> {
  const ids: string[] = [];
  for (let i = 0; i < count; i++) {
    const answer = await sequencer.submitEncrypted(
      await enveloped(sequencer, undefined, i % 2 === 0 ? 'ecies' : 'x-wing'),
    );
    if (!answer.ok) throw new Error(answer.code);
    ids.push(answer.envelope_id);
  }
  return ids;
}

describe('a handover', () => {
  it('goes on with log, heights, epochs, cursors and pending envelopes under a root of its own', async () => {
    const old = await platforms.start('old');
    await submitted(old, 3);
    await old.sequencer.createBatch();
    const pending = await submitted(old, 5);
    await allow(old, await measurementOf(platforms, 'new'));
    expect(old.sequencer.handover.open('http://127.0.0.1:1')).toEqual({ ok: true });
    const before = old.sequencer.store.journalHead().cursor;
    const next = await platforms.start('new', { of: old.url });

    expect(old.sequencer.handover.state).toBe('ended');
    expect(next.sequencer.epoch.keys.epoch).toBe(2);
    expect(meta(next.sequencer.store, 'mempool').count).toBe(5);
    expect(next.sequencer.store.journalHead().cursor).toBeGreaterThan(before);
    const height = await next.sequencer.createBatch();
    expect(height).toBe(1);
    expect(pending).toHaveLength(5);
  });
});

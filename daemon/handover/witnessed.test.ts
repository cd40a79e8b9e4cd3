// A handover under a witness: it follows the log over the end of one enclave to the next, its acknowledgements go on without a gap, and
// an enclave that was put back to before its end, watermark and all, is refused by it whatever its disk says.
import { cpSync } from 'node:fs';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, it } from 'vitest';
import { FRESHNESS } from '../../actors/seal.ts';
import { enveloped, journaled, until } from '../../test/house.ts';
import { allow, type Enclave, measurementOf, Platforms } from '../../test/succession.ts';
import { type ChildWitness, startWitness } from '../demo/child.ts';
import { meta } from '../records.ts';

let platforms: Platforms;
let witness: ChildWitness;
beforeEach(async () => {
  platforms = new Platforms(['old', 'new', 'witness']);
  const settings = `[attestation]\npolicy = { roots = ${JSON.stringify(Object.values(platforms.roots))} }\n`;
  witness = await startWitness(join(platforms.folder, 'witness'), join(platforms.folder, 'witness.log'), settings);
});
afterEach(async () => {
  await witness.kill();
  await platforms[Symbol.asyncDispose]();
});

const start = (name: string, of?: string) => {
  const attestation = { witness: 'required', witness_url: witness.url, witness_timeout_ms: 30_000 } as const;
  return platforms.start(name, {
    ...(of !== undefined && { of }),
    more: { attestation: { ...attestation, simulator_image: name } },
  });
};

/** @returns the freshness of the seal over it */
async function sealed({ sequencer }: Enclave): Promise<number> {
  await sequencer.submitEncrypted(await enveloped(sequencer));
  const height = await sequencer.createBatch();
  await journaled(sequencer, 'seal_created', ({ heights }) => (heights as number[]).includes(height!));
  return sequencer.batch(height!)!.slh_dsa_sig!.seal.freshness;
}

it('goes on with the same witness, which refuses what was restored from before', async () => {
  const old = await start('old');
  expect(await sealed(old)).toBe(FRESHNESS.witness);
  await until(() => meta(old.sequencer.store, 'log').size === meta(old.sequencer.store, 'log').sealed);
  await old.close();
  cpSync(join(platforms.folder, 'old'), join(platforms.folder, 'copy'), { recursive: true });

  const back = await start('old');
  await allow(back, await measurementOf(platforms, 'new'));
  back.sequencer.handover.open('http://127.0.0.1:9');
  const next = await start('new', back.url);
  expect(next.sequencer.handover.status().newest!.sealed.seal.freshness).toBe(FRESHNESS.witness);
  expect(await sealed(next)).toBe(FRESHNESS.witness);
  await back.close();

  const copy = await start('copy');
  await until(() => copy.sequencer.status().attestation.witness?.state === 'conflict');
  expect(copy.sequencer.ready().reasons).toContain('witness_conflict');
});

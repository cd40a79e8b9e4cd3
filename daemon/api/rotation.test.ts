// Rotation over HTTP and on the command line: who may, within which bounds, and what is shown before and after.
import { readFileSync } from 'node:fs';
import { afterAll, beforeAll, describe, expect, it, vi } from 'vitest';
import type { z } from 'zod';
import { globalRegistry } from 'zod';
import { verifyKeyset } from '../../client/trust.ts';
import { type House, openHouse } from '../../test/house.ts';
import { epochs } from '../cli/epochs.ts';
import { Problem, type ProblemCode } from './problem.ts';

let house: House;
beforeAll(async () => {
  house = await openHouse({ sequencer: { batch_interval_ms: 60_000, batch_size: 50 } });
});
afterAll(() => house?.[Symbol.asyncDispose]());

const inject = (url: string, options: object = {}) => house.server.app.inject({ url, ...options });

/** The answer, which must be what the API's document says. */
async function get<T = unknown>(url: string, schema: string): Promise<T> {
  const answer = await inject(url);
  expect([url, answer.statusCode]).toEqual([url, 200]);
  return (globalRegistry._idmap.get(schema) as unknown as z.ZodType<T>).parse(answer.json());
}

async function expectProblem(answer: Awaited<ReturnType<typeof inject>>, code: ProblemCode, field?: string) {
  const found = Problem.parse(answer.json());
  expect({ code: found.code, field: found.field }).toEqual({ code, field });
}

const JSON_TYPE = { 'content-type': 'application/json' };

describe('a rotation', () => {
  it('is for the admin alone, within bounds, and say so in a log under the names of the upstream', async () => {
    const authorization = `Bearer ${readFileSync(house.server.adminTokenPath, 'utf8').trim()}`;
    const rotate = (payload: object, headers = { authorization }) =>
      inject('/epochs/rotate', { method: 'POST', payload, headers });
    await expectProblem(await inject('/epochs/rotate', { method: 'POST', payload: {} }), 'unauthorized');
    await expectProblem(await rotate({ delay_blocks: -1 }), 'invalid_body', 'delay_blocks');
    await expectProblem(await rotate({ reason: 'risk' }), 'invalid_body', 'reason');
    await expectProblem(await rotate({ force: true }), 'invalid_body', 'force');
    // What an order or a log shows must not be another of two.
    const twice = { payload: '{"delay_blocks": 1, "delay_blocks": 0}', headers: { authorization, ...JSON_TYPE } };
    await expectProblem(await inject('/epochs/rotate', { method: 'POST', ...twice }), 'invalid_body', 'delay_blocks');
    expect(await get('/epochs/rotations', 'Rotations')).toEqual({ rotations: [] });
    const answer = await rotate({ delay_blocks: 1_000 });
    expect(answer.statusCode).toBe(202);
    const listed = await get<{ rotations: object[] }>('/epochs/rotations', 'Rotations');
    expect(listed.rotations).toEqual([answer.json()]);
    const keys = await Promise.all(
      [1, 2].map((epoch) => get<{ publicKey: string }>(`/public-key?epoch=${epoch}`, 'PublicKey')),
    );
    expect(answer.json()).toMatchObject({
      ...{ from_epoch: 1, to_epoch: 2, reason: 'manual', first_height: null, executed_at: null },
      ...{ from_public_key: keys[0]!.publicKey, to_public_key: keys[1]!.publicKey },
    });
    expect(keys[0]!.publicKey).not.toBe(keys[1]!.publicKey);
    await expectProblem(await rotate({}), 'rotation_pending');
    expect(await get('/epochs', 'Epochs')).toMatchObject({
      active: 1,
      epochs: [{ epoch: 2, status: 'pending', admits: false }, {}],
    });
    // A client can verify it before it counts.
    const pending = await get<{ keyset_digest: string }>('/epochs/2/keyset', 'AttestedKeyset');
    expect(verifyKeyset(pending, { allow_simulated: true })).toMatchObject({ ok: true, keyset: { epoch: 2 } });
    expect(house.sequencer.status().apqc).toMatchObject({ rotation_pending: true });
  });

  it('is shown by the command line, the metrics and the rotation log once it is executed', async () => {
    const { to_epoch } = (await get<{ rotations: { to_epoch: number }[] }>('/epochs/rotations', 'Rotations'))
      .rotations[0]!;
    await house.sequencer.rotate({ reason: 'compromise' });
    await house.journaled('epoch_retired', ({ epoch }) => epoch === 1);
    const { rotations } = await get<{ rotations: object[] }>('/epochs/rotations', 'Rotations');
    expect(rotations).toMatchObject([
      { to_epoch, reason: 'compromise', first_height: 0, executed_at: expect.any(String) },
    ]);
    const authorization = `Bearer ${readFileSync(house.server.adminTokenPath, 'utf8').trim()}`;
    const { body } = await inject('/metrics', { headers: { authorization } });
    for (const line of ['epoch 2', 'epochs{state="retired"} 1', 'rotations_total{reason="compromise"} 1']) {
      expect(body).toContain(`aegis_${line}`);
    }
    const { url } = await house.server.listen();
    const lines: string[] = [];
    const write = vi.spyOn(process.stdout, 'write').mockImplementation((text) => lines.push(String(text)) > 0);
    const code = await epochs('list', { url });
    write.mockRestore();
    expect([code, lines.join('')]).toEqual([
      0,
      'epoch 2    active   compromise, from height 0\nepoch 1    retired  genesis, from height 0\n',
    ]);
    expect(await get('/epochs/1/keyset', 'AttestedKeyset')).toMatchObject({ attestation: null });
  });
});

// Refusals that take a daemon in a state of its own, provoked and told over HTTP as those of errors.test.ts are: a platform that
// gives no evidence, and a migration that runs.
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { TransactionStatus } from '../actors/admission.ts';
import type { Envelope } from '../actors/envelope.ts';
import { REFUSALS, type Refusal } from '../actors/refusal.ts';
import { encryptEnvelope } from '../client/seal.ts';
import { type House, openHouse, PATIENCE_MS, signed } from './house.ts';

const GOLD = `0x${'11'.repeat(20)}` as const;
const SILVER = `0x${'22'.repeat(20)}` as const;
const transfer = (to: `0x${string}`) => ({
  ...{ to, data: `0xa9059cbb${'0'.repeat(24)}${'44'.repeat(20)}${'0'.repeat(64)}` as const },
});
const token = (asset_id: string, contract_address: string, requires_tee: boolean) => ({
  ...{ asset_id, contract_address, asset_type: 'OnChainToken', chain_id: 31_337 },
  access_policy: { requires_pqc: false, requires_tee, risk_threshold: 10_000 },
});

describe('refused over HTTP', { timeout: PATIENCE_MS }, () => {
  let house: House;
  let url: string;
  let nowhere: string;
  beforeAll(async () => {
    nowhere = mkdtempSync(join(tmpdir(), 'aegis-refusals-'));
    house = await openHouse({
      sequencer: { batch_interval_ms: 60_000, batch_size: 50 },
      // No device is there.
      attestation: { primary: 'sgx', sgx_path: nowhere },
    });
    url = (await house.server.listen()).url;
    await ask('POST', '/assets/register', token('gold', GOLD, false), 201);
    await ask('POST', '/assets/register', token('silver', SILVER, true), 201);
  }, PATIENCE_MS);
  afterAll(async () => {
    await house?.[Symbol.asyncDispose]();
    rmSync(nowhere, { recursive: true, force: true });
  });

  async function ask(method: string, path: string, body?: object, status = 200): Promise<unknown> {
    const authorization = `Bearer ${readFileSync(house.server.adminTokenPath, 'utf8').trim()}`;
    const headers = { authorization, ...(body && { 'content-type': 'application/json' }) };
    const answer = await fetch(`${url}${path}`, { method, headers, ...(body && { body: JSON.stringify(body) }) });
    const said = await answer.json();
    expect(answer.status, JSON.stringify(said)).toBe(status);
    return said;
  }

  async function outcome(envelope: Envelope): Promise<unknown> {
    const { envelope_id } = (await ask('POST', '/transactions', envelope, 202)) as { envelope_id: string };
    const { height } = (await ask('POST', '/batches/cut')) as { height: number };
    await house.journaled('batch_created', (entry) => entry.height === height);
    return TransactionStatus.parse(await ask('GET', `/transactions/${envelope_id}`));
  }
  const refused = (reason: Refusal) => ({ status: 'refused', reason, code: REFUSALS[reason][0] });

  it('attestation_required: no evidence vouches for the enclave', async () => {
    const { keyset } = house.sequencer;
    const raw = await signed(transfer(SILVER));
    const envelope = await encryptEnvelope({ keyset, raw, asset_refs: ['silver'] });
    expect(await outcome(envelope)).toMatchObject(refused('attestation_required'));
    // What doesn't ask for evidence passes.
    const other = await encryptEnvelope({ keyset, raw: await signed(transfer(GOLD)), asset_refs: ['gold'] });
    expect(await outcome(other)).toMatchObject({ status: 'sequenced' });
  });

  it('asset_migrating, migration_not_listed: a migration runs that is of others', async () => {
    const { keyset } = house.sequencer;
    const started = await ask('POST', '/migration/start', { senders: [`0x${'99'.repeat(20)}`] });
    expect(started).toMatchObject({ running: true, state: 'Migrating' });
    const touching = await encryptEnvelope({ keyset, raw: await signed(transfer(GOLD)), asset_refs: ['gold'] });
    expect(await outcome(touching)).toMatchObject(refused('asset_migrating'));
    const claiming = await encryptEnvelope({ keyset, raw: await signed(), requires_migration: true });
    expect(await outcome(claiming)).toMatchObject(refused('migration_not_listed'));
  });
});

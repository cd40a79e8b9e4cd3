// The curl lines of the deployment guide that users of the upstream know, by the real curl against a started daemon. As they
// stand, but for the host, the full address in the place of its `0x...`, and an admin's header where something is changed.
import { execFile, spawnSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { z } from 'zod';
import { BatchFile } from '../actors/batch.ts';
import { confirmTransaction, encryptEnvelope, fetchKeyset, submit } from '../client/index.ts';
import { Listed, Shown } from '../daemon/api/assets.ts';
import { type Child, startDaemon } from '../daemon/demo/child.ts';
import { RiskView } from '../daemon/risk/view.ts';
import { Status } from '../daemon/status.ts';
import { signed } from './house.ts';

const HOST = 'https://phala-api.example.com';
const ADDRESS = '0x72fc1db108e68afbfe8c251829cefeeff109b7d4';

const REGISTER = `curl -X POST https://phala-api.example.com/assets/register \\
  -H "Content-Type: application/json" \\
  -d '{
    "asset_id": "token_001",
    "asset_type": "OnChainToken",
    "chain_id": 16584,
    "contract_address": "0x...",
    "access_policy": {
      "requires_pqc": true,
      "requires_tee": true,
      "risk_threshold": 5000
    }
  }'`;
const STATUS = 'curl https://phala-api.example.com/sequencer/status';
const RECENT = 'curl https://phala-api.example.com/batches/recent?count=10';
const PROTECTION = 'curl https://phala-api.example.com/assets/protection/token_001';
const RISK = 'curl https://phala-api.example.com/qrm/risk';

const hasCurl = spawnSync('curl', ['--version']).status === 0 && spawnSync('bash', ['-c', 'true']).status === 0;

describe.skipIf(!hasCurl)('the deployment guide, with curl', { timeout: 120_000 }, () => {
  let folder: string;
  let daemon: Child;
  beforeAll(async () => {
    folder = mkdtempSync(join(tmpdir(), 'aegis-guide-'));
    daemon = await startDaemon(folder, join(folder, 'log'), '[sequencer]\nbatch_interval_ms = 50\n');
  }, 60_000);
  afterAll(async () => {
    await daemon?.stop();
    rmSync(folder, { recursive: true, force: true });
  });

  /** What the shell says to a line of the guide; curl's exit code and the HTTP status must both be good. */
  async function run(line: string, { admin = false } = {}): Promise<unknown> {
    const token = readFileSync(join(folder, 'admin.token'), 'utf8').trim();
    const header = admin ? ` -H "Authorization: Bearer ${token}"` : '';
    const script = line.replace(HOST, daemon.url).replace('0x...', ADDRESS);
    const { stdout } = await promisify(execFile)('bash', ['-c', `${script} --silent --show-error --fail${header}`]);
    return JSON.parse(stdout);
  }
  const parsed = async <T extends z.ZodType>(schema: T, line: string) => schema.parse(await run(line));

  it('registers an asset, for an admin alone, and shows its protection', async () => {
    await expect(run(REGISTER)).rejects.toThrow('401');
    const registered = Shown.parse(await run(REGISTER, { admin: true }));
    expect(registered).toMatchObject({ asset_id: 'token_001', chain_id: '16584', contract_address: ADDRESS });
    expect(await parsed(Shown, PROTECTION)).toEqual(registered);
    // Again, as a script that got no answer would.
    expect(await run(REGISTER, { admin: true })).toEqual(registered);
    const listed = await parsed(Listed, 'curl https://phala-api.example.com/assets?type=OnChainToken');
    expect(listed.assets.map(({ asset_id }) => asset_id)).toEqual(['token_001']);
  });

  it('shows status, recent batches and the risk', async () => {
    const trust = { allow_simulated: true };
    const found = await fetchKeyset(daemon.url, trust);
    if (!found.ok) throw new Error(found.message);
    const { keyset } = found;
    const submitted = await submit(daemon.url, await encryptEnvelope({ keyset, raw: await signed() }), { keyset });
    if (!submitted.ok) throw new Error(submitted.message);
    const confirmed = await confirmTransaction(daemon.url, submitted.envelope_id, trust);
    expect(confirmed).toMatchObject({ ok: true });

    const status = await parsed(Status, STATUS);
    expect(status.log.log_id).toBe(daemon.log_id);
    const recent = await parsed(z.array(BatchFile), RECENT);
    expect(recent.flatMap(({ order }) => order)).toMatchObject([{ envelope_id: submitted.envelope_id }]);
    expect(await parsed(RiskView, RISK)).toMatchObject({ recommendation: 'continue' });
  });
});

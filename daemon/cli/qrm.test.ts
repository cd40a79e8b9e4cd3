import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it, vi } from 'vitest';
import { type House, openHouse } from '../../test/house.ts';
import type { Listening } from '../api/server.ts';
import { main } from './program.ts';

let house: House;
let at: Listening;
beforeAll(async () => {
  house = await openHouse({ risk: { simulation: true, dry_run: true, rise_s: 0, catalogue: false } });
  at = await house.server.listen();
});
afterAll(() => house?.[Symbol.asyncDispose]());

async function qrm(...args: readonly string[]): Promise<{ code: number; stdout: string; stderr: string }> {
  const said = { stdout: '', stderr: '' };
  const take = (stream: 'stdout' | 'stderr') =>
    vi.spyOn(process[stream], 'write').mockImplementation((text) => {
      said[stream] += String(text);
      return true;
    });
  const spies = [take('stdout'), take('stderr')];
  try {
    const code = await main(['node', 'aegisd', 'qrm', ...args, '--url', at.url, '--token-file', token()]);
    return { code, ...said };
  } finally {
    for (const spy of spies) spy.mockRestore();
  }
}
const token = () => house.server.adminTokenPath;

describe('aegisd qrm', () => {
  it('injects a threat and a high one, shows them, and withdraws', async () => {
    const one = await qrm('inject', '--id', 'one', '--category', 'side_channel', '--sub-category', 'cache');
    expect(one).toMatchObject({ code: 0, stderr: '' });
    expect(one.stdout).toMatch(/^added {6}operator\/one\nscore {6}\d+, continue\n$/);
    const high = await qrm('inject', '--high', '--id', 'high', '--reference', 'a paper', 'another');
    expect(high.stdout).toMatch(/score {6}\d{4}, (schedule|emergency)_rotation/);
    const listed = await qrm('indicators');
    expect(listed.stdout).toContain('0.95  0.95  digital_signatures');
    expect(listed.stdout).toContain('operator/one: Injected by the operator.');
    const status = await qrm('status', '--explain');
    expect(status.stdout).toMatch(/^score +\d+ of 10000: \w+_rotation \(dry run\)$/m);
    expect(status.stdout).toMatch(/operator\/high: hazard \d+, alone \d+, marginal \d+/);
    expect((await qrm('withdraw', 'high')).stdout).toMatch(/^removed {4}operator\/high$/m);
    const again = await qrm('withdraw', 'high');
    expect(again).toMatchObject({ code: 1, stdout: '' });
    expect(again.stderr).toContain('indicator_not_found');
  });

  it('injects what a file holds, and names the field that is wrong in it', async () => {
    const file = join(house.state_dir, 'indicators.json');
    const good = {
      ...{
        id: 'filed',
        category: 'key_management',
        sub_category: 'hsm',
        severity: 0.1,
        confidence: 0.5,
        source: 'a vendor',
      },
      ...{ timestamp: '2026-01-01T00:00:00Z', description: 'A bug.', era_relevance: 'pre_quantum' },
    };
    writeFileSync(file, JSON.stringify([good]));
    expect(await qrm('inject', file)).toMatchObject({
      code: 0,
      stdout: expect.stringContaining('operator/filed'),
      stderr: '',
    });
    writeFileSync(file, JSON.stringify([good, { ...good, severity: 2 }]));
    const wrong = await qrm('inject', file);
    expect(wrong.code).toBe(1);
    expect(wrong.stderr).toContain('[1].severity: expected a number from 0 to 1');
    expect(await qrm('inject', join(house.state_dir, 'nothing.json'))).toMatchObject({ code: 2, stdout: '' });
  });

  it('shows the history, and JSON for programs', async () => {
    const lines = await qrm('history', '--from', '0', '--to', String(Date.now()), '--step', String(Date.now()));
    expect(lines.stdout).toMatch(/^\d{4}-\d\d-\d\dT.*Z +\d+ {2}\w+$/m);
    const json = JSON.parse((await qrm('history', '--json')).stdout);
    expect(json.points.length).toBeGreaterThan(0);
    expect(JSON.parse((await qrm('status', '--json')).stdout)).toMatchObject({ thresholds: { emergency: 9000 } });
  });

  it('plays a simulation and ends it', async () => {
    const started = await qrm('simulate', '--seed', '3', '--interval', '600000');
    expect(started.stdout).toContain('a simulated threat of seed 3: 24 rounds, one every 600000 ms');
    expect((await qrm('simulate')).stderr).toContain('simulation_running');
    expect((await qrm('simulate', '--stop')).stdout).toContain('the simulation of seed 3 after 0 rounds');
  });

  it.each([
    ['a severity above 1', ['inject', '--severity', '2']],
    ['a category that is none', ['inject', '--category', 'x']],
    ['an era that is none', ['inject', '--era', 'x']],
    ['a time that is none', ['history', '--from', 'yesterday']],
    ['a command that is none', ['rotate']],
  ])('refuses %s as wrong use', async (_, args) => {
    expect((await qrm(...args)).code).toBe(2);
  });
});

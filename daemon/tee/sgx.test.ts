// Quotes under Gramine: one pair of files for a whole process, so the order of callers is what matters. Gramine is
// test/devices.ts; its quote says here which report data it is over.
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { GramineEmulator } from '../../test/devices.ts';
import type { Fault } from '../fault.ts';
import type { Publish } from './provider.ts';
import { sgxProvider } from './sgx.ts';

const DATA = new Uint8Array(64).map((_, i) => i + 1);
const publish: Publish = async (raw) => ({ ...raw, event_log: null, collateral: null });

let folder: string;
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'aegis-sgx-'));
});
afterEach(() => rmSync(folder, { recursive: true, force: true }));

const quoting = (type?: string) => {
  const gramine = new GramineEmulator(folder, (data) => data.slice(), type);
  return { gramine, provider: sgxProvider({ sgx_path: folder, publish, devices: gramine }) };
};
const messageOf = (promise: Promise<unknown>) =>
  promise.then(
    () => '',
    (error: Fault) => error.message,
  );

describe('a quote under Gramine', () => {
  it('is over the report data that was asked for', async () => {
    const { provider } = quoting();
    expect(await provider.isAvailable()).toBe(true);
    expect(await provider.quote(DATA)).toMatchObject({ quote_type: 'SGX', quote: DATA });
  });

  it('is over its own report data for each of many callers, also of several providers', async () => {
    const { gramine, provider } = quoting();
    const other = sgxProvider({ sgx_path: `${folder}/.`, publish, devices: gramine });
    const all = Array.from({ length: 40 }, (_, n) => new Uint8Array(64).fill(n));
    const answers = await Promise.all(all.map((data, n) => (n % 2 === 0 ? provider : other).quote(data)));
    expect(answers.map(({ quote }) => quote)).toEqual(all);
  });

  it('is none where somebody else in the enclave writes between', async () => {
    const { gramine, provider } = quoting();
    gramine.meanwhile = (call, path) => {
      if (call === 'read' && path.endsWith('user_report_data')) gramine.set(new Uint8Array([1]));
    };
    expect(await messageOf(provider.quote(DATA))).toContain('somebody else writes its user_report_data');
    gramine.meanwhile = undefined;
    expect(await provider.quote(DATA)).toMatchObject({ quote: DATA });
  });

  it.each([
    ['EIO', { call: 'read', name: 'quote', code: 'EIO' }],
    ['EACCES', { call: 'write', name: 'user_report_data', code: 'EACCES' }],
  ] as const)('fails with %s, and the next caller has his turn', async (code, trouble) => {
    const { gramine, provider } = quoting();
    gramine.troubles.push({ ...trouble });
    const [first, second] = [provider.quote(DATA), provider.quote(DATA.toReversed())];
    expect(await messageOf(first)).toContain(`${folder}: ${code}`);
    expect(await second).toMatchObject({ quote: DATA.toReversed() });
  });

  it('is none without remote attestation, and says what it takes', async () => {
    const { provider } = quoting('none');
    expect(await provider.isAvailable()).toBe(false);
    expect(await messageOf(provider.quote(DATA))).toContain('attestation_type is "none", expected "dcap"');
    const nowhere = sgxProvider({ sgx_path: join(folder, 'none'), publish });
    expect(await nowhere.isAvailable()).toBe(false);
    expect(await messageOf(nowhere.quote(DATA))).toContain('ENOENT (it takes Gramine with sgx.remote_attestation');
  });

  it('is not listened to beyond a bound, nor taken for one when it is empty', async () => {
    const of = (length: number) => {
      const gramine = new GramineEmulator(folder, () => new Uint8Array(length));
      return sgxProvider({ sgx_path: folder, publish, devices: gramine }).quote(DATA);
    };
    expect(await messageOf(of(16_385))).toContain('holds more than 16384 bytes');
    expect(await messageOf(of(0))).toContain('its quote is empty');
  });
});

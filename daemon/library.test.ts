// The sequencer as a program embeds it: settings as an object or a file, input that nobody has validated, and its way to a
// sealed batch without HTTP. README's example of it runs in test/package.test.ts, from the installed package.
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { encryptEnvelope, verifyBatch } from '../client/index.ts';
import { quiet, signed } from '../test/house.ts';
import { ConfigError, createSequencer, loadConfig } from './library.ts';

let folder: string;
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'aegis-library-'));
});
afterEach(() => rmSync(folder, { recursive: true, force: true }));

describe('createSequencer', () => {
  it('goes from settings to a sealed batch', async () => {
    const settings = {
      daemon: { state_dir: folder },
      chain: { chain_id: 7 },
      sequencer: { batch_interval_ms: 10_000 },
    };
    await using sequencer = await createSequencer({ settings, log: quiet });
    expect(sequencer.config.chain.chain_id).toBe(7n);
    const envelope = await encryptEnvelope({ keyset: sequencer.keyset, raw: await signed({ chainId: 7 }) });
    const admission = await sequencer.submitEncrypted(envelope);
    expect(admission).toMatchObject({ ok: true });
    expect(await sequencer.createBatch()).toBe(0);
    expect(await sequencer.finish()).toBe(true);
    const [file] = sequencer.recentBatches(1);
    expect(verifyBatch(file, { allow_simulated: true, now_ms: Date.now() })).toMatchObject({ ok: true, tx_count: 1 });
    expect(sequencer.status().chain.height).toBe(0);
    expect(await sequencer.submitEncrypted(envelope)).toMatchObject({ ok: false, code: 'draining' });
  });

  it('validates what it is handed', async () => {
    const file = join(folder, 'mine.toml');
    writeFileSync(file, `[daemon]\nstate_dir = ${JSON.stringify(join(folder, 'state'))}\n`);
    await using sequencer = await createSequencer({ settings: file, log: quiet });
    const envelope = await encryptEnvelope({ keyset: sequencer.keyset, raw: await signed() });
    const submit = (input: unknown) => sequencer.submitEncrypted(input as never);
    for (const [input, field] of [
      [null, ''],
      ['x', ''],
      [{ ...envelope, risk_level: 1.5 }, 'risk_level'],
      [{ ...envelope, extra: 1 }, 'extra'],
      [{ ...envelope, asset_refs: ['a', 7] }, 'asset_refs[1]'],
      [{ ...envelope, encrypted_data: 'no base64' }, 'encrypted_data'],
    ] as const) {
      expect(await submit(input)).toMatchObject({ ok: false, code: 'invalid_envelope', field });
    }
    const { asset_refs: _, risk_level: __, requires_migration: ___, scheme: ____, ...short } = envelope;
    expect(await submit(short)).toMatchObject({ ok: true });
  });

  it('names every wrong setting and starts nothing', async () => {
    const settings = { seal: { interval_ms: -1 }, sequencer: { batch_size: '10' }, signing: { motor: 'x' } };
    const error = await createSequencer({ settings: settings as never }).catch((cause: unknown) => cause);
    expect(error).toBeInstanceOf(ConfigError);
    expect((error as ConfigError).issues.map(({ file, key }) => `${file} ${key}`).sort()).toEqual([
      'settings seal.interval_ms',
      'settings sequencer.batch_size',
      'settings signing.motor',
    ]);
    expect((error as Error).message).toContain('seal.interval_ms = -1');
  });
});

describe('loadConfig', () => {
  it('takes settings over a file over the defaults', () => {
    const file = join(folder, 'mine.toml');
    writeFileSync(file, '[seal]\ninterval_ms = 5\n[sequencer]\nbatch_size = 3\n');
    const settings = { seal: { interval_ms: 6 }, chain: { chain_id: 2n ** 255n }, api: { listen: undefined } };
    const { config, sources } = loadConfig({ file, settings: settings as never, environment: {} });
    expect([config.seal.interval_ms, config.sequencer.batch_size]).toEqual([6, 3]);
    expect(config.chain.chain_id).toBe(2n ** 255n);
    expect(sources.slice(1)).toEqual([file, 'settings']);
    expect(() => loadConfig({ settings: { seal: null } as never })).toThrow('null is no value');
    expect(() => loadConfig({ settings: { seal: () => 1 } as never })).toThrow(ConfigError);
  });
});

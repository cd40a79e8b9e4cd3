// `aegisd assets …` against a daemon in this process, over its unix socket: the real commands, files and streams.
import { existsSync, readFileSync, statSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, afterEach, beforeAll, describe, expect, it, vi } from 'vitest';
import { type House, openHouse } from '../../test/house.ts';
import { CHUNK_BYTES, HEADER_BYTES } from '../datastream.ts';
import { main } from './program.ts';

let house: House;
let config: string;
beforeAll(async () => {
  house = await openHouse();
  await house.server.listen();
  await house.sequencer.attestKeyset();
  config = join(house.state_dir, 'own.toml');
  writeFileSync(config, `[daemon]\nstate_dir = ${JSON.stringify(house.state_dir)}\n`);
});
afterAll(() => house[Symbol.asyncDispose]());
afterEach(() => vi.restoreAllMocks());

async function run(...args: string[]) {
  const out: string[] = [];
  vi.spyOn(process.stdout, 'write').mockImplementation((text) => out.push(String(text)) > 0);
  vi.spyOn(process.stderr, 'write').mockImplementation((text) => out.push(String(text)) > 0);
  const code = await main(['node', 'aegisd', 'assets', ...args, '--config', config]);
  vi.restoreAllMocks();
  return { code, said: out.join('') };
}

const at = (name: string) => join(house.state_dir, name);
function json(name: string, value: object): string {
  writeFileSync(at(name), JSON.stringify(value));
  return at(name);
}

describe('aegisd assets', () => {
  it('registers, shows, lists, changes and removes', async () => {
    const access_policy = { requires_pqc: false, requires_tee: true, risk_threshold: 5_000 };
    const made = await run('register', json('a.json', { asset_id: 'docs', asset_type: 'OffChainFile', access_policy }));
    expect(made).toMatchObject({ code: 0 });
    expect(made.said).toContain('allowed    decrypt, encrypt, rewrap');
    expect((await run('show', 'docs')).said).toBe(made.said);
    expect((await run('list', '--type', 'OffChainFile')).said).toContain('Active      5000  OffChainFile      docs');
    const changed = await run('policy', 'docs', json('b.json', { risk_threshold: 0 }), '--json');
    expect(JSON.parse(changed.said)).toMatchObject({ migration_state: 'Protected' });
    expect(await run('remove', 'docs')).toMatchObject({ code: 0 });
    const gone = await run('show', 'docs');
    expect(gone.code).toBe(1);
    expect(gone.said).toContain('asset_not_found');
  });

  it('says what is wrong with a file, and with an id', async () => {
    expect(await run('register', at('nowhere.json'))).toMatchObject({ code: 2 });
    const wrong = await run('register', json('c.json', { asset_id: 'x' }));
    expect(wrong.code).toBe(1);
    expect(wrong.said).toContain('invalid_body');
    expect((await run('remove', 'nobody')).said).toContain('asset_not_found');
  });

  it('encrypts a file and decrypts it again; never overwrites; leaves none behind when the stream breaks', async () => {
    const access_policy = { requires_pqc: false, requires_tee: true, risk_threshold: 5_000 };
    await run('register', json('d.json', { asset_id: 'vault', asset_type: 'OffChainFile', access_policy }));
    const plain = Buffer.alloc(40 * CHUNK_BYTES + 5, 'secret ');
    writeFileSync(at('plain'), plain);
    expect(await run('encrypt', 'vault', at('plain'), '-o', at('sealed'))).toEqual({ code: 0, said: '' });
    expect(statSync(at('sealed')).mode & 0o777).toBe(0o600);
    expect(await run('decrypt', 'vault', at('sealed'), '-o', at('back'))).toEqual({ code: 0, said: '' });
    expect(readFileSync(at('back')).equals(plain)).toBe(true);
    expect(await run('decrypt', 'vault', at('sealed'), '-o', at('back'))).toMatchObject({ code: 2 });

    const sealed = readFileSync(at('sealed'));
    sealed[HEADER_BYTES + 30 * (CHUNK_BYTES + 28) + 99]! ^= 1;
    writeFileSync(at('altered'), sealed);
    const broken = await run('decrypt', 'vault', at('altered'), '-o', at('half'));
    expect(broken.code).toBe(1);
    expect(broken.said).toContain('no file was left');
    expect(existsSync(at('half'))).toBe(false);

    writeFileSync(at('foreign'), 'hello');
    expect((await run('decrypt', 'vault', at('foreign'), '-o', at('none'))).said).toContain('stream_unknown');
    expect(existsSync(at('none'))).toBe(false);
    expect((await run('rewrap', 'vault')).said).toContain('under epoch 1 already');
    expect((await run('remove', 'vault')).said).toContain('asset_has_key');
    expect(await run('remove', 'vault', '--lose-key')).toMatchObject({ code: 0 });
  });
});

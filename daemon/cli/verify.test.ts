// The command as scripts see it: exit codes, the JSON document and the lines for people, from a process of its own.
import { execFile } from 'node:child_process';
import { mkdtempSync, rmSync, truncateSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { writePem } from '../../actors/certificate.ts';
import { keysetDigest } from '../../actors/digest.ts';
import { hex } from '../../actors/encoding.ts';
import { type Enclave, makeEnclave, makeSealed, makeSigned, NOW_MS } from '../../test/forge.ts';

const AT = new Date(NOW_MS).toISOString();
let folder: string;
let enclave: Enclave;
const file = (name: string) => join(folder, name);

beforeAll(async () => {
  folder = mkdtempSync(join(tmpdir(), 'aegis-verify-'));
  enclave = await makeEnclave();
  const first = await makeSealed(enclave, { height: 0 });
  const signed = await makeSigned(enclave, { height: 1, parent_digest: first.batch_id });
  const write = (name: string, value: unknown) =>
    writeFileSync(file(name), typeof value === 'string' ? value : JSON.stringify(value));
  write('first.json', first);
  write('signed.json', signed);
  write('rival.json', await makeSigned(enclave, { height: 1 }));
  write('altered.json', {
    ...first,
    transactions: first.transactions.with(3, { ...first.transactions[3]!, risk_level: 9 }),
  });
  write('twice.json', JSON.stringify(first).replace('"height":0', '"height":1,"height":0'));
  writeFileSync(file('noise.json'), Uint8Array.of(0x22, 0xff, 0x22));
  write('huge.json', '');
  truncateSync(file('huge.json'), 64 * 1_048_576 + 1);
  const root = writePem([enclave.pki.certificates.root]);
  write('policy.toml', `log_id = "${enclave.keyset.log_id}"\nchain_id = 31337\nroots = ["""\n${root}"""]\n`);
  write('pinned.json', { signatures: 'any-pq', keysets: [hex(keysetDigest(enclave.keyset))] });
  write('wrong.toml', 'signatures = "all"\n[[measurements]]\nmrtd = "0x12"\n');
  write('broken.toml', 'signatures = "all\n');
  write('unknown.json', '{"root": []}');
});
afterAll(() => rmSync(folder, { recursive: true }));

interface Ran {
  code: number;
  stdout: string;
  stderr: string;
}

/** In the order of `verify`'s arguments. */
function run(files: string[], options: object = {}): Promise<Ran> {
  const script = `import { verify } from './daemon/cli/verify.ts';
    const [files, options] = JSON.parse(process.argv[1]);
    process.exitCode = await verify(files, options);`;
  const given = JSON.stringify([files.map(file), { at: AT, ...options }]);
  return new Promise((resolve) => {
    execFile(process.execPath, ['--input-type=module', '-e', script, given], (error, stdout, stderr) =>
      resolve({ code: error === null ? 0 : Number(error.code), stdout, stderr }),
    );
  });
}

describe('aegisd verify', () => {
  it('accepts simulated batches when told to, and says what that means', async () => {
    const { code, stdout, stderr } = await run(['first.json'], { allowSimulated: true });
    expect({ code, stderr }).toEqual({ code: 0, stderr: '' });
    expect(stdout).toContain('first.json: verified');
    expect(stdout).toContain('this batch is in one attested head of this log (size 6');
    expect(stdout).toContain('simulated: this proves nothing about hardware');
    expect(stdout).toContain('need a kept seal and a witness');
    expect(stdout).toContain(`1 of 1 verified, judged at ${AT}`);
  });

  it('refuses them otherwise, by name', async () => {
    const { code, stdout } = await run(['first.json']);
    expect(code).toBe(1);
    expect(stdout).toContain('first.json: REFUSED simulated_evidence\n  attestation.quote: ');
  });

  it('answers with one JSON document', async () => {
    const names = ['first.json', 'altered.json', 'twice.json', 'noise.json', 'huge.json', 'signed.json'];
    const { code, stdout } = await run(names, { allowSimulated: true, policy: file('policy.toml'), json: true });
    expect(code).toBe(1);
    const document = JSON.parse(stdout);
    expect(document).toMatchObject({ ok: false, verified: 1, refused: 5, judged_at: AT });
    expect(document.files[0]).toMatchObject({
      file: file('first.json'),
      ok: true,
      valid: true,
      mode: 'all',
      ml_dsa_valid: true,
      slh_dsa_valid: true,
      verify_time_ms: expect.any(Number),
      simulated: true,
    });
    expect(document.files.slice(1).map(({ code, field }: Record<string, string>) => [code, field])).toEqual([
      ['envelope_id_mismatch', 'transactions[3].envelope_id'],
      ['malformed', 'height'],
      ['malformed', '$'],
      ['too_large', '$'],
      ['unsealed', 'slh_dsa_sig'],
    ]);
  });

  it('compares files of one log', async () => {
    const options = { allowSimulated: true, policy: file('pinned.json'), json: true };
    const chained = await run(['signed.json', 'first.json'], options);
    expect(chained.code).toBe(0);
    const { code, stdout } = await run(['first.json', 'signed.json', 'rival.json'], options);
    expect(code).toBe(1);
    expect(JSON.parse(stdout).files).toMatchObject([
      { ok: true },
      { ok: false, code: 'height_conflict', message: expect.stringContaining('rival.json') },
      { ok: false, code: 'height_conflict', message: expect.stringContaining('signed.json') },
    ]);
  });

  it.each([
    ['a missing file', ['first.json', 'none.json'], {}, 'none.json: there is no such file'],
    ['a folder', ['.'], {}, ': not a file'],
    ['a missing policy', ['first.json'], { policy: 'none.toml' }, 'none.toml: there is no such file'],
    ['a wrong value', ['first.json'], { policy: 'wrong.toml' }, 'wrong.toml measurements[0].mrtd: expected 48 bytes'],
    ['broken TOML', ['first.json'], { policy: 'broken.toml' }, 'broken.toml line 1, column'],
    ['an unknown key', ['first.json'], { policy: 'unknown.json' }, 'unknown.json root: '],
    ['no time', ['first.json'], { at: 'yesterday' }, '--at: yesterday: expected RFC 3339'],
  ])('exits with 2 on %s, judging nothing', async (_, files, options: { policy?: string; at?: string }, message) => {
    const given = options.policy === undefined ? options : { policy: file(options.policy) };
    const { code, stdout, stderr } = await run(files, given);
    expect({ code, stdout }).toEqual({ code: 2, stdout: '' });
    expect(stderr).toContain(message);
    expect(stderr.trim().split('\n')).toHaveLength(1);
  });
});

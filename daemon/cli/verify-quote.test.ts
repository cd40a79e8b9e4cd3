// The command as scripts see it, in a process of its own where the exit code counts: every form that evidence is kept in,
// the checks in their order, and what is wrong use.
import { execFile } from 'node:child_process';
import { once } from 'node:events';
import { mkdirSync, mkdtempSync, readFileSync, rmSync, truncateSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it, vi } from 'vitest';
import { EVIDENCE_CHECKS } from '../../actors/check.ts';
import { canonicalCollateral } from '../../actors/collateral.ts';
import { base64, fromBase64 } from '../../actors/encoding.ts';
import { canonicalQuote } from '../../actors/intelquote.ts';
import { makeEnclave, makeSealed, NOW_MS } from '../../test/forge.ts';
import { pccs } from '../../test/pccs.ts';
import { type Options, verifyQuote } from './verify-quote.ts';

const tee = join(import.meta.dirname, '../../test/fixtures/tee');
const quote = join(tee, 'tdx/tdx_quote');
const collateral = [join(tee, 'tdx/tdx_quote_collateral.json')];
const at = '2025-07-01T00:00:00Z';
const dstack = { collateral: [join(tee, 'dstack/quote-report.collateral.json')], at: '2026-02-18T12:58:51Z' };
const snp = (name: string) => join(tee, 'snp', name);

let folder: string;
const file = (name: string) => join(folder, name);
beforeAll(async () => {
  folder = mkdtempSync(join(tmpdir(), 'aegis-quote-'));
  const bytes = new Uint8Array(readFileSync(quote));
  writeFileSync(file('quote.hex'), `0x${bytes.toHex().toUpperCase()}\n`);
  writeFileSync(file('quote.b64'), base64(bytes).replace(/.{76}/g, '$&\n'));
  writeFileSync(file('short.hex'), bytes.slice(0, 700).toHex());
  writeFileSync(
    file('noise'),
    Uint8Array.from({ length: 300 }, (_, i) => i),
  );
  writeFileSync(file('words'), 'no quote, really');
  writeFileSync(file('other.json'), '{"quotes": 1}');
  writeFileSync(file('empty'), '');
  writeFileSync(file('huge'), '');
  truncateSync(file('huge'), 9 * 1_048_576);
  const app = readFileSync(join(tee, 'dstack/quote-report.json'), 'utf8');
  writeFileSync(file('altered.json'), app.replaceAll('instance-id', 'instance-ie'));
  writeFileSync(file('app.toml'), 'event_log = "required"\napp_ids = ["0x3763bc34552cf3a27ff71ad5f7a90471562a1a2d"]\n');
  writeFileSync(file('none.toml'), 'advisories = []\ncollateral_age_max_s = 60\n');
  writeFileSync(file('snp.toml'), 'amd_crl = "if_present"\n[snp_tcb_min.Milan]\nsnp = 23\n');
  writeFileSync(file('batch.json'), JSON.stringify(await makeSealed(await makeEnclave())));
});
afterAll(() => rmSync(folder, { recursive: true, force: true }));

interface Said {
  readonly code: number;
  readonly document: {
    ok: boolean;
    code?: string;
    checks: { check: string; outcome: string }[];
    [key: string]: unknown;
  };
}

async function ask(path: string, options: Options): Promise<Said> {
  let text = '';
  const stdout = vi.spyOn(process.stdout, 'write').mockImplementation((chunk) => {
    text += String(chunk);
    return true;
  });
  try {
    const code = await verifyQuote(path, { ...options, json: true });
    return { code, document: JSON.parse(text) };
  } finally {
    stdout.mockRestore();
  }
}

describe('aegisd verify-quote', () => {
  it.each(['bytes', 'quote.hex', 'quote.b64'])('takes %s', async (name) => {
    const { code, document } = await ask(name === 'bytes' ? quote : file(name), { collateral, at });
    expect(document).toMatchObject({ ok: true, quote_type: 'TDX', status: 'UpToDate', advisory_ids: [] });
    expect(document.checks.map(({ check }) => check)).toEqual(Object.keys(EVIDENCE_CHECKS));
    expect(code).toBe(0);
  });

  it("takes a guest agent's answer, and replays its log", async () => {
    const path = join(tee, 'dstack/quote-report.json');
    const options = { ...dstack, policy: file('app.toml'), reportData: '1234' };
    const { code, document } = await ask(path, options);
    const silent = document.checks.filter(({ outcome }) => outcome !== 'held').map(({ check }) => check);
    expect({ code, silent }).toEqual({ code: 0, silent: ['advisories', 'measurements'] });
    const altered = await ask(file('altered.json'), options);
    expect(altered).toMatchObject({ code: 1, document: { ok: false, code: 'event_log_mismatch' } });
    expect(await ask(path, { ...options, reportData: '1235' })).toMatchObject({
      code: 1,
      document: { code: 'report_data_mismatch' },
    });
  });

  it('takes a report of SEV-SNP with its certificates, in any order', async () => {
    const certificates = ['ark-milan.pem', 'vcek.pem', 'ask-milan.pem'].map(snp);
    const options = { collateral: certificates, at: '2026-07-01T00:00:00Z' };
    const held = await ask(snp('report.bin'), { ...options, policy: file('snp.toml') });
    expect(held).toMatchObject({ code: 0, document: { quote_type: 'SEV-SNP', status: 'Unrated', simulated: false } });
    const refused = await ask(snp('report.bin'), options);
    expect(refused).toMatchObject({ code: 1, document: { code: 'crl_missing' } });
  });

  it('takes collateral from a folder, and from a service, as a daemon does', async () => {
    const key = 'tdx-b0c06f000000-platform.json';
    mkdirSync(file('collateral'));
    expect(await ask(quote, { collateral: [file('collateral')], at })).toMatchObject({
      code: 2,
      document: { error: { file: file('collateral'), message: expect.stringContaining(`there is no ${key} in `) } },
    });
    const text = readFileSync(collateral[0]!, 'utf8');
    writeFileSync(join(file('collateral'), key), text);
    expect(await ask(quote, { collateral: [file('collateral')], at })).toMatchObject({ code: 0 });
    // Evidence that can't be read is refused for itself.
    const broken = await ask(file('short.hex'), { collateral: [file('collateral')], at });
    expect(broken).toMatchObject({ code: 1, document: { code: 'quote_malformed' } });

    const server = createServer(pccs(canonicalCollateral(JSON.parse(text)))).listen(0, '127.0.0.1');
    await once(server, 'listening');
    const url = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
    try {
      expect(await ask(quote, { collateral: [`${url}/`], at })).toMatchObject({ code: 0 });
      expect(await ask(snp('report.bin'), { collateral: [url], at })).toMatchObject({
        code: 2,
        document: { error: { file: url, message: expect.stringContaining('answered 404') } },
      });
      expect(await ask(quote, { collateral: [`${url}/?x=1`], at })).toMatchObject({ code: 2 });
    } finally {
      server.closeAllConnections();
      server.close();
    }
    expect(await ask(quote, { collateral: [url], at })).toMatchObject({ code: 2 });
  });

  it('takes the attestation of a batch file, simulated only where that is allowed', async () => {
    const time = { at: new Date(NOW_MS).toISOString() };
    expect(await ask(file('batch.json'), time)).toMatchObject({ code: 1, document: { code: 'root_untrusted' } });
    expect(await ask(file('batch.json'), { ...time, allowSimulated: true })).toMatchObject({
      code: 0,
      document: { simulated: true },
    });
  });

  it('says which check failed, and that those behind it were not judged', async () => {
    const { code, document } = await ask(quote, { collateral, at: '2033-01-01T00:00:00Z' });
    expect(code).toBe(1);
    expect(document.checks.slice(0, 4)).toEqual([
      { check: 'format', outcome: 'held' },
      { check: 'collateral', outcome: 'held' },
      { check: 'chain', outcome: 'failed' },
      { check: 'revocation', outcome: 'not_judged' },
    ]);
    expect(await ask(quote, { at })).toMatchObject({ code: 1, document: { code: 'collateral_missing' } });
    expect(await ask(file('short.hex'), { collateral, at })).toMatchObject({
      code: 1,
      document: { code: 'quote_malformed' },
    });
    expect(await ask(quote, { collateral, at, policy: file('none.toml') })).toMatchObject({
      code: 1,
      document: { code: 'collateral_stale' },
    });
  });

  it.each([
    ['noise', {}, 'not a TDX or SGX quote'],
    ['words', {}, 'expected a quote as bytes, hex or base64'],
    ['empty', {}, 'not a TDX or SGX quote'],
    ['huge', {}, 'too large'],
    ['other.json', {}, 'expected an attestation, or an answer of GetQuote'],
    ['missing', {}, 'there is no such file'],
    ['quote.hex', { collateral: [snp('vcek.pem')] }, 'expected collateral as JSON'],
    ['quote.hex', { at: 'yesterday' }, 'expected RFC 3339'],
    ['quote.hex', { reportData: 'xyz' }, 'expected 1 to 64 bytes in hex'],
  ])('%s with %o is wrong use', async (name, options, message) => {
    const { code, document } = await ask(file(name), options);
    expect(code).toBe(2);
    expect((document as unknown as { error: { message: string } }).error.message).toContain(message);
  });

  it('brings what it reads into the published form, so that nothing is refused for its spelling', () => {
    const canonical = canonicalQuote(new Uint8Array(readFileSync(quote)));
    expect(canonical.length).toBeLessThan(readFileSync(quote).length);
    const raw = JSON.parse(readFileSync(collateral[0]!, 'utf8'));
    expect(canonicalCollateral(canonicalCollateral(raw))).toEqual(canonicalCollateral(raw));
    expect(fromBase64(base64(canonical))).toEqual(canonical);
  });

  it('prints a line for each check to people, and ends with 0', async () => {
    const main = join(import.meta.dirname, '../main.ts');
    const said = await new Promise<string>((resolve, reject) =>
      execFile(
        process.execPath,
        [main, 'verify-quote', quote, '--collateral', collateral[0]!, '--at', at],
        (error, stdout) => (error === null ? resolve(stdout) : reject(error)),
      ),
    );
    for (const name of Object.keys(EVIDENCE_CHECKS)) expect(said).toMatch(new RegExp(`^  (?:ok|-) +${name}: `, 'm'));
    expect(said).toContain('TCB status UpToDate, advisories: none');
  });
});

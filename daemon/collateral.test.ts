// Collateral from real HTTP servers that play a PCCS and AMD's KDS: what is asked for, how it is kept, and how a service that is
// slow, gone or malicious is borne. What comes must verify the quotes of the same mock platform.
import { once } from 'node:events';
import { mkdirSync, mkdtempSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { readPem, writePem } from '../actors/certificate.ts';
import { verifyEvidence } from '../actors/verification.ts';
import { pccs } from '../test/pccs.ts';
import { type AmdPki, makeAmdPki, makeSgxCollateral, makeSgxQuote, makeSnp } from '../test/platforms.ts';
import { type CollateralOptions, collateralSource } from './collateral.ts';
import { makePki } from './tee/pki.ts';
import type { CertificateTable } from './tee/provider.ts';
import type { Bare } from './tee/publish.ts';
import { makeCollateral, makeQuote } from './tee/tdx.ts';

const NOW_MS = Date.UTC(2026, 5, 1);
const END_MS = Date.UTC(2026, 5, 20);
const DAY_MS = 86_400_000;
const pki = makePki();
const collateral = makeCollateral(pki, END_MS);
const bare: Bare = { quote_type: 'TDX', quote: makeQuote(pki, {}), certificates: {} };

type Handler = (request: IncomingMessage, response: ServerResponse) => void;

let server: Server;
let url: string;
let folder: string;
let asked: string[];
let handler: Handler;
let now_ms: number;
beforeEach(async () => {
  folder = mkdtempSync(join(tmpdir(), 'aegis-collateral-'));
  asked = [];
  handler = service();
  now_ms = NOW_MS;
  server = createServer((request, response) => {
    asked.push(request.url!);
    handler(request, response);
  }).listen(0, '127.0.0.1');
  await once(server, 'listening');
  url = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
});
afterEach(() => {
  server.closeAllConnections();
  server.close();
  rmSync(folder, { recursive: true, force: true });
});

const source = (more: Partial<CollateralOptions> = {}) =>
  collateralSource({
    folder: '',
    cache: join(folder, 'cache'),
    pccs_url: url,
    kds_url: '',
    timeout_ms: 2_000,
    now: () => now_ms,
    ...more,
  });

/** A PCCS with this collateral for TDX, and that of SGX. */
const service = (tdx = collateral): Handler => pccs(tdx, makeSgxCollateral(pki, END_MS));

const failure = (promise: Promise<unknown>) =>
  promise.then(
    () => 'none',
    (error) => `${error.code}: ${error.detail?.reason}`,
  );

describe('collateral of Intel', () => {
  it('is what verifies the quote, and is of the authority that issued its certificate', async () => {
    const found = await source()(bare);
    expect(found).toEqual(collateral);
    const policy = { roots: [pki.certificates.root], now_ms, tcb_statuses: ['UpToDate'] };
    expect(verifyEvidence({ ...bare, event_log: null, collateral: found }, policy)).toMatchObject({ ok: true });
    expect(asked.toSorted()).toEqual([
      '/sgx/certification/v4/pckcrl?ca=platform&encoding=der',
      '/sgx/certification/v4/rootcacrl',
      '/tdx/certification/v4/qe/identity?update=standard',
      '/tdx/certification/v4/tcb?fmspc=414547495300',
    ]);
  });

  it('of SGX is that of SGX', async () => {
    const sgx: Bare = { quote_type: 'SGX', quote: makeSgxQuote(pki, {}), certificates: {} };
    const found = await source()(sgx);
    const policy = { roots: [pki.certificates.root], now_ms, tcb_statuses: ['UpToDate'] };
    expect(verifyEvidence({ ...sgx, event_log: null, collateral: found }, policy)).toMatchObject({ ok: true });
    expect(asked).toContain('/sgx/certification/v4/tcb?fmspc=414547495300');
  });

  it('is asked for once, by however many, and kept over a restart', async () => {
    const one = source();
    await Promise.all([one(bare), one(bare), one(bare)]);
    await one(bare);
    await source()(bare);
    expect(asked).toHaveLength(4);
    expect(readdirSync(join(folder, 'cache'))).toEqual(['tdx-414547495300-platform.json']);
  });

  it('is renewed after a day, and when the clock was set back', async () => {
    const one = source();
    await one(bare);
    now_ms += DAY_MS - 1;
    await one(bare);
    expect(asked).toHaveLength(4);
    now_ms += 1;
    await one(bare);
    expect(asked).toHaveLength(8);
    now_ms -= 1;
    await one(bare);
    expect(asked).toHaveLength(12);
  });

  it('stays in use while the service is gone, until it ends', async () => {
    const one = source();
    await one(bare);
    handler = (_, response) => response.writeHead(503).end();
    now_ms = END_MS - 1;
    expect(await one(bare)).toEqual(collateral);
    const before = asked.length;
    // The service is left alone for a while.
    expect(await one(bare)).toEqual(collateral);
    expect(asked).toHaveLength(before);
    now_ms = END_MS;
    expect(await failure(one(bare))).toMatch(/^quote_failed: no collateral for tdx-414547495300-platform: .* 503$/);
  });

  it('comes back by itself', async () => {
    const one = source();
    handler = (_, response) => response.writeHead(500).end();
    expect(await failure(one(bare))).toMatch(/500$/);
    handler = service();
    expect(await failure(one(bare))).toMatch(/500$/);
    now_ms += 60_000;
    expect(await one(bare)).toEqual(collateral);
  });

  it('is not believed from a cache that was damaged', async () => {
    mkdirSync(join(folder, 'cache'));
    for (const text of ['', '{', '{"version":1,"fetched_ms":0,"collateral":{}}', 'null']) {
      writeFileSync(join(folder, 'cache', 'tdx-414547495300-platform.json'), text);
      expect(await source()(bare)).toEqual(collateral);
    }
    expect(asked).toHaveLength(16);
  });

  it.each<[what: string, handle: Handler, says: RegExp]>([
    ['that is too large', (_, response) => response.end(new Uint8Array(600_000)), /more than 524288 bytes$/],
    ['without its chain', (_, response) => response.end('{}'), /no header |no tcbInfo/],
    ['from elsewhere', (_, response) => response.writeHead(302, { location: '/' }).end(), /redirect/],
    ['that never ends', (_, response) => response.write('{'), /no answer in 300 ms$/],
  ])('an answer %s is refused', async (_, handle, says) => {
    handler = handle;
    expect(await failure(source({ timeout_ms: 300 })(bare))).toMatch(says);
  });

  it('comes from a folder first, and without any service', async () => {
    const own = join(folder, 'own');
    mkdirSync(own);
    const one = source({ folder: own, pccs_url: '' });
    expect(await failure(one(bare))).toContain('there is no tdx-414547495300-platform.json');
    const path = join(own, 'tdx-414547495300-platform.json');
    writeFileSync(path, JSON.stringify({ ...collateral, pck_certificate_chain: null }));
    expect(await one(bare)).toEqual(collateral);
    writeFileSync(path, '{"tcb_info": 1}');
    expect(await failure(one(bare))).toContain('is no collateral');
    expect(asked).toEqual([]);
  });

  it('is refused to what is no quote', async () => {
    expect(await failure(source()({ ...bare, quote: new Uint8Array(9) }))).toContain('names no platform');
  });
});

describe('collateral of AMD', () => {
  let amd: AmdPki;
  let report: Bare;
  let all: Required<Omit<CertificateTable, 'vlek'>> & { crl: Uint8Array };

  beforeEach(() => {
    amd ??= makeAmdPki();
    const made = makeSnp(amd);
    const [vcek, ask, ark] = readPem(made.collateral.certificate_chain) as [Uint8Array, Uint8Array, Uint8Array];
    all = { vcek, ask, ark, crl: Uint8Array.fromHex(made.collateral.crl!) };
    report = { quote_type: 'SEV-SNP', quote: made.quote, certificates: {} };
    handler = (request, response) => {
      const { pathname } = new URL(request.url!, 'http://x');
      if (pathname.endsWith('/crl')) response.end(all.crl);
      else if (pathname.endsWith('/cert_chain')) response.end(writePem([all.ask, all.ark]));
      else response.end(all.vcek);
    };
  }, 120_000);

  const verify = async (of: Bare, options: Partial<CollateralOptions>) => {
    const found = await source({ kds_url: url, pccs_url: '', ...options })(of);
    const policy = { roots: [amd.ark], now_ms, tcb_statuses: ['Unrated'] };
    const outcome = verifyEvidence(
      { quote_type: 'SEV-SNP', quote: of.quote, event_log: null, collateral: found },
      policy,
    );
    return outcome.ok ? 'ok' : outcome.code;
  };

  it('is asked for by chip and versions, where the host gives none', async () => {
    expect(await verify(report, {})).toBe('ok');
    expect(asked.toSorted()).toEqual([
      `/vcek/v1/Milan/${'c4'.repeat(64)}?blSPL=04&teeSPL=01&snpSPL=24&ucodeSPL=213`,
      '/vcek/v1/Milan/cert_chain',
      '/vcek/v1/Milan/crl',
    ]);
  });

  it('is the host’s certificates with the list of the service', async () => {
    const { crl: _, ...certificates } = all;
    expect(await verify({ ...report, certificates }, {})).toBe('ok');
    expect(asked).toEqual(['/vcek/v1/Milan/crl']);
  });

  it('has no list where no service is asked, which is for the policy to judge', async () => {
    const { crl: _, ...certificates } = all;
    expect(await verify({ ...report, certificates }, { kds_url: '' })).toBe('crl_missing');
    expect(await failure(source({ pccs_url: '' })(report))).toContain('no service to ask (attestation.kds_url)');
  });
});

// One suite over every provider: what attests must do so in the same way, whatever stands behind it. Devices are emulated at
// the border of the system calls (test/devices.ts), the guest agent on its socket (demo/agent.ts); quotes are well-formed,
// under mock roots, and really verified on the pool's thread.
import { mkdirSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { inspect } from 'node:util';
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import { writePem } from '../../actors/certificate.ts';
import { fromBase64 } from '../../actors/encoding.ts';
import type { EvidencePolicy } from '../../actors/evidence.ts';
import { Attestation } from '../../actors/quote.ts';
import { verifyEvidence } from '../../actors/verification.ts';
import { GramineEmulator, systemError, TsmEmulator } from '../../test/devices.ts';
import { makeAmdPki, makeSgxCollateral, makeSgxQuote, makeSnp } from '../../test/platforms.ts';
import { createPool, type Pool } from '../../workers/pool.ts';
import { startAgent } from '../demo/agent.ts';
import { makeAppKeys } from '../demo/appkeys.ts';
import { GuestAgent } from '../dstack.ts';
import { type TeeProvider, teeProvider } from './agent.ts';
import { dstackProvider } from './dstack.ts';
import { makePki } from './pki.ts';
import { Platform } from './platform.ts';
import type { QuoteProvider } from './provider.ts';
import { publisher } from './publish.ts';
import { sgxProvider } from './sgx.ts';
import { openSimulator } from './simulator.ts';
import { makeCollateral, makeQuote } from './tdx.ts';
import { tsmProvider } from './tsm.ts';

const END_MS = Date.UTC(2036, 0, 1);
const base = mkdtempSync(join(tmpdir(), 'aegis-providers-'));
const pool: Pool = createPool({
  open_threads: 1,
  sign_threads: 1,
  queue_max: 64,
  task_timeout_ms: 30_000,
  seal_nice: 0,
});
afterAll(async () => {
  await pool.close();
  rmSync(base, { recursive: true });
});

interface Subject {
  readonly provider: QuoteProvider;
  readonly policy: Pick<EvidencePolicy, 'roots' | 'tcb_statuses'>;
  /** The platform fails from here on; undefined for what can't. */
  readonly die?: () => unknown;
  readonly rise?: () => unknown;
  readonly close?: () => unknown;
}

const trust = (root: Uint8Array) => ({ roots: [root], tcb_statuses: ['UpToDate', 'Unrated'] });
const dead = (call: string, path: string) => {
  throw systemError('ENXIO', call, path);
};

function makeFolder(name: string): string {
  const folder = join(base, name);
  mkdirSync(folder);
  return folder;
}

const SUBJECTS: Record<string, () => Promise<Subject>> = {
  'tsm on TDX': async () => {
    const pki = makePki();
    const tsm_path = makeFolder('tdx');
    // Kernels hand out the whole buffer.
    const quote = (report_data: Uint8Array) => Uint8Array.from([...makeQuote(pki, { report_data }), 0, 0, 0]);
    const devices = new TsmEmulator({ folder: tsm_path, provider: 'tdx_guest', quote });
    const publish = publisher('tsm', async () => makeCollateral(pki, END_MS));
    return {
      provider: tsmProvider({ tsm_path, publish, devices }),
      policy: trust(pki.certificates.root),
      die: () => {
        devices.meanwhile = dead;
      },
      rise: () => {
        devices.meanwhile = undefined;
      },
    };
  },
  'tsm on SEV-SNP': async () => {
    const pki = makeAmdPki();
    const tsm_path = makeFolder('snp');
    const quote = (report_data: Uint8Array) => makeSnp(pki, { fields: { report_data } }).quote;
    const { collateral } = makeSnp(pki);
    const devices = new TsmEmulator({ folder: tsm_path, provider: 'sev_guest', quote });
    return {
      provider: tsmProvider({ tsm_path, publish: publisher('tsm', async () => collateral), devices }),
      policy: trust(pki.ark),
      die: () => {
        devices.meanwhile = dead;
      },
      rise: () => {
        devices.meanwhile = undefined;
      },
    };
  },
  sgx: async () => {
    const pki = makePki();
    const sgx_path = join(base, 'sgx');
    const devices = new GramineEmulator(sgx_path, (report_data) => makeSgxQuote(pki, { report_data }));
    const publish = publisher('sgx', async () => makeSgxCollateral(pki, END_MS));
    return {
      provider: sgxProvider({ sgx_path, publish, devices }),
      policy: trust(pki.certificates.root),
      die: () => {
        devices.meanwhile = dead;
      },
      rise: () => {
        devices.meanwhile = undefined;
      },
    };
  },
  dstack: async () => {
    const pki = makePki();
    const agent = await startAgent({
      socket: join(base, 'agent'),
      keys: makeAppKeys(),
      quote: (fields) => makeQuote(pki, fields),
    });
    const guest = new GuestAgent({ socket: agent.socket, timeout_ms: 5_000 });
    const publish = publisher('dstack', async () => makeCollateral(pki, END_MS));
    let alive = true;
    return {
      provider: dstackProvider({ agent: guest, publish }),
      policy: trust(pki.certificates.root),
      async die() {
        alive = false;
        await agent.die();
      },
      async rise() {
        if (!alive) await agent.rise();
        alive = true;
      },
      close: () => agent[Symbol.asyncDispose](),
    };
  },
  simulator: async () => {
    const provider = openSimulator(join(base, 'simulator'), Date.now);
    return { provider, policy: trust(provider.root) };
  },
};

const data = (n: number) => new Uint8Array(64).fill(n);
const message = new TextEncoder().encode('pay 5 to bob');

describe.each(Object.entries(SUBJECTS))('%s', (name, open) => {
  let subject: Subject;
  let platform: Platform;
  let tee: TeeProvider;
  let asked = 0;
  let asking = 0;
  let asking_max = 0;

  beforeAll(async () => {
    subject = await open();
    const provider: QuoteProvider = {
      ...subject.provider,
      providerName: subject.provider.providerName,
      simulated: subject.provider.simulated,
      isAvailable: () => subject.provider.isAvailable(),
      async quote(report_data) {
        asked++;
        asking_max = Math.max(asking_max, ++asking);
        return subject.provider.quote(report_data).finally(() => asking--);
      },
    };
    const { policy } = subject;
    const options = { quote_timeout_ms: 10_000 };
    platform = new Platform({ provider, policy, production: false, pool, now: Date.now, options });
    tee = teeProvider({ platform, pool, now: Date.now });
  });
  afterEach(() => subject.rise?.());
  afterAll(() => subject.close?.());

  it('says what it is, and that it is there', async () => {
    expect(tee.providerName).toBe(name.split(' ')[0]);
    expect(tee.simulated).toBe(name === 'simulator');
    expect(await tee.isAvailable()).toBe(true);
  });

  it('quotes exactly the report data, in canonical form, so that it verifies anywhere', async () => {
    const evidence = await tee.quote(data(1));
    const policy = { ...subject.policy, now_ms: Date.now() };
    expect(verifyEvidence(evidence, { ...policy, report_data: data(1) })).toMatchObject({ ok: true });
    expect(verifyEvidence(evidence, { ...policy, report_data: data(2) })).toMatchObject({
      code: 'report_data_mismatch',
    });
    expect(verifyEvidence(evidence, { ...policy, roots: [makePki().certificates.root] }).ok).toBe(false);
    expect(platform.state).toMatchObject({ state: 'working', reason: null });
  });

  it('gives each of many callers a quote of his own, made one after the other', async () => {
    const all = Array.from({ length: 6 }, (_, n) => data(10 + n));
    const quotes = await Promise.all(all.map((report_data) => platform.attest(report_data)));
    expect(quotes.map(({ found }) => found.report_data)).toEqual(all);
    expect(asking_max).toBe(1);
  });

  it('makes one quote for one subject', async () => {
    const before = asked;
    const [first, second] = await Promise.all([platform.attest(data(30)), platform.attest(data(30))]);
    expect(await platform.attest(data(30))).toBe(first);
    expect(second).toBe(first);
    expect(asked - before).toBe(1);
    await platform.attest(data(30), { fresh: true });
    expect(asked - before).toBe(2);
  });

  it('signs for an agent, with evidence that is tied to key and message', async () => {
    const [key, other] = await Promise.all([tee.generateKey(), tee.generateKey()]);
    expect(key.publicKey).not.toBe(other.publicKey);
    const signed = await tee.sign(key, message);
    expect(signed).toMatchObject({ verified: true, provider: tee.providerName });
    expect(Attestation.safeParse(signed.attestation).success).toBe(true);
    const about = { publicKey: key.publicKey, message };
    expect(await tee.verifyAttestation(signed, about)).toBe(true);
    const wrong: [typeof signed, typeof about][] = [
      [signed, { ...about, message: message.slice(1) }],
      [signed, { ...about, publicKey: other.publicKey }],
      [{ ...signed, attestation: key.attestation }, about],
      [{ ...signed, attestation: (await tee.sign(other, message)).attestation }, about],
      [{ ...signed, attestation: { ...signed.attestation, not_after_ms: signed.attestation.not_after_ms + 1 } }, about],
      [{ ...signed, signature: (await tee.sign(other, message)).signature }, about],
      [{ ...signed, signature: '' }, about],
      [{ ...signed, attestation: {} as never }, about],
    ];
    for (const [forged, what] of wrong) expect(await tee.verifyAttestation(forged, what)).toBe(false);
  });

  it('keeps the secret of a key to itself, and signs with no key but its own', async () => {
    const key = await tee.generateKey();
    expect(Object.keys(key)).toEqual(['publicKey', 'attestation', 'provider']);
    expect(inspect(key, { showHidden: true, depth: 9 })).not.toMatch(/PrivateKey|KeyObject/);
    expect(fromBase64(key.publicKey)).toHaveLength(2_592);
    await expect(tee.sign({ ...key }, message)).rejects.toThrow('expected a handle that generateKey');
    await expect(tee.sign(key, new Uint8Array(2 ** 20 + 1))).rejects.toThrow('expected at most 1048576 bytes');
  });

  it('reports its own attestation over a nonce', async () => {
    const [one, two] = [await tee.getAttestationReport(data(1)), await tee.getAttestationReport(data(2))];
    expect(one).toMatchObject({ provider: tee.providerName, available: true, reason: null });
    expect(one.attestation?.report_data).not.toBe(two.attestation?.report_data);
    expect(one.attestation?.aegis_verification.verified).toBe(true);
  });

  it('fails with a reason when the platform does, holds nobody up, and comes back', async () => {
    if (subject.die === undefined) return expect(name).toBe('simulator');
    const key = await tee.generateKey();
    await subject.die();
    expect(await tee.isAvailable()).toBe(false);
    await expect(platform.attest(data(50))).rejects.toMatchObject({ code: /^(?:quote|guest_agent)_failed$/ });
    expect(platform.state).toMatchObject({ state: 'failing', reason: expect.stringMatching(/\w/) });
    expect(await tee.getAttestationReport()).toMatchObject({ available: false, attestation: null });
    await expect(tee.sign(key, message)).rejects.toThrow();
    await expect(tee.generateKey()).rejects.toThrow();
    await subject.rise?.();
    expect((await platform.attest(data(50))).found.ok).toBe(true);
    expect(platform.state.state).toBe('working');
    expect((await tee.sign(key, message)).verified).toBe(true);
  });
});

describe('the form that is published', () => {
  it('is refused to bytes that are no quote', async () => {
    const publish = publisher('tsm', () => Promise.reject(new Error('never asked')));
    for (const quote_type of ['TDX', 'SGX', 'SEV-SNP'] as const) {
      const raw = { quote_type, quote: new Uint8Array(100), event_log: null, certificates: {} };
      await expect(publish(raw)).rejects.toMatchObject({ code: 'quote_failed' });
    }
    const quote = makeQuote(makePki(), {});
    const raw = { quote_type: 'TDX', quote, event_log: '{}', certificates: {} } as const;
    await expect(publish(raw)).rejects.toThrow('TDX evidence is malformed: event log');
  });

  it('of a report takes the certificates that the host gave to whoever finds its collateral', async () => {
    const pki = makeAmdPki('Milan');
    const { quote, collateral } = makeSnp(pki);
    const certificates = { ark: pki.ark, ask: pki.ask };
    const publish = publisher('tsm', async (bare) => {
      expect(bare.certificates).toEqual(certificates);
      expect(collateral.certificate_chain).toContain(writePem([pki.ask, pki.ark]));
      return collateral;
    });
    const raw = { quote_type: 'SEV-SNP', quote, event_log: null, certificates } as const;
    expect(await publish(raw)).toEqual({ quote_type: 'SEV-SNP', quote, event_log: null, collateral });
  });
});

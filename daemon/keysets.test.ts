// When quotes are taken, over a platform that answers as a test says; and what of it reaches a client, over a simulator whose quotes
// are verified as any other's.
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it, vi } from 'vitest';
import { keysetDigest } from '../actors/digest.ts';
import { hex } from '../actors/encoding.ts';
import { type Attestation, identityOf } from '../actors/quote.ts';
import { VerificationPolicy, type VerificationPolicyInput } from '../client/policy.ts';
import { verifyKeyset } from '../client/trust.ts';
import { type Enclave, makeEnclave } from '../test/forge.ts';
import { createPool, type Pool } from '../workers/pool.ts';
import { Attester } from './attester.ts';
import { Fault } from './fault.ts';
import { KeysetQuote } from './keysets.ts';
import { Platform } from './tee/platform.ts';
import { openSimulator } from './tee/simulator.ts';

const DAY_MS = 86_400_000;
const failed = () => Promise.reject(new Fault({ code: 'quote_failed', provider: 'test' }));

let now_ms: number;
let answers: (() => Promise<Attestation>)[];
let nonces: (Uint8Array | undefined)[];
let quote: KeysetQuote;
const faults: string[] = [];

/** A platform that answers as a test says, or else with the number of the quote. */
function makeQuote(): KeysetQuote {
  const attest = ({ nonce }: { nonce?: Uint8Array }) => {
    nonces.push(nonce);
    return answers.shift()?.() ?? Promise.resolve(nonces.length as never);
  };
  return new KeysetQuote({
    attester: { notAfter: (from_ms: number) => from_ms + DAY_MS, attest } as never,
    keyset: () => ({ digest: hex(new Uint8Array(64)), keyset: {} }) as never,
    now: () => now_ms,
    onRenewed: () => {},
    onFault: ({ code }) => faults.push(code),
    fatal: (error) => {
      throw error;
    },
  });
}

beforeEach(() => {
  vi.useFakeTimers({ toFake: ['setTimeout', 'clearTimeout'] });
  now_ms = 0;
  answers = [];
  nonces = [];
  faults.length = 0;
  quote = makeQuote();
});
afterEach(() => {
  quote.stop();
  vi.useRealTimers();
});

const pass = async (time_ms: number) => {
  now_ms += time_ms;
  await vi.advanceTimersByTimeAsync(time_ms);
};

describe('the quote over the keyset', () => {
  it('is taken without being asked for, and anew after half of its life', async () => {
    quote.start();
    await pass(0);
    expect(nonces).toEqual([undefined]);
    await pass(DAY_MS / 2 - 1);
    expect(await quote.give()).toBe(1);
    await pass(1);
    expect(await quote.give()).toBe(2);
    quote.stop();
    await pass(DAY_MS);
    expect(nonces.length).toBe(2);
  });

  it('is made once for all who wait for it, but for each nonce anew', async () => {
    expect(await Promise.all([quote.give(), quote.give(), quote.give()])).toEqual([1, 1, 1]);
    expect(await quote.give(Uint8Array.of(7))).toBe(2);
    expect(nonces).toEqual([undefined, Uint8Array.of(7)]);
  });

  it('is asked for again when the platform fails; the one before serves as long as it lives', async () => {
    answers = [failed];
    quote.start();
    await pass(0);
    expect(faults).toEqual(['quote_failed']);
    await pass(10_000);
    expect(await quote.give()).toBe(2);
    answers = [failed, failed, failed, failed];
    now_ms += DAY_MS / 2;
    expect(await quote.give()).toBe(2);
    expect(await quote.give()).toBe(2);
    now_ms += DAY_MS / 2;
    await expect(quote.give()).rejects.toMatchObject({ code: 'quote_failed' });
  });
});

describe('a client', () => {
  let folder: string;
  let pool: Pool;
  let enclave: Enclave;
  beforeAll(async () => {
    folder = mkdtempSync(join(tmpdir(), 'aegis-keysets-'));
    pool = createPool({ open_threads: 1, sign_threads: 1, queue_max: 64, task_timeout_ms: 30_000, seal_nice: 0 });
    enclave = await makeEnclave({ not_before_ms: 0 });
  });
  afterAll(async () => {
    await pool.close();
    rmSync(folder, { recursive: true });
  });

  /** Resolves when the keyset's quote was renewed, `count` times in all. */
  let renewed: (count: number) => Promise<void>;
  let quote: KeysetQuote;
  let root: string;
  beforeEach(() => {
    now_ms = Date.now();
    const now = () => now_ms;
    const provider = openSimulator(join(folder, 'simulator'), now);
    root = provider.root.toBase64();
    const policy = { roots: [provider.root], tcb_statuses: ['UpToDate'] };
    const options = { quote_timeout_ms: 20_000, quote_lifetime_s: DAY_MS / 1_000, require: 'all' } as const;
    const primary = new Platform({ provider, policy, production: false, pool, now, options });
    const wish = () => ({ enabled: false, worker_id: null, enclave_id: null });
    const attester = new Attester({ primary, redundancy: undefined, wish, options, now });
    const record = { keyset: enclave.keyset, digest: hex(keysetDigest(enclave.keyset)) };
    let count = 0;
    let told = () => {};
    renewed = async (wanted) => {
      while (count < wanted) await new Promise<void>((resolve) => (told = resolve));
    };
    const fail = (error: unknown) => {
      throw error;
    };
    quote = new KeysetQuote({
      attester,
      keyset: () => record as never,
      now,
      onRenewed: () => {
        count += 1;
        told();
      },
      onFault: fail,
      fatal: fail,
    });
  });
  afterEach(() => quote.stop());

  /** What it says of a quote over the keyset, as `GET /attestation` gives it. */
  function judge(attestation: Attestation, rules: VerificationPolicyInput = {}, nonce?: Uint8Array, asked = nonce) {
    const { keyset } = enclave;
    const said = nonce === undefined ? null : hex(nonce);
    const answer = { keyset, keyset_digest: hex(keysetDigest(keyset)), attestation, nonce: said };
    const policy = VerificationPolicy.parse({ roots: [root], ...rules });
    const verdict = verifyKeyset(answer, { policy, allow_simulated: true, now_ms, ...(asked && { nonce: asked }) });
    return verdict.ok ? 'ok' : verdict.code;
  }

  it('has a quote at any time that has not ended, since it is renewed without being asked for', async () => {
    quote.start();
    await renewed(1);
    const first = await quote.give();
    expect(judge(first)).toBe('ok');
    await pass(DAY_MS / 2);
    await renewed(2);
    const second = await quote.give();
    expect(second.not_after_ms).toBe(first.not_after_ms + DAY_MS / 2);
    now_ms = first.not_after_ms;
    expect([judge(first), judge(second)]).toEqual(['keyset_expired', 'ok']);
  });

  it('that pins an image takes that one and no other, and its own nonce alone', async () => {
    const [mine, other] = [new Uint8Array(32).fill(1), new Uint8Array(32).fill(2)];
    const attestation = await quote.give(mine);
    const mrtd = identityOf(attestation.measurements);
    const pinned = { measurements: [{ mrtd }] };
    expect(judge(attestation, pinned, mine)).toBe('ok');
    expect(judge(attestation, { measurements: [{ mrtd: `0x${'00'.repeat(48)}` }] }, mine)).toBe('measurements_refused');
    expect(judge(attestation, pinned, mine, other)).toBe('nonce_mismatch');
    // The answer to somebody else, under the nonce that was asked for.
    expect(judge(attestation, pinned, other)).toBe('report_data_mismatch');
    expect(judge(await quote.give(), pinned, mine)).toBe('report_data_mismatch');
    now_ms = attestation.not_after_ms;
    expect(judge(attestation, pinned, mine)).toBe('keyset_expired');
  });
});

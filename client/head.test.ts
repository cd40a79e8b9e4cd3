// A head that travels alone: accepted whole, refused by name when a value is another, whatever it is.
import { beforeAll, describe, expect, it } from 'vitest';
import { keysetDigest, sealDigest } from '../actors/digest.ts';
import { hex } from '../actors/encoding.ts';
import type { SignedHead } from '../actors/head.ts';
import { COLLATERAL_END_MS, type Enclave, makeEnclave, NOW_MS } from '../test/forge.ts';
import { ForgedLog } from '../test/forgedlog.ts';
import { keptAt, verifyHead } from './head.ts';
import { VerificationPolicy, type VerificationPolicyInput } from './policy.ts';
import { SIMULATED_NOTE, type VerifyOptions } from './verdict.ts';

let enclave: Enclave;
let head: SignedHead;
let stranger: SignedHead;
beforeAll(async () => {
  enclave = await makeEnclave();
  const log = new ForgedLog(enclave);
  log.batch();
  head = log.seal();
  stranger = new ForgedLog(await makeEnclave({ log_id: enclave.keyset.log_id })).seal();
});

function verify(value: unknown, policy: VerificationPolicyInput = {}, options: Partial<VerifyOptions> = {}) {
  return verifyHead(JSON.parse(JSON.stringify(value)), {
    policy: VerificationPolicy.parse(policy),
    allow_simulated: true,
    now_ms: NOW_MS,
    ...options,
  });
}

function change(edit: (copy: SignedHead) => unknown): SignedHead {
  const copy = structuredClone(head);
  edit(copy);
  return copy;
}

const codeOf = (verdict: ReturnType<typeof verifyHead>) =>
  verdict.ok ? 'accepted' : `${verdict.code} ${verdict.field}`;

it('is accepted, and says what that is worth', () => {
  expect(verify(head)).toEqual({
    ok: true,
    seal: head.seal,
    digest: head.digest,
    chain_id: '31337',
    sealed_at: new Date(NOW_MS).toISOString(),
    tcb_status: 'UpToDate',
    simulated: true,
    ml_dsa_valid: true,
    slh_dsa_valid: true,
    notes: [SIMULATED_NOTE],
  });
});

it('is judged at its own time once it is kept', () => {
  const now_ms = COLLATERAL_END_MS + 1_000;
  expect(codeOf(verify(head, {}, { now_ms }))).toMatch(/^collateral_expired|^crl|^tcb_info|^qe_identity/);
  expect(codeOf(verify(head, {}, { now_ms: keptAt(head) }))).toBe('accepted');
});

describe('is refused by name', () => {
  it.each<[string, (copy: SignedHead) => unknown]>([
    ['head_digest_mismatch digest', (copy) => (copy.digest = hex(new Uint8Array(64)))],
    ['head_digest_mismatch digest', (copy) => (copy.seal.size += 1)],
    ['keyset_mismatch keyset.epoch', (copy) => (copy.keyset.epoch += 1)],
    ['keyset_mismatch keyset.log_id', (copy) => (copy.keyset.log_id = hex(new Uint8Array(64)))],
    ['seal_keyset_mismatch seal.keyset_digest', (copy) => (copy.keyset.key_source = 1)],
    ['seal_keyset_mismatch seal.keyset_digest', (copy) => (copy.keyset = stranger.keyset)],
    ['seal_ml_dsa_invalid ml_dsa_sig.signature', (copy) => (copy.ml_dsa_sig = stranger.ml_dsa_sig)],
    ['slh_dsa_invalid slh_dsa_sig.signature', (copy) => (copy.slh_dsa_sig = stranger.slh_dsa_sig)],
    ['not_after_invalid attestation.not_after_ms', (copy) => (copy.attestation.not_after_ms = NOW_MS)],
    ['report_data_mismatch attestation.report_data', (copy) => (copy.attestation.not_after_ms -= 1)],
    ['report_data_mismatch attestation.report_data', (copy) => (copy.attestation = stranger.attestation)],
    ['malformed seal.size', (copy) => (copy.seal.size = -1)],
    ['malformed extra', (copy) => Object.assign(copy, { extra: 1 })],
    ['malformed attestation', (copy) => Object.assign(copy, { attestation: null })],
  ])('%s', (expected, edit) => {
    expect(codeOf(verify(change(edit)))).toBe(expected);
  });

  it('when it was changed and signed again by another', () => {
    // Everything that takes no key of the enclave's is made to fit.
    const forged = change((copy) => {
      copy.keyset = stranger.keyset;
      copy.seal.keyset_digest = hex(keysetDigest(stranger.keyset));
      copy.digest = hex(sealDigest(copy.seal));
    });
    expect(codeOf(verify(forged))).toBe('seal_ml_dsa_invalid ml_dsa_sig.signature');
  });

  it.each<[string, VerificationPolicyInput, Partial<VerifyOptions>]>([
    ['simulated_evidence attestation.quote', {}, { allow_simulated: false }],
    ['wrong_chain keyset.chain_id', { chain_id: '1' }, {}],
    ['wrong_log seal.log_id', { log_id: hex(new Uint8Array(64)) }, {}],
    ['key_source_refused keyset.key_source', { key_sources: ['dstack'] }, {}],
    ['keyset_refused keyset', { keysets: [hex(new Uint8Array(64))] }, {}],
    ['seal_in_future seal.timestamp_ms', {}, { now_ms: NOW_MS - 3_600_000 }],
    ['now_invalid now_ms', {}, { now_ms: Number.NaN }],
    ['now_invalid now_ms', {}, { now_ms: 2 ** 53 }],
  ])('%s', (expected, policy, options) => {
    expect(codeOf(verify(head, policy, options))).toBe(expected);
  });

  it('under any-pq only when neither family holds', () => {
    const policy = { signatures: 'any-pq' } as const;
    expect(
      codeOf(
        verify(
          change((copy) => (copy.ml_dsa_sig = stranger.ml_dsa_sig)),
          policy,
        ),
      ),
    ).toBe('accepted');
    expect(
      codeOf(
        verify(
          change((copy) => (copy.slh_dsa_sig = stranger.slh_dsa_sig)),
          policy,
        ),
      ),
    ).toBe('accepted');
    const neither = change((copy) => Object.assign(copy, { ...stranger, ...{ seal: copy.seal, digest: copy.digest } }));
    neither.keyset = head.keyset;
    expect(codeOf(verify(neither, policy))).toBe('slh_dsa_invalid slh_dsa_sig.signature');
  });

  it.each([null, 1, [], {}, 'head'])('what is none: %j', (value) => {
    expect(codeOf(verify(value))).toMatch(/^malformed/);
  });
});

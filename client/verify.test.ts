// The promise of the verifier: no value of a batch file can be altered unnoticed, but those that DESIGN §3 lists as
// unsigned, not even by someone who repairs everything that takes no key. And each thing that a file can be without
// being forged (unsealed, simulated, of another log, out of date) has its own code.
import { readFileSync } from 'node:fs';
import { isDeepStrictEqual } from 'node:util';
import { secp256k1 } from '@noble/curves/secp256k1.js';
import fc from 'fast-check';
import { beforeAll, describe, expect, it } from 'vitest';
import type { BatchFile } from '../actors/batch.ts';
import { EVIDENCE_CODES } from '../actors/check.ts';
import { canonicalCollateral } from '../actors/collateral.ts';
import { keysetDigest } from '../actors/digest.ts';
import { base64, fromHex, hex } from '../actors/encoding.ts';
import { canonicalQuote } from '../actors/intelquote.ts';
import { alterations, altered } from '../test/alteration.ts';
import {
  attestBatch,
  COLLATERAL_END_MS,
  type Enclave,
  makeEnclave,
  makeSealed,
  makeSigned,
  NOW_MS,
  repair,
  repairAll,
  sealBatch,
  signBatch,
} from '../test/forge.ts';
import { LONG } from '../test/long.ts';
import { VerificationPolicy, type VerificationPolicyInput } from './policy.ts';
import { CHECKS, FAILURE_CODES, SEALED_STATEMENT, SIGNED_STATEMENT, SIMULATED_NOTE } from './verdict.ts';
import { type Verdict, type VerifyOptions, verifyBatch } from './verify.ts';

let enclave: Enclave;
let signed: BatchFile;
let sealed: BatchFile;

beforeAll(async () => {
  enclave = await makeEnclave();
  signed = await makeSigned(enclave);
  sealed = sealBatch(enclave, structuredClone(signed));
});

/** As a reader gets it: from JSON. */
function verify(file: unknown, policy: VerificationPolicyInput = {}, options: Partial<VerifyOptions> = {}): Verdict {
  return verifyBatch(JSON.parse(JSON.stringify(file)), {
    policy: VerificationPolicy.parse(policy),
    allow_simulated: true,
    now_ms: NOW_MS,
    ...options,
  });
}

/** The code, or what was accepted. */
const codeOf = (verdict: Verdict) => (verdict.ok ? `accepted as ${verdict.status}` : verdict.code);

function change(file: BatchFile, edit: (copy: BatchFile) => unknown): BatchFile {
  const copy = structuredClone(file);
  edit(copy);
  return copy;
}

describe('a valid batch', () => {
  it('is accepted with every check made, and says what that means', () => {
    const verdict = verify(sealed);
    expect(verdict).toMatchObject({
      ok: true,
      status: 'sealed',
      statement: SEALED_STATEMENT,
      batch_id: sealed.batch_id,
      height: 7,
      log_id: enclave.keyset.log_id,
      size: 6,
      simulated: true,
      tcb_status: 'UpToDate',
      ml_dsa_valid: true,
      slh_dsa_valid: true,
      ecdsa_valid: true,
      checks: Object.keys(CHECKS),
    });
    expect(verdict.ok && verdict.notes).toContain(SIMULATED_NOTE);
  });

  it('is accepted under a policy that names all it can', () => {
    const { measurements } = sealed.attestation!;
    const policy: VerificationPolicyInput = {
      roots: [base64(enclave.pki.certificates.root)],
      measurements: [{ ...measurements, mrtd: hex(new Uint8Array(48)) }, measurements],
      log_id: enclave.keyset.log_id,
      chain_id: enclave.keyset.chain_id,
      key_sources: ['simulator'],
      keysets: [hex(keysetDigest(enclave.keyset))],
    };
    expect(codeOf(verify(sealed, policy))).toBe('accepted as sealed');
  });

  it('may be the first, may have no ECDSA, may refuse everything', async () => {
    expect(codeOf(verify(await makeSealed(enclave, { height: 0 })))).toBe('accepted as sealed');
    expect(verify(await makeSealed(enclave, { ecdsa: false }))).toMatchObject({ ok: true, ecdsa_valid: null });
    const empty = change(signed, (file) => {
      file.transactions = [];
      file.refused = file.order.map(({ envelope_id }) => ({ envelope_id, code: 8, reason: 'replayed' }));
      file.asset_protections = [];
    });
    expect(verify(sealBatch(enclave, signBatch(enclave, repairAll(empty))))).toMatchObject({ ok: true, tx_count: 0 });
  });
});

/** DESIGN §3: "Signed by nobody": `tx_id`, `risk_assessment` beyond its score, `checked_at`, `advisory_ids`. */
const UNSIGNED = [
  'attestation.aegis_verification.advisory_ids',
  'attestation.aegis_verification.checked_at',
  'risk_assessment.category_breakdown',
  'risk_assessment.category_breakdown[].indicator_count',
  'risk_assessment.category_breakdown[].score',
  'risk_assessment.timestamp',
  'transactions[].tx_id',
];
const CODES = new Set<string>([...FAILURE_CODES, ...EVIDENCE_CODES]);

/** What got through, by leaf. Every refusal has a code of the table and a field. @param step  of so many alterations one is tried */
function unnoticed(
  document: BatchFile,
  prepare: (copy: BatchFile) => BatchFile | null,
  step = 1,
): Map<string, string[]> {
  const through = new Map<string, string[]>();
  for (const alteration of alterations(document).filter((_, i) => i % step === 0)) {
    const copy = prepare(altered(document, alteration));
    if (copy === null) continue;
    const verdict = verifyBatch(copy, { allow_simulated: true, now_ms: NOW_MS });
    if (verdict.ok) {
      through.set(alteration.leaf, [...(through.get(alteration.leaf) ?? []), alteration.name]);
      continue;
    }
    if (!CODES.has(verdict.code) || verdict.field === '') throw new Error(`${alteration.name}: ${verdict.code}`);
  }
  return through;
}

describe('one altered value', () => {
  it('is refused by name, whatever it is, but for those that nobody signs', () => {
    expect([...unnoticed(sealed, (copy) => copy).keys()].sort()).toEqual(UNSIGNED);
    // Words of a list can't be met by altering a character.
    const others = { recommendation: 'schedule_rotation', current_era: 'fault_tolerant' } as const;
    for (const word of Object.entries(others)) {
      const file = change(sealed, ({ risk_assessment }) => Object.assign(risk_assessment, Object.fromEntries([word])));
      expect(codeOf(verify(file))).toBe('accepted as sealed');
    }
  });

  it('is refused with all unkeyed hashes repaired, too', () => {
    const whole = (copy: BatchFile) => {
      const repaired = repairAll(copy);
      return isDeepStrictEqual(repaired, sealed) ? null : repaired;
    };
    const through = unnoticed(sealed, whole, LONG ? 1 : 10);
    expect([...through.keys()].filter((leaf) => !UNSIGNED.includes(leaf))).toEqual([]);
  });
});

/** As an enclave would sign it that breaks the rules; its content is judged before its seal. */
function resigned(edit: (copy: BatchFile) => unknown): BatchFile {
  return signBatch(enclave, repair(change(sealed, edit)));
}

describe('a batch that its enclave should not have made', () => {
  it.each<[string, string, (file: BatchFile) => unknown]>([
    ['envelope_missing', 'order[3]', (file) => file.transactions.splice(1, 1)],
    ['envelope_duplicate', 'transactions[5].envelope_id', (file) => file.transactions.push(file.transactions[0]!)],
    ['order_duplicate', 'order[7].envelope_id', (file) => file.order.push(file.order[0]!)],
    [
      'order_duplicate',
      'order[1].admission_sequence',
      (file) => Object.assign(file.order[1]!, { admission_sequence: file.order[0]!.admission_sequence }),
    ],
    ['envelope_unknown', 'refused[0].envelope_id', (file) => (file.refused[0]!.envelope_id = hex(new Uint8Array(32)))],
    ['refusal_unknown', 'refused[0].code', (file) => (file.refused[0]!.code = 999)],
    ['order_index_mismatch', 'transactions[0].order_index', (file) => (file.transactions[0]!.order_index = 6)],
    ['execution_order_invalid', 'transactions[0]', (file) => file.transactions.reverse()],
    ['envelope_epoch_invalid', 'transactions[0].epoch', (file) => (file.transactions[0]!.epoch += 1)],
    ['priority_fee_mismatch', 'transactions[0].priority_fee', (file) => (file.transactions[0]!.priority_fee = '1')],
    ['transaction_invalid', 'transactions[0].raw', (file) => (file.transactions[0]!.raw += '00')],
    ['parent_digest_invalid', 'header.parent_digest', (file) => (file.header.height = 0)],
    ['algorithms_missing', 'header.algorithms', (file) => (file.header.algorithms = 5)],
    ['ecdsa_unexpected', 'ecdsa_sig', (file) => (file.header.algorithms = 3)],
    ['ecdsa_missing', 'ecdsa_sig', (file) => (file.ecdsa_sig = null)],
    ['keyset_mismatch', 'keyset.epoch', (file) => (file.header.epoch += 1)],
    [
      'checkpoint_mismatch',
      'header.checkpoint_digest',
      (file) => (file.header.checkpoint_digest = `0x${'11'.repeat(64)}`),
    ],
    ['assets_root_mismatch', 'header.assets_root', (file) => (file.header.assets_root = `0x${'11'.repeat(64)}`)],
    [
      'assets_root_mismatch',
      'header.assets_root',
      (file) => (file.asset_protections[0]!.migration_state = 'Protected'),
    ],
    ['assets_root_mismatch', 'header.assets_root', (file) => (file.asset_protections[0]!.asset_type = 'OnChainNFT')],
    ['assets_root_mismatch', 'header.assets_root', (file) => file.asset_protections.pop()],
    ['assets_order_invalid', 'asset_protections[1].asset_id', (file) => file.asset_protections.reverse()],
    ['asset_not_declared', 'asset_protections[0].asset_id', (file) => (file.asset_protections[0]!.asset_id = 'a')],
  ])('%s at %s', (code, field, edit) => {
    expect(verify(resigned(edit))).toMatchObject({ ok: false, code, field });
  });

  it('transaction_duplicate: one transaction in two envelopes', () => {
    const file = resigned((copy) => {
      const [first, second] = copy.transactions as [BatchFile['transactions'][0], BatchFile['transactions'][0]];
      second.raw = first.raw;
      second.priority_fee = first.priority_fee;
    });
    expect(codeOf(verify(file))).toBe('transaction_duplicate');
  });

  it('transaction_chain_mismatch: transactions of another chain', async () => {
    const elsewhere = await makeSigned(await makeEnclave({ chain_id: '10', log_id: enclave.keyset.log_id }));
    const file = resigned((copy) => {
      const { raw, priority_fee } = elsewhere.transactions[0]!;
      Object.assign(copy.transactions[0]!, { raw, priority_fee });
    });
    expect(codeOf(verify(file))).toBe('transaction_chain_mismatch');
  });
});

describe('signatures', () => {
  it('have one form: the other s and the other v of ECDSA are refused', () => {
    const bytes = fromHex(sealed.ecdsa_sig!.signature);
    const { r, s } = secp256k1.Signature.fromBytes(bytes.slice(0, 64), 'compact');
    const high = new secp256k1.Signature(r, secp256k1.Point.Fn.ORDER - s).toBytes('compact');
    for (const [scalars, v] of [
      [high, 55 - bytes[64]!],
      [bytes.slice(0, 64), 55 - bytes[64]!],
      [bytes.slice(0, 64), bytes[64]! - 27],
      [new Uint8Array(64), 27],
    ] as const) {
      const file = change(sealed, (copy) => (copy.ecdsa_sig!.signature = hex(Uint8Array.of(...scalars, v))));
      expect(verify(file)).toMatchObject({ ok: false, code: 'ecdsa_invalid', ecdsa_valid: false, slh_dsa_valid: true });
    }
  });

  it('hold under their own tag alone', () => {
    const file = change(sealed, (copy) => {
      copy.ml_dsa_sig.signature = copy.slh_dsa_sig!.ml_dsa_signature;
    });
    expect(codeOf(verify(file))).toBe('ml_dsa_invalid');
  });

  it('under any-pq may fail in one family, not in both', () => {
    const policy = { signatures: 'any-pq' } as const;
    const other = (text: string) => `${text[0] === 'A' ? 'B' : 'A'}${text.slice(1)}`;
    const withoutSlh = change(sealed, ({ slh_dsa_sig }) => (slh_dsa_sig!.signature = other(slh_dsa_sig!.signature)));
    const withoutMl = change(sealed, ({ ml_dsa_sig }) => (ml_dsa_sig.signature = other(ml_dsa_sig.signature)));
    const withoutHead = change(
      sealed,
      ({ slh_dsa_sig: sig }) => (sig!.ml_dsa_signature = other(sig!.ml_dsa_signature)),
    );
    const without = change(withoutSlh, ({ ml_dsa_sig }) => (ml_dsa_sig.signature = other(ml_dsa_sig.signature)));
    const withoutEcdsa = change(sealed, ({ ecdsa_sig }) => (ecdsa_sig!.signature = `0x${'00'.repeat(65)}`));

    expect(verify(withoutSlh)).toMatchObject({ code: 'slh_dsa_invalid', field: 'slh_dsa_sig.signature' });
    expect(verify(withoutHead)).toMatchObject({ code: 'seal_ml_dsa_invalid', field: 'slh_dsa_sig.ml_dsa_signature' });
    expect(verify(withoutSlh, policy)).toMatchObject({ ok: true, ml_dsa_valid: true, slh_dsa_valid: false });
    expect(verify(withoutMl, policy)).toMatchObject({ ok: true, ml_dsa_valid: false, slh_dsa_valid: true });
    expect(verify(withoutHead, policy)).toMatchObject({ ok: true, ml_dsa_valid: false });
    expect(verify(withoutEcdsa, policy)).toMatchObject({ ok: true, ecdsa_valid: false });
    expect(codeOf(verify(without, policy))).toBe('slh_dsa_invalid');
  });
});

describe('an unsealed batch', () => {
  const pinned = (): VerificationPolicyInput => ({
    signatures: 'any-pq',
    keysets: [hex(keysetDigest(enclave.keyset))],
  });

  it('never passes under all', () => {
    expect(verify(signed)).toMatchObject({ code: 'unsealed', field: 'slh_dsa_sig' });
    expect(codeOf(verify(signed, { ...pinned(), signatures: 'all' }))).toBe('unsealed');
  });

  it('passes under any-pq only with a keyset that the policy pins, and says less', () => {
    expect(codeOf(verify(signed, { signatures: 'any-pq' }))).toBe('unsealed');
    const statement = { ok: true, status: 'signed', statement: SIGNED_STATEMENT, size: null, slh_dsa_valid: null };
    expect(verify(signed, pinned())).toMatchObject(statement);
    expect(codeOf(verify(signed, pinned(), { allow_simulated: false }))).toBe('simulated_evidence');
    const file = change(signed, ({ ml_dsa_sig }) => (ml_dsa_sig.signature = sealed.slh_dsa_sig!.ml_dsa_signature));
    expect(codeOf(verify(file, pinned()))).toBe('ml_dsa_invalid');
  });
});

const zero = hex(new Uint8Array(48));

describe('a policy', () => {
  it.each<[string, string, () => VerificationPolicyInput]>([
    ['wrong_log', 'header.log_id', () => ({ log_id: hex(new Uint8Array(64)) })],
    ['wrong_chain', 'header.chain_id', () => ({ chain_id: 1 })],
    ['key_source_refused', 'keyset.key_source', () => ({ key_sources: ['dstack', 'sgx'] })],
    ['keyset_refused', 'keyset', () => ({ keysets: [hex(new Uint8Array(64))] })],
    ['measurements_refused', 'attestation.quote', () => ({ measurements: [{ mrtd: zero, rtmr0: zero }] })],
    ['compose_hash_refused', 'attestation.event_log', () => ({ compose_hashes: [hex(new Uint8Array(32))] })],
    ['tcb_status_refused', 'attestation.quote', () => ({ tcb_statuses: ['OutOfDate'] })],
  ])('refuses with %s', (code, field, policy) => {
    expect(verify(sealed, policy())).toMatchObject({ ok: false, code, field });
  });

  it('that names a root trusts no other, simulated or not', async () => {
    const other = await makeEnclave();
    const roots = [base64(other.pki.certificates.root)];
    expect(codeOf(verify(sealed, { roots }))).toBe('root_untrusted');
    expect(codeOf(verify(sealed, { roots }, { allow_simulated: false }))).toBe('simulated_evidence');
  });

  it('refuses the forgery that an attacker makes with keys and a platform of their own', async () => {
    const { chain_id, log_id } = enclave.keyset;
    const forged = await makeSealed(await makeEnclave({ chain_id, log_id }));
    // Nothing simulated proves anything, so without a policy it passes.
    expect(codeOf(verify(forged))).toBe('accepted as sealed');
    expect(codeOf(verify(forged, { keysets: [hex(keysetDigest(enclave.keyset))] }))).toBe('keyset_refused');
    expect(codeOf(verify(forged, { roots: [base64(enclave.pki.certificates.root)] }))).toBe('root_untrusted');
  });

  it.each<[string, unknown]>([
    ['an unknown key', { root: [] }],
    ['an entry that allows nothing', { measurements: [{}] }],
    ['no entry', { measurements: [] }],
    ['a root that is no certificate', { roots: ['AAAA'] }],
    ['a short register', { measurements: [{ mrtd: '0x00' }] }],
    ['an unknown key source', { key_sources: ['tpm'] }],
    ['another signature policy', { signatures: 'none' }],
  ])('can not have %s', (_, policy) => {
    expect(VerificationPolicy.safeParse(policy).success).toBe(false);
  });
});

describe('evidence', () => {
  it('of no hardware is refused even when everything else holds', () => {
    const roots = [base64(enclave.pki.certificates.root)];
    const options = { allow_simulated: false };
    expect(verify(sealed, {}, options)).toMatchObject({ code: 'simulated_evidence', field: 'attestation.quote' });
    expect(codeOf(verify(sealed, { roots }, options))).toBe('simulated_evidence');
  });

  /** A genuine quote of Intel hardware in a batch that it has nothing to do with. */
  const withHardware = async (key_source: number) => {
    const folder = new URL('../test/fixtures/tee/tdx/', import.meta.url);
    const quote = new Uint8Array(readFileSync(new URL('tdx_quote', folder)));
    const file = await makeSealed(await makeEnclave({ key_source }));
    const collateral = JSON.parse(readFileSync(new URL('tdx_quote_collateral.json', folder), 'utf8'));
    Object.assign(file.attestation!, {
      quote: base64(canonicalQuote(quote)),
      collateral: canonicalCollateral(collateral),
    });
    return file;
  };

  it('of hardware needs a policy that says which enclave, and attests what it attests', async () => {
    const file = await withHardware(2);
    const { log_id } = file.header;
    const at = { allow_simulated: false, now_ms: NOW_MS };
    expect(verify(file, {}, at)).toMatchObject({ code: 'policy_incomplete', field: 'policy' });
    const policy = { log_id, key_sources: ['credential' as const] };
    expect(verify(file, policy, at)).toMatchObject({ code: 'policy_incomplete' });
    const whole = { ...policy, measurements: [{ mrtd: zero }] };
    expect(codeOf(verify(file, whole, at))).toMatch(/_expired$/);
  });

  it('of hardware does not come with keys of something else', async () => {
    expect(codeOf(verify(await withHardware(0)))).toBe('key_source_mismatch');
    expect(codeOf(verify(await withHardware(0), {}, { allow_simulated: false }))).toBe('simulated_evidence');
    expect(codeOf(verify(await withHardware(3), {}, { allow_simulated: false }))).toBe('key_source_mismatch');
  });

  it('is judged at the time given', () => {
    const at = (now_ms: number) => codeOf(verify(sealed, {}, { now_ms }));
    expect(at(COLLATERAL_END_MS)).toBe('accepted as sealed');
    expect(at(COLLATERAL_END_MS + 86_400_000)).toBe('crl_expired');
    expect(at(NOW_MS - 300_000)).toBe('accepted as sealed');
    expect(at(NOW_MS - 300_001)).toBe('seal_in_future');
    for (const none of [Number.NaN, -1, 0.5, Number.POSITIVE_INFINITY, Number.MAX_SAFE_INTEGER]) {
      expect(at(none)).toBe('now_invalid');
    }
    // An enclave's clock may say anything: no time makes the verifier throw.
    const file = sealBatch(enclave, structuredClone(signed), { timestamp_ms: Number.MAX_SAFE_INTEGER });
    expect(codeOf(verify(file, {}, { now_ms: 253_402_300_799_999 }))).toBe('seal_in_future');
  });

  it('lives a day at most, from the time of the seal', () => {
    const lasting = (not_after_ms: number) =>
      codeOf(verify(attestBatch(enclave, structuredClone(sealed), not_after_ms)));
    expect(lasting(NOW_MS + 1)).toBe('accepted as sealed');
    expect(lasting(NOW_MS + 86_400_000)).toBe('accepted as sealed');
    expect(lasting(NOW_MS + 86_400_001)).toBe('not_after_invalid');
    expect(lasting(NOW_MS)).toBe('not_after_invalid');
  });

  it('attests one seal, not another of the same enclave', async () => {
    const other = await makeSealed(enclave);
    const file = change(sealed, (copy) => (copy.attestation = other.attestation));
    expect(verify(file)).toMatchObject({ code: 'report_data_mismatch', field: 'attestation.report_data' });
  });

  it('must be of the platforms that the head names, each in its own role', () => {
    const named: [providers: number, code: string, field: string][] = [
      [3, 'providers_mismatch', 'slh_dsa_sig.seal.providers'],
      [2, 'report_data_mismatch', 'attestation.report_data'],
    ];
    for (const [providers, code, field] of named) {
      expect(verify(sealBatch(enclave, structuredClone(signed), { providers }))).toMatchObject({ code, field });
    }
  });

  it('does not come with keys of another epoch or log', () => {
    const seals: [string, Partial<BatchFile['header']>][] = [
      ['seal_epoch_mismatch', { epoch: 4 }],
      ['seal_log_mismatch', { log_id: hex(new Uint8Array(64)) }],
    ];
    for (const [code, settings] of seals) {
      expect(codeOf(verify(sealBatch(enclave, structuredClone(signed), settings as object)))).toBe(code);
    }
    const file = sealBatch(enclave, structuredClone(signed), { keyset_digest: hex(new Uint8Array(64)) });
    expect(codeOf(verify(file))).toBe('seal_keyset_mismatch');
  });
});

describe('what is no batch file', () => {
  it.each<[string, unknown]>([
    ['nothing', undefined],
    ['null', null],
    ['a number', 7],
    ['a string', 'batch'],
    ['a list', []],
    ['an empty object', {}],
    ['a deep nest', JSON.parse(`${'['.repeat(50_000)}${']'.repeat(50_000)}`)],
  ])('is malformed: %s', (_, file) => {
    expect(verifyBatch(file, { now_ms: NOW_MS })).toMatchObject({ ok: false, code: 'malformed' });
  });

  it('never makes the verifier throw, whatever stands wherever', () => {
    const anything = fc.oneof(fc.jsonValue({ maxDepth: 2 }), fc.anything({ withBigInt: true, withSparseArray: true }));
    const all = [...alterations(sealed)];
    fc.assert(
      fc.property(anything, fc.nat(all.length - 1), fc.nat(all.length - 1), (value, i, j) => {
        expect(verifyBatch(value, { now_ms: NOW_MS }).ok).toBe(false);
        const twice = altered(sealed, all[i]!);
        try {
          all[j]!.apply({ document: twice });
        } catch {
          // The first alteration took away what the second was for.
        }
        expect(typeof verifyBatch(twice, { allow_simulated: true, now_ms: NOW_MS }).ok).toBe('boolean');
      }),
      { numRuns: 300 },
    );
  });

  it('is malformed in a value of another spelling', () => {
    const spellings: ((file: BatchFile) => unknown)[] = [
      (file) => (file.header.block_number = `0${file.header.block_number}`),
      (file) => (file.header.chain_id = '0x7a69'),
      (file) => (file.timestamp = file.timestamp.replace('Z', '+00:00')),
      (file) => (file.keyset.receipt = file.keyset.receipt.replace('=', '')),
      (file) => (file.keyset.receipt = `${file.keyset.receipt.slice(0, 8)}\n${file.keyset.receipt.slice(8)}`),
      (file) => (file.batch_id = file.batch_id.toUpperCase().replace('0X', '0x')),
      (file) => (file.keyset.ml_dsa_87 = file.keyset.ml_dsa_87.replaceAll('/', '_').replaceAll('+', '-')),
    ];
    for (const spell of spellings) expect(codeOf(verify(change(sealed, spell)))).toBe('malformed');
  });
});

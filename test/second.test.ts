// The second verifier (docs/verify.mjs), which shares no code with the first: both say the same of hundreds of altered files. Only
// what it leaves to others, Intel's collateral, it may accept where the first refuses.
import { spawnSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { secp256k1 } from '@noble/curves/secp256k1.js';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type { BatchFile } from '../actors/batch.ts';
import { writePem } from '../actors/certificate.ts';
import { base64, fromHex, hex } from '../actors/encoding.ts';
import { canonicalEventLog } from '../actors/eventlog.ts';
import { canonicalQuote, readQuote } from '../actors/intelquote.ts';
import type { Attestation } from '../actors/quote.ts';
import { type ReportField, reportField } from '../actors/tdx.ts';
import { verifyBatch } from '../client/verify.ts';
import { makePki } from '../daemon/tee/pki.ts';
import { recover } from '../docs/ethereum.mjs';
import { verify as verifyAgain } from '../docs/verify.mjs';
import { type Alteration, alterations, altered } from './alteration.ts';
import { makeFallen, makeWitnessed } from './bothplatforms.ts';
import { type Enclave, makeEnclave, makeSealed, makeSigned, NOW_MS, repair, repairAll, sealBatch } from './forge.ts';
import { LONG } from './long.ts';
import { seeded } from './seed.ts';

const VERIFY = new URL('../docs/verify.mjs', import.meta.url).pathname;
/** Each leaf of a file is among them. */
const ALTERED = LONG ? 500 : 200;
const OPTIONS = { now_ms: NOW_MS, allow_simulated: true };

let enclave: Enclave;
let sealed: BatchFile;
beforeAll(async () => {
  enclave = await makeEnclave();
  sealed = await makeSealed(enclave);
});

/** Both verdicts in words, so that a failure shows them. */
function both(file: unknown): { first: string; second: string; agree: boolean } {
  const one = verifyBatch(file, OPTIONS);
  const two = verifyAgain(file, OPTIONS);
  return {
    first: one.ok ? 'ok' : `${one.code} at ${one.field}`,
    second: two.ok ? 'ok' : two.reason,
    agree: one.ok === two.ok,
  };
}

/** `count` alterations, each leaf of the file among them as evenly as can be. */
function sample(count: number, seed: number, file = sealed, isMeant = (_leaf: string) => true): Alteration[] {
  const next = seeded(seed);
  const byLeaf = new Map<string, Alteration[]>();
  for (const alteration of alterations(file)) {
    if (!isMeant(alteration.leaf)) continue;
    const list = byLeaf.get(alteration.leaf) ?? [];
    list.splice(Math.floor(next() * (list.length + 1)), 0, alteration);
    byLeaf.set(alteration.leaf, list);
  }
  const lists = [...byLeaf.values()];
  const taken: Alteration[] = [];
  for (let round = 0; taken.length < count && lists.some((list) => round < list.length); round++) {
    taken.push(...lists.flatMap((list) => list.slice(round, round + 1)));
  }
  return taken.slice(0, count);
}

/** Judged elsewhere (see the head of verify.mjs): content of the collateral. Not its absence, shape or spelling of hex. */
const COLLATERAL_ONLY = /^attestation\.(?:phala_redundancy\.)?collateral\./;

/** What nobody can say of evidence without being refused. @param other  of the same batch, with a second platform in the other role */
const SECOND_EDITS: ((attestation: Attestation, other: Attestation) => unknown)[] = [
  (attestation) => (attestation.phala_redundancy = null),
  (attestation, other) => (attestation.phala_redundancy = other.phala_redundancy),
  (attestation) => (attestation.phala_redundancy!.independent = false),
  (attestation) => (attestation.phala_redundancy!.worker_id = 'another'),
  (attestation) => (attestation.phala_redundancy!.enclave_id = ''),
  (attestation) => {
    const { role } = attestation.phala_redundancy!;
    attestation.phala_redundancy!.role = role === 'quote' ? 'witness' : 'quote';
  },
  (attestation) => {
    const { quote, report_data, collateral } = attestation.phala_redundancy!;
    Object.assign(attestation.phala_redundancy!, { quote: attestation.quote, report_data: attestation.report_data });
    attestation.phala_redundancy!.collateral = attestation.collateral;
    Object.assign(attestation, { quote, report_data, collateral });
  },
];

describe('two verifiers', () => {
  it.each([
    ['as it is', 1, (file: BatchFile) => file],
    ['with all that takes no key repaired', 3, repairAll],
  ])(`say the same of ${ALTERED} altered files, %s`, (_, seed, prepare) => {
    const chosen = sample(ALTERED, seed);
    expect(chosen).toHaveLength(ALTERED);
    const apart: string[] = [];
    const accepted = new Set<string>();
    for (const alteration of chosen) {
      const verdicts = both(prepare(altered(sealed, alteration)));
      if (verdicts.first === 'ok') accepted.add(alteration.leaf);
      if (verdicts.agree) continue;
      // Never the other way round: what the first accepts the second does.
      if (COLLATERAL_ONLY.test(alteration.leaf) && verdicts.second === 'ok') continue;
      apart.push(`${alteration.name}: ${verdicts.first} / ${verdicts.second}`);
    }
    expect(apart).toEqual([]);
    expect([...accepted]).toContain('transactions[].tx_id');
  });

  it('accept the same whole files', async () => {
    const files = [
      sealed,
      await makeSealed(enclave, { height: 0 }),
      await makeSealed(enclave, { ecdsa: false }),
      JSON.parse(readFileSync(new URL('../docs/example/batch.json', import.meta.url), 'utf8')) as BatchFile,
    ];
    for (const file of files) expect(both(file)).toMatchObject({ first: 'ok', second: 'ok' });
  });

  it('refuse the same files that an enclave should not have made', () => {
    const edits: ((file: BatchFile) => unknown)[] = [
      (file) => file.transactions.splice(1, 1),
      (file) => file.transactions.reverse(),
      (file) => file.transactions.push(file.transactions[0]!),
      (file) => file.order.push(file.order[0]!),
      (file) => (file.order[1]!.admission_sequence = file.order[0]!.admission_sequence),
      (file) => (file.refused[0]!.code = 999),
      (file) => (file.refused[0]!.envelope_id = hex(new Uint8Array(32))),
      (file) => (file.transactions[0]!.epoch += 1),
      (file) => (file.transactions[0]!.priority_fee = '1'),
      (file) => (file.transactions[0]!.raw += '00'),
      (file) => (file.transactions[1]!.raw = file.transactions[0]!.raw),
      (file) => (file.header.height = 0),
      (file) => (file.header.algorithms = 5),
      (file) => (file.header.algorithms = 3),
      (file) => (file.ecdsa_sig = null),
      (file) => (file.header.epoch += 1),
      (file) => (file.header.chain_id = '1'),
      (file) => (file.header.chain_id = String(2n ** 256n)),
      (file) => (file.header.checkpoint_digest = `0x${'11'.repeat(64)}`),
      (file) => (file.header.assets_root = `0x${'11'.repeat(64)}`),
    ];
    for (const edit of edits) {
      const file = structuredClone(sealed);
      edit(file);
      // The seal is of another batch now, but both look at it only after what these edits break.
      const { first, second } = both(repair(file));
      expect(first, String(edit)).not.toMatch(/^ok$|dsa_invalid|attestation/);
      expect(second, String(edit)).not.toMatch(/^ok$|dsa_|quote/);
    }
  });

  it('judge the evidence of two platforms alike', async () => {
    const other = makePki();
    const names = { worker_id: 'wörker-7', enclave_id: null };
    const files = [
      await makeWitnessed(enclave, other, { role: 'witness' }),
      await makeWitnessed(enclave, other, { role: 'quote', names }),
      await makeWitnessed(enclave, other, { role: 'witness', names, freshness: 0 }),
      await makeWitnessed(enclave, enclave.pki, { role: 'quote' }),
      await makeFallen(enclave, other),
    ];
    for (const file of files) expect(both(file)).toMatchObject({ first: 'ok', second: 'ok' });
    expect(files.map(({ attestation }) => attestation!.phala_redundancy?.independent)).toEqual([
      ...[true, true, true, false, undefined],
    ]);
    for (const edit of SECOND_EDITS) {
      for (const [i, file] of files.slice(0, 2).entries()) {
        const edited = structuredClone(file);
        edit(edited.attestation!, files[1 - i]!.attestation!);
        const { first, second } = both(edited);
        expect([first, second], `${i}: ${edit}`).not.toContain('ok');
      }
    }
    const earned = await makeWitnessed(enclave, other, { role: 'quote', freshness: 1 });
    expect(both(earned)).toMatchObject({ first: expect.stringContaining('freshness'), agree: true });
    const alone = await makeFallen(enclave, other);
    const swapped = { ...files[1]!, attestation: { ...alone.attestation!, phala_redundancy: null } };
    expect(both(swapped)).toMatchObject({ first: expect.stringContaining('providers'), agree: true });
  });

  it.each(['witness', 'quote'] as const)(
    'say the same of a second platform in the role %s, altered at random',
    async (role) => {
      const file = await makeWitnessed(enclave, makePki(), { role, names: { worker_id: 'one', enclave_id: 'two' } });
      const chosen = sample(LONG ? 120 : 20, 3, file, (leaf) => leaf.startsWith('attestation.phala_redundancy'));
      const apart = chosen.flatMap((alteration) => {
        const verdicts = both(altered(file, alteration));
        const ours = COLLATERAL_ONLY.test(alteration.leaf) && verdicts.second === 'ok';
        return verdicts.agree || ours ? [] : [`${alteration.name}: ${verdicts.first} / ${verdicts.second}`];
      });
      expect(apart).toEqual([]);
    },
  );

  it('refuse the same seals and the other s of ECDSA', async () => {
    const signed = await makeSigned(enclave);
    const seals: object[] = [{ providers: 3 }, { epoch: 4 }, { log_id: hex(new Uint8Array(64)) }];
    seals.push({ timestamp_ms: NOW_MS + 300_001 }, { keyset_digest: hex(new Uint8Array(64)) });
    for (const settings of seals) {
      const verdicts = both(sealBatch(enclave, structuredClone(signed), settings));
      expect(verdicts, JSON.stringify(settings)).toMatchObject({ agree: true });
      expect(verdicts.first).not.toBe('ok');
    }
    const bytes = fromHex(sealed.ecdsa_sig!.signature);
    const { r, s } = secp256k1.Signature.fromBytes(bytes.slice(0, 64), 'compact');
    const high = new secp256k1.Signature(r, secp256k1.Point.Fn.ORDER - s).toBytes('compact');
    const file = structuredClone(sealed);
    file.ecdsa_sig!.signature = hex(Uint8Array.of(...high, 55 - bytes[64]!));
    expect(both(file)).toMatchObject({
      first: 'ecdsa_invalid at ecdsa_sig.signature',
      second: 'signature out of range',
    });
  });

  it('read a real quote and a real event log', () => {
    const folder = new URL('./fixtures/tee/dstack/', import.meta.url);
    const real = JSON.parse(readFileSync(new URL('quote-report.json', folder), 'utf8')) as Record<string, string>;
    const quote = canonicalQuote(Uint8Array.fromHex(real.quote!));
    const { report } = readQuote(quote);
    const register = (name: ReportField) => hex(reportField(report, name));
    const measurements = {
      ...{ mrtd: register('mrtd'), rtmr0: register('rtmr0'), rtmr1: register('rtmr1') },
      ...{ rtmr2: register('rtmr2'), rtmr3: register('rtmr3') },
    };
    const event_log = canonicalEventLog(real.event_log!);
    const judge = (fields: object) => {
      const file = structuredClone(sealed);
      Object.assign(file.attestation!, { quote: base64(quote), measurements, event_log }, fields);
      const verdict = verifyAgain(file, OPTIONS);
      return verdict.ok ? 'ok' : verdict.reason;
    };
    // Genuine in every signature, and about something else.
    expect(judge({})).toBe('report_data');
    expect(judge({ event_log: null })).toBe('report_data');
    expect(judge({ event_log: '[]' })).toBe('measurements');
    expect(judge({ event_log: ` ${event_log}` })).toBe('event_log: not canonical');
    expect(judge({ quote: base64(quote.with(600, quote[600]! ^ 1)) })).toBe('quote: signature');
  });
});

describe('recovery of a secp256k1 key by points whose y nobody tells', () => {
  it('finds what noble finds', () => {
    for (let i = 1; i <= 20; i++) {
      const secret = new Uint8Array(32).fill(i);
      const hash = new Uint8Array(32).fill(255 - i);
      const { r, s, recovery } = secp256k1.sign(hash, secret, { prehash: false });
      const key = secp256k1.getPublicKey(secret, false).subarray(1);
      expect(hex(recover(Buffer.from(hash), r, s, recovery!))).toBe(hex(key));
      expect(hex(recover(Buffer.from(hash), r, s, 1 - recovery!))).not.toBe(hex(key));
    }
  });
});

describe('the command', () => {
  const folder = mkdtempSync(join(tmpdir(), 'aegis-second-'));
  afterAll(() => rmSync(folder, { recursive: true, force: true }));
  const run = (...args: string[]) => {
    const { status, stdout } = spawnSync(process.execPath, [VERIFY, '--at', new Date(NOW_MS).toISOString(), ...args], {
      encoding: 'utf8',
    });
    return { status, stdout };
  };
  const write = (name: string, text: string) => {
    const path = join(folder, name);
    writeFileSync(path, text);
    return path;
  };

  it('exits with 0, 1 and 2 as the first one does', async () => {
    const good = write('good.json', JSON.stringify(sealed));
    const bad = write('bad.json', JSON.stringify({ ...sealed, height: 8 }));
    const root = write('root.pem', writePem([enclave.pki.certificates.root]));
    const other = write('other.pem', writePem([(await makeEnclave()).pki.certificates.root]));
    const { status, stdout } = run('--json', '--allow-simulated', '--root', root, good);
    expect({ status, first: JSON.parse(stdout)[0] }).toMatchObject({ status: 0, first: { file: good, ok: true } });
    expect(run(good).status).toBe(1);
    expect(run('--allow-simulated', good, bad).status).toBe(1);
    expect(run('--allow-simulated', '--root', other, good).status).toBe(1);
    expect(run('--allow-simulated').status).toBe(2);
    expect(run('--allow-simulated', join(folder, 'none')).status).toBe(2);
    expect(run('--unknown', good).status).toBe(2);
  });

  it('reads one spelling of JSON', () => {
    const text = JSON.stringify(sealed, null, 2);
    const spellings = [
      text.replace('"version": 1,', '"version": 1, "version": 1,'),
      text.replace('"version": 1,', '"version": 1.0,'),
      text.replace('"height": 7,', '"height": 7e0,'),
    ];
    for (const spelling of spellings) {
      expect(run('--allow-simulated', write('spelled.json', spelling)).status).toBe(1);
    }
    expect(run('--allow-simulated', write('plain.json', text)).status).toBe(0);
  });

  it('imports Node alone, in a few hundred lines', () => {
    const texts = ['verify.mjs', 'quote.mjs', 'ethereum.mjs'].map((name) =>
      readFileSync(new URL(`../docs/${name}`, import.meta.url), 'utf8'),
    );
    for (const text of texts) expect(text.trimEnd().split('\n').length).toBeLessThan(300);
    const imported = texts.flatMap((text) => [...text.matchAll(/ from '([^']+)'/g)].map(([, name]) => name));
    expect([...new Set(imported)].filter((name) => !name!.startsWith('node:')).sort()).toEqual([
      './ethereum.mjs',
      './quote.mjs',
    ]);
  });
});

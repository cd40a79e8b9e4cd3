// docs/format.md against the code and against a path of its own: every value of its worked example is recomputed from the
// text of the page by viem's ABI encoder and node:crypto, and again by actors/. And what `npm run docs` writes is up to date.
import { createHash, createPublicKey, hkdfSync, verify } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { secp256k1 } from '@noble/curves/secp256k1.js';
import { hkdf } from '@noble/hashes/hkdf.js';
import { sha512 as nobleSha512 } from '@noble/hashes/sha2.js';
import { ml_kem768_x25519 } from '@noble/post-quantum/hybrid.js';
import { ml_dsa87 } from '@noble/post-quantum/ml-dsa.js';
import { slh_dsa_sha2_256s } from '@noble/post-quantum/slh-dsa.js';
import { Ajv2020 } from 'ajv/dist/2020.js';
import { decrypt } from 'eciesjs';
import { bytesToHex, encodeAbiParameters, type Hex, hashTypedData, hexToBytes, recoverAddress } from 'viem';
import { beforeAll, describe, expect, it } from 'vitest';
import { BatchFile, orderRoot, refusedRoot, txRoot } from '../actors/batch.ts';
import * as digests from '../actors/digest.ts';
import { batchHash } from '../actors/eip712.ts';
import { base64, fromHex, hex } from '../actors/encoding.ts';
import { Envelope, identify, refsRoot } from '../actors/envelope.ts';
import { Keyset } from '../actors/keyset.ts';
import { adminsDigestOf, Order } from '../actors/order.ts';
import { Receipt } from '../actors/receipt.ts';
import { REFUSALS } from '../actors/refusal.ts';
import { Head } from '../actors/seal.ts';
import { logLeaf, readerOf, rootAt } from '../actors/tree.ts';
import { deriveEpoch, keysetOf } from '../daemon/keys/keyring.ts';
import { PARTS, pathOf } from '../docs/generate.ts';
import { slhDsaKey } from '../workers/slhdsa.ts';
import { openXWing, xwingKey } from '../workers/xwing.ts';
import { makeEnclave, makeSealed, makeSigned } from './forge.ts';

const page = readFileSync(pathOf('docs/format.md'), 'utf8');
const read = (name: string): unknown => JSON.parse(readFileSync(pathOf(`docs/example/${name}.json`), 'utf8'));
const sha512 = (...parts: Uint8Array[]) => {
  const hash = createHash('sha512');
  for (const part of parts) hash.update(part);
  return new Uint8Array(hash.digest());
};

/** The lines of a block by what stands before ` = `. */
type Block = ReadonlyMap<string, string>;
const blocks = new Map<string, Block>(
  [...page.matchAll(/^```text (.+)\n([\s\S]*?)^```$/gm)].map(([, name, body]) => [
    name!,
    new Map(
      body!
        .trimEnd()
        .split('\n')
        .map((line) => line.split(' = ') as [string, string]),
    ),
  ]),
);
const block = (name: string): Block => {
  const found = blocks.get(name);
  if (found === undefined) throw new Error(`the page has no block ${name}`);
  return found;
};
const bytes = (text: string | undefined) => hexToBytes(text as Hex);
const preimages = [...blocks.keys()].filter((name) => name.startsWith('preimage '));
const fieldsOf = (of: Block) => [...of].filter(([key]) => /^(uint|bytes)/.test(key));
const value = (name: string, field: string) => {
  const found = fieldsOf(block(name)).find(([key]) => key.endsWith(` ${field}`));
  return found![1];
};
const digestOf = (name: string) => block(name).get('SHA-512')!;

const batch = BatchFile.parse(read('batch'));
const envelopes = Envelope.array().parse(read('envelopes'));
const receipt = Receipt.parse(read('receipt'));

describe('the tables of docs/format.md', () => {
  const rows = new Map(
    [...page.matchAll(/^\| `(aegis\/[\w-]+\/v1)` \| `(.+?)` \|/gm)].map(([, tag, fields]) => [tag!, fields!]),
  );

  it('have a row or a word for every tag of the code', () => {
    const reserved = /^Reserved, .+$/m.exec(page)?.[0] ?? '';
    for (const tag of digests.TAGS) expect(rows.has(tag) !== reserved.includes(`\`${tag}\``), tag).toBe(true);
    for (const tag of rows.keys()) expect(digests.TAGS).toContain(tag);
  });

  it.each(preimages)('say the fields of %s in its order', (name) => {
    const tag = name.split(' ')[1]!;
    const fields = fieldsOf(block(name)).map(([key]) => key);
    expect(fields.join(', ')).toBe(rows.get(tag));
  });

  it('say every refusal', () => {
    const said = [...page.matchAll(/^\| (\d+) \| `(\w+)` \| (.+) \|$/gm)].map(([, code, name, sentence]) => [
      name,
      [Number(code), sentence],
    ]);
    expect(Object.fromEntries(said)).toEqual(
      Object.fromEntries(Object.entries(REFUSALS).map(([name, [code, sentence]]) => [name, [code, sentence]])),
    );
  });
});

describe('the worked example, from the page alone', () => {
  it.each(preimages)('%s', (name) => {
    const of = block(name);
    const domain = sha512(new TextEncoder().encode(name.split(' ')[1]!));
    expect(of.get('T ‖ T')).toBe(bytesToHex(Uint8Array.of(...domain, ...domain)));
    const fields = fieldsOf(of);
    const words = fields.map(([key, text]) => {
      const type = key.split(' ')[0]!;
      if (type === 'bytes32[2]') return [`0x${text.slice(2, 66)}`, `0x${text.slice(66)}`];
      return type === 'bytes32' ? text : BigInt(text);
    });
    const types = fields.map(([key]) => ({ type: key.split(' ')[0]! }));
    const encoded = hexToBytes(encodeAbiParameters(types, words as never));
    expect(of.get('SHA-512')).toBe(bytesToHex(sha512(domain, domain, encoded)));
  });

  it.each([...blocks.keys()].filter((name) => name.startsWith('tree ')))('%s', (name) => {
    const of = block(name);
    const entries = [...of].filter(([key]) => key.startsWith('entry ')).map(([, text]) => bytes(text));
    entries.forEach((entry, i) => {
      expect(of.get(`leaf ${i}`)).toBe(bytesToHex(sha512(Uint8Array.of(0), entry)));
    });
    expect(of.get('root')).toBe(bytesToHex(merkle(entries)));
  });

  it('links: roots and digests of one block are fields of the next', () => {
    const header = 'preimage aegis/batch/v1 batch_id';
    for (const root of ['order_root', 'tx_root', 'refused_root', 'assets_root']) {
      expect(value(header, root)).toBe(block(`tree ${root}`).get('root'));
    }
    const log_id = digestOf('preimage aegis/log/v1 log_id');
    for (const name of preimages.filter((key) =>
      /keyset|envelope\/|aad|receipt|batch|seal|admins|order|checkpoint/.test(key.split(' ')[1]!),
    )) {
      if (!name.includes('envelope-id')) expect(value(name, 'log_id')).toBe(log_id);
    }
    expect(value('preimage aegis/checkpoint/v1 checkpoint', 'state_hash')).toBe(block('tree state_hash').get('root'));
    ['ledger', 'token'].forEach((id, i) => {
      const entry = block('tree state_hash').get(`entry ${i}`)!;
      expect(entry.slice(0, 130)).toBe(digestOf(`preimage aegis/asset/v1 asset ${id}`));
      expect(BigInt(`0x${entry.slice(130)}`)).toBe(i === 0 ? 0n : 31_337n);
    });
    const head = 'preimage aegis/seal/v1 head';
    const keyset_digest = digestOf('preimage aegis/keyset/v1 keyset_digest');
    expect(value(head, 'root')).toBe(block('tree log').get('root'));
    expect(value(head, 'keyset_digest')).toBe(keyset_digest);
    expect(block('tree log').get('entry 0')).toBe(`0x02${keyset_digest.slice(2)}`);
    expect(block('tree log').get('entry 1')).toBe(`0x00${digestOf(header).slice(2)}`);
    expect(value('preimage aegis/quote/v1 report data', 'subject')).toBe(digestOf(head));
    for (const i of [0, 1, 2]) {
      const aad = `preimage aegis/envelope-aad/v1 aad of envelope ${i}`;
      const id = `preimage aegis/envelope-id/v1 id of envelope ${i}`;
      expect(value(aad, 'refs_root')).toBe(block(`tree refs_root of envelope ${i}`).get('root'));
      expect(value(id, 'aad')).toBe(digestOf(aad));
      const sealed = Buffer.from(block(`envelope ${i}`).get('encrypted_data')!, 'base64');
      expect(value(id, 'ciphertext_sha512')).toBe(bytesToHex(sha512(sealed)));
      expect(page).toContain(`So its id is \`${digestOf(id).slice(0, 66)}\`.`);
    }
  });

  it('links of the order: its act, its admin, and the signature, by noble', () => {
    const order = Order.parse(read('order'));
    const digest = digestOf('preimage aegis/order/v1 order');
    const act = new TextEncoder().encode(block('act').get('act')!);
    expect(JSON.parse(block('act').get('act')!)).toEqual(order.act);
    expect(value('preimage aegis/order/v1 order', 'act_sha512')).toBe(bytesToHex(sha512(act)));
    expect(value('preimage aegis/order/v1 order', 'nonce')).toBe(order.nonce);
    const { publicKey } = ml_dsa87.keygen(bytes(block('admin').get('seed')));
    const id = bytesToHex(sha512(publicKey));
    expect([order.admin, block('admin').get('id')]).toEqual([id, id]);
    expect(block('tree admins_root').get('entry 0')).toBe(id);
    expect(value('preimage aegis/admins/v1 admins', 'admins_root')).toBe(block('tree admins_root').get('root'));
    const context = new TextEncoder().encode('aegis/order/v1');
    const signature = Uint8Array.fromBase64(order.signature);
    expect(ml_dsa87.verify(signature, bytes(digest), publicKey, { context })).toBe(true);
    const admins = adminsDigestOf(order.log_id, [base64(publicKey)]);
    expect(digestOf('preimage aegis/admins/v1 admins')).toBe(hex(admins));
  });

  it('signatures: EIP-712 by viem, Ed25519 by OpenSSL', async () => {
    const typed = block('eip712');
    const hash = hashTypedData({
      domain: { name: 'Aegis', version: '1', chainId: Number(typed.get('chainId')) },
      types: {
        Batch: [
          { name: 'height', type: 'uint64' },
          { name: 'digestHi', type: 'bytes32' },
          { name: 'digestLo', type: 'bytes32' },
        ],
      },
      primaryType: 'Batch',
      message: {
        height: BigInt(typed.get('height')!),
        digestHi: typed.get('digestHi') as Hex,
        digestLo: typed.get('digestLo') as Hex,
      },
    });
    expect(typed.get('hash')).toBe(hash);
    expect(`${typed.get('digestHi')}${typed.get('digestLo')!.slice(2)}`).toBe(
      digestOf('preimage aegis/batch/v1 batch_id'),
    );
    const scalar = wideScalar(secret('aegis/batch/secp256k1/epoch/1'));
    const key = secp256k1.getPublicKey(scalar, false);
    const { publicKeyToAddress } = await import('viem/accounts');
    expect(await recoverAddress({ hash, signature: typed.get('signature') as Hex })).toBe(
      publicKeyToAddress(bytesToHex(key)),
    );
    const ed25519 = createPublicKey({
      ...{ key: Buffer.from(batch.keyset.receipt, 'base64'), format: 'raw-public', asymmetricKeyType: 'ed25519' },
    } as never);
    const digest = bytes(digestOf('preimage aegis/receipt/v1 receipt'));
    expect(verify(null, digest, ed25519, bytes(block('ed25519').get('signature')))).toBe(true);
  });
});

/** RFC 9162 §2.1.1, by its definition. */
function merkle(entries: readonly Uint8Array[]): Uint8Array {
  if (entries.length === 0) return sha512();
  if (entries.length === 1) return sha512(Uint8Array.of(0), entries[0]!);
  let k = 1;
  while (2 * k < entries.length) k *= 2;
  return sha512(Uint8Array.of(1), merkle(entries.slice(0, k)), merkle(entries.slice(k)));
}

const secret = (path: string) => bytes(block('secrets').get(path));

/** FIPS 186-5 §A.2.1. */
function wideScalar(wide: Uint8Array): Uint8Array {
  const value = (BigInt(bytesToHex(wide)) % (secp256k1.Point.Fn.ORDER - 1n)) + 1n;
  return hexToBytes(`0x${value.toString(16).padStart(64, '0')}`);
}

describe('the keys of the example', () => {
  const root = () => bytes(block('secrets').get('root'));

  it('are HKDF-SHA-512 of the root by path, by two libraries', () => {
    for (const [path, bytesHex] of block('secrets')) {
      if (path === 'root') continue;
      const length = bytesHex.length / 2 - 1;
      expect(bytesHex).toBe(bytesToHex(new Uint8Array(hkdfSync('sha512', root(), new Uint8Array(0), path, length))));
      expect(bytesHex).toBe(bytesToHex(hkdf(nobleSha512, root(), undefined, new TextEncoder().encode(path), length)));
      expect(page).toContain(`| \`${path.replace(/1$/, '<n>')}\` | ${length} |`);
    }
  });

  it('give the public keys whose hashes the keyset has', () => {
    const point = (path: string) => secp256k1.getPublicKey(wideScalar(secret(path)), false);
    const keys = {
      ml_dsa_87: ml_dsa87.keygen(secret('aegis/batch/ml-dsa-87/epoch/1')).publicKey,
      slh_dsa_sha2_256s: slh_dsa_sha2_256s.keygen(secret('aegis/batch/slh-dsa-sha2-256s/epoch/1')).publicKey,
      secp256k1: point('aegis/batch/secp256k1/epoch/1'),
      x_wing: ml_kem768_x25519.keygen(secret('aegis/envelope/x-wing/epoch/1')).publicKey,
      ecies: point('aegis/envelope/secp256k1/epoch/1'),
      names: point('aegis/names/secp256k1/epoch/1'),
      handover: ml_kem768_x25519.keygen(secret('aegis/handover/x-wing/epoch/1')).publicKey,
    };
    for (const [name, key] of Object.entries(keys)) {
      expect(value('preimage aegis/keyset/v1 keyset_digest', name), name).toBe(bytesToHex(sha512(key)));
      expect(batch.keyset[name as keyof typeof keys]).toBe(base64(key));
    }
  });

  it('are those that the daemon derives', async () => {
    const keys = await deriveEpoch({ name: 'simulator', material: async () => root() }, 1, true, slhDsaKey, false);
    const { keyset, digest } = keysetOf(keys, 'simulator', batch.header, batch.keyset.not_before_ms);
    expect(keyset).toEqual(batch.keyset);
    expect(digest).toBe(digestOf('preimage aegis/keyset/v1 keyset_digest'));
  });

  it('open its envelopes: enc ‖ ct under x-wing, aad ‖ transaction under ecies', () => {
    const { handle } = xwingKey(secret('aegis/envelope/x-wing/epoch/1'));
    const [first, second, third] = [0, 1, 2].map((i) =>
      Uint8Array.fromBase64(block(`envelope ${i}`).get('encrypted_data')!),
    ) as [Uint8Array, Uint8Array, Uint8Array];
    const info = bytes(digestOf('preimage aegis/envelope/v1 info of envelope 0'));
    const aad = (i: number) => bytes(digestOf(`preimage aegis/envelope-aad/v1 aad of envelope ${i}`));
    expect(hex(openXWing(handle, first, info, aad(0))!)).toBe(block('envelope 0').get('transaction'));
    expect(openXWing(handle, third, info, aad(2))).toBeNull();
    const opened = new Uint8Array(decrypt(wideScalar(secret('aegis/envelope/secp256k1/epoch/1')), second));
    expect(hex(opened.slice(0, 64))).toBe(hex(aad(1)));
    expect(hex(opened.slice(64))).toBe(block('envelope 1').get('transaction'));
  });
});

describe('the worked example, by actors/', () => {
  const { header, keyset, slh_dsa_sig } = batch;
  const head = slh_dsa_sig!.seal;

  it('has the digests of the page', () => {
    const random = bytes(value('preimage aegis/log/v1 log_id', 'random'));
    const expected: Record<string, Uint8Array> = {
      'aegis/log/v1 log_id': digests.logId(header.chain_id, random),
      'aegis/keyset/v1 keyset_digest': digests.keysetDigest(keyset),
      'aegis/receipt/v1 receipt': digests.receiptDigest(receipt),
      'aegis/batch/v1 batch_id': digests.batchDigest(header),
      'aegis/seal/v1 head': digests.sealDigest(head),
      'aegis/quote/v1 report data': fromHex(batch.attestation!.report_data),
      'aegis/envelope/v1 info of envelope 0': digests.envelopeInfo(header),
    };
    for (const [name, digest] of Object.entries(expected)) expect(digestOf(`preimage ${name}`), name).toBe(hex(digest));
    const { height, chain_id } = header;
    const hash = batchHash({ chain_id, height, digest: digests.batchDigest(header) });
    expect(block('eip712').get('hash')).toBe(hex(hash));
    envelopes.forEach((envelope, i) => {
      const { aad, envelope_id } = identify(envelope, header);
      expect(digestOf(`preimage aegis/envelope-aad/v1 aad of envelope ${i}`)).toBe(hex(aad));
      expect(digestOf(`preimage aegis/envelope-id/v1 id of envelope ${i}`).slice(0, 66)).toBe(hex(envelope_id));
      expect(block(`tree refs_root of envelope ${i}`).get('root')).toBe(hex(refsRoot(envelope.asset_refs)));
    });
  });

  it('has the roots of the page', () => {
    const root = (name: string) => block(`tree ${name}`).get('root');
    expect(root('order_root')).toBe(hex(orderRoot(batch.order)));
    expect(root('tx_root')).toBe(hex(txRoot(batch.transactions)));
    expect(root('refused_root')).toBe(hex(refusedRoot(batch.refused)));
    const leaves = [logLeaf('epoch', digests.keysetDigest(keyset)), logLeaf('batch', digests.batchDigest(header))];
    expect(root('log')).toBe(hex(rootAt(2, readerOf(leaves))));
    expect(slh_dsa_sig!.inclusion_path).toEqual([block('tree log').get('leaf 0')]);
  });
});

describe('what npm run docs writes', () => {
  it.each(PARTS.filter(({ file }) => file !== 'docs/api.md'))('$file is up to date', ({ file, text }) => {
    expect(readFileSync(pathOf(file), 'utf8')).toBe(text());
  });

  describe('schemas', () => {
    const ajv = new Ajv2020({ strict: true, allErrors: true, formats: { 'date-time': true } });
    const compile = (name: string) =>
      ajv.compile(JSON.parse(readFileSync(pathOf(`docs/schema/${name}.json`), 'utf8')) as object);
    const files: [string, unknown][] = [];
    beforeAll(async () => {
      const enclave = await makeEnclave();
      files.push(['batch', await makeSealed(enclave)], ['batch', await makeSigned(enclave)], ['batch', batch]);
    });

    it('take what is valid', () => {
      const check = compile('batch');
      for (const [, file] of files) expect(check(file) ? [] : check.errors).toEqual([]);
      const others: [string, unknown][] = [
        ['receipt', receipt],
        ['seal', Head.parse(batch.slh_dsa_sig!.seal)],
        ['keyset', Keyset.parse(batch.keyset)],
        ['order', Order.parse(read('order'))],
        ...(read('envelopes') as unknown[]).map((envelope): [string, unknown] => ['envelope', envelope]),
      ];
      for (const [name, document] of others) {
        const valid = compile(name);
        expect(valid(document) ? [] : valid.errors, name).toEqual([]);
      }
    });

    it('refuse another spelling', () => {
      const check = compile('batch');
      const edits: ((file: BatchFile) => unknown)[] = [
        (file) => Object.assign(file, { extra: 1 }),
        (file) => (file.batch_id = file.batch_id.toUpperCase()),
        (file) => (file.header.chain_id = '0x1'),
        (file) => (file.timestamp = '2026-13-01T00:00:00.000Z'),
        (file) => (file.keyset.receipt = file.keyset.receipt.replace('=', '')),
        (file) => (file.keyset.slh_dsa_sha2_256s = `${file.keyset.slh_dsa_sha2_256s.slice(0, -3)}B==`),
        (file) => (file.keyset.x_wing = file.keyset.receipt),
        (file) => (file.height = -1),
        (file) => (file.transactions[0]!.asset_refs = ['a', 'a']),
        (file) => Object.assign(file, { asset_protections: [1] }),
      ];
      for (const edit of edits) {
        const file = structuredClone(batch);
        edit(file);
        expect(check(file), String(edit)).toBe(false);
        expect(BatchFile.safeParse(file).success, String(edit)).toBe(false);
      }
    });
  });
});

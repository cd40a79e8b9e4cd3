import { generateKeyPairSync } from 'node:crypto';
import { Worker } from 'node:worker_threads';
import { Aes256Gcm, CipherSuite, HkdfSha256 } from '@hpke/core';
import { XWing } from '@hpke/hybridkem-x-wing';
import { ml_kem768_x25519 } from '@noble/post-quantum/hybrid.js';
import { describe, expect, it } from 'vitest';
import { concat, utf8 } from '../actors/encoding.ts';
import { ENC_BYTES, openXWing, xwingKey } from './xwing.ts';

const suite = new CipherSuite({ kem: new XWing(), kdf: new HkdfSha256(), aead: new Aes256Gcm() });
const seed = new Uint8Array(32).fill(7);
const { publicKey, handle } = xwingKey(seed);
const info = new Uint8Array(64).fill(1);
const aad = new Uint8Array(64).fill(2);

async function seal(plaintext: Uint8Array, to = publicKey): Promise<Uint8Array> {
  const recipientPublicKey = await suite.kem.deserializePublicKey(to);
  const { enc, ct } = await suite.seal({ recipientPublicKey, info }, plaintext, aad);
  return concat(new Uint8Array(enc), new Uint8Array(ct));
}

describe('openXWing', () => {
  it.each([0, 1, 15, 16, 17, 110, 1_000, 70_000])('opens %d bytes that @hpke sealed, as @hpke does', async (bytes) => {
    const plaintext = new Uint8Array(bytes).map((_, i) => i);
    const sealed = await seal(plaintext);
    expect(openXWing(handle, sealed, info, aad)).toEqual(plaintext);

    const recipientKey = await suite.kem.importKey('raw', seed.buffer, false);
    const enc = sealed.slice(0, ENC_BYTES);
    const theirs = await suite.open({ recipientKey, enc, info }, sealed.slice(ENC_BYTES), aad);
    expect(new Uint8Array(theirs)).toEqual(plaintext);
  });

  it('makes the public key that @hpke and noble make of the seed', async () => {
    const pair = await new XWing().generateKeyPairDerand(seed);
    expect(new Uint8Array(await suite.kem.serializePublicKey(pair.publicKey))).toEqual(publicKey);
    expect(ml_kem768_x25519.keygen(seed).publicKey).toEqual(publicKey);
  });

  it('opens with random keys', async () => {
    for (let i = 0; i < 20; i++) {
      const key = xwingKey(crypto.getRandomValues(new Uint8Array(32)));
      expect(openXWing(key.handle, await seal(utf8(`message ${i}`), key.publicKey), info, aad)).toEqual(
        utf8(`message ${i}`),
      );
    }
  });

  it('opens nothing that was cut short', async () => {
    const sealed = await seal(new Uint8Array(100));
    const lengths = [0, 1, 31, 32, 1_087, 1_088, 1_089, 1_119, 1_120, 1_121, 1_135, 1_136, 1_137, sealed.length - 1];
    for (const length of lengths) expect(openXWing(handle, sealed.subarray(0, length), info, aad)).toBe(null);
    expect(openXWing(handle, sealed.subarray(1), info, aad)).toBe(null);
    expect(openXWing(handle, concat(sealed, new Uint8Array(1)), info, aad)).toBe(null);
  });

  it('opens nothing in which a bit was flipped', async () => {
    const sealed = await seal(new Uint8Array(100));
    for (let at = 0; at < sealed.length; at += at < ENC_BYTES - 40 ? 31 : 1) {
      const flipped = sealed.slice();
      flipped[at] = flipped[at]! ^ (1 << (at % 8));
      // RFC 7748 §5: the top bit of an X25519 key is ignored, but the combiner hashes the bytes as they came.
      expect(openXWing(handle, flipped, info, aad), `byte ${at}`).toBe(null);
    }
  });

  it('opens nothing under another info, aad or key', async () => {
    const sealed = await seal(new Uint8Array(100));
    expect(openXWing(handle, sealed, info.with(0, 9), aad)).toBe(null);
    expect(openXWing(handle, sealed, info, aad.with(63, 9))).toBe(null);
    expect(openXWing(handle, sealed, info, new Uint8Array(0))).toBe(null);
    expect(openXWing(xwingKey(seed.with(0, 8)).handle, sealed, info, aad)).toBe(null);
  });

  it('refuses X25519 keys of small order', async () => {
    const sealed = await seal(new Uint8Array(100));
    // RFC 7748 §6.1 and the other points whose multiples by any clamped scalar are zero.
    const small = [
      '0000000000000000000000000000000000000000000000000000000000000000',
      '0100000000000000000000000000000000000000000000000000000000000000',
      'e0eb7a7c3b41b8ae1656e3faf19fc46ada098deb9c32b1fd866205165f49b800',
      '5f9c95bca3508c24b1d0b1559c83ef5b04445cc4581c8e86d8224eddd09f1157',
      'ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f',
      'edffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f',
      'eeffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f',
    ];
    for (const point of small) {
      const forged = sealed.slice();
      forged.set(Uint8Array.fromHex(point), ENC_BYTES - 32);
      expect(openXWing(handle, forged, info, aad)).toBe(null);
    }
  });

  it('takes a seed of 32 bytes only', () => {
    expect(() => xwingKey(new Uint8Array(31))).toThrow(RangeError);
    expect(() => xwingKey(new Uint8Array(64))).toThrow(RangeError);
  });

  it('hands a thread keys without their bytes', async () => {
    const source = `
      const { parentPort, workerData } = require('node:worker_threads');
      import(workerData.module).then(({ openXWing }) => {
        const { handle, sealed, info, aad } = workerData;
        parentPort.postMessage(openXWing(handle, sealed, info, aad));
      });`;
    const module = new URL('./xwing.ts', import.meta.url).href;
    const workerData = { module, handle, sealed: await seal(utf8('across')), info, aad };
    const worker = new Worker(source, { eval: true, workerData });
    const answer = await new Promise((resolve, reject) => {
      worker.once('message', resolve);
      worker.once('error', reject);
    });
    await worker.terminate();
    expect(answer).toEqual(utf8('across'));
  });

  it('makes one outcome of every cause: a handle of the wrong kind too', async () => {
    const sealed = await seal(new Uint8Array(1));
    const other = generateKeyPairSync('ec', { namedCurve: 'P-256' }).privateKey;
    expect(openXWing({ ...handle, x25519: other }, sealed, info, aad)).toBe(null);
  });
});

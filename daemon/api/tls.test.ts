// TLS that ends in the enclave: what a client sees of it is the key of the keyset, by Node and by curl, before and after a rotation.
import { spawn } from 'node:child_process';
import { X509Certificate } from 'node:crypto';
import { once } from 'node:events';
import { connect as connectPlain } from 'node:net';
import { text } from 'node:stream/consumers';
import { connect, type TLSSocket } from 'node:tls';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import WebSocket from 'ws';
import { keysetDigest } from '../../actors/digest.ts';
import { fromBase64, hex } from '../../actors/encoding.ts';
import { tlsPin } from '../../actors/tlskey.ts';
import { type House, openHouse, quiet } from '../../test/house.ts';
import { createServer, type Listening } from './server.ts';

let house: House;
let at: Listening;
beforeAll(async () => {
  house = await openHouse({ api: { tls: true, request_timeout_ms: 1_000 } });
  at = await house.server.listen();
});
afterAll(() => house?.[Symbol.asyncDispose]());

async function open(options: object = {}): Promise<TLSSocket> {
  const socket = connect({ host: '127.0.0.1', port: at.port, rejectUnauthorized: false, ...options });
  await once(socket, 'secureConnect');
  return socket;
}

/** What this connection would have to be pinned to. */
function pinSeen(socket: TLSSocket): string {
  const { publicKey } = socket.getPeerX509Certificate()!;
  const point = publicKey.export({ format: 'der', type: 'spki' }).subarray(-65);
  return tlsPin({ tls: point.toBase64() })!;
}

const keyset = () => house.sequencer.epoch.keyset.keyset;

async function curl(...args: string[]): Promise<{ code: number; said: string }> {
  const child = spawn('curl', ['--silent', '--insecure', ...args], { stdio: ['ignore', 'pipe', 'ignore'] });
  const [said, [code]] = await Promise.all([text(child.stdout), once(child, 'close')]);
  return { code, said };
}

async function asked(socket: TLSSocket): Promise<string> {
  socket.write('GET /health HTTP/1.1\r\nHost: x\r\n\r\n');
  const [chunk] = await once(socket, 'data');
  return String(chunk).split('\r\n')[0]!;
}

describe('TLS', () => {
  it('shows the key that the keyset binds, self-signed, over a hybrid key exchange', async () => {
    expect(at.url).toBe(`https://127.0.0.1:${at.port}`);
    const socket = await open();
    expect(socket.getProtocol()).toBe('TLSv1.3');
    expect(pinSeen(socket)).toBe(tlsPin(keyset()));
    const certificate = new X509Certificate(socket.getPeerX509Certificate()!.raw);
    expect(certificate.verify(certificate.publicKey)).toBe(true);
    expect(certificate.subject).toContain(keyset().log_id.slice(0, 18));
    expect(Date.parse(certificate.validFrom)).toBeLessThan(Date.now());
    expect(fromBase64(keyset().tls!)).toHaveLength(65);
    expect(hex(keysetDigest({ ...keyset(), tls: null }))).not.toBe(house.sequencer.epoch.keyset.digest);
    expect(await asked(socket)).toBe('HTTP/1.1 200 OK');
    socket.destroy();
  });

  it('is pinned by curl, which takes no other key', async () => {
    const pinned = (pin: string) => curl('--pinnedpubkey', `sha256//${pin}`, `${at.url}/health`);
    const { code, said } = await pinned(tlsPin(keyset())!);
    expect([code, JSON.parse(said).healthy]).toEqual([0, true]);
    // CURLE_SSL_PINNEDPUBKEYNOTMATCH.
    expect(await pinned(tlsPin({ tls: Buffer.alloc(65, 4).toBase64() })!)).toEqual({ code: 90, said: '' });
  });

  it('carries the feed, and charges the address behind it', async () => {
    const ws = new WebSocket(`${at.url.replace('https', 'wss')}/feed?cursor=0`, { rejectUnauthorized: false });
    const [entry] = await once(ws, 'message');
    expect(JSON.parse(String(entry)).cursor).toBe(1);
    ws.terminate();
  });

  it('speaks nothing older, and nothing plain', async () => {
    await expect(open({ maxVersion: 'TLSv1.2' })).rejects.toMatchObject({ code: expect.stringContaining('ERR_SSL') });
    const plain = connectPlain(at.port, '127.0.0.1').on('error', () => {});
    plain.write('GET /health HTTP/1.1\r\nHost: x\r\n\r\n');
    plain.resume();
    await once(plain, 'close');
    // Nor does it wait for ever for somebody who says nothing.
    const silent = connectPlain(at.port, '127.0.0.1').on('error', () => {});
    silent.resume();
    await once(silent, 'close');
    expect(await asked(await open())).toBe('HTTP/1.1 200 OK');
  });

  it('takes the key of the next epoch with a rotation, and leaves who is connected alone', async () => {
    const before = new WebSocket(`${at.url.replace('https', 'wss')}/feed?types=rotation_executed`, {
      rejectUnauthorized: false,
    });
    await once(before, 'open');
    const old = keyset();
    const heard = once(before, 'message');
    const activated = once(house.sequencer.epochs.events, 'activated');
    expect(await house.sequencer.rotate({ reason: 'manual', delay_blocks: 0 })).toMatchObject({ ok: true });
    await activated;
    expect(tlsPin(keyset())).not.toBe(tlsPin(old));
    const after = await open();
    expect(pinSeen(after)).toBe(tlsPin(keyset()));
    const [entry] = await heard;
    expect(JSON.parse(String(entry)).data.to_epoch).toBe(2);
    before.terminate();
    after.destroy();
  });

  it('does not begin under keys of a version that had none', async () => {
    const { sequencer } = house;
    const { epoch } = sequencer;
    const keyless = { ...epoch, keys: { ...epoch.keys, tls: null } };
    const older = new Proxy(sequencer, {
      get: (of, name) => (name === 'epoch' ? keyless : Reflect.get(of, name)),
    });
    const server = await createServer({ sequencer: older, log: quiet, version: '0.0.0-test' });
    await expect(server.listen()).rejects.toThrow(/rotate once with api\.tls = false/);
  });
});

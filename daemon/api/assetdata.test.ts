// Streams of asset data over real HTTP: both directions at once, more than any buffer holds, and what a client sees when the
// world or somebody on the way is unkind.
import { createHash, randomBytes } from 'node:crypto';
import { once } from 'node:events';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { request as httpRequest, type IncomingMessage } from 'node:http';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Readable } from 'node:stream';
import { afterAll, beforeAll, describe, expect, it, vi } from 'vitest';
import type { RegistrationInput } from '../../actors/asset.ts';
import { type House, openHouse } from '../../test/house.ts';
import { CHUNK_BYTES, HEADER_BYTES } from '../datastream.ts';
import type { Listening } from './server.ts';

const TOKENS = { data: 'd'.repeat(64), worker: 'w'.repeat(64), metrics: 'm'.repeat(64) };
const file = (asset_id: string, over: Partial<RegistrationInput> = {}): RegistrationInput => ({
  ...{ asset_id, asset_type: 'OffChainFile' },
  access_policy: { requires_pqc: false, requires_tee: true, risk_threshold: 5_000 },
  ...over,
});

let house: House;
let at: Listening;
let credentials: string;
beforeAll(async () => {
  credentials = mkdtempSync(join(tmpdir(), 'aegis-credentials-'));
  for (const [role, token] of Object.entries(TOKENS)) writeFileSync(join(credentials, `${role}.token`), token);
  vi.stubEnv('CREDENTIALS_DIRECTORY', credentials);
  // Shorter than the longest stream here takes to send.
  house = await openHouse({ api: { request_timeout_ms: 300 }, risk: { catalogue: false } });
  vi.unstubAllEnvs();
  at = await house.server.listen();
  await house.sequencer.attestKeyset();
  await house.sequencer.registerAsset(file('file'));
  await house.sequencer.registerAsset(file('shared', { grants: { worker: ['decrypt'] } }));
});
afterAll(async () => {
  await house[Symbol.asyncDispose]();
  rmSync(credentials, { recursive: true });
});

type Headers = Record<string, string>;
async function post(path: string, body: Readable | Buffer, headers: Headers = {}): Promise<IncomingMessage> {
  const target = { socketPath: at.socket, agent: false, method: 'POST', path };
  const request = httpRequest({ ...target, headers: { 'content-type': 'application/octet-stream', ...headers } });
  if (body instanceof Readable) body.pipe(request);
  else request.end(body);
  const [response] = await once(request, 'response');
  request.on('error', () => {});
  return response;
}

async function bytesOf(response: IncomingMessage): Promise<Buffer> {
  const all: Buffer[] = [];
  for await (const piece of response) all.push(piece as Buffer);
  return Buffer.concat(all);
}
const codeOf = async (response: IncomingMessage) => JSON.parse((await bytesOf(response)).toString()).code;

async function asRole(role: keyof typeof TOKENS, path: string, body: Buffer): Promise<string | number> {
  const { port } = at;
  const headers = { 'content-type': 'application/octet-stream', authorization: `Bearer ${TOKENS[role]}` };
  const request = httpRequest({ host: '127.0.0.1', port, agent: false, method: 'POST', path, headers });
  request.end(body);
  const [response] = (await once(request, 'response')) as [IncomingMessage];
  const bytes = await bytesOf(response);
  return response.statusCode === 200 ? 200 : JSON.parse(bytes.toString()).code;
}

const PIECE = randomBytes(100_000);
/** `count` pieces, and their digest. */
function long(count: number, pause = false) {
  const digest = createHash('sha256');
  let bytes = 0;
  async function* make() {
    for (let i = 0; i < count; i++) {
      digest.update(PIECE);
      if (pause && i % 100 === 50) await new Promise((resolve) => setTimeout(resolve, 200));
      bytes += PIECE.length;
      yield PIECE;
    }
  }
  return { source: Readable.from(make(), { objectMode: false }), digest, sent: () => bytes };
}

describe('a stream', () => {
  it('goes through encryption and decryption at once, for longer than any request may take, in bounded memory', async () => {
    const { source, digest, sent } = long(1_000, true);
    const sealed = await post('/assets/file/encrypt', source);
    expect(sealed.headers['content-type']).toBe('application/octet-stream');
    const plain = await post('/assets/file/decrypt', sealed);
    const back = createHash('sha256');
    let bytes = 0;
    let most = 0;
    for await (const piece of plain) {
      back.update(piece as Buffer);
      bytes += (piece as Buffer).length;
      most = Math.max(most, sent() - bytes);
    }
    expect(bytes).toBe(100_000_000);
    expect(back.digest('hex')).toBe(digest.digest('hex'));
    // What is between the two ends: buffers of sockets and streams, and a few chunks.
    expect(most).toBeLessThan(20_000_000);
  });

  it('of nothing is one, too', async () => {
    const sealed = await bytesOf(
      await post('/assets/file/encrypt', Buffer.alloc(0), { 'transfer-encoding': 'chunked' }),
    );
    expect((await bytesOf(await post('/assets/file/decrypt', sealed))).length).toBe(0);
  });

  it('that turns out to be altered after the first byte has its connection reset', async () => {
    const sealed = await bytesOf(await post('/assets/file/encrypt', Buffer.alloc(4_000_000)));
    sealed[HEADER_BYTES + 40 * (CHUNK_BYTES + 28)]! ^= 1;
    const answer = await post('/assets/file/decrypt', sealed);
    expect(answer.statusCode).toBe(200);
    await expect(bytesOf(answer)).rejects.toMatchObject({ code: 'ECONNRESET' });
  });

  it('that is altered in its first chunk gets a problem', async () => {
    const sealed = await bytesOf(await post('/assets/file/encrypt', Buffer.alloc(1_000)));
    sealed[HEADER_BYTES + 20]! ^= 1;
    expect(await codeOf(await post('/assets/file/decrypt', sealed))).toBe('stream_altered');
  });

  it('is no JSON', async () => {
    const answer = await post('/assets/file/encrypt', Buffer.from('{}'), { 'content-type': 'application/json' });
    expect(await codeOf(answer)).toBe('unsupported_media_type');
  });
});

describe('who may', () => {
  it('is said by the grants of each asset, for each role', async () => {
    const sealed = await bytesOf(await post('/assets/shared/encrypt', Buffer.from('secret')));
    expect(await asRole('worker', '/assets/shared/decrypt', sealed)).toBe(200);
    expect(await asRole('worker', '/assets/shared/encrypt', sealed)).toBe('grant_missing');
    expect(await asRole('data', '/assets/shared/decrypt', sealed)).toBe('grant_missing');
    expect(await asRole('data', '/assets/file/encrypt', sealed)).toBe(200);
    expect(await asRole('metrics', '/assets/shared/decrypt', sealed)).toBe('forbidden');
  });

  it('nobody, while the risk is high', async () => {
    await house.sequencer.assets.followRisk(6_000);
    expect(await codeOf(await post('/assets/file/encrypt', Buffer.from('x')))).toBe('asset_protected');
    await house.sequencer.assets.followRisk(0);
    expect((await post('/assets/file/encrypt', Buffer.from('x'))).statusCode).toBe(200);
  });
});

describe('the data key', () => {
  it('is shown by its epoch alone, kept over a removal unless that is wanted, and gone with it', async () => {
    const sealed = await bytesOf(await post('/assets/file/encrypt', Buffer.from('x')));
    expect(house.sequencer.getAssetProtection('file')!.encryption_key).toEqual({ epoch: 1, algorithm: 'AES-256-GCM' });
    expect(await house.sequencer.assets.remove('file', false)).toEqual({ ok: false, code: 'asset_has_key' });
    expect(await house.sequencer.assets.remove('file', true)).toMatchObject({ ok: true });
    await house.sequencer.registerAsset(file('file'));
    expect(await codeOf(await post('/assets/file/decrypt', sealed))).toBe('data_key_missing');
  });

  it('follows a rotation by rewrap, and streams stay readable', async () => {
    const sealed = await bytesOf(await post('/assets/shared/encrypt', Buffer.from('before')));
    const { store } = house.sequencer;
    await house.sequencer.rotate({ reason: 'manual', delay_blocks: 0 } as never);
    await house.journaled('rotation_executed', ({ to_epoch }) => to_epoch === 2);
    const target = { socketPath: at.socket, agent: false, method: 'POST', path: '/assets/shared/rewrap' };
    const [answer] = (await once(httpRequest(target).end(), 'response')) as [IncomingMessage];
    expect(JSON.parse((await bytesOf(answer)).toString())).toMatchObject({ asset_id: 'shared', epoch: 2 });
    expect(house.sequencer.wrapping.wraps.read(store, 'asset', 'shared')!.epoch).toBe(2);
    expect((await bytesOf(await post('/assets/shared/decrypt', sealed))).toString()).toBe('before');
  });
});

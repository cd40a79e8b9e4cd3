import { createHash } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type { z } from 'zod';
import { globalRegistry } from 'zod';
import type { BatchFile } from '../../actors/batch.ts';
import { sealDigest } from '../../actors/digest.ts';
import { fromHex, hex } from '../../actors/encoding.ts';
import { logLeaf, verifyConsistency, verifyInclusion } from '../../actors/tree.ts';
import { enveloped, type House, openHouse, quiet } from '../../test/house.ts';
import { PROBLEMS, Problem, type ProblemCode } from './problem.ts';
import { createServer } from './server.ts';

let house: House;
let sealed: BatchFile;
beforeAll(async () => {
  house = await openHouse({ sequencer: { batch_interval_ms: 60_000, batch_size: 50 } });
  for (let i = 0; i < 3; i++) await house.sequencer.submitEncrypted(await enveloped(house.sequencer));
  await house.sequencer.createBatch();
  await house.journaled('seal_created', ({ heights }) => (heights as number[]).includes(0));
  await house.sequencer.submitEncrypted(await enveloped(house.sequencer));
  sealed = house.sequencer.batch(0)!;
});
afterAll(() => house?.[Symbol.asyncDispose]());

const registered = (id: string) => (globalRegistry as unknown as { _idmap: Map<string, z.ZodType> })._idmap.get(id)!;

const inject = (url: string, options: object = {}) => house.server.app.inject({ url, ...options });

/** The answer, which must be what the API's document says. */
async function get<T = Record<string, never>>(url: string, schema: string, status = 200): Promise<T> {
  const answer = await inject(url);
  expect([url, answer.statusCode]).toEqual([url, status]);
  expect(answer.headers['content-type']).toBe('application/json; charset=utf-8');
  expect(answer.headers['x-content-type-options']).toBe('nosniff');
  return registered(schema).parse(answer.json()) as T;
}

async function expectProblem(answer: Awaited<ReturnType<typeof inject>>, code: ProblemCode, field?: string) {
  const found = Problem.parse(answer.json());
  expect({ code: found.code, field: found.field }).toEqual({ code, field });
  expect(answer.statusCode).toBe(PROBLEMS[code][0]);
  expect(answer.headers['content-type']).toBe('application/problem+json');
  expect(answer.headers['cache-control']).toBe('no-store');
  if (found.retry_after_s !== undefined) expect(answer.headers['retry-after']).toBe(String(found.retry_after_s));
  return found;
}

describe('a browser', () => {
  it('may show, frame or embed no answer, and a page of another origin reads none', async () => {
    const origin = 'https://example.org';
    const preflight = { origin, 'access-control-request-method': 'POST' };
    const answers = [
      await inject('/health', { headers: { origin } }),
      await inject('/nowhere', { headers: { origin } }),
      await inject('/transactions', { method: 'OPTIONS', headers: preflight }),
    ];
    expect(answers.map(({ statusCode }) => statusCode)).toEqual([200, 404, 405]);
    for (const { headers } of answers) {
      expect(headers).toMatchObject({
        'x-content-type-options': 'nosniff',
        'content-security-policy': "default-src 'none'; frame-ancestors 'none'",
        'referrer-policy': 'no-referrer',
        'cross-origin-resource-policy': 'same-origin',
      });
      expect(Object.keys(headers).filter((name) => name.startsWith('access-control'))).toEqual([]);
    }
  });
});

describe('status and health', () => {
  it('say how the daemon is', async () => {
    expect(await get('/sequencer/status', 'Status')).toMatchObject({ sequencer: { batch_count: 1, mempool_size: 1 } });
    expect(await get('/health', 'Health')).toMatchObject({ healthy: true, version: '0.0.0-test', simulated: true });
    expect(await get('/ready', 'Ready')).toEqual({ ready: true, reasons: [], simulated: true });
  });

  it('answer HEAD like GET, without a body', async () => {
    const answer = await inject('/health', { method: 'HEAD' });
    expect([answer.statusCode, answer.body]).toEqual([200, '']);
  });
});

describe('batches', () => {
  it('are served as files, newest first', async () => {
    expect(await get('/batches/0', 'Batch')).toEqual(JSON.parse(JSON.stringify(sealed)));
    const recent = (await inject('/batches/recent?count=5')).json();
    expect(recent).toEqual([JSON.parse(JSON.stringify(sealed))]);
  });

  it('are immutable once sealed, and say so', async () => {
    const { headers } = await inject('/batches/0');
    expect(headers['cache-control']).toBe('public, max-age=31536000, immutable');
    for (const tag of [headers.etag, `"x", W/${headers.etag}`, '*']) {
      const again = await inject('/batches/0', { headers: { 'if-none-match': tag } });
      expect([again.statusCode, again.body, again.headers.etag]).toEqual([304, '', headers.etag]);
    }
    expect((await inject('/batches/0', { headers: { 'if-none-match': '"x"' } })).statusCode).toBe(200);
  });

  it.each([
    ['/batches/1', 'batch_not_found'],
    ['/batches/9007199254740991', 'batch_not_found'],
  ] as const)('%s: %s', async (url, code) => {
    await expectProblem(await inject(url), code);
  });

  it.each(['-1', '01', '1.0', '1e3', '9007199254740992', 'x', '%20', '0x1', 'constructor'])(
    'refuse the height %s',
    async (height) => {
      await expectProblem(await inject(`/batches/${height}`), 'invalid_path', 'height');
    },
  );

  it.each(['count=0', 'count=51', 'count=', 'count=1&count=2', 'count=-1'])('refuse %s', async (query) => {
    await expectProblem(await inject(`/batches/recent?${query}`), 'invalid_query', 'count');
  });
});

describe('the log', () => {
  interface Head {
    size: number;
    root: string;
    sealed: { seal: Parameters<typeof sealDigest>[0] & { size: number; root: string }; digest: string };
  }

  it('shows its newest seal', async () => {
    const head = await get<Head>('/log/head', 'LogHead');
    expect(head.size).toBe(2);
    expect(head.sealed.digest).toBe(hex(sealDigest(head.sealed.seal)));
    expect(head.sealed.seal.root).toBe(head.root);
  });

  it('proves that a batch is in it, and that it only grows', async () => {
    const proof = await get<{ leaf_index: number; size: number; root: string; inclusion_path: string[] }>(
      '/log/inclusion?height=0',
      'Inclusion',
    );
    const leaf = logLeaf('batch', fromHex(sealed.batch_id));
    expect(
      verifyInclusion(leaf, proof.leaf_index, proof.size, proof.inclusion_path.map(fromHex), fromHex(proof.root)),
    ).toBe(true);
    expect(await get(`/log/inclusion?leaf_index=${proof.leaf_index}&size=2`, 'Inclusion')).toEqual(proof);

    const grown = await get<{ from_root: string; to_root: string; consistency_path: string[] }>(
      '/log/consistency?from=1',
      'Consistency',
    );
    expect(
      verifyConsistency(1, fromHex(grown.from_root), 2, fromHex(grown.to_root), grown.consistency_path.map(fromHex)),
    ).toBe(true);
  });

  it.each([
    ['/log/inclusion?leaf_index=2', 'leaf_not_found'],
    ['/log/inclusion?leaf_index=1&size=1', 'leaf_not_found'],
    ['/log/inclusion?leaf_index=0&size=3', 'leaf_not_found'],
    ['/log/inclusion?height=1', 'batch_not_found'],
    ['/log/consistency?from=1&to=3', 'leaf_not_found'],
    ['/log/consistency?from=2&to=1', 'leaf_not_found'],
    ['/log/inclusion', 'invalid_query', 'leaf_index'],
    ['/log/inclusion?leaf_index=0&height=0', 'invalid_query', 'leaf_index'],
    ['/log/inclusion?leaf_index=0&size=0', 'invalid_query', 'size'],
    ['/log/consistency', 'invalid_query', 'from'],
    ['/log/consistency?from=0', 'invalid_query', 'from'],
    ['/log/head?x=1', 'invalid_query', 'x'],
  ] as const)('%s: %s', async (url, code, field?: string) => {
    await expectProblem(await inject(url), code, field);
  });
});

describe('epochs', () => {
  it('are listed, with a keyset that a quote binds', async () => {
    const { keyset, digest } = house.sequencer.epoch.keyset;
    expect(await get('/epochs', 'Epochs')).toEqual({
      active: 1,
      epochs: [
        {
          ...{ epoch: 1, status: 'active', keyset_digest: digest, leaf_index: 0, not_before_ms: keyset.not_before_ms },
          ...{ admits: true, grace_ends_at: null, backlog: 0, reason: 'genesis', first_height: 0 },
        },
      ],
    });
    const answer = await get<{ attestation: { quote: string } }>('/epochs/1/keyset', 'AttestedKeyset');
    expect(answer).toMatchObject({ keyset, keyset_digest: digest, leaf_index: 0 });
    const again = await get<{ attestation: { quote: string } }>('/epochs/1/keyset', 'AttestedKeyset');
    expect(again.attestation.quote).toBe(answer.attestation.quote);
  });

  it('attest over a nonce', async () => {
    const one = await get<{ nonce: string; attestation: { report_data: string } }>(
      '/attestation?nonce=00ffAB',
      'FreshAttestation',
    );
    expect(one.nonce).toBe('0x00ffab');
    const other = await get<typeof one>(`/attestation?nonce=0x${'12'.repeat(64)}`, 'FreshAttestation');
    const none = await get<typeof one>('/attestation', 'FreshAttestation');
    expect(none.nonce).toBeNull();
    expect(new Set([one, other, none].map(({ attestation }) => attestation.report_data)).size).toBe(3);
  });

  it('give the key for IPNS keys as hex', async () => {
    const { epoch, publicKey } = await get<{ epoch: number; publicKey: string }>('/public-key?epoch=1', 'PublicKey');
    expect(epoch).toBe(1);
    expect(Buffer.from(publicKey, 'hex').toString('base64')).toBe(house.sequencer.epoch.keyset.keyset.names);
    expect((await inject('/public-key')).json()).toEqual({ epoch, publicKey });
  });

  it.each([
    ['/epochs/2/keyset', 'epoch_not_found'],
    ['/epochs/0/keyset', 'invalid_path', 'epoch'],
    ['/epochs/4294967296/keyset', 'invalid_path', 'epoch'],
    ['/public-key?epoch=2', 'epoch_not_found'],
    ['/public-key?epoch=-1', 'invalid_query', 'epoch'],
    ['/public-key?epoch=1.5', 'invalid_query', 'epoch'],
    ['/public-key?epoch=', 'invalid_query', 'epoch'],
    ['/attestation?nonce=', 'invalid_query', 'nonce'],
    ['/attestation?nonce=abc', 'invalid_query', 'nonce'],
    ['/attestation?nonce=zz', 'invalid_query', 'nonce'],
    [`/attestation?nonce=${'00'.repeat(65)}`, 'invalid_query', 'nonce'],
  ] as const)('%s: %s', async (url, code, field?: string) => {
    await expectProblem(await inject(url), code, field);
  });
});

describe('who may', () => {
  const ask = (authorization?: string) =>
    inject('/batches/cut', { method: 'POST', ...(authorization !== undefined && { headers: { authorization } }) });

  it('cut a batch: the admin', async () => {
    const token = readFileSync(house.server.adminTokenPath, 'utf8').trim();
    for (const wrong of [undefined, '', 'Bearer x', `Bearer ${'\u00fc'.repeat(50)}`, `Basic ${token}`]) {
      const answer = await ask(wrong);
      await expectProblem(answer, 'unauthorized');
      expect(answer.headers['www-authenticate']).toBe('Bearer realm="aegis"');
    }
    const cut = await ask(`Bearer ${token}`);
    expect([cut.statusCode, cut.json()]).toEqual([200, { height: 1 }]);
    expect((await ask(`Bearer ${token}`)).json()).toEqual({ height: null });
    await house.journaled('seal_created', ({ heights }) => (heights as number[]).includes(1));
  });

  it('read the metrics: the scraper and the admin', async () => {
    await expectProblem(await inject('/metrics'), 'unauthorized');
    const authorization = `Bearer ${readFileSync(house.server.adminTokenPath, 'utf8').trim()}`;
    const { body, headers } = await inject('/metrics', { headers: { authorization } });
    expect(headers['content-type']).toMatch(/^text\/plain; version=0\.0\.4/);
    expect(body).toMatch(/^aegis_envelopes_admitted_total 4$/m);
    expect(body).toMatch(/^aegis_transactions_sequenced_total 4$/m);
    expect(body).toMatch(/^aegis_batches_signed_total 2$/m);
    expect(body).toMatch(/^aegis_problems_total\{code="unauthorized"\} [1-9]/m);
    expect(body).toMatch(/^aegis_event_loop_delay_seconds_count /m);
    const ends = Number(/^aegis_attestation_not_after_seconds ([\d.]+)$/m.exec(body)?.[1]);
    expect(ends * 1000).toBe(house.sequencer.attestation?.not_after_ms);
  });
});

describe('another server over the same sequencer', () => {
  const post = { method: 'POST', url: '/batches/cut', headers: { authorization: 'Bearer x' } } as const;

  it('forbids what a role may not', async () => {
    const tokens = { admin_path: '', roleOf: () => 'metrics' as const };
    await using server = await createServer({ sequencer: house.sequencer, log: quiet, version: '0', tokens });
    await expectProblem(await server.app.inject(post), 'forbidden');
    expect((await server.app.inject('/metrics')).statusCode).toBe(200);
  });

  it('says nothing of what went wrong inside, but logs it', async () => {
    let failing = false;
    const sequencer = new Proxy(house.sequencer, {
      get(target, name) {
        if (failing && name === 'status') throw new Error('a secret');
        const value = Reflect.get(target, name, target);
        return typeof value === 'function' ? value.bind(target) : value;
      },
    });
    const logged: unknown[] = [];
    const log = { ...quiet, error: (detail: object) => logged.push(detail) };
    await using server = await createServer({ sequencer, log, version: '0' });
    failing = true;
    const answer = await server.app.inject('/sequencer/status');
    await expectProblem(answer, 'internal_error');
    expect(answer.body).not.toContain('secret');
    expect(logged).toMatchObject([{ err: { message: 'a secret' }, route: 'GET /sequencer/status' }]);
  });
});

describe('what is not there', () => {
  it.each(['/', '/nope', '/batches', '/batches/0/', '/BATCHES/0', '//batches/0', '/transactions/%00/x'])(
    '%s',
    async (url) => {
      await expectProblem(await inject(url), 'route_not_found');
    },
  );

  it('names the methods that are', async () => {
    for (const [method, url, allow] of [
      ['DELETE', '/batches/0', 'GET, HEAD'],
      ['GET', '/transactions', 'POST'],
      ['OPTIONS', '/transactions', 'POST'],
      ['PUT', '/metrics', 'GET, HEAD'],
    ]) {
      const answer = await inject(url!, { method });
      await expectProblem(answer, 'method_not_allowed');
      expect(answer.headers.allow).toBe(allow);
      expect(answer.headers['access-control-allow-origin']).toBeUndefined();
    }
  });

  it('refuses a URL that cannot be read', async () => {
    await expectProblem(await inject('/batches/%zz'), 'bad_request');
    await expectProblem(await inject(`/transactions/0x${'0'.repeat(300)}`), 'invalid_path');
  });
});

describe('the feed over HTTP', () => {
  it('pages the journal', async () => {
    const { entries, newest } = await get<{ entries: { cursor: number }[]; newest: number }>(
      '/feed/entries?limit=1000',
      'FeedPage',
    );
    expect(entries.map(({ cursor }) => cursor)).toEqual(Array.from({ length: newest }, (_, i) => i + 1));
    const page = await get<{ entries: object[] }>('/feed/entries?after=2&limit=3', 'FeedPage');
    expect(page.entries).toEqual(entries.slice(2, 5));
    const end = await get<{ entries: object[] }>(`/feed/entries?after=${newest}`, 'FeedPage');
    expect(end.entries).toEqual([]);
  });

  it('says what is wrong', async () => {
    const { newest } = await expectProblem(await inject('/feed/entries?after=999999'), 'future_cursor');
    expect(newest).toBe(house.sequencer.store.journalHead().cursor);
    await expectProblem(await inject('/feed/entries?limit=1001'), 'invalid_query', 'limit');
    await expectProblem(await inject('/feed'), 'upgrade_required');
    await expectProblem(await inject('/feed?cursor=-1'), 'invalid_query', 'cursor');
    await expectProblem(await inject('/feed?types=batch_created,nope'), 'invalid_query', 'types');
  });
});

describe('the document', () => {
  interface Document {
    openapi: string;
    paths: Record<string, Record<string, { responses: Record<string, object>; security?: object[] }>>;
    components: { schemas: Record<string, object> };
  }

  it('is OpenAPI 3.1, names its schemas, and refers to nothing that is not there', async () => {
    const answer = await inject('/openapi.json');
    const document = answer.json<Document>();
    expect(document.openapi).toMatch(/^3\.1\./);
    const names = Object.keys(document.components.schemas);
    expect(names).toEqual(expect.arrayContaining(['Batch', 'Envelope', 'Head', 'Keyset', 'Problem', 'Receipt']));
    expect(names.filter((name) => name.endsWith('Input'))).toEqual([]);
    const references = [...answer.body.matchAll(/"\$ref":"#\/components\/schemas\/([^"]+)"/g)].map(([, name]) => name);
    expect(new Set(references)).toEqual(new Set(names));
    expect(createHash('sha256').update(answer.body).digest('hex')).toBe(
      createHash('sha256')
        .update((await inject('/openapi.json')).body)
        .digest('hex'),
    );
  });

  it('knows every route, its problems, and which ones want a token', async () => {
    const { paths } = (await inject('/openapi.json')).json<Document>();
    expect(Object.keys(paths).sort()).toEqual(
      ['/attestation', '/batches/cut', '/batches/recent', '/batches/{height}', '/epochs', '/epochs/{epoch}/keyset']
        .concat(
          ['/feed', '/feed/entries', '/health', '/log/consistency', '/log/entries', '/log/head', '/log/inclusion'],
          ['/log/seals', '/log/seals/{size}', '/log/tile/{level}/{index}', '/log/tile/{level}/{index}.p/{width}'],
          ['/batches/headers', '/epochs/rotate', '/epochs/rotations', '/metrics', '/admin/keys', '/admin/orders'],
          ['/assets', '/assets/register', '/assets/protection/{id}', '/assets/{id}', '/assets/{id}/policy'],
          ['/assets/{id}/encrypt', '/assets/{id}/decrypt', '/assets/{id}/rewrap'],
          ['/names', '/names/{name}', '/names/{name}/record', '/republish', '/admin/republish-health'],
          ['/migration/start', '/migration/complete', '/migration/rollback', '/migration/status', '/admin/backup'],
          ['/migration/checkpoints/{id}', '/migration/checkpoints/{id}/snapshots', '/handover', '/admin/handover'],
          ['/qrm/risk', '/qrm/history', '/qrm/indicators', '/qrm/indicators/{id}/withdraw'],
          ['/qrm/simulation/start', '/qrm/simulation/stop'],
          ['/public-key', '/ready', '/sequencer/status', '/transactions', '/transactions/{id}'],
        )
        .sort(),
    );
    const guarded = Object.entries(paths).filter(([, methods]) =>
      Object.values(methods).some(({ security }) => security),
    );
    expect(guarded.map(([path]) => path).sort()).toEqual([
      '/admin/backup',
      '/admin/handover',
      '/admin/orders',
      '/admin/republish-health',
      '/assets/register',
      '/assets/{id}',
      '/assets/{id}/decrypt',
      '/assets/{id}/encrypt',
      '/assets/{id}/policy',
      '/assets/{id}/rewrap',
      '/batches/cut',
      '/epochs/rotate',
      '/metrics',
      '/migration/complete',
      '/migration/rollback',
      '/migration/start',
      '/names',
      '/names/{name}',
      '/names/{name}/record',
      '/qrm/indicators',
      '/qrm/indicators/{id}/withdraw',
      '/qrm/simulation/start',
      '/qrm/simulation/stop',
      '/republish',
    ]);
    for (const methods of Object.values(paths)) {
      for (const { responses } of Object.values(methods)) expect(responses['400']).toBeDefined();
    }
  });
});

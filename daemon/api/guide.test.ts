import { execFile, execFileSync } from 'node:child_process';
import { mkdirSync, readFileSync, symlinkSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { base64, fromBase64 } from '../../actors/encoding.ts';
import { makeAdmin } from '../../test/admin.ts';
import { enveloped, type House, openHouse } from '../../test/house.ts';
import { listCheckpoints } from '../checkpoints.ts';
import { Owner } from '../demo/owner.ts';
import { EXAMPLES, GUIDE_FILE, guide } from './guide.ts';
import type { Listening } from './server.ts';

const admin = makeAdmin(1);
/** Nobody listens there: what is enrolled is tried again later. */
const NAMES = { router: 'http://127.0.0.1:9', worker: true };
let house: House;
let at: Listening;
beforeAll(async () => {
  house = await openHouse({ admin: { keys: [admin.public_key] }, risk: { simulation: true }, names: NAMES });
  at = await house.server.listen();
});
afterAll(() => house?.[Symbol.asyncDispose]());

/** Of examples that aren't answered with 200: curl speaks no WebSocket, and the log here is short of a full tile. */
const OTHER_STATUS: Readonly<Record<string, number>> = {
  'GET /feed': 426,
  'GET /log/tile/{level}/{index}': 404,
  'POST /transactions': 202,
  'POST /assets/register': 201,
  'POST /epochs/rotate': 202,
  // The one before has rolled it back.
  'POST /migration/complete': 409,
  'POST /names': 201,
};

const INDICATOR = {
  ...{ id: 'mine', category: 'side_channel', sub_category: 'cache', severity: 0.2, confidence: 0.5, source: 'a paper' },
  ...{
    timestamp: '2026-01-01T00:00:00Z',
    description: 'A leak.',
    era_relevance: 'nisq',
    references: ['CVE-2026-0001'],
  },
};

const hasCurl = (() => {
  try {
    execFileSync('curl', ['--version']);
    return true;
  } catch {
    return false;
  }
})();

/** What an owner's application sends, and what a backend does. */
async function writeNames(folder: string): Promise<void> {
  const [owner, other] = [7, 8].map((n) => new Owner(new Uint8Array(32).fill(n)));
  const names = fromBase64(house.sequencer.keyset.names!);
  const record = await owner!.record('/ipfs/a', 1n, Date.now() + 3_600_000);
  const newer = await owner!.record('/ipfs/b', 2n, Date.now() + 3_600_000);
  const { record: _, ...key } = other!.enrolment(record, 1, names);
  const entry = {
    ...key,
    latestCid: 'bafkreiem4twkqzsq2aj4shbycd4yvoj2cx72vezicletlhi7dijjciqpui',
    sequenceNumber: '1',
  };
  const files = {
    'enrolment.json': owner!.enrolment(record, 1, names),
    'record.json': { record: base64(newer) },
    'entries.json': { entries: [entry] },
  };
  for (const [name, body] of Object.entries(files)) writeFileSync(join(folder, name), JSON.stringify(body));
}

describe('docs/api.md', () => {
  it('is what the code says (npm run docs)', () => {
    expect(readFileSync(GUIDE_FILE, 'utf8')).toBe(guide());
  });

  it('lists every route of the app, and who may call it', async () => {
    const { paths } = (await house.server.app.inject('/openapi.json')).json<{
      paths: Record<string, Record<string, { security?: object[] }>>;
    }>();
    const known = Object.entries(paths).flatMap(([path, methods]) =>
      Object.entries(methods).map(
        ([method, { security }]) => `${method.toUpperCase()} ${path} ${security ? 'token' : 'public'}`,
      ),
    );
    const listed = EXAMPLES.filter(({ route }) => route !== 'GET /openapi.json');
    expect(listed.map(({ route, role }) => `${route} ${role === 'public' ? role : 'token'}`).sort()).toEqual(
      known.sort(),
    );
  });

  it.skipIf(!hasCurl && process.env.CI !== 'true')('has examples that work', async () => {
    const folder = join(house.state_dir, 'examples');
    mkdirSync(folder);
    symlinkSync(house.state_dir, join(folder, 'state'));
    const envelope = await enveloped(house.sequencer);
    const admission = await house.sequencer.submitEncrypted(envelope);
    if (!admission.ok) throw new Error(admission.code);
    await house.journaled('seal_created', ({ heights }) => (heights as number[]).includes(0));
    writeFileSync(join(folder, 'envelope.json'), JSON.stringify(await enveloped(house.sequencer)));
    await house.sequencer.store.commit((tx) => {
      tx.put('machines', 'epoch/7', { version: 1, value: 'grace', context: { epoch: 7 } });
    });
    const order = admin.order(house.sequencer.epoch.log.log_id, { type: 'retire_epoch', epoch: 7 });
    writeFileSync(join(folder, 'order.json'), JSON.stringify(order));
    writeFileSync(join(folder, 'indicator.json'), JSON.stringify(INDICATOR));
    await writeNames(folder);
    for (const { curl, route } of EXAMPLES) {
      const CHECKPOINT = listCheckpoints(house.sequencer.store, 1)[0]?.checkpoint_id;
      const env = { PATH: process.env.PATH, AEGIS: at.url, ID: admission.envelope_id, CHECKPOINT };
      const wanted = OTHER_STATUS[route] ?? 200;
      const fails = wanted < 400 ? '--fail ' : '';
      const script = curl.replace('curl -s ', `curl -s ${fails}-w '\\n%{http_code}' `);
      const { stdout } = await promisify(execFile)('sh', ['-c', script], { cwd: folder, env, maxBuffer: 2 ** 26 });
      const status = Number(stdout.slice(stdout.lastIndexOf('\n') + 1));
      expect([route, status]).toEqual([route, wanted]);
    }
  });
});

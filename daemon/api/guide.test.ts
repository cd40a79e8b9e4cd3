import { execFile, execFileSync } from 'node:child_process';
import { mkdirSync, readFileSync, symlinkSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { makeAdmin } from '../../test/admin.ts';
import { enveloped, type House, openHouse } from '../../test/house.ts';
import { EXAMPLES, GUIDE_FILE, guide } from './guide.ts';
import type { Listening } from './server.ts';

const admin = makeAdmin(1);
let house: House;
let at: Listening;
beforeAll(async () => {
  house = await openHouse({ admin: { keys: [admin.public_key] }, risk: { simulation: true } });
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
    const env = { PATH: process.env.PATH, AEGIS: at.url, ID: admission.envelope_id };
    for (const { curl, route } of EXAMPLES) {
      const wanted = OTHER_STATUS[route] ?? 200;
      const fails = wanted < 400 ? '--fail ' : '';
      const script = curl.replace('curl -s ', `curl -s ${fails}-w '\\n%{http_code}' `);
      const { stdout } = await promisify(execFile)('sh', ['-c', script], { cwd: folder, env, maxBuffer: 2 ** 26 });
      const status = Number(stdout.slice(stdout.lastIndexOf('\n') + 1));
      expect([route, status]).toEqual([route, wanted]);
    }
  });
});

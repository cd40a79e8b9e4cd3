// `aegisd names …` against a daemon in this process, over its unix socket: the real commands and files. No router answers.
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, afterEach, beforeAll, expect, it, vi } from 'vitest';
import { fromBase64 } from '../../actors/encoding.ts';
import { type House, openHouse } from '../../test/house.ts';
import { ownerOf } from '../../test/named.ts';
import { main } from './program.ts';

let house: House;
let config: string;
beforeAll(async () => {
  house = await openHouse({ names: { router: 'http://127.0.0.1:9' } });
  await house.server.listen();
  config = join(house.state_dir, 'own.toml');
  writeFileSync(config, `[daemon]\nstate_dir = ${JSON.stringify(house.state_dir)}\n`);
});
afterAll(() => house[Symbol.asyncDispose]());
afterEach(() => vi.restoreAllMocks());

async function run(...args: string[]) {
  const out: string[] = [];
  vi.spyOn(process.stdout, 'write').mockImplementation((text) => out.push(String(text)) > 0);
  vi.spyOn(process.stderr, 'write').mockImplementation((text) => out.push(String(text)) > 0);
  const code = await main(['node', 'aegisd', 'names', ...args, '--config', config]);
  vi.restoreAllMocks();
  return { code, said: out.join('') };
}

async function enrolment(n: number) {
  const owner = ownerOf(n);
  const record = await owner.record('/ipfs/a', 4n, Date.now() + 3_600_000);
  return owner.enrolment(record, 1, fromBase64(house.sequencer.keyset.names!));
}

it('enrols from a file, shows, lists, removes, and says how it goes', async () => {
  const file = join(house.state_dir, 'names.json');
  const [first, second] = [await enrolment(1), await enrolment(2)];
  writeFileSync(file, JSON.stringify([first, { ...second, keyEpoch: 9 }, second]));
  const made = await run('enrol', file);
  expect(made.code).toBe(1);
  const lines = made.said.trim().split('\n');
  expect(lines[0]).toBe(`enrolled   ${first.ipnsName}`);
  expect(lines[1]).toBe(`refused    ${second.ipnsName}: key_epoch_not_accepted`);
  expect(lines[2]).toBe(`refused    ${second.ipnsName}: name_repeated`);
  writeFileSync(file, JSON.stringify(second));
  expect(await run('enrol', file)).toMatchObject({ code: 0 });
  await house.sequencer.names.run();
  expect((await run('show', first.ipnsName)).said).toContain('retrying, router_unreachable, 1 times in a row');
  expect((await run('list')).said).toContain('2 enrolled');
  expect((await run('list', '--state', 'published')).said).toBe('2 enrolled\n');
  const health = JSON.parse((await run('health', '--json')).said);
  expect(health).toMatchObject({ failed: 2, stale: 0, published: 0, currentEpoch: 1 });
  expect((await run('health')).said).toContain('failed     2, 0 of them quarantined');
  expect(await run('remove', first.ipnsName)).toMatchObject({ code: 0 });
  expect(await run('remove', first.ipnsName)).toMatchObject({ code: 1 });
  expect((await run('show', first.ipnsName)).said).toContain('name_not_found');
});

it('says what is wrong with a file', async () => {
  expect(await run('enrol', join(house.state_dir, 'nowhere.json'))).toMatchObject({ code: 2 });
});

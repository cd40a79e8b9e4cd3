// The verdict of a demo: one check that did not hold is enough, and a demo that checked nothing has shown nothing.
import { existsSync } from 'node:fs';
import { afterEach, expect, it, vi } from 'vitest';
import { RequestError } from '../cli/connection.ts';
import { perform, type Scene } from './scene.ts';

afterEach(() => vi.restoreAllMocks());

function capture() {
  const out = vi.spyOn(process.stdout, 'write').mockReturnValue(true);
  const err = vi.spyOn(process.stderr, 'write').mockReturnValue(true);
  const text = (spy: typeof out) => spy.mock.calls.map(([line]) => String(line)).join('');
  return { out: () => text(out), err: () => text(err) };
}

it('is 0 only when every check held, and folders go with it', async () => {
  const said = capture();
  const folders: string[] = [];
  const play = async ({ folder, state_dir, check, say }: Scene) => {
    folders.push(folder, state_dir);
    say('begins');
    check('one', true);
    check('two', true);
  };
  expect(await perform({}, 'a test', play)).toBe(0);
  expect(said.out()).toBe('begins\n\nVerified: all 2 checks held, a test.\n');
  expect(folders.map(existsSync)).toEqual([false, false]);
});

it.each([
  [[true, false], 'FAILED: 1 checks', 'demo: did not hold: check 1\n'],
  [[], 'FAILED: 0 checks', ''],
])('is 1 for %j', async (checks, verdict, complaint) => {
  const said = capture();
  const play = async ({ check }: Scene) => checks.forEach((held, i) => void check(`check ${i}`, held));
  expect(await perform({}, 'a test', play)).toBe(1);
  expect(said.out()).toContain(verdict);
  expect(said.err()).toBe(complaint);
});

it('is 1, with a sentence, when what it needs fails', async () => {
  const said = capture();
  const play = async () => {
    throw new RequestError('feed_failed', 'the feed ended');
  };
  expect(await perform({ json: true }, 'a test', play)).toBe(1);
  expect(said.out()).toBe('');
  expect(said.err()).toBe('demo: the feed ended\n');
});

/** The file and the schema say the same: keys, bounds and what is live; and addresses are read as a socket would. */
import { readFileSync } from 'node:fs';
import { parse } from 'smol-toml';
import { describe, expect, it } from 'vitest';
import { LIVE_KEYS } from './diff.ts';
import { DEFAULTS_FILE, loadConfig } from './load.ts';
import { address, CONFIG_KEYS, isLoopback, schema } from './schema.ts';

const text = readFileSync(DEFAULTS_FILE, 'utf8');

/** `section.key` with the comment right above it. */
const written = new Map<string, string>();
let section = '';
let comment: string[] = [];
for (const line of text.split('\n')) {
  if (line.startsWith('#')) comment.push(line.slice(2));
  else {
    section = /^\[(.+)\]$/.exec(line)?.[1] ?? section;
    const key = /^(\w+) = /.exec(line)?.[1];
    if (key) written.set(`${section}.${key}`, comment.join('\n'));
    comment = [];
  }
}

const fields = new Map(
  Object.entries(schema.shape).flatMap(([name, { shape }]) =>
    Object.entries(shape).map(([key, field]) => [`${name}.${key}`, field.meta()?.accepts as string] as const),
  ),
);

describe('sequencer.toml', () => {
  it('passes, and has every key of the schema and no other, in the same order', () => {
    const table = parse(text) as Record<string, Record<string, unknown>>;
    const keys = Object.entries(table).flatMap(([name, body]) => Object.keys(body).map((key) => `${name}.${key}`));
    expect(keys).toEqual(CONFIG_KEYS);
    expect([...written.keys()]).toEqual(CONFIG_KEYS);
    expect(() => loadConfig({ environment: {} })).not.toThrow();
  });

  it.each(CONFIG_KEYS)('%s has a comment with a reason, what it accepts, and whether it is live', (key) => {
    const lines = written.get(key)!.split('\n');
    expect(lines.length).toBeGreaterThanOrEqual(2);
    expect(lines.at(-1)).toMatch(/\.$/);
    expect(lines.at(-1)).toContain(fields.get(key)!);
    expect(lines.at(-1)!.endsWith(' Live.')).toBe(LIVE_KEYS.has(key));
  });

  it('keeps to 120 columns', () => {
    expect(text.split('\n').filter((line) => line.length > 120)).toEqual([]);
  });
});

describe('an address', () => {
  it.each([
    ['127.0.0.1:5050', '127.0.0.1', 5050],
    ['[::1]:0', '::1', 0],
    ['[2001:db8::1]:65535', '2001:db8::1', 65_535],
    ['localhost:80', 'localhost', 80],
    ['node-1.example.org:1', 'node-1.example.org', 1],
  ])('%s', (listen, host, port) => expect(address(listen)).toEqual({ host, port }));

  it.each([
    ['', 'x', ':1', '*:1', '1.2.3:4', '300.1.1.1:1', '127.0.0.1', '127.0.0.1:', '127.0.0.1:01', '127.0.0.1:-1'],
    ['127.0.0.1:65536', '127.0.0.1: 1', ' 127.0.0.1:1', '::1:1', '[::1]', '[127.0.0.1]:1', '[::g]:1', 'a_b:1', '-a:1'],
    ['http://127.0.0.1:1', '127.0.0.1:1/', 'a..b:1', '127.0.0.1:1\n', '[::1%eth0]:1'],
  ])('refuses %s, %s, %s and others', (...listens) => {
    expect(listens.filter((listen) => address(listen) !== undefined)).toEqual([]);
  });

  it('is known to be of this machine alone, or not', () => {
    const hosts = ['127.0.0.1', '127.9.9.9', '::1', '0:0:0:0:0:0:0:1', 'localhost', 'LOCALHOST'];
    expect(hosts.filter((host) => !isLoopback(host))).toEqual([]);
    const open = ['0.0.0.0', '::', '::2', '10.0.0.1', '127.example.org', 'localhost.example.org', '::ffff:10.0.0.1'];
    expect(open.filter(isLoopback)).toEqual([]);
  });
});

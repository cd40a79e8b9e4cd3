/** Loading: what a good file gives, and that each kind of mistake is told with file, line, column, key and remedy. */
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import fc from 'fast-check';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { ConfigError } from './error.ts';
import { DEFAULTS_FILE, loadConfig } from './load.ts';
import { CONFIG_KEYS, setting } from './schema.ts';

let folder: string;
beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), 'aegis-config-'));
});
afterAll(() => rmSync(folder, { recursive: true }));

function write(content: string | Uint8Array): string {
  const file = join(folder, 'own.toml');
  writeFileSync(file, content);
  return file;
}

const load = (text: string, environment = {}) => loadConfig({ file: write(text), environment }).config;

function refusal(file: string): ConfigError {
  try {
    loadConfig({ file, environment: {} });
  } catch (error) {
    if (error instanceof ConfigError) return error;
    throw error;
  }
  throw new Error('was accepted');
}

/** The messages with the folder cut off, one a line. */
const messages = (text: string | Uint8Array) => refusal(write(text)).message.replaceAll(`${folder}/`, '').split('\n');

describe('a good configuration', () => {
  it('is the defaults where there is no file, and where the file is the defaults', () => {
    const { config, sources } = loadConfig({ environment: {} });
    expect(sources).toEqual(['sequencer.toml']);
    expect(config).toMatchObject({ api: { listen: '127.0.0.1:5050' }, chain: { chain_id: 31_337n } });
    expect(loadConfig({ file: DEFAULTS_FILE, environment: {} })).toEqual({ config, sources });
    expect(load('')).toEqual(config);
  });

  it('merges tables key by key and keeps the rest', () => {
    const file = write('seal.interval_ms = 0\n[sequencer]\nbatch_size = 5\n');
    const { config, sources } = loadConfig({ file, environment: {} });
    expect(sources).toEqual(['sequencer.toml', file]);
    expect(config.seal.interval_ms).toBe(0);
    expect(config.sequencer).toEqual({ ...loadConfig().config.sequencer, batch_size: 5 });
  });

  it('takes chain ids up to 2^256 - 1, as an integer or as a decimal string', () => {
    const largest = 2n ** 256n - 1n;
    expect(load('chain.chain_id = 10').chain.chain_id).toBe(10n);
    expect(load(`chain.chain_id = "${largest}"`).chain.chain_id).toBe(largest);
    expect(() => load(`chain.chain_id = "${largest + 1n}"`)).toThrow('from 1 to 2^256 - 1');
  });

  it('prefers $STATE_DIRECTORY to the default folder, but not to one that the operator names', () => {
    const environment = { STATE_DIRECTORY: '/var/lib/aegis:/var/lib/other' };
    expect(load('', environment).daemon.state_dir).toBe('/var/lib/aegis');
    expect(load('daemon.state_dir = "/srv/aegis"', environment).daemon.state_dir).toBe('/srv/aegis');
    expect(load('', { STATE_DIRECTORY: '' }).daemon.state_dir).toBe('./state');
    expect(loadConfig({ environment }).sources).toEqual(['sequencer.toml', '$STATE_DIRECTORY']);
  });

  it('is frozen', () => {
    const { config } = loadConfig();
    expect(() => Object.assign(config.seal, { interval_ms: 1 })).toThrow(TypeError);
    expect(() => Object.assign(config, { seal: {} })).toThrow(TypeError);
  });

  it('accepts a byte order mark, CRLF, and TOML 1.1', () => {
    expect(load('\uFEFF[seal]\r\ninterval_ms = 7\r\n').seal.interval_ms).toBe(7);
    expect(load('seal = {\n interval_ms = 7,\n}\n').seal.interval_ms).toBe(7);
  });
});

const integer = 'expected an integer from';
const loopback = 'expected a loopback address (127.0.0.1, [::1] or localhost) while keys.source = "simulator"';
const hostPort = 'expected host:port such as 127.0.0.1:5050 or [::1]:5050, port 0 to 65535';

// Each message starts with what stands here; the second column is one line for each issue.
const mistakes: [name: string, text: string, ...starts: string[]][] = [
  [
    'a word that is no choice',
    '\n[ordering]\nmode = "riskaware"',
    'own.toml:3:8 ordering.mode = "riskaware": expected one of risk_aware, asset_protection, migration_aware, hybrid',
  ],
  [
    'a choice of another kind',
    'daemon.log_level = 3',
    'own.toml:1:20 daemon.log_level = 3: expected one of fatal, error, warn, info, debug, trace, not an integer',
  ],
  [
    'a float',
    '[seal]\ninterval_ms = 1.0',
    `own.toml:2:15 seal.interval_ms = 1.0: ${integer} 0 to 3600000 (milliseconds), not a float (drop the decimal point)`,
  ],
  [
    'a fraction',
    '[seal]\ninterval_ms = 1.5',
    `own.toml:2:15 seal.interval_ms = 1.5: ${integer} 0 to 3600000 (milliseconds), not a float`,
  ],
  [
    'an integer in quotes',
    '[seal]\ninterval_ms = "1"',
    `own.toml:2:15 seal.interval_ms = "1": ${integer} 0 to 3600000 (milliseconds), not a string (drop the quotes)`,
  ],
  ['a negative', 'seal.interval_ms = -1', `own.toml:1:20 seal.interval_ms = -1: ${integer} 0 to 3600000`],
  [
    'beyond 64 bits',
    'seal.interval_ms = 99999999999999999999',
    `own.toml:1:20 seal.interval_ms = 99999999999999999999: ${integer} 0 to 3600000`,
  ],
  ['infinity', 'seal.interval_ms = inf', `own.toml:1:20 seal.interval_ms = inf: ${integer} 0 to 3600000`],
  ['a date', 'seal.interval_ms = 1979-05-27', `own.toml:1:20 seal.interval_ms = 1979-05-27: ${integer}`],
  ['a list', 'seal.interval_ms = [\n1]', `own.toml:1:20 seal.interval_ms = […]: ${integer}`],
  [
    'a boolean in quotes',
    'quantum.hybrid_ecdsa = "true"',
    'own.toml:1:24 quantum.hybrid_ecdsa = "true": expected true or false, not a string (drop the quotes)',
  ],
  [
    'an unknown key',
    '[sequencer]\n\nbatch_sise = 3',
    'own.toml:3:1 sequencer.batch_sise: unknown key, did you mean batch_size? (allowed: batch_interval_ms, batch_size, max_transactions_per_batch, open_max, in_flight_max)',
  ],
  [
    'a key of another table',
    '[mempool]\nbatch_size = 3',
    'own.toml:2:1 mempool.batch_size: unknown key, did you mean sequencer.batch_size? (allowed: capacity, client_max, retry_after_s)',
  ],
  [
    'a key without its table',
    'batch_size = 3',
    'own.toml:1:1 batch_size: unknown table, did you mean sequencer.batch_size? (allowed: daemon, api, ',
  ],
  [
    'an unknown table',
    '[sequenser]\nx = 1',
    'own.toml:1:2 sequenser: unknown table, did you mean sequencer? (allowed: ',
  ],
  ['hyphens', '[seal]\ninterval-ms = 1', 'own.toml:2:1 seal.interval-ms: unknown key, did you mean interval_ms?'],
  ['a prototype', '__proto__.x = 1', 'own.toml:1:1 __proto__: unknown table (allowed: '],
  ['a prototype within', '[seal]\n__proto__ = 1', 'own.toml:2:1 seal.__proto__: unknown key (allowed: interval_ms)'],
  ['a quoted key', '[seal]\n"a b" = 1', 'own.toml:2:1 seal."a b": unknown key (allowed: interval_ms)'],
  ['a value for a table', 'seal = 5', 'own.toml:1:8 seal = 5: expected a table with interval_ms, not an integer'],
  ['a list of tables', '[[seal]]\ninterval_ms = 5', 'own.toml:1:3 seal: expected a table with interval_ms, not a list'],
  ['a table for a value', '[seal.interval_ms]\nx = 1', `own.toml:1:2 seal.interval_ms: ${integer}`],
  ['an inline table', 'seal = { interval_ms = 1, x = 2 }', 'own.toml:1:27 seal.x: unknown key (allowed: interval_ms)'],
  ['an empty path', 'api.socket = ""', 'own.toml:1:14 api.socket = "": expected a path of 1 to 4096 bytes'],
  ['NUL in a path', 'api.socket = "a\\u0000"', 'own.toml:1:14 api.socket = "a\\u0000": expected a path'],
  ['a port alone', 'api.listen = ":5050"', `own.toml:1:14 api.listen = ":5050": ${hostPort}`],
  ['a bare IPv6', 'api.listen = "::1:5050"', `own.toml:1:14 api.listen = "::1:5050": ${hostPort}`],
  ['a port too high', 'api.listen = "[::1]:65536"', `own.toml:1:14 api.listen = "[::1]:65536": ${hostPort}`],
  ['half an IPv4', 'api.listen = "127.1:1"', `own.toml:1:14 api.listen = "127.1:1": ${hostPort}`],
  ['an open address', 'api.listen = "0.0.0.0:1"', `own.toml:1:14 api.listen = "0.0.0.0:1": ${loopback}`],
  ['an open IPv6', 'api.listen = "[::]:1"', `own.toml:1:14 api.listen = "[::]:1": ${loopback}`],
  [
    'a name that anyone may hold',
    'api.listen = "a.localhost:1"',
    `own.toml:1:14 api.listen = "a.localhost:1": ${loopback}`,
  ],
  ['chain 0', 'chain.chain_id = 0', 'own.toml:1:18 chain.chain_id = 0: expected an integer or a decimal string from 1'],
  ['a hexadecimal chain', 'chain.chain_id = "0x1"', 'own.toml:1:18 chain.chain_id = "0x1": expected an integer or'],
  ['a chain with zeros', 'chain.chain_id = "01"', 'own.toml:1:18 chain.chain_id = "01": expected an integer or'],
  [
    'production on a simulator',
    'daemon.environment = "production"',
    'own.toml:1:22 daemon.environment = "production": expected development while keys.source = "simulator"',
  ],
  [
    'production with a simulator beside hardware',
    'daemon.environment = "production"\nkeys.source = "credential"\nattestation = { primary = "tsm", redundancy = "simulator" }',
    'own.toml:1:22 daemon.environment = "production": expected development while attestation.redundancy = "simulator"',
  ],
  [
    'one platform as two',
    '[attestation]\nredundancy = "simulator"',
    'own.toml:2:14 attestation.redundancy = "simulator": expected another platform than attestation.primary = "simulator"',
  ],
  [
    'a socket of dstack whose path the kernel would cut',
    `[attestation]\nprimary = "dstack"\ndstack_socket = "/${'s'.repeat(103)}"`,
    'own.toml:3:17 attestation.dstack_socket = "/sss',
  ],
  [
    'the lower of two, which the file sets',
    'sequencer.batch_size = 51',
    'own.toml:1:24 sequencer.batch_size = 51: expected at most sequencer.max_transactions_per_batch = 50',
  ],
  [
    'the higher of two, which the file sets',
    'sequencer.max_transactions_per_batch = 9',
    'own.toml:1:40 sequencer.max_transactions_per_batch = 9: expected at least sequencer.batch_size = 10',
  ],
  [
    'a store smaller than what must stay free',
    '[store]\nmap_bytes_max = 134217728',
    'own.toml:2:17 store.map_bytes_max = 134217728: expected at least store.free_bytes_min = 268435456',
  ],
  [
    'the same of the next pair',
    '[sequencer]\nmax_transactions_per_batch = 201',
    'own.toml:2:30 sequencer.max_transactions_per_batch = 201: expected at most sequencer.open_max = 200',
  ],
  [
    'a burst below one array',
    'api.rate_limit_burst = 255',
    'own.toml:1:24 api.rate_limit_burst = 255: expected at least api.envelopes_max = 256',
  ],
  [
    'a deadline too short for the slow engine',
    'signing.engine = "noble"\nworkers.task_timeout_ms = 14999',
    'own.toml:2:27 workers.task_timeout_ms = 14999: expected at least 15000 with the engine noble',
  ],
  [
    'a socket too long for the kernel',
    `[api]\nsocket = "/${'s'.repeat(103)}"`,
    `own.toml:2:10 api.socket = "/${'s'.repeat(58)}…: expected at most 103 bytes for the whole path`,
  ],
  ['broken TOML', '[seal]\ninterval_ms = \n', 'own.toml:2:15: not TOML: '],
  ['a key twice', '[seal]\ninterval_ms = 1\ninterval_ms = 2', 'own.toml:3:1: not TOML: trying to redefine'],
  ['TOML nested too deeply', `a = ${'['.repeat(100_000)}`, 'own.toml:1:1005: not TOML: '],
  [
    'several at once, in the order of the file',
    '[seal]\ninterval_ms = 1.5\nx = 1\n[sequencer]\nbatch_size = 60\n[nothing]\n',
    `own.toml:2:15 seal.interval_ms = 1.5: ${integer}`,
    'own.toml:3:1 seal.x: unknown key',
    'own.toml:5:14 sequencer.batch_size = 60: expected at most sequencer.max_transactions_per_batch = 50',
    'own.toml:6:2 nothing: unknown table',
  ],
];

describe('a mistake', () => {
  it.each(mistakes)('%s', (_, text, ...starts) => {
    const found = messages(text);
    expect(found.map((line, index) => line.slice(0, starts[index]?.length))).toEqual(starts);
  });

  it('has each part of its place as data', () => {
    const file = write('[ordering]\nmode = "riskaware"');
    const message = 'expected one of risk_aware, asset_protection, migration_aware, hybrid';
    const issue = { file, line: 2, column: 8, key: 'ordering.mode', value: '"riskaware"', message };
    expect(refusal(file)).toMatchObject({ name: 'ConfigError', code: 'config_invalid', issues: [issue] });
  });

  it('never shows the value of a key that is not known, which could be a secret', () => {
    expect(messages('[api]\ntoken = "hunter2"\n[keys]\nroot = { seed = "hunter2" }').join()).not.toContain('hunter2');
    expect(messages('seal = [{ token = "hunter2" }]').join()).not.toContain('hunter2');
    expect(messages('[api]\ntoken = "hunter2').join()).not.toContain('hunter2');
  });

  it('is told in bounded text and time, whatever the file', () => {
    const many = Array.from({ length: 1000 }, (_, index) => `k${index} = 1`).join('\n');
    expect(refusal(write(many)).issues).toHaveLength(1000);
    expect(messages(many).at(-1)).toBe('… and 950 more');
    expect(messages(`${'a'.repeat(500_000)} = 1`).join('').length).toBeLessThan(400);
    expect(messages(`${Array(20_000).fill('a').join('.')} = 1`).join('').length).toBeLessThan(400);
  });

  it('in any single key is reported once, on its own line, whatever the layout', () => {
    const { config } = loadConfig();
    const wrong = { number: ['1.5', '"1"', 'true', '[1]', '{}'], string: ['1', '1.5', 'true', '[""]', '{}'] };
    const literals = {
      ...wrong,
      list: ['1', '"1"', 'true', '[1]', '{}'],
      object: ['1', '"1"', 'true', '[1]', '1.5'],
      boolean: ['0', '"true"', '[true]'],
      bigint: ['1.5', 'true', '[1]'],
    };
    const layouts = [
      (section: string, key: string, value: string) => ({ text: `[${section}]\n# why\n${key} = ${value}\n`, line: 3 }),
      (section: string, key: string, value: string) => ({ text: `${section}.${key} = ${value}\n`, line: 1 }),
      (section: string, key: string, value: string) => ({ text: `"${section}".'${key}' =\t${value}\n`, line: 1 }),
      (section: string, key: string, value: string) => ({ text: `${section} = {\n ${key} = ${value}\n}\n`, line: 2 }),
    ];
    const cases = fc.record({
      key: fc.constantFrom(...CONFIG_KEYS),
      literal: fc.nat(),
      layout: fc.constantFrom(...layouts),
      above: fc.array(fc.constantFrom('', '# a comment', "  # it's = another")),
    });
    fc.assert(
      fc.property(cases, ({ key, literal, layout, above }) => {
        const [section = '', name = ''] = key.split('.');
        const value = setting(config, key);
        const values = literals[(Array.isArray(value) ? 'list' : typeof value) as keyof typeof literals];
        const { text, line } = layout(section, name, values[literal % values.length]!);
        const { issues } = refusal(write([...above, text].join('\n')));
        expect(issues.map((issue) => [issue.key, issue.line])).toEqual([[key, line + above.length]]);
      }),
      { numRuns: 300 },
    );
  });
});

describe('admin.keys', () => {
  const key = (fill: number) => new Uint8Array(2592).fill(fill);
  const keys = (...values: string[]) => load(`[admin]\nkeys = ${JSON.stringify(values)}\n`).admin.keys;

  it('take hex and base64, and have one spelling afterwards', () => {
    expect(loadConfig({ environment: {} }).config.admin.keys).toEqual([]);
    const [one, two, three] = [key(1), key(2), key(3)];
    const found = keys(one.toBase64(), two.toHex(), `0x${three.toHex().toUpperCase()}`);
    expect(found).toEqual([one, two, three].map((each) => each.toBase64()));
    expect(Object.isFrozen(found)).toBe(true);
  });

  it.each([
    ['"a"', 'not a string'],
    ['[""]', 'number 1 is none'],
    [JSON.stringify([key(1).toBase64(), key(2).toBase64().slice(4)]), 'number 2 is none'],
    [JSON.stringify([key(1).toHex().slice(2)]), 'number 1 is none'],
    [JSON.stringify([`${key(1).toBase64()}!`]), 'number 1 is none'],
    [JSON.stringify([key(1).toBase64(), key(1).toHex()]), 'one is there twice'],
    [JSON.stringify(Array.from({ length: 17 }, (_, i) => key(i).toBase64())), 'found 17'],
  ])('are not %.40s', (value, why) => {
    const [issue] = refusal(write(`[admin]\nkeys = ${value}\n`)).issues;
    expect(issue).toMatchObject({ key: 'admin.keys', line: 2, message: expect.stringContaining(why) });
    expect(issue!.message).toContain('expected a list of at most 16 distinct ML-DSA-87 public keys');
    expect(issue!.message.length).toBeLessThan(200);
  });
});

describe('a file', () => {
  const expectRefusal = (file: string, message: string) => expect(refusal(file).message).toBe(`${file}: ${message}`);

  it('that is missing', () => expectRefusal(join(folder, 'none.toml'), 'cannot be read: no such file'));
  it('below a file', () =>
    expectRefusal(join(write(''), 'x'), 'cannot be read: no such file (a part of its path is not a folder)'));
  it('that is a folder', () => {
    mkdirSync(join(folder, 'sub'), { recursive: true });
    expectRefusal(join(folder, 'sub'), 'expected a TOML file, found a folder');
  });
  it('that is a device', () => expectRefusal('/dev/null', 'expected a regular file, found a pipe, socket or device'));
  it('over 1 MiB', () => expectRefusal(write('#'.repeat(1_048_577)), 'expected at most 1048576 bytes, found 1048577'));
  it('of 1 MiB is taken', () => expect(load('#'.repeat(1_048_576)).seal.interval_ms).toBe(1000));
  it('that is not UTF-8', () => expectRefusal(write(Uint8Array.of(0x23, 0xff)), 'expected UTF-8 text'));
});

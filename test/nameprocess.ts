// A process that signs the records of names whose keys it is given encrypted, as the daemon does, and waits: for
// test/namememory.test.ts, which searches its memory for those keys.
//
//   node test/nameprocess.ts FILE
import { readFileSync } from 'node:fs';
import { fromBase64 } from '../actors/encoding.ts';
import { eciesKey } from '../workers/ecies.ts';
import { createPool } from '../workers/pool.ts';

interface Given {
  readonly scalar: string;
  readonly point: string;
  readonly names: readonly { readonly name: string; readonly wrapped: string }[];
}

const { scalar, point, names } = JSON.parse(readFileSync(process.argv[2]!, 'utf8')) as Given;
const pool = createPool({ open_threads: 1, sign_threads: 1, queue_max: 64, task_timeout_ms: 20_000, seal_nice: 0 });
const keys = [{ epoch: 1, names: eciesKey(fromBase64(scalar)).handle }];
const wrapped = names.map((each) => ({ ...each, epoch: 1, wrapped: fromBase64(each.wrapped) }));
const entry = { value: '/ipfs/x', sequence: 1n, ttl_ns: 1n, validity: '2099-01-01T00:00:00.000000000Z' };
const to = { epoch: 2, point: fromBase64(point) };
const examined = await pool.run('examine', {
  rows: wrapped.map((key) => ({ name: key.name, record: null, key })),
  keys,
});
const signed = await pool.run('extend', { rows: wrapped.map((row) => ({ ...row, ...entry })), keys, to });
await pool.collect();
process.stdout.write(`${[...examined, ...signed].filter(({ ok }) => ok).length}\n`);
setInterval(() => {}, 60_000);

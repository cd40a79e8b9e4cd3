// `aegisd demo --names COUNT`: owners who go offline, on a sequencer of its own and a real router of the Helia project. Ten cycles of
// simulated time; in the middle the router is out, keys rotate, and some owners publish meanwhile, through us or past us. After
// every cycle each name must resolve, for the `ipns` package, to the newest value that its owner signed. Exit 0 only if all of it held.
import { randomBytes } from 'node:crypto';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { base64, fromBase64 } from '../../actors/encoding.ts';
import { NAMES_PER_REQUEST_MAX } from '../../actors/enrolment.ts';
import { Owner, resolved } from '../demo/owner.ts';
import type { TestRouter } from '../demo/router.ts';
import { httpRouter } from '../router.ts';
import { createSequencer, type Sequencer } from '../sequencer.ts';
import { EXIT } from './program.ts';

interface Options {
  names: number;
  json?: boolean;
}

const HOUR_MS = 3_600_000;
const INTERVAL_S = 21_600;
const CYCLES = 10;
/** In these the router answers nobody. */
const OUTAGE = [4, 5];
const ROTATION = 6;
const WAIT_MS = 60_000;

/** A name as its owner knows it, and what was seen of it. */
interface Followed {
  readonly owner: Owner;
  value: string;
  sequence: bigint;
  eol_ms: number;
}

export async function namesDemo(options: Options): Promise<number> {
  const say = (line: string) => options.json !== true && process.stdout.write(`${line}\n`);
  const folder = await mkdtemp(join(tmpdir(), 'aegis-names-'));
  let router: TestRouter;
  try {
    router = await (await import('../demo/router.ts')).startRouter(join(folder, 'router'));
  } catch (error) {
    await rm(folder, { recursive: true, force: true });
    if ((error as NodeJS.ErrnoException).code !== 'ERR_MODULE_NOT_FOUND') throw error;
    process.stderr.write(
      'demo: the router of this demo is a package for development: run it in a checkout, after npm ci\n',
    );
    return EXIT.refused;
  }
  const clock = { now_ms: Date.now() };
  try {
    await using sequencer = await createSequencer({
      settings: {
        daemon: { state_dir: join(folder, 'state'), log_level: 'fatal' },
        names: { router: router.url, requests_per_s: 100_000, interval_s: INTERVAL_S, read_back_every: 20 },
        rotation: { delay_blocks: 0, delay_max_s: 1 },
      },
      now: () => clock.now_ms,
    });
    say(`router    ${router.url}, of the Helia project`);
    const wrong = await live(sequencer, router, clock, options.names, say);
    const { totals } = sequencer.names.overview;
    if (options.json === true) process.stdout.write(`${JSON.stringify({ names: options.names, wrong, totals })}\n`);
    say(`\n${wrong.length === 0 ? 'All of it held' : `NOT all of it held: ${wrong.slice(0, 5).join('; ')}`}.`);
    return wrong.length === 0 ? EXIT.ok : EXIT.refused;
  } finally {
    await router[Symbol.asyncDispose]();
    await rm(folder, { recursive: true, force: true });
  }
}

/** @returns what did not hold */
async function live(
  sequencer: Sequencer,
  router: TestRouter,
  clock: { now_ms: number },
  count: number,
  say: (line: string) => unknown,
): Promise<string[]> {
  const followed = await enrolAll(sequencer, clock.now_ms, count);
  await sequencer.names.run();
  const wrong = await look(router, followed);
  say(`enrolled  ${count} names`);
  for (let cycle = 1; cycle <= CYCLES; cycle++) {
    const out = OUTAGE.includes(cycle);
    router.switches.outage = out;
    if (cycle === ROTATION) await rotate(sequencer, clock);
    const updated = await update(sequencer, router, followed, clock.now_ms, cycle, out);
    // The tenth of a cycle: what is retried has its time.
    for (let part = 0; part < CYCLES; part++) {
      clock.now_ms += (INTERVAL_S * 1_000) / CYCLES;
      await sequencer.names.run();
    }
    if (!out) wrong.push(...(await look(router, followed)));
    const { states } = sequencer.names.overview;
    say(
      `cycle ${String(cycle).padStart(2)}  ${String(updated).padStart(4)} updates, ${states.published} published, ${states.retrying + states.stale} waiting${out ? '; the router is OUT' : ''}`,
    );
  }
  const epoch = sequencer.epoch.keys.epoch;
  const behind = followed.filter(({ owner }) => sequencer.names.show(owner.name)?.key_epoch !== epoch).length;
  say(`epoch     ${epoch}; ${behind} keys are not under it`);
  if (behind > 0 || epoch !== 2) wrong.push(`${behind} keys are not under epoch ${epoch}`);
  return wrong;
}

async function enrolAll(sequencer: Sequencer, now_ms: number, count: number): Promise<Followed[]> {
  const followed: Followed[] = [];
  const names = fromBase64(sequencer.keyset.names!);
  for (let from = 0; from < count; from += NAMES_PER_REQUEST_MAX) {
    const part = Array.from({ length: Math.min(NAMES_PER_REQUEST_MAX, count - from) }, (_, i) => ({
      owner: new Owner(new Uint8Array(randomBytes(32))),
      value: `/ipfs/name-${from + i}-v1`,
      sequence: BigInt(from + i),
      eol_ms: 0,
    }));
    const entries = await Promise.all(
      part.map(async ({ owner, value, sequence }) =>
        owner.enrolment(await owner.record(value, sequence, now_ms + 24 * HOUR_MS), 1, names),
      ),
    );
    for (const answer of await sequencer.names.enrol(entries)) if (!answer.ok) throw new Error(answer.code);
    followed.push(...part);
  }
  return followed;
}

/** One name in ten has something new in each cycle; every other one of them is published past us, while there is a router. */
async function update(
  sequencer: Sequencer,
  router: TestRouter,
  followed: readonly Followed[],
  now_ms: number,
  cycle: number,
  out: boolean,
): Promise<number> {
  const some = followed.filter((_, i) => i % CYCLES === cycle - 1);
  const client = httpRouter(router.url, WAIT_MS, Date.now);
  for (const [i, name] of some.entries()) {
    name.value = `${name.value.replace(/-v\d+$/, '')}-v${cycle + 1}`;
    name.sequence += 1n;
    // How long a new record lives is the owner's to say; from there it must not shrink.
    name.eol_ms = now_ms + 24 * HOUR_MS;
    const record = await name.owner.record(name.value, name.sequence, name.eol_ms);
    if (i % 2 === 0 && !out) {
      const put = await client.put(name.owner.name, record, AbortSignal.timeout(WAIT_MS));
      if (!put.ok) throw new Error('the router refuses an owner');
    } else {
      const answer = await sequencer.names.update(name.owner.name, { record: base64(record) });
      if (!answer.ok) throw new Error(answer.code);
    }
  }
  return some.length;
}

/** Every name as the world sees it. @returns what is wrong */
async function look(router: TestRouter, followed: readonly Followed[]): Promise<string[]> {
  const client = httpRouter(router.url, WAIT_MS, Date.now);
  const wrong: string[] = [];
  for (const name of followed) {
    const got = await client.get(name.owner.name, AbortSignal.timeout(WAIT_MS));
    if (!got.ok || got.record === null) {
      wrong.push(`${name.owner.name} does not resolve`);
      continue;
    }
    const { value, sequence, eol_ms } = await resolved(name.owner.name, got.record);
    if (value !== name.value) wrong.push(`${name.owner.name} is ${value}, not ${name.value}`);
    if (sequence !== name.sequence) wrong.push(`${name.owner.name} has sequence ${sequence}, not ${name.sequence}`);
    if (eol_ms < name.eol_ms) wrong.push(`the life of ${name.owner.name} shrank`);
    name.eol_ms = eol_ms;
  }
  return wrong;
}

/** The clock stands still in between: a rotation has a deadline. */
async function rotate(sequencer: Sequencer, clock: { now_ms: number }): Promise<void> {
  const outcome = await sequencer.rotate({ reason: 'manual' });
  if (!outcome.ok) throw new Error(outcome.code);
  const active = new Promise<void>((resolve) => sequencer.epochs.events.once('activated', () => resolve()));
  clock.now_ms += 2_000;
  await active;
}

// `aegisd names …`: the names of a running daemon for its operator: enrol from a file, see where each stands, remove, and how the
// whole goes. Over the unix socket, or over TCP with the token of the role `names` (`health`: `admin`).
import { z } from 'zod';
import { NAMES_PER_REQUEST_MAX } from '../../actors/enrolment.ts';
import { ListedNames, RemovedName, ShownName } from '../api/names.ts';
import { RepublishHealth } from '../api/republish.ts';
import { ask, type Common } from './asking.ts';
import { type Connection, RequestError } from './connection.ts';
import { readDocument } from './file.ts';

/** Thousands of names with usual records. */
const FILE_BYTES_MAX = 64 * 1024 * 1024;

/** As the API answers an entry of an array: a name, or a problem. */
const Item = z.looseObject({
  httpStatus: z.int().optional(),
  code: z.string().max(64).optional(),
  detail: z.string().max(4_096).optional(),
});

const pathOf = (name: string) => `/names/${encodeURIComponent(name)}`;

export function enrol(file: string, options: Common): Promise<number> {
  return ask(options, async (daemon) => {
    const document = readDocument(file, FILE_BYTES_MAX);
    const entries: unknown[] = Array.isArray(document) ? document : [document];
    const items: z.output<typeof Item>[] = [];
    for (let from = 0; from < entries.length; from += NAMES_PER_REQUEST_MAX) {
      const part = entries.slice(from, from + NAMES_PER_REQUEST_MAX);
      items.push(...(await enrolPart(daemon, part)));
    }
    const lines = items.map(({ code, detail }, i) => {
      const { ipnsName = '?' } = (entries[i] ?? {}) as { ipnsName?: unknown };
      return `${code === undefined ? 'enrolled  ' : 'refused   '} ${String(ipnsName)}${code === undefined ? '' : `: ${code}${detail === undefined ? '' : ` (${detail})`}`}`;
    });
    return { answer: items, lines, ok: items.every(({ code }) => code === undefined) };
  });
}

/** Each is asked again alone when none of them was taken, since the answer is then the problem of the first. */
async function enrolPart(daemon: Connection, part: unknown[]): Promise<z.output<typeof Item>[]> {
  try {
    return await daemon.post('/names', part, z.array(Item));
  } catch (error) {
    if (!(error instanceof RequestError) || part.length > 1 || error.code === 'not_running') throw error;
    return [{ code: error.code, detail: error.message }];
  }
}

export const show = (name: string, options: Common): Promise<number> =>
  ask(options, async (daemon) => {
    const answer = await daemon.get(pathOf(name), ShownName);
    return { answer, lines: describe(answer) };
  });

export const list = (options: Common & { state?: string; after?: string; limit: number }): Promise<number> =>
  ask(options, async (daemon) => {
    const { state, after, limit } = options;
    const query = Object.entries({ state, after, limit }).flatMap(([key, value]) =>
      value === undefined ? [] : [`${key}=${encodeURIComponent(value)}`],
    );
    const answer = await daemon.get(`/names?${query.join('&')}`, ListedNames);
    const lines = answer.names.map(({ ipnsName, status, expiresAt, lastError }) =>
      [status.padEnd(11), expiresAt, ipnsName, lastError ?? ''].join('  ').trimEnd(),
    );
    const more = answer.next === null ? [] : [`more behind --after ${answer.next}`];
    return { answer, lines: [...lines, ...more, `${answer.total} enrolled`] };
  });

export const remove = (name: string, options: Common): Promise<number> =>
  ask(options, async (daemon) => {
    const answer = await daemon.ask('DELETE', pathOf(name), undefined, RemovedName);
    return { answer, lines: [`removed    ${answer.ipnsName}; what is published ends by itself`] };
  });

export const health = (options: Common): Promise<number> =>
  ask(options, async (daemon) => {
    const answer = await daemon.get('/admin/republish-health', RepublishHealth);
    const { published, pending, failed, stale, quarantined, lastRunAt, soonestExpiry, currentEpoch, teeHealthy } =
      answer;
    const lines = [
      `published  ${published}`,
      `pending    ${pending}`,
      `failed     ${failed}, ${quarantined} of them quarantined`,
      `stale      ${stale}`,
      `last run   ${lastRunAt ?? 'never'}`,
      `expiry     ${soonestExpiry ?? 'nothing is republished'}`,
      `epoch      ${currentEpoch}, ${teeHealthy ? 'attested' : 'NOT attested'}`,
    ];
    return { answer, lines };
  });

function describe(name: ShownName): string[] {
  const { consecutiveFailures: failures, lastError, nextRepublishAt, lastRepublishAt } = name;
  const trouble = lastError === null ? '' : `, ${lastError}${failures > 0 ? `, ${failures} times in a row` : ''}`;
  return [
    `name       ${name.ipnsName}`,
    `status     ${name.status}${trouble}`,
    `value      ${name.value}, sequence ${name.sequenceNumber}`,
    `expires    ${name.expiresAt}`,
    `published  ${lastRepublishAt ?? 'never'}; next ${nextRepublishAt ?? 'when its owner brings something else'}`,
    `key        under epoch ${name.keyEpoch}, enrolled ${name.enrolledAt}`,
  ];
}

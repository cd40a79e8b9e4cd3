// `aegisd assets …`: the registry of a running daemon, and its data keys, for the operator. What is decrypted or encrypted goes
// to a new file or to standard output; a stream that breaks leaves no file, because half of one could pass for a whole.
import { createReadStream, createWriteStream, unlinkSync } from 'node:fs';
import type { Readable, Writable } from 'node:stream';
import { pipeline } from 'node:stream/promises';
import type { z } from 'zod';
import { Rewrapped } from '../api/assetdata.ts';
import { Listed, Removed, Shown } from '../api/assets.ts';
import { ask, askFor, type Common } from './asking.ts';
import { RequestError } from './connection.ts';
import { readDocument, UsageError } from './file.ts';

/** Of a registration with 128 functions. */
const FILE_BYTES_MAX = 1024 * 1024;

const pathOf = (id: string, rest = '') => `/assets/${encodeURIComponent(id)}${rest}`;

export const register = (file: string, options: Common): Promise<number> =>
  askFor(options, Shown, (daemon) => daemon.post('/assets/register', readDocument(file, FILE_BYTES_MAX)), describe);

export const show = (id: string, options: Common): Promise<number> =>
  askFor(options, Shown, (daemon) => daemon.get(`/assets/protection/${encodeURIComponent(id)}`), describe);

export const policy = (id: string, file: string, options: Common): Promise<number> =>
  askFor(
    options,
    Shown,
    (daemon) => daemon.ask('PATCH', pathOf(id, '/policy'), readDocument(file, FILE_BYTES_MAX)),
    describe,
  );

export const remove = (id: string, options: Common & { loseKey?: boolean }): Promise<number> =>
  askFor(
    options,
    Removed,
    (daemon) => daemon.ask('DELETE', pathOf(id, options.loseKey === true ? '?lose_key=true' : '')),
    ({ asset_id, leaf_index }) => [`removed    ${asset_id}, entry ${leaf_index} of the log`],
  );

export const rewrap = (id: string, options: Common): Promise<number> =>
  askFor(
    options,
    Rewrapped,
    (daemon) => daemon.post(pathOf(id, '/rewrap'), undefined),
    ({ asset_id, from_epoch, epoch }) => [
      from_epoch === epoch
        ? `unchanged  the data key of ${asset_id} is under epoch ${epoch} already`
        : `moved      the data key of ${asset_id} from epoch ${from_epoch} to ${epoch}`,
    ],
  );

export function list(
  options: Common & { type?: string; state?: string; after?: string; limit: number },
): Promise<number> {
  const { type, state, after, limit } = options;
  const query = new URLSearchParams({ limit: String(limit) });
  for (const [name, value] of Object.entries({ type, state, after })) if (value !== undefined) query.set(name, value);
  return askFor(
    options,
    Listed,
    (daemon) => daemon.get(`/assets?${query}`),
    ({ assets, next, total, level, risk_score }) => [
      ...assets.map(({ asset_id, asset_type, migration_state, risk_threshold }) =>
        [migration_state.padEnd(9), String(risk_threshold).padStart(5), asset_type.padEnd(16), asset_id].join('  '),
      ),
      `${total} registered; risk score ${risk_score}, protected up to threshold ${level}`,
      ...(next === null ? [] : [`more with --after ${next}`]),
    ],
  );
}

/** Bytes go through as they come; nothing is printed beside them. */
export function stream(
  operation: 'encrypt' | 'decrypt',
  id: string,
  input: string | undefined,
  options: Common & { output?: string },
): Promise<number> {
  return ask(options, async (daemon) => {
    const { output = '-' } = options;
    const source = input === undefined || input === '-' ? process.stdin : await opened(createReadStream(input), input);
    const answer = await daemon.stream(pathOf(id, `/${operation}`), source);
    if (output === '-') {
      await pipeline(answer, process.stdout, { end: false }).catch(broken);
      return undefined;
    }
    // 'wx': what is there already is nobody's to overwrite.
    const file = await opened(createWriteStream(output, { flags: 'wx', mode: 0o600 }), output);
    try {
      await pipeline(answer, file);
    } catch (error) {
      unlinkSync(output);
      broken(error);
    }
    return undefined;
  });
}

/** Behind the first byte only the end of the connection can tell that something is wrong. */
function broken(cause: unknown): never {
  throw new RequestError(
    'unreachable',
    'the stream broke: what came last is not authentic, or the connection ended; no file was left',
    { cause },
  );
}

async function opened<T extends Readable | Writable>(stream: T, path: string): Promise<T> {
  const { promise, resolve, reject } = Promise.withResolvers<T>();
  stream.once('open', () => resolve(stream));
  stream.once('error', (error) => reject(new UsageError(path, '', error.message)));
  return promise;
}

function describe(shown: z.output<typeof Shown>): string[] {
  const { access_policy: by, grants } = shown;
  const place = shown.contract_address === null ? '' : ` at ${shown.contract_address} on chain ${shown.chain_id}`;
  const demands = [by.requires_pqc && 'x-wing', by.requires_tee && 'valid attestation'].filter(Boolean).join(', ');
  const granted = Object.entries(grants).map(([role, names]) => `${role}: ${names.join(', ')}`);
  return [
    `asset      ${shown.asset_id}, ${shown.asset_type}${place}`,
    `state      ${shown.migration_state}; protected from risk score ${by.risk_threshold} on`,
    `allowed    ${by.allowed_operations.join(', ') || 'nothing'}`,
    `emergency  ${by.emergency_operations.join(', ') || 'nothing'}`,
    `requires   ${demands || 'nothing'}`,
    `data key   ${shown.encryption_key === null ? 'none yet' : `under epoch ${shown.encryption_key.epoch}`}; ${granted.join('; ') || 'admins alone'}`,
    `log        entry ${shown.leaf_index}, policy ${shown.policy_digest}`,
  ];
}

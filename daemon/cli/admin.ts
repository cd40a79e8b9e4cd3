// `aegisd admin …`: keys of admins, and the orders that they sign (DESIGN §11). Keys and signing need no daemon, so they work on a
// machine that is never online; only `submit` asks one. What goes to standard output is JSON to keep or to pass on, what was
// signed is said in words on standard error, and a secret is never printed.
import { randomBytes } from 'node:crypto';
import { z } from 'zod';
import { Act } from '../../actors/act.ts';
import { canonicalJson } from '../../actors/canonical.ts';
import { Bytes32, base64Of, Digest, fromBase64, hex, timestamp, utf8 } from '../../actors/encoding.ts';
import { AdminKey, adminId, digestOf, ExecutedOrder, ORDER_CONTEXT, Order, UnsignedOrder } from '../../actors/order.ts';
import { ML_DSA_SIGNATURE_BYTES } from '../../actors/seal.ts';
import { fieldPath, parseStrict } from '../../client/json.ts';
import { openssl } from '../../workers/engine.ts';
import { makeKeyFile, readKeyFile } from './adminkey.ts';
import { type Outcome, reporting } from './asking.ts';
import { connect } from './connection.ts';
import { printable } from './entry.ts';
import { readDocument, readText, UsageError } from './file.ts';

interface Where {
  readonly config?: string;
  readonly url?: string;
}

/** What an order says besides who signs it. */
interface Wish extends Where {
  readonly act: string;
  readonly logId?: string;
  readonly expires: number;
}

/** Far above an order or a digest file. */
const FILE_BYTES_MAX = 65_536;

/** What `digest` prints and `sign --unsigned` takes back with a signature. */
const DigestFile = z.strictObject({
  unsigned: UnsignedOrder,
  public_key: AdminKey,
  digest: Digest,
  context: z.literal(ORDER_CONTEXT),
});

export async function keygen({ out, json }: { out: string; json?: boolean }): Promise<number> {
  return reporting(json, async () => {
    const { admin, public_key } = makeKeyFile(out);
    const said = [
      `admin       ${admin}`,
      `key file    ${out}: whoever has it can sign orders; keep it and a copy of it off the daemon's host`,
      '',
      'For sequencer.toml, before the first start of a daemon:',
      '[admin]',
      `keys = ["${public_key}"]`,
    ];
    return { answer: { file: out, admin, public_key }, lines: said };
  });
}

export async function digest(options: Wish & { publicKey: string }): Promise<number> {
  return reporting(true, async () => {
    const public_key = checked(AdminKey, text(options.publicKey), '--public-key');
    const unsigned = await order(options, adminId(fromBase64(public_key)));
    const answer = { unsigned, public_key, digest: hex(digestOf(unsigned)), context: ORDER_CONTEXT };
    return { answer, lines: [] };
  });
}

export async function sign(options: Partial<Wish> & { key: string; act: string; expires: number }): Promise<number> {
  return reporting(false, async () => {
    const { key, admin } = readKeyFile(options.key);
    const unsigned = await order(options, admin);
    const signature = openssl.ml_dsa_87.sign(key, digestOf(unsigned), utf8(ORDER_CONTEXT));
    return concluded({ ...unsigned, signature: signature.toBase64() });
  });
}

/** For a key that this program never sees. */
export async function attach(file: string, { signature }: { signature: string }): Promise<number> {
  return reporting(false, async () => {
    const { unsigned, public_key, digest } = checked(DigestFile, readDocument(file, FILE_BYTES_MAX), file);
    const made = digestOf(unsigned);
    if (hex(made) !== digest) throw new UsageError(file, 'digest', 'is not that of the order beside it');
    if (adminId(fromBase64(public_key)) !== unsigned.admin) {
      throw new UsageError(file, 'public_key', 'is not that of the admin of the order');
    }
    const given = checked(base64Of(ML_DSA_SIGNATURE_BYTES), text(signature), '--signature');
    const { verify } = openssl.ml_dsa_87;
    if (!verify(fromBase64(public_key), made, utf8(ORDER_CONTEXT), fromBase64(given))) {
      throw new UsageError('--signature', '', `does not verify: sign the 64 bytes of digest, context ${ORDER_CONTEXT}`);
    }
    return concluded({ ...unsigned, signature: given });
  });
}

export async function submit(
  file: string,
  { tokenFile, json, ...where }: Where & { tokenFile?: string; json?: boolean },
): Promise<number> {
  return reporting(json, async () => {
    const signed = checked(Order, readDocument(file, FILE_BYTES_MAX), file);
    const token = tokenFile === undefined ? {} : { token: text(`@${tokenFile}`) };
    const executed = await connect({ ...where, ...token }).post('/admin/orders', signed, ExecutedOrder);
    const { leaf_index, order: done } = executed;
    return { answer: executed, lines: [`executed  ${actText(done.act)}: entry ${leaf_index} of the log`] };
  });
}

/** @throws {UsageError} {RequestError} */
async function order(options: Where & { act: string; logId?: string; expires: number }, admin: string) {
  const act = checked(Act, readAct(options.act), '--act');
  const log_id = options.logId === undefined ? await askedLogId(options) : checked(Digest, options.logId, '--log-id');
  const nonce = Bytes32.parse(hex(new Uint8Array(randomBytes(32))));
  return UnsignedOrder.parse({ version: 1, log_id, nonce, not_after_ms: Date.now() + options.expires, act, admin });
}

/** Believed as it is told: whoever knows the log gives --log-id. */
async function askedLogId(where: Where): Promise<string> {
  const connection = connect(where);
  const { log_id } = await connection.get('/log/head', z.object({ log_id: Digest }));
  note(`log         ${log_id}, as ${connection.where} says; --log-id signs for one that you know`);
  return log_id;
}

function readAct(given: string): unknown {
  if (given.startsWith('@')) return readDocument(given.slice(1), FILE_BYTES_MAX);
  const parsed = parseStrict(given);
  if (parsed.ok) return parsed.value;
  throw new UsageError('--act', parsed.field, parsed.message);
}

/** An argument, or the file that it names behind an @. @throws {UsageError} */
function text(given: string): string {
  if (!given.startsWith('@')) return given;
  const read = readText(given.slice(1));
  if (read === null || read.length > FILE_BYTES_MAX) throw new UsageError(given.slice(1), '', 'not a small text');
  return read.trim();
}

function checked<T>(schema: z.ZodType<T>, value: unknown, where: string): T {
  const parsed = schema.safeParse(value);
  if (parsed.success) return parsed.data;
  const issue = parsed.error.issues[0]!;
  const extra = issue.code === 'unrecognized_keys' ? issue.keys.slice(0, 1) : [];
  throw new UsageError(where, fieldPath([...issue.path, ...extra]), issue.message);
}

const actText = ({ type, ...rest }: Act): string => printable(`${type} ${canonicalJson(rest)}`);

/** What was signed in words, then the order. */
function concluded(signed: Order): Outcome {
  const { act, log_id, not_after_ms, admin } = signed;
  note(`signed      ${actText(act)}`);
  note(`for         log ${log_id}, until ${timestamp(not_after_ms)}, by admin ${admin}`);
  return { answer: signed, lines: [JSON.stringify(signed)] };
}

const note = (line: string) => void process.stderr.write(`${line}\n`);

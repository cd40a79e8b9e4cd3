// IPNS names and records as bytes (https://specs.ipfs.tech/ipns/ipns-record/): which key a name is, what a record says, and how
// one is written. Strict where it reads: the signed part must be the one canonical DAG-CBOR of its five fields, so that a record
// that is signed anew loses nothing, and the unsigned part must agree with it. Signatures are for who has keys (workers/name.ts).
//
// Promises: what `writeRecord` writes is, byte for byte, what the `ipns` package writes; what `readRecord` takes, that takes.
import { z } from 'zod';
import { concat, equal, utf8 } from './bytes.ts';

/** CIDv1, codec libp2p-key, identity multihash over the protobuf of an Ed25519 public key: 40 bytes with the key. */
const NAME_PREFIX = Uint8Array.of(0x01, 0x72, 0x00, 0x24, 0x08, 0x01, 0x12, 0x20);
const KEY_BYTES = 32;
const NAME_BYTES = NAME_PREFIX.length + KEY_BYTES;
/** `k` and 61 digits in base 36: the multibase prefix and 40 bytes that begin with 0x01. */
const NAME_CHARACTERS = 62;
/** IPNS record §3: implementations must support 10 KiB, and need not support more. */
export const RECORD_BYTES_MAX = 10_240;
const SIGNATURE_BYTES = 64;
const SEQUENCE_MAX = 2n ** 64n - 1n;

/** What a record says, less its signatures. */
export interface IpnsEntry {
  /** A content path. */
  readonly value: string;
  /** uint64. */
  readonly sequence: bigint;
  /** Nanoseconds; uint64. */
  readonly ttl_ns: bigint;
  /** End of life, RFC 3339 with up to nine decimals, exactly as signed. */
  readonly validity: string;
}

export interface ReadRecord extends IpnsEntry {
  /** End of life, rounded down. */
  readonly eol_ms: number;
  /** What the signature is over, less its prefix. */
  readonly data: Uint8Array;
  readonly signature: Uint8Array;
}

/** @returns the Ed25519 public key that the name is; undefined unless it is the canonical base 36 of one */
export function keyOfName(name: string): Uint8Array | undefined {
  if (name.length !== NAME_CHARACTERS || !/^k[0-9a-z]+$/.test(name)) return undefined;
  const bytes = fromBase36(name.slice(1));
  if (bytes === undefined || !equal(bytes.subarray(0, NAME_PREFIX.length), NAME_PREFIX)) return undefined;
  return bytes.subarray(NAME_PREFIX.length);
}

export function nameOfKey(publicKey: Uint8Array): string {
  return `k${BigInt(`0x${concat(NAME_PREFIX, publicKey).toHex()}`).toString(36)}`;
}

/** Names are of Ed25519 keys, spelled one way, so that no name is enrolled twice. */
export const IpnsName = z
  .string()
  .length(NAME_CHARACTERS, 'expected an IPNS name of an Ed25519 key in base 36: k51… and 62 characters')
  .refine((name) => keyOfName(name) !== undefined, 'expected an IPNS name of an Ed25519 key in base 36: k51…')
  .meta({ pattern: '^k51[0-9a-z]{59}$' });

function fromBase36(digits: string): Uint8Array | undefined {
  let value = 0n;
  for (const digit of digits) value = value * 36n + BigInt(Number.parseInt(digit, 36));
  const text = value.toString(16);
  return text.length > 2 * NAME_BYTES ? undefined : Uint8Array.fromHex(text.padStart(2 * NAME_BYTES, '0'));
}

/** How the end of life is written: nine decimals, as the `ipns` package does. */
export const validityOf = (eol_ms: number): string => `${new Date(eol_ms).toISOString().slice(0, -1)}000000Z`;

/** @returns ms, rounded down; undefined when it is no time */
export function endOfLife(validity: string): number | undefined {
  const [, seconds, decimals = ''] = /^(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d)(?:\.(\d{1,9}))?Z$/.exec(validity) ?? [];
  if (seconds === undefined) return undefined;
  const text = `${seconds}.${decimals.slice(0, 3).padEnd(3, '0')}Z`;
  const time = Date.parse(text);
  return Number.isFinite(time) && new Date(time).toISOString() === text ? time : undefined;
}

const V2_PREFIX = utf8('ipns-signature:');
export const signedV2 = (data: Uint8Array): Uint8Array => concat(V2_PREFIX, data);
export const signedV1 = (entry: IpnsEntry): Uint8Array => utf8(`${entry.value}${entry.validity}EOL`);

/** Of the signed part, in the order of DAG-CBOR: by length, then bytes. */
const FIELDS = ['TTL', 'Value', 'Sequence', 'Validity', 'ValidityType'] as const;
const [UINT, BYTES, TEXT, MAP] = [0, 2, 3, 5];

/** The signed part: canonical DAG-CBOR. */
export function dataOf(entry: IpnsEntry): Uint8Array {
  const bytes = (content: Uint8Array) => concat(cborHead(BYTES!, BigInt(content.length)), content);
  const values: Record<(typeof FIELDS)[number], Uint8Array> = {
    TTL: cborHead(UINT!, entry.ttl_ns),
    Value: bytes(utf8(entry.value)),
    Sequence: cborHead(UINT!, entry.sequence),
    Validity: bytes(utf8(entry.validity)),
    ValidityType: cborHead(UINT!, 0n),
  };
  const pairs = FIELDS.flatMap((name) => [cborHead(TEXT!, BigInt(name.length)), utf8(name), values[name]]);
  return concat(cborHead(MAP!, BigInt(FIELDS.length)), ...pairs);
}

/** RFC 8949 §3, shortest form (§4.2.1). */
function cborHead(major: number, value: bigint): Uint8Array {
  const kind = major << 5;
  if (value < 24n) return Uint8Array.of(kind | Number(value));
  const size = [1, 2, 4, 8].find((bytes) => value >> BigInt(8 * bytes) === 0n);
  if (size === undefined) throw new RangeError('not a uint64');
  const head = new Uint8Array(1 + size);
  head[0] = kind | (24 + Math.log2(size));
  for (let i = size, rest = value; i > 0; i--, rest >>= 8n) head[i] = Number(rest & 0xffn);
  return head;
}

/** A V1+V2 record: what old nodes read, and what is signed. @param data  `dataOf(entry)`, for whoever has it */
export function writeRecord(
  entry: IpnsEntry,
  signature_v1: Uint8Array,
  signature_v2: Uint8Array,
  data: Uint8Array = dataOf(entry),
): Uint8Array {
  const field = (number: number, content: Uint8Array) =>
    concat(varint(BigInt((number << 3) | 2)), varint(BigInt(content.length)), content);
  const integer = (number: number, value: bigint) => concat(varint(BigInt(number << 3)), varint(value));
  return concat(
    field(1, utf8(entry.value)),
    field(2, signature_v1),
    integer(3, 0n),
    field(4, utf8(entry.validity)),
    integer(5, entry.sequence),
    integer(6, entry.ttl_ns),
    field(8, signature_v2),
    field(9, data),
  );
}

function varint(value: bigint): Uint8Array {
  const bytes: number[] = [];
  let rest = value;
  for (; rest > 0x7fn; rest >>= 7n) bytes.push(Number(rest & 0x7fn) | 0x80);
  return Uint8Array.from([...bytes, Number(rest)]);
}

/**
 * Takes a record apart. Whether it is signed by the name's key, and whether it has expired, is the caller's to check.
 *
 * @param publicKey  of the name: a key that the record brings along must be this one
 * @returns          undefined when it is no record that could be signed anew without a loss
 */
export function readRecord(bytes: Uint8Array, publicKey: Uint8Array): ReadRecord | undefined {
  if (bytes.length > RECORD_BYTES_MAX) return undefined;
  const fields = readProtobuf(bytes);
  if (fields === undefined) return undefined;
  const [data, signature, embedded] = [fields.get(9), fields.get(8), fields.get(7)];
  if (!(data instanceof Uint8Array) || !(signature instanceof Uint8Array)) return undefined;
  if (signature.length !== SIGNATURE_BYTES) return undefined;
  if (embedded !== undefined) {
    const expected = concat(NAME_PREFIX.subarray(4), publicKey);
    if (!(embedded instanceof Uint8Array) || !equal(embedded, expected)) return undefined;
  }
  const entry = readData(data);
  if (entry === undefined || !agrees(fields, entry)) return undefined;
  const eol_ms = endOfLife(entry.validity);
  return eol_ms === undefined ? undefined : { ...entry, eol_ms, data, signature };
}

type Fields = ReadonlyMap<number, Uint8Array | bigint>;

/** What V1 says must be what is signed, wherever it says anything. */
function agrees(fields: Fields, entry: IpnsEntry): boolean {
  const expected: Record<number, Uint8Array | bigint> = {
    1: utf8(entry.value),
    3: 0n,
    4: utf8(entry.validity),
    5: entry.sequence,
    6: entry.ttl_ns,
  };
  // Only half a V1 record would be read in two ways.
  const parts = [1, 2, 4, 5, 6].filter((number) => fields.has(number)).length;
  if (parts !== 0 && parts !== 5) return false;
  return Object.entries(expected).every(([number, wanted]) => {
    const found = fields.get(Number(number));
    if (found === undefined) return true;
    if (found instanceof Uint8Array) return wanted instanceof Uint8Array && equal(found, wanted);
    return found === wanted;
  });
}

/** Which fields are bytes; the others are integers. */
const BYTES_FIELDS: ReadonlySet<number> = new Set([1, 2, 4, 7, 8, 9]);

/** Every field at most once, none that is unknown. */
function readProtobuf(bytes: Uint8Array): Fields | undefined {
  const fields = new Map<number, Uint8Array | bigint>();
  let at = 0;
  const next = (): bigint | undefined => {
    let value = 0n;
    for (let shift = 0n; shift < 70n && at < bytes.length; shift += 7n) {
      const byte = bytes[at++]!;
      value |= BigInt(byte & 0x7f) << shift;
      if (byte < 0x80) return value <= SEQUENCE_MAX ? value : undefined;
    }
    return undefined;
  };
  while (at < bytes.length) {
    const tag = next();
    if (tag === undefined || tag > 0x4fn) return undefined;
    const [number, wire] = [Number(tag >> 3n), Number(tag & 7n)];
    if (number < 1 || number > 9 || fields.has(number) || wire !== (BYTES_FIELDS.has(number) ? 2 : 0)) return undefined;
    const value = next();
    if (value === undefined) return undefined;
    if (wire === 0) {
      fields.set(number, value);
      continue;
    }
    if (value > BigInt(bytes.length - at)) return undefined;
    fields.set(number, bytes.slice(at, at + Number(value)));
    at += Number(value);
  }
  return fields;
}

/** A path of printable characters: what a log or a terminal can show, and what no reader trims. */
const PATH = /^\/[^\s\p{C}](?:[^\p{C}\n\r]*[^\s\p{C}])?$/u;

/** The five fields, and canonical: written again it must be the same bytes, else what is signed anew would say something else. */
function readData(data: Uint8Array): IpnsEntry | undefined {
  let at = 0;
  const head = (major: number): bigint | undefined => {
    const first = data[at++];
    if (first === undefined || first >> 5 !== major) return undefined;
    const info = first & 0x1f;
    if (info < 24) return BigInt(info);
    const size = [1, 2, 4, 8][info - 24];
    if (size === undefined || at + size > data.length) return undefined;
    const value = BigInt(`0x${data.subarray(at, at + size).toHex()}`);
    at += size;
    return value;
  };
  const text = (major: number): string | undefined => {
    const length = head(major);
    if (length === undefined || length > BigInt(data.length - at)) return undefined;
    const part = data.subarray(at, at + Number(length));
    at += Number(length);
    try {
      return new TextDecoder('utf-8', { fatal: true, ignoreBOM: true }).decode(part);
    } catch {
      return undefined;
    }
  };
  const named = <T>(name: string, read: () => T): T | undefined => (text(TEXT!) === name ? read() : undefined);
  if (head(MAP!) !== BigInt(FIELDS.length)) return undefined;
  const ttl_ns = named('TTL', () => head(UINT!));
  const value = named('Value', () => text(BYTES!));
  const sequence = named('Sequence', () => head(UINT!));
  const validity = named('Validity', () => text(BYTES!));
  const type = named('ValidityType', () => head(UINT!));
  if (ttl_ns === undefined || value === undefined || sequence === undefined || validity === undefined) return undefined;
  if (type !== 0n || !PATH.test(value)) return undefined;
  const entry = { value, sequence, ttl_ns, validity };
  return equal(dataOf(entry), data) ? entry : undefined;
}

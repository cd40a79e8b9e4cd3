// A feed of indicators (DESIGN §9 "polled JSON feeds that are signed"): one JSON document that carries its content as base64 and
// a signature over exactly those bytes, so that nothing has to be written in a canonical way and any web server can host it.
// The content is a snapshot: what a later one no longer lists is withdrawn. Its `sequence` only grows, and `not_after_ms` ends it,
// so that whoever stands in between can neither show an old one again nor keep a new one back unnoticed.
import { z } from 'zod';
import { sha512 } from './digest.ts';
import { base64UpTo, Counter, hex } from './encoding.ts';
import { INDICATORS_MAX, IndicatorName, ReportedIndicator } from './indicator.ts';

/** Context string of ML-DSA-87; Ed25519, which has none, signs it and a zero byte in front of the content. */
export const FEED_TAG = 'aegis/feed/v1';

const SIGNATURE_BYTES_MAX = 4627;
const PAYLOAD_BYTES_MAX = 4 * 1024 * 1024;

export const FeedDocument = z.strictObject({
  payload: base64UpTo(PAYLOAD_BYTES_MAX).describe('UTF-8 of the content, as JSON.'),
  signature: base64UpTo(SIGNATURE_BYTES_MAX),
});

export const FeedContent = z
  .strictObject({
    version: z.literal(1),
    sequence: Counter.describe('Greater with each content.'),
    issued_ms: Counter,
    not_after_ms: Counter.describe('From then on the feed counts as silent.'),
    indicators: z
      .array(z.strictObject({ ...ReportedIndicator.shape, id: IndicatorName }))
      .max(INDICATORS_MAX)
      .refine((all) => new Set(all.map(({ id }) => id)).size === all.length, 'expected ids that differ'),
  })
  .refine(({ issued_ms, not_after_ms }) => issued_ms < not_after_ms, 'expected not_after_ms behind issued_ms');
export type FeedContent = z.output<typeof FeedContent>;

/** Why a feed was not taken. */
export const FEED_CODES = {
  unreachable: 'it did not answer in time, or not with 200 or 304',
  too_large: 'the answer is larger than risk.feed_bytes_max',
  malformed: 'the answer is no signed document, or its content not as docs/risk.md says',
  bad_signature: 'the signature is not one of the configured key over the content',
  rolled_back: 'its sequence is not above that of what was taken before',
  expired: 'it has ended, and there is no newer one',
} as const;
export type FeedCode = keyof typeof FEED_CODES;

export type FeedJudgement =
  | { readonly ok: true; readonly content: FeedContent; readonly digest: string }
  | { readonly ok: false; readonly code: FeedCode; readonly detail: string };

/**
 * @param text       the answer
 * @param verify     whether the signature is one over the bytes
 * @param last       the content that was taken last; undefined before the first
 */
export function judgeFeed(
  text: string,
  verify: (payload: Uint8Array, signature: Uint8Array) => boolean,
  last: { readonly sequence: number; readonly digest: string } | undefined,
  now_ms: number,
): FeedJudgement {
  const document = FeedDocument.safeParse(parse(text));
  if (!document.success) return malformed(document.error);
  const payload = Uint8Array.fromBase64(document.data.payload);
  // Before anything of it is looked at.
  if (!verify(payload, Uint8Array.fromBase64(document.data.signature))) return refused('bad_signature');
  const content = FeedContent.safeParse(parse(decode(payload)));
  if (!content.success) return malformed(content.error);
  const { sequence, not_after_ms } = content.data;
  const digest = hex(sha512(payload));
  // Two contents of one sequence could be shown in turns, so the one that came first stays.
  const again = last !== undefined && sequence === last.sequence && digest === last.digest;
  if (last !== undefined && sequence <= last.sequence && !again) {
    return refused('rolled_back', `sequence ${sequence} after ${last.sequence}`);
  }
  if (not_after_ms <= now_ms) return refused('expired');
  return { ok: true, content: content.data, digest };
}

const refused = (code: FeedCode, detail: string = FEED_CODES[code]): FeedJudgement => ({ ok: false, code, detail });

function malformed({ issues: [issue] }: z.core.$ZodError): FeedJudgement {
  return refused('malformed', `${issue!.path.join('.') || 'document'}: ${issue!.message}`.slice(0, 256));
}

function parse(text: string | undefined): unknown {
  try {
    return text === undefined ? undefined : JSON.parse(text);
  } catch {
    return undefined;
  }
}

function decode(bytes: Uint8Array): string | undefined {
  try {
    return new TextDecoder('utf-8', { fatal: true }).decode(bytes);
  } catch {
    return undefined;
  }
}

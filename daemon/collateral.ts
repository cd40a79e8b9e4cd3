// Where the collateral of our own quotes comes from, so that what we publish can be verified by strangers offline: a folder that
// the operator fills, or the makers' services (vendors.ts) through a cache in the state folder. tee/publish.ts asks for every
// quote. Promises: the services are asked once a day and never twice at once, an answer of theirs that fails leaves what
// is still in date in use, and nothing in folder or cache is believed: attester and verifiers judge it like any other.
import { createHash } from 'node:crypto';
import { mkdirSync, readFileSync, renameSync, statSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { z } from 'zod';
import { AmdCollateral, arrangeAmdChain, PRODUCTS, type Product } from '../actors/amdchain.ts';
import { Collateral, canonicalCollateral } from '../actors/collateral.ts';
import { productOf, snpField } from '../actors/snp.ts';
import { readCertificateFrame, readListFrame } from '../actors/x509.ts';
import { Fault } from './fault.ts';
import type { CertificateTable, Evidence } from './tee/provider.ts';
import type { Bare, CollateralSource } from './tee/publish.ts';
import { fetchAmd, fetchIntel, intelPlatform, type VendorOptions } from './vendors.ts';

export interface CollateralOptions extends VendorOptions {
  /** Filled by the operator with files `<key>.json`; empty: none. */
  readonly folder: string;
  /** Ours, in the state folder; empty: nothing is kept. */
  readonly cache: string;
  readonly now: () => number;
}

type Either = NonNullable<Evidence['collateral']>;

/** What a quote needs: under which name it is kept, and how it is fetched. */
interface Need {
  readonly key: string;
  readonly read: (value: unknown) => Either;
  /** Undefined where no service is configured. */
  readonly fetch: (() => Promise<Either>) | undefined;
  /** What there is without asking anyone. */
  readonly given?: Either | undefined;
}

/** Makers issue their lists and documents anew at least monthly; a day keeps the age that policies ask for in sight. */
const RENEW_MS = 86_400_000;
/** After an attempt that failed. */
const RETRY_MS = 60_000;
const FILE_BYTES_MAX = 4 * 1_048_576;

const CacheFile = z.strictObject({ version: z.literal(1), fetched_ms: z.int().min(0), collateral: z.unknown() });

interface Kept {
  readonly collateral: Either;
  readonly fetched_ms: number;
}

/** @returns a source that throws a Fault `quote_failed` when there is no collateral for a quote */
export function collateralSource(options: CollateralOptions): CollateralSource {
  const running = new Map<string, Promise<Either>>();
  const kept = new Map<string, Kept>();
  const failed = new Map<string, { at_ms: number; reason: string }>();

  return async (bare) => {
    const need = attempt(bare, () => needOf(bare, options));
    const own = fromFolder(need, options.folder);
    if (own !== undefined) return own;
    const now_ms = options.now();
    const held = kept.get(need.key) ?? fromCache(need, options.cache);
    const usable = held !== undefined && endOf(held.collateral) > now_ms ? held : undefined;
    // A time of fetching that lies ahead is that of a clock which was set back.
    if (usable !== undefined && now_ms - usable.fetched_ms < RENEW_MS && usable.fetched_ms <= now_ms) {
      return usable.collateral;
    }
    const before = failed.get(need.key);
    const waits = before !== undefined && Math.abs(now_ms - before.at_ms) < RETRY_MS;
    if (need.fetch !== undefined && !waits) {
      try {
        return await renew(need, need.fetch);
      } catch (cause) {
        failed.set(need.key, { at_ms: now_ms, reason: cause instanceof Error ? cause.message : 'failed' });
      }
    }
    const last = usable?.collateral ?? need.given;
    if (last !== undefined) return last;
    throw missing(bare, need, options.folder, failed.get(need.key)?.reason);
  };

  /** Callers that come meanwhile wait for the same answer. */
  function renew(need: Need, fetchIt: () => Promise<Either>): Promise<Either> {
    const underway = running.get(need.key);
    if (underway !== undefined) return underway;
    const asked = fetchIt()
      .then((collateral) => {
        const fresh = { collateral, fetched_ms: options.now() };
        kept.set(need.key, fresh);
        failed.delete(need.key);
        intoCache(need, options.cache, fresh);
        return collateral;
      })
      .finally(() => running.delete(need.key));
    running.set(need.key, asked);
    return asked;
  }
}

/** One machine has one platform, so the maps above hold one or two keys; an update of its firmware adds one. */
function needOf({ quote_type, quote, certificates }: Bare, options: CollateralOptions): Need {
  if (quote_type !== 'SEV-SNP') {
    const platform = intelPlatform(quote_type, quote);
    const { tee, fmspc, ca } = platform;
    return {
      key: `${tee}-${fmspc}-${ca}`,
      read: readIntel,
      fetch: options.pccs_url === '' ? undefined : () => fetchIntel(platform, options),
    };
  }
  const product = productFor(quote, certificates);
  const about = createHash('sha256').update(snpField(quote, 'chip_id')).update(snpField(quote, 'reported_tcb'));
  return {
    key: `snp-${product.toLowerCase()}-${about.digest('hex').slice(0, 16)}`,
    read: (value) => AmdCollateral.parse(value),
    fetch: options.kds_url === '' ? undefined : () => fetchAmd(product, quote, certificates, options),
    given: givenBy(certificates),
  };
}

/** Reports say it from version 3 on; before, the issuer's name does. @throws {SyntaxError} */
function productFor(report: Uint8Array, { ask }: CertificateTable): Product {
  const said = productOf(report);
  const name = said ?? (ask === undefined ? '' : readCertificateFrame(ask).commonName);
  const product = PRODUCTS.find(
    (each) => name === each || name.startsWith(`SEV-${each}`) || name === `SEV-VLEK-${each}`,
  );
  if (product === undefined) throw new SyntaxError('neither report nor certificates name a product of AMD');
  return product;
}

/** Without a list: whether that will do, the policy says. */
function givenBy({ vcek, vlek, ask, ark }: CertificateTable): AmdCollateral | undefined {
  const leaf = vlek ?? vcek;
  return leaf && ask && ark && arrangeAmdChain([leaf, ask, ark], null);
}

function readIntel(value: unknown): Collateral {
  // Libraries have the quote's own chain beside it, which says nothing new.
  const { pck_certificate_chain: _, ...fields } = Object(value) as Record<string, unknown>;
  return canonicalCollateral(Collateral.parse(fields));
}

/** What the operator put there goes first, whatever its age: that is theirs to say, and the verifier's. */
function fromFolder(need: Need, folder: string): Either | undefined {
  if (folder === '') return undefined;
  const path = join(folder, `${need.key}.json`);
  const text = readText(path);
  if (text === undefined) return undefined;
  try {
    return need.read(JSON.parse(text));
  } catch (cause) {
    throw new Fault(
      { code: 'quote_failed', provider: 'collateral', path, reason: `${path} is no collateral` },
      { cause },
    );
  }
}

/** A cache that can't be read is one that isn't there. */
function fromCache(need: Need, cache: string): Kept | undefined {
  if (cache === '') return undefined;
  const text = readText(join(cache, `${need.key}.json`));
  if (text === undefined) return undefined;
  try {
    const { fetched_ms, collateral } = CacheFile.parse(JSON.parse(text));
    return { fetched_ms, collateral: need.read(collateral) };
  } catch {
    return undefined;
  }
}

/** Whole or not at all; what is lost is fetched again, so nothing is synced and no failure matters. */
function intoCache(need: Need, cache: string, { collateral, fetched_ms }: Kept): void {
  if (cache === '') return;
  const path = join(cache, `${need.key}.json`);
  try {
    mkdirSync(cache, { recursive: true, mode: 0o700 });
    writeFileSync(`${path}.tmp`, JSON.stringify({ version: 1, fetched_ms, collateral }), { mode: 0o600 });
    renameSync(`${path}.tmp`, path);
  } catch {
    // A disk that is full shows elsewhere.
  }
}

function readText(path: string): string | undefined {
  try {
    return statSync(path).size > FILE_BYTES_MAX ? undefined : readFileSync(path, 'utf8');
  } catch (cause) {
    if ((cause as NodeJS.ErrnoException).code === 'ENOENT') return undefined;
    const reason = `${path} can't be read (${(cause as NodeJS.ErrnoException).code ?? 'unknown error'})`;
    throw new Fault({ code: 'quote_failed', provider: 'collateral', path, reason }, { cause });
  }
}

/** When the first of its lists and documents ends. */
function endOf(collateral: Either): number {
  const listEnd = (hex: string) => readListFrame(Uint8Array.fromHex(hex)).next_update_ms;
  try {
    if ('certificate_chain' in collateral) return collateral.crl === null ? 0 : listEnd(collateral.crl);
    const dates = [collateral.tcb_info, collateral.qe_identity].map((text) => Date.parse(JSON.parse(text).nextUpdate));
    return Math.min(listEnd(collateral.root_ca_crl), listEnd(collateral.pck_crl), ...dates) || 0;
  } catch {
    return 0;
  }
}

function attempt<T>({ quote_type }: Bare, act: () => T): T {
  try {
    return act();
  } catch (cause) {
    const reason = `its ${quote_type} evidence names no platform: ${cause instanceof Error ? cause.message : ''}`;
    throw new Fault({ code: 'quote_failed', provider: 'collateral', reason }, { cause });
  }
}

function missing({ quote_type }: Bare, { key }: Need, folder: string, reason: string | undefined): Fault {
  const service = quote_type === 'SEV-SNP' ? 'attestation.kds_url' : 'attestation.pccs_url';
  const where = folder === '' ? 'attestation.collateral_dir' : folder;
  const how = reason ?? `there is no ${key}.json in ${where}, and no service to ask (${service})`;
  return new Fault({ code: 'quote_failed', provider: 'collateral', reason: `no collateral for ${key}: ${how}` });
}

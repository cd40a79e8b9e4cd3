// A quote provider without hardware, for first runs, demos and tests: well-formed TDX v4 quotes under a mock of Intel's
// infrastructure that is made at first start and kept in `<state>/simulator/` (folder 0700, files 0600). Verifiers accept
// them only with that folder's root in their policy, and say `simulated`. The same folder gives the same root for ever;
// collateral is issued anew in good time before it ends. A folder that can't be read is a Fault,
// never silently replaced; collateral that doesn't verify shows with the first quote (platform.ts).
import { createPrivateKey, createPublicKey, X509Certificate } from 'node:crypto';
import {
  closeSync,
  existsSync,
  fsyncSync,
  mkdirSync,
  openSync,
  readdirSync,
  readFileSync,
  renameSync,
  writeFileSync,
} from 'node:fs';
import { dirname, join } from 'node:path';
import { z } from 'zod';
import { writePem } from '../../actors/certificate.ts';
import { Collateral } from '../../actors/collateral.ts';
import { base64, base64UpTo, fromBase64 } from '../../actors/encoding.ts';
import type { Evidence } from '../../actors/evidence.ts';
import type { ReportField } from '../../actors/tdx.ts';
import { Fault } from '../fault.ts';
import { makePki, type Pki, VALID_TO_MS } from './pki.ts';
import type { QuoteProvider } from './provider.ts';
import { imageFields, makeCollateral, makeQuote } from './tdx.ts';

/** Collateral lasts so long, and is issued anew when a quarter of it is left. */
const COLLATERAL_YEARS = 10;
const RENEW_BEFORE_MS = (COLLATERAL_YEARS / 4) * 365 * 86_400_000;

const Der = base64UpTo(4_096);
const PkiFile = z.strictObject({
  version: z.literal(1),
  warning: z.string(),
  keys: z.strictObject({ root: Der, platform_ca: Der, tcb_signing: Der, pck: Der, attestation: Der }),
  certificates: z.strictObject({ root: Der, platform_ca: Der, tcb_signing: Der, pck: Der }),
});
const WARNING = 'Keys of a simulator: they protect nothing, and what they sign proves nothing about any hardware.';

export interface Simulator extends QuoteProvider {
  readonly providerName: 'simulator';
  readonly simulated: true;
  /** DER, for the `roots` of a policy; also in the folder as `root.pem`. */
  readonly root: Uint8Array;
  /** A bare quote over other measurements, for a simulated guest that has an event log (demo/agent.ts). */
  quoteOf(fields: Partial<Record<ReportField, Uint8Array>>): Uint8Array;
}

/**
 * Opens the simulator of a folder, or makes it there when the folder is missing or empty.
 *
 * @param now    wall clock in ms; asked at every quote
 * @param image  another name is another MRTD
 * @throws {Fault} `quote_failed` when the folder can't be read or is damaged
 */
export function openSimulator(folder: string, now: () => number, image = ''): Simulator {
  const pki = openPki(folder);
  let collateral = currentCollateral(folder, pki, now());
  const root = pki.certificates.root;
  const quote = async (report_data: Uint8Array): Promise<Evidence> => {
    if (isEnding(collateral, now())) collateral = issueCollateral(folder, pki, now());
    const quote = makeQuote(pki, { ...imageFields(image), report_data });
    return { quote_type: 'TDX', quote, event_log: null, collateral };
  };
  const quoteOf: Simulator['quoteOf'] = (fields) => makeQuote(pki, fields);
  return { providerName: 'simulator', simulated: true, root, isAvailable: async () => true, quote, quoteOf };
}

const fileOf = (folder: string) => ({
  pki: join(folder, 'pki.json'),
  collateral: join(folder, 'collateral.json'),
  root: join(folder, 'root.pem'),
});

function openPki(folder: string): Pki {
  const file = fileOf(folder);
  if (existsSync(file.pki)) return readPki(file.pki);
  // Another root beside what was already published would look like a new platform.
  const left = attempt(folder, () => {
    mkdirSync(folder, { recursive: true, mode: 0o700 });
    return readdirSync(folder).filter((name) => !name.endsWith('.tmp'));
  });
  if (left.length > 0) throw damaged(file.pki, 'it is missing though the folder holds other files');
  const pki = makePki();
  const { keys, certificates } = pki;
  const entries = Object.entries(keys).map(([name, key]) => [
    name,
    base64(key.export({ format: 'der', type: 'pkcs8' })),
  ]);
  const encoded = Object.entries(certificates).map(([name, der]) => [name, base64(der)]);
  const content: z.input<typeof PkiFile> = PkiFile.parse({
    version: 1,
    warning: WARNING,
    keys: Object.fromEntries(entries),
    certificates: Object.fromEntries(encoded),
  });
  attempt(folder, () => {
    write(file.pki, `${JSON.stringify(content, null, 2)}\n`);
    write(file.root, writePem([certificates.root]));
  });
  return pki;
}

function readPki(path: string): Pki {
  const content = readJson(path, PkiFile);
  const keyOf = (text: string) => createPrivateKey({ key: Buffer.from(text, 'base64'), format: 'der', type: 'pkcs8' });
  const { keys, certificates } = content;
  try {
    const pki: Pki = {
      keys: {
        root: keyOf(keys.root),
        platform_ca: keyOf(keys.platform_ca),
        tcb_signing: keyOf(keys.tcb_signing),
        pck: keyOf(keys.pck),
        attestation: keyOf(keys.attestation),
      },
      certificates: {
        root: fromBase64(certificates.root),
        platform_ca: fromBase64(certificates.platform_ca),
        tcb_signing: fromBase64(certificates.tcb_signing),
        pck: fromBase64(certificates.pck),
      },
    };
    for (const [role, der] of Object.entries(pki.certificates)) {
      const key = createPublicKey(pki.keys[role as keyof typeof pki.certificates] as never);
      if (!new X509Certificate(der).publicKey.equals(key)) throw new Error(`key and certificate of ${role} differ`);
    }
    return pki;
  } catch (cause) {
    throw damaged(path, 'its keys or certificates are not what was written', cause);
  }
}

function currentCollateral(folder: string, pki: Pki, now_ms: number): Collateral {
  const { collateral: path } = fileOf(folder);
  // Missing: the first start, or one that ended between the two files.
  if (!existsSync(path)) return issueCollateral(folder, pki, now_ms);
  const collateral = readJson(path, Collateral);
  if (!Number.isFinite(endOf(collateral))) throw damaged(path, 'its TCB information has no date');
  return isEnding(collateral, now_ms) ? issueCollateral(folder, pki, now_ms) : collateral;
}

function issueCollateral(folder: string, pki: Pki, now_ms: number): Collateral {
  const collateral = makeCollateral(pki, nextUpdate(now_ms));
  attempt(folder, () => write(fileOf(folder).collateral, `${JSON.stringify(collateral, null, 2)}\n`));
  return collateral;
}

/** The turn of a year, so that collateral of one folder and year has the same content whenever it is issued. */
function nextUpdate(now_ms: number): number {
  return Math.min(Date.UTC(new Date(now_ms).getUTCFullYear() + COLLATERAL_YEARS, 0, 1), VALID_TO_MS);
}

function isEnding(collateral: Collateral, now_ms: number): boolean {
  const end_ms = endOf(collateral);
  return end_ms - now_ms < RENEW_BEFORE_MS && nextUpdate(now_ms) > end_ms;
}

function endOf(collateral: Collateral): number {
  try {
    return Date.parse((JSON.parse(collateral.tcb_info) as { nextUpdate: string }).nextUpdate);
  } catch {
    return Number.NaN;
  }
}

function readJson<T extends z.ZodType>(path: string, schema: T): z.output<T> {
  const text = attempt(path, () => readFileSync(path, 'utf8'));
  try {
    return schema.parse(JSON.parse(text));
  } catch (cause) {
    // Parsers quote what they read, and that may be a key: their text stays out.
    const field = cause instanceof z.ZodError ? ` (${cause.issues[0]?.path.join('.') || 'unknown key'})` : '';
    throw damaged(path, `it is not what was written${field}`);
  }
}

/** Whole or not at all: written beside, synced, renamed, and the folder synced. */
function write(path: string, text: string): void {
  const beside = `${path}.tmp`;
  const file = openSync(beside, 'w', 0o600);
  try {
    writeFileSync(file, text);
    fsyncSync(file);
  } finally {
    closeSync(file);
  }
  renameSync(beside, path);
  const folder = openSync(dirname(path), 'r');
  try {
    fsyncSync(folder);
  } finally {
    closeSync(folder);
  }
}

function attempt<T>(path: string, action: () => T): T {
  try {
    return action();
  } catch (cause) {
    const reason = `${path} can't be used (${(cause as NodeJS.ErrnoException).code ?? 'unknown error'})`;
    throw new Fault({ code: 'quote_failed', provider: 'simulator', path, reason }, { cause });
  }
}

function damaged(path: string, what: string, cause?: unknown): Fault {
  const reason = `${path} is damaged: ${what}. Restore it, or remove the folder pki, and nothing beside it, to start as a new platform`;
  return new Fault({ code: 'quote_failed', provider: 'simulator', path, reason }, cause === undefined ? {} : { cause });
}

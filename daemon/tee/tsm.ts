// Quotes of a confidential VM through Linux's configfs-tsm: a TDX quote or an SEV-SNP report, whichever the kernel's
// `provider` says. Source: Linux Documentation/ABI/testing/configfs-tsm-report. Each request has a folder of its own under a
// name that nobody else has, and a write by anybody else in between shows in the folder's generation counter, so what is
// returned was made for these 64 bytes. Whatever happens, the folder is removed again. Called by platform.ts, one at a time.
import { randomBytes } from 'node:crypto';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import type { QuoteType } from '../../actors/evidence.ts';
import { Fault } from '../fault.ts';
import { readCertificateTable } from './certtable.ts';
import { type Devices, devices } from './device.ts';
import type { Publish, QuoteProvider, RawQuote } from './provider.ts';

export interface TsmOptions {
  /** `/sys/kernel/config/tsm/report`. */
  readonly tsm_path: string;
  readonly publish: Publish;
  /** The system's own where left out. */
  readonly devices?: Devices;
}

/** What the kernel's drivers call themselves, and what they give. */
const QUOTE_TYPES: Readonly<Record<string, QuoteType>> = { tdx_guest: 'TDX', sev_guest: 'SEV-SNP' };

/** A TDX quote takes 5 KB; the kernel's own bound is 16 or, for later formats, 32 KiB. */
const OUTBLOB_BYTES_MAX = 32_768;
/** The kernel's bound for the certificate table. */
const AUXBLOB_BYTES_MAX = 65_536;
const LINE_BYTES_MAX = 64;

/** Tries of one quote: another writer, or firmware that is busy, is a matter of milliseconds. */
const TRIES = 6;
const BACKOFF_MS = 5;

/** Somebody else was in the way, or took the folder away: another try with another folder may do. */
const PASSING: readonly string[] = ['EBUSY', 'EAGAIN', 'EINTR', 'ETXTBSY', 'EEXIST', 'ENOENT'];

export function tsmProvider(options: TsmOptions): QuoteProvider {
  return new Tsm(options);
}

class Tsm implements QuoteProvider {
  readonly providerName = 'tsm';
  readonly simulated = false;
  readonly #root: string;
  readonly #publish: Publish;
  readonly #devices: Devices;

  constructor(options: TsmOptions) {
    this.#root = options.tsm_path;
    this.#publish = options.publish;
    this.#devices = options.devices ?? devices;
  }

  async isAvailable(): Promise<boolean> {
    try {
      return await this.#request(async (folder) => (await this.#provider(folder)) in QUOTE_TYPES);
    } catch {
      return false;
    }
  }

  async quote(report_data: Uint8Array) {
    return this.#publish(await this.#raw(report_data));
  }

  async #raw(report_data: Uint8Array): Promise<RawQuote> {
    let trouble = '';
    for (let tries = 0; tries < TRIES; tries++) {
      if (tries > 0) await delay(BACKOFF_MS * 2 ** tries);
      try {
        const raw = await this.#request((folder) => this.#ask(folder, report_data));
        if (raw !== undefined) return raw;
        trouble = 'others wrote into its requests';
      } catch (cause) {
        if (cause instanceof Fault) throw cause;
        const { code } = cause as NodeJS.ErrnoException;
        if (code === undefined || !PASSING.includes(code)) throw this.#failed(cause);
        trouble = code;
      }
    }
    throw new Fault({ ...this.#about, reason: `${this.#root}: ${trouble}, ${TRIES} times` });
  }

  /** A folder for one request, gone afterwards: the kernel keeps each one, and its memory, until somebody removes it. */
  async #request<T>(act: (folder: string) => Promise<T>): Promise<T> {
    const folder = join(this.#root, `aegis-${process.pid}-${randomBytes(8).toString('hex')}`);
    await this.#devices.mkdir(folder).catch((cause) => {
      if (cause.code === 'ENOENT') throw this.#failed(cause);
      throw cause;
    });
    try {
      return await act(folder);
    } finally {
      await this.#devices.rmdir(folder).catch(() => {});
    }
  }

  /** @returns undefined when the request was written by somebody else too */
  async #ask(folder: string, report_data: Uint8Array): Promise<RawQuote | undefined> {
    const before = await this.#generation(folder);
    await this.#devices.write(join(folder, 'inblob'), report_data);
    const quote = await this.#devices.read(join(folder, 'outblob'), OUTBLOB_BYTES_MAX);
    const quote_type = QUOTE_TYPES[await this.#provider(folder)];
    if (quote_type === undefined)
      throw new Error(`an unknown provider, expected ${Object.keys(QUOTE_TYPES).join(', ')}`);
    const table = quote_type === 'SEV-SNP' ? await this.#auxblob(folder) : new Uint8Array();
    // Read last, so that all of it is of one generation.
    if ((await this.#generation(folder)) !== before + 1n) return undefined;
    return { quote_type, quote, event_log: null, certificates: readCertificateTable(table) };
  }

  /** Some kernels show none, and some hosts put nothing into it. */
  async #auxblob(folder: string): Promise<Uint8Array> {
    try {
      return await this.#devices.read(join(folder, 'auxblob'), AUXBLOB_BYTES_MAX);
    } catch (cause) {
      if ((cause as NodeJS.ErrnoException).code === 'ENOENT') return new Uint8Array();
      throw cause;
    }
  }

  async #generation(folder: string): Promise<bigint> {
    const line = await this.#line(folder, 'generation');
    if (!/^\d{1,20}$/.test(line)) throw new Error('its generation is not a number');
    return BigInt(line);
  }

  #provider(folder: string): Promise<string> {
    return this.#line(folder, 'provider');
  }

  async #line(folder: string, attribute: string): Promise<string> {
    const bytes = await this.#devices.read(join(folder, attribute), LINE_BYTES_MAX);
    return new TextDecoder().decode(bytes).trim();
  }

  get #about() {
    return { code: 'quote_failed', provider: 'tsm', path: this.#root } as const;
  }

  #failed(cause: unknown): Fault {
    const { code, message } = cause as NodeJS.ErrnoException;
    return new Fault({ ...this.#about, reason: `${this.#root}: ${code ?? message}${hintOf(code)}` }, { cause });
  }
}

const HINT = ' (it takes a kernel with CONFIG_TSM_REPORTS in a TDX or SEV-SNP guest, and configfs mounted)';

function hintOf(code: string | undefined): string {
  if (code === 'ENOENT' || code === 'ENXIO' || code === 'ENOTDIR') return HINT;
  return code === 'EACCES' || code === 'EPERM' ? ' (it takes root, or CAP_DAC_OVERRIDE)' : '';
}

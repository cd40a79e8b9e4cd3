// Quotes of an SGX enclave under Gramine: SGX v3, from the two files of `/dev/attestation`. There is one pair of files for the
// whole process, so two callers would get a quote over the other's report data: a lock per folder orders them, and what was
// written is read back before the quote is. Source: Gramine, "Attestation and Secret Provisioning". Called by platform.ts.
import { join, resolve } from 'node:path';
import { equal } from '../../actors/encoding.ts';
import { Fault } from '../fault.ts';
import { type Devices, devices } from './device.ts';
import { type Publish, type QuoteProvider, REPORT_DATA_BYTES } from './provider.ts';

export interface SgxOptions {
  /** Gramine's folder, `/dev/attestation`. */
  readonly sgx_path: string;
  readonly publish: Publish;
  /** The system's own where left out. */
  readonly devices?: Devices;
}

/** Gramine's own bound is 8 KiB. */
const QUOTE_BYTES_MAX = 16_384;
const LINE_BYTES_MAX = 64;
/** What `sgx.remote_attestation` must be for a quote that this verifier knows; EPID has come to its end. */
const TYPE = 'dcap';

/** Who is next, by folder: the files are the process's, however many providers it has. */
const turns = new Map<string, Promise<unknown>>();

export function sgxProvider(options: SgxOptions): QuoteProvider {
  const folder = resolve(options.sgx_path);
  const { publish } = options;
  const device = options.devices ?? devices;
  return {
    providerName: 'sgx',
    simulated: false,
    async isAvailable() {
      try {
        return (await type(device, folder)) === TYPE;
      } catch {
        return false;
      }
    },
    async quote(report_data) {
      const quote = await inTurn(folder, () => ask(device, folder, report_data));
      return publish({ quote_type: 'SGX', quote, event_log: null, certificates: {} });
    },
  };
}

function inTurn<T>(folder: string, act: () => Promise<T>): Promise<T> {
  const turn = (turns.get(folder) ?? Promise.resolve()).then(act);
  const settled = turn.then(
    () => {},
    () => {},
  );
  turns.set(folder, settled);
  void settled.then(() => {
    if (turns.get(folder) === settled) turns.delete(folder);
  });
  return turn;
}

async function ask(device: Devices, folder: string, report_data: Uint8Array): Promise<Uint8Array> {
  const path = join(folder, 'user_report_data');
  try {
    const found = await type(device, folder);
    if (found !== TYPE) throw new Error(`its attestation_type is ${JSON.stringify(found)}, expected "${TYPE}"`);
    await device.write(path, report_data);
    // A program in the enclave that writes there too would get its words quoted as ours.
    const kept = await device.read(path, REPORT_DATA_BYTES);
    if (!equal(kept, report_data)) throw new Error('somebody else writes its user_report_data');
    const quote = await device.read(join(folder, 'quote'), QUOTE_BYTES_MAX);
    if (quote.length === 0) throw new Error('its quote is empty');
    return quote;
  } catch (cause) {
    throw failed(folder, cause);
  }
}

async function type(device: Devices, folder: string): Promise<string> {
  const bytes = await device.read(join(folder, 'attestation_type'), LINE_BYTES_MAX);
  return new TextDecoder().decode(bytes).trim();
}

function failed(folder: string, cause: unknown): Fault {
  const { code, message } = cause as NodeJS.ErrnoException;
  const hint = code === 'ENOENT' ? ' (it takes Gramine with sgx.remote_attestation = "dcap" around this process)' : '';
  const reason = `${folder}: ${code ?? message}${hint}`;
  return new Fault({ code: 'quote_failed', provider: 'sgx', path: folder, reason }, { cause });
}

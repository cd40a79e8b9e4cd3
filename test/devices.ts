// Stand-ins for the kernel's configfs-tsm and for Gramine's attestation files, at the border of the system calls
// (daemon/tee/device.ts), over real files in a temporary folder: a folder can't act on a write by itself. They do what Linux
// does (drivers/virt/coco/guest/report.c): attributes come with the folder, inblob and each option count the generation, outblob
// is made anew when it is read after a write, and what is missing, busy or broken fails with the system's own codes.
import { mkdirSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { basename, dirname, join } from 'node:path';
import { type Devices, devices } from '../daemon/tee/device.ts';

type Call = keyof Devices;

/** A system error as Node throws it. */
export function systemError(code: string, call: string, path: string): NodeJS.ErrnoException {
  return Object.assign(new Error(`${code}: ${call} '${path}'`), { code, syscall: call, path });
}

abstract class Emulator implements Devices {
  /** What goes wrong with the next calls: the first that is of the call and of the attribute, once each. */
  readonly troubles: { call: Call; name?: string; code: string }[] = [];
  /** Every call in order, as `read outblob`. */
  readonly calls: string[] = [];
  /** Runs before a call is served, for what others do meanwhile. */
  meanwhile: ((call: Call, path: string) => void) | undefined;

  protected begin(call: Call, path: string): void {
    this.calls.push(`${call} ${basename(path)}`);
    this.meanwhile?.(call, path);
    const at = this.troubles.findIndex(
      (trouble) => trouble.call === call && (trouble.name ?? basename(path)) === basename(path),
    );
    const [trouble] = at === -1 ? [] : this.troubles.splice(at, 1);
    if (trouble !== undefined) throw systemError(trouble.code, call, path);
  }

  abstract mkdir(path: string): Promise<void>;
  abstract rmdir(path: string): Promise<void>;
  abstract read(path: string, bytes_max: number): Promise<Uint8Array>;
  abstract write(path: string, bytes: Uint8Array): Promise<void>;
}

interface Request {
  generation: bigint;
  /** The generation that outblob is of. */
  read: bigint | undefined;
  inblob: Uint8Array | undefined;
}

export interface TsmOptions {
  /** Where the requests lie; made by whoever tests. */
  readonly folder: string;
  readonly provider: string;
  readonly quote: (report_data: Uint8Array) => Uint8Array;
  /** auxblob; no such attribute where left out. */
  readonly table?: Uint8Array;
}

/** What a TDX or SEV-SNP guest sees under /sys/kernel/config/tsm/report. */
export class TsmEmulator extends Emulator {
  readonly #options: TsmOptions;
  readonly #requests = new Map<string, Request>();
  /** How many quotes were made, and the most requests that were there at once. */
  made = 0;
  requests_max = 0;

  constructor(options: TsmOptions) {
    super();
    this.#options = options;
  }

  /** The requests that nobody has removed. */
  get left(): string[] {
    return readdirSync(this.#options.folder);
  }

  async mkdir(path: string): Promise<void> {
    this.begin('mkdir', path);
    if (dirname(path) !== this.#options.folder) throw systemError('ENOENT', 'mkdir', path);
    await devices.mkdir(path);
    this.#requests.set(path, { generation: 0n, read: undefined, inblob: undefined });
    this.requests_max = Math.max(this.requests_max, this.#requests.size);
    const { provider, table } = this.#options;
    writeFileSync(join(path, 'provider'), `${provider}\n`);
    writeFileSync(join(path, 'generation'), '0\n');
    writeFileSync(join(path, 'inblob'), '');
    writeFileSync(join(path, 'outblob'), '');
    if (table !== undefined) writeFileSync(join(path, 'auxblob'), table);
  }

  async rmdir(path: string): Promise<void> {
    this.begin('rmdir', path);
    if (!this.#requests.delete(path)) throw systemError('ENOENT', 'rmdir', path);
    rmSync(path, { recursive: true });
  }

  async read(path: string, bytes_max: number): Promise<Uint8Array> {
    this.begin('read', path);
    if (basename(path) === 'outblob') this.#report(dirname(path), path);
    return devices.read(path, bytes_max);
  }

  async write(path: string, bytes: Uint8Array): Promise<void> {
    this.begin('write', path);
    const request = this.#requests.get(dirname(path));
    if (request !== undefined && basename(path) === 'inblob') {
      if (bytes.length === 0 || bytes.length > 64) throw systemError('EINVAL', 'write', path);
      this.#written(dirname(path), request);
      request.inblob = bytes.slice();
    }
    await devices.write(path, bytes);
  }

  /** Another process writes an option of this request. */
  touch(folder: string): void {
    const request = this.#requests.get(folder);
    if (request !== undefined) this.#written(folder, request);
  }

  /** Another process removes this request. */
  remove(folder: string): void {
    if (this.#requests.delete(folder)) rmSync(folder, { recursive: true });
  }

  #written(folder: string, request: Request): void {
    request.generation++;
    writeFileSync(join(folder, 'generation'), `${request.generation}\n`);
  }

  #report(folder: string, path: string): void {
    const request = this.#requests.get(folder);
    if (request === undefined) throw systemError('ENOENT', 'open', path);
    if (request.inblob === undefined) throw systemError('EINVAL', 'read', path);
    if (request.read === request.generation) return;
    // The kernel's hand-over to the quoting enclave takes whole report data only.
    if (this.#options.provider === 'tdx_guest' && request.inblob.length !== 64)
      throw systemError('EINVAL', 'read', path);
    writeFileSync(path, this.#options.quote(request.inblob));
    request.read = request.generation;
    this.made++;
  }
}

/** What a program under Gramine sees in /dev/attestation: one set of files for the whole process. */
export class GramineEmulator extends Emulator {
  readonly #folder: string;
  readonly #quote: (report_data: Uint8Array) => Uint8Array;
  #report_data: Uint8Array = new Uint8Array(64);

  constructor(folder: string, quote: (report_data: Uint8Array) => Uint8Array, type = 'dcap') {
    super();
    this.#folder = folder;
    this.#quote = quote;
    mkdirSync(folder, { recursive: true });
    writeFileSync(join(folder, 'attestation_type'), type);
    writeFileSync(join(folder, 'user_report_data'), this.#report_data);
    writeFileSync(join(folder, 'quote'), '');
  }

  async mkdir(path: string): Promise<void> {
    throw systemError('EACCES', 'mkdir', path);
  }

  async rmdir(path: string): Promise<void> {
    throw systemError('EACCES', 'rmdir', path);
  }

  async read(path: string, bytes_max: number): Promise<Uint8Array> {
    this.begin('read', path);
    if (basename(path) === 'quote') writeFileSync(path, this.#quote(this.#report_data));
    return devices.read(path, bytes_max);
  }

  async write(path: string, bytes: Uint8Array): Promise<void> {
    this.begin('write', path);
    if (path !== join(this.#folder, 'user_report_data') || bytes.length > 64)
      throw systemError('EINVAL', 'write', path);
    this.set(bytes);
  }

  /** Shorter data is filled up with zeros, as Gramine does. */
  set(bytes: Uint8Array): void {
    this.#report_data = new Uint8Array(64);
    this.#report_data.set(bytes);
    writeFileSync(join(this.#folder, 'user_report_data'), this.#report_data);
  }
}

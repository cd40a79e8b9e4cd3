// What the daemon tells systemd (sd_notify(3)): that it is ready, what it is doing, that it reloads or stops, and that its main
// loop still turns. Messages are datagrams to $NOTIFY_SOCKET, and Node has no datagram sockets of AF_UNIX. They are sent by libc's own
// sendto through node:ffi, and not by a systemd-notify child: only what the main process itself sends passes NotifyAccess=main, and a
// watchdog that forks would fail when memory runs short. Without $NOTIFY_SOCKET nothing here does anything, nor loads anything.
import { Buffer } from 'node:buffer';

/** socket(2), sendto(2) of Linux, the same on x64 and arm64. */
const AF_UNIX = 1;
const SOCK_DGRAM = 2;
const SOCK_CLOEXEC = 0o2000000;
const MSG_DONTWAIT = 0x40;
const MSG_NOSIGNAL = 0x4000;
/** unix(7): sun_path, in which a path needs its NUL and an abstract name does not. */
const PATH_BYTES_MAX = 108;
/** systemd reads at most a page. */
const STATUS_CHARACTERS_MAX = 512;
/** What the receiver had no room for is tried again in order; a receiver that takes nothing for this long is gone. */
const RETRY_MS = 50;
const UNSENT_MAX = 16;
const TRIES_MAX = 100;
/** sd_watchdog_enabled(3) recommends half of it; a third leaves room for one beat that comes late. */
const BEATS = 3;
/** How often the status is looked at where no watchdog sets the pace. */
const LOOK_MS = 5_000;
/** TimeoutStartSec= of the units: what a start may take that waits for nobody, and how long a loop may stand still in one that does. */
export const START_MS = 300_000;
const PROLONG_MS = START_MS / 10;

/** Sends one datagram. @returns whether the receiver took it */
export type Send = (message: Uint8Array) => boolean;

export interface NotifyOptions {
  /** NOTIFY_SOCKET, WATCHDOG_USEC and WATCHDOG_PID are read. Default: the process's own. */
  readonly environment?: Readonly<Record<string, string | undefined>>;
  /** Told once why systemd can't be told anything. */
  readonly onFailed: (reason: string) => void;
}

/** Opens the way to whoever supervises this process; where nobody does, what it returns says nothing. */
export async function openNotifier({ environment = process.env, onFailed }: NotifyOptions): Promise<Notifier> {
  const address = environment.NOTIFY_SOCKET;
  if (!address) return new Notifier(undefined, 0, onFailed);
  try {
    return new Notifier(await open(address), beatOf(environment), onFailed);
  } catch (error) {
    onFailed(error instanceof Error ? error.message : String(error));
    return new Notifier(undefined, 0, onFailed);
  }
}

/** @returns how often to beat, in ms; 0 where systemd does not watch this process */
function beatOf({ WATCHDOG_USEC, WATCHDOG_PID }: Readonly<Record<string, string | undefined>>): number {
  const usec = /^[1-9]\d{0,15}$/.test(WATCHDOG_USEC ?? '') ? Number(WATCHDOG_USEC) : 0;
  if (WATCHDOG_PID && WATCHDOG_PID !== String(process.pid)) return 0;
  return usec / 1000 / BEATS;
}

async function open(address: string): Promise<Send> {
  if (!/^[/@]./s.test(address)) throw new Error(`NOTIFY_SOCKET=${address}: expected a path, or @ and an abstract name`);
  const abstract = address.startsWith('@');
  const name = Buffer.from(abstract ? `\0${address.slice(1)}` : `${address}\0`);
  if (name.length > PATH_BYTES_MAX) throw new Error(`NOTIFY_SOCKET is longer than ${PATH_BYTES_MAX} bytes`);
  if (process.platform !== 'linux') throw new Error('NOTIFY_SOCKET is of Linux alone');
  // Native code by name: only where there is somebody to talk to.
  const { dlopen } = await import('node:ffi');
  const libc = dlopen(null, {
    socket: { arguments: ['int32', 'int32', 'int32'], return: 'int32' },
    sendto: { arguments: ['int32', 'buffer', 'uint64', 'int32', 'buffer', 'uint32'], return: 'int64' },
  }).functions;
  const fd = libc.socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
  if (fd < 0) throw new Error('there is no socket of AF_UNIX to be had; see RestrictAddressFamilies=');
  const to = Buffer.alloc(2 + name.length);
  to.writeUInt16LE(AF_UNIX, 0);
  name.copy(to, 2);
  return (message) =>
    Number(libc.sendto(fd, message, BigInt(message.length), MSG_DONTWAIT | MSG_NOSIGNAL, to, to.length)) ===
    message.length;
}

export class Notifier {
  readonly #send: Send | undefined;
  readonly #beat_ms: number;
  readonly #onFailed: (reason: string) => void;
  #status = '';
  #isStopping = false;
  #unsent: Uint8Array[] = [];
  #tries = 0;
  #retrying: NodeJS.Timeout | undefined;
  #watching: NodeJS.Timeout | undefined;
  #prolonging: NodeJS.Timeout | undefined;

  constructor(send: Send | undefined, beat_ms: number, onFailed: (reason: string) => void) {
    this.#send = send;
    this.#beat_ms = beat_ms;
    this.#onFailed = onFailed;
  }

  /** Whether anybody listens. */
  get open(): boolean {
    return this.#send !== undefined;
  }

  /**
   * The start waits for another machine, for as long as that takes: as long as the main loop turns, TimeoutStartSec= counts anew
   * (EXTEND_TIMEOUT_USEC), until `prolonged`.
   */
  prolong(): void {
    if (this.#send === undefined || this.#isStopping || this.#prolonging !== undefined) return;
    const turn = () => {
      if (this.#prolonging !== undefined) this.#tell([`EXTEND_TIMEOUT_USEC=${START_MS * 1000}`]);
    };
    this.#prolonging = setInterval(() => setImmediate(turn), PROLONG_MS).unref();
    turn();
  }

  /** What is left of the start has the time of any start. */
  prolonged(): void {
    if (this.#prolonging === undefined) return;
    this.#endProlonging();
    this.#tell([`EXTEND_TIMEOUT_USEC=${START_MS * 1000}`]);
  }

  /** The store is open, keys are derived, the API listens; or a reload is over, whatever came of it. */
  ready(status: string): void {
    if (!this.#isStopping) this.#tell(['READY=1', this.#statusLine(status)]);
  }

  /** One message, because systemd takes the time and the word together or not at all. Followed by `ready`. */
  reloading(): void {
    if (!this.#isStopping) this.#tell(['RELOADING=1', `MONOTONIC_USEC=${process.hrtime.bigint() / 1000n}`]);
  }

  /** From here on only beats are said: a reload that was under way is over without a word. */
  stopping(status: string): void {
    this.#isStopping = true;
    // It would count for the stop.
    this.#endProlonging();
    this.#tell(['STOPPING=1', this.#statusLine(status)]);
  }

  /** What `systemctl status` shows; said only when it changes. */
  status(status: string): void {
    if (this.#isStopping) return;
    const before = this.#status;
    const line = this.#statusLine(status);
    if (this.#status !== before) this.#tell([line]);
  }

  /**
   * Beats for as long as the main loop turns: a beat is sent from the loop, after it went round once more. One that stands
   * still sends none, and systemd ends the process.
   *
   * @param status  asked at each beat; what it throws is the process's end, as everywhere
   */
  watch(status: () => string): void {
    if (this.#send === undefined || this.#watching !== undefined) return;
    const turn = () => {
      if (this.#watching === undefined) return;
      if (!this.#isStopping) this.status(status());
      if (this.#beat_ms > 0) this.#tell(['WATCHDOG=1']);
    };
    this.#watching = setInterval(() => setImmediate(turn), this.#beat_ms || LOOK_MS);
    this.#watching.unref();
  }

  /** Ends the beats. */
  close(): void {
    clearInterval(this.#watching);
    this.#watching = undefined;
    this.#endProlonging();
    clearTimeout(this.#retrying);
    this.#unsent = [];
  }

  #endProlonging(): void {
    clearInterval(this.#prolonging);
    this.#prolonging = undefined;
  }

  #statusLine(status: string): string {
    // A line feed would begin another assignment.
    this.#status = status
      .replaceAll(/\p{Cc}+/gu, ' ')
      .slice(0, STATUS_CHARACTERS_MAX)
      .toWellFormed();
    return `STATUS=${this.#status}`;
  }

  #tell(lines: readonly string[]): void {
    if (this.#send === undefined) return;
    this.#unsent.push(Buffer.from(lines.join('\n')));
    // The newest are what counts: they say what holds now.
    this.#unsent.splice(0, this.#unsent.length - UNSENT_MAX);
    if (this.#retrying === undefined) this.#flush();
  }

  #flush(): void {
    this.#retrying = undefined;
    for (let next = this.#unsent[0]; next !== undefined; next = this.#unsent[0]) {
      if (!this.#send!(next)) {
        this.#later();
        return;
      }
      this.#unsent.shift();
      this.#tries = 0;
    }
  }

  #later(): void {
    this.#tries += 1;
    if (this.#tries > TRIES_MAX) {
      if (this.#tries === TRIES_MAX + 1) this.#onFailed('nobody takes what is sent to NOTIFY_SOCKET');
      this.#unsent = [];
      return;
    }
    this.#retrying = setTimeout(() => this.#flush(), RETRY_MS).unref();
  }
}

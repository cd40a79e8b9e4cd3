// Stands where systemd stands: a real datagram socket that says what arrives on it, and from which process. Python holds it,
// since Node has no such sockets; so the bytes that daemon/notify.ts makes are read by somebody else's code.
import { type ChildProcess, execFileSync, spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';

/** SCM_CREDENTIALS is how systemd knows who speaks (NotifyAccess=main). */
const RECEIVER = `
import json, socket, struct, sys
name = sys.argv[1]
s = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
s.bind('\\0' + name[1:] if name.startswith('@') else name)
s.setsockopt(socket.SOL_SOCKET, socket.SO_PASSCRED, 1)
print('{}', flush=True)
while True:
    data, anc, _, _ = s.recvmsg(65536, 256)
    pid = struct.unpack('3i', anc[0][2])[0]
    print(json.dumps({'pid': pid, 'text': data.decode()}), flush=True)
`;

export interface Message {
  /** Of the process that sent it. */
  readonly pid: number;
  /** Its assignments. */
  readonly lines: readonly string[];
}

/** Why the tests that need it can't run here; undefined where they can. CI must have it. */
export const NO_PYTHON = needed('python3', ['-c', '']);

/** @returns why the tool isn't there, for the name of the test that is skipped; in CI its absence is an error */
export function needed(tool: string, args: readonly string[]): string | undefined {
  try {
    execFileSync(tool, args, { stdio: 'ignore' });
    return undefined;
  } catch {
    if (process.env.CI) throw new Error(`${tool} is missing, and CI must have it`);
    return `${tool} is not installed`;
  }
}

export class Supervisor implements AsyncDisposable {
  /** For NOTIFY_SOCKET. */
  readonly address: string;
  readonly messages: Message[] = [];
  readonly #folder: string;
  readonly #child: ChildProcess;
  readonly #exited: Promise<unknown>;
  #waiting: (() => void)[] = [];

  private constructor(folder: string, address: string) {
    this.#folder = folder;
    this.address = address;
    this.#child = spawn('python3', ['-c', RECEIVER, address], { stdio: ['ignore', 'pipe', 'inherit'] });
    this.#exited = once(this.#child, 'exit');
    createInterface({ input: this.#child.stdout! }).on('line', (line) => {
      const { pid, text } = JSON.parse(line) as { pid?: number; text?: string };
      this.messages.push({ pid: pid ?? 0, lines: text?.split('\n') ?? [] });
      for (const wake of this.#waiting.splice(0)) wake();
    });
  }

  static async open({ abstract = false } = {}): Promise<Supervisor> {
    const folder = mkdtempSync(join(tmpdir(), 'aegis-notify-'));
    const supervisor = new Supervisor(
      folder,
      abstract ? `@aegis-${process.pid}-${Date.now()}` : join(folder, 'notify'),
    );
    // Its own first line: bound.
    await supervisor.take(() => true);
    supervisor.messages.length = 0;
    return supervisor;
  }

  /** Resolves with the first message that fits and takes it and all before it away. */
  async take(fits: (lines: readonly string[]) => boolean): Promise<Message> {
    for (;;) {
      const at = this.messages.findIndex(({ lines }) => fits(lines));
      if (at >= 0) return this.messages.splice(0, at + 1).at(-1)!;
      await new Promise<void>((resolve) => {
        this.#waiting.push(resolve);
      });
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#child.kill('SIGKILL');
    await this.#exited;
    rmSync(this.#folder, { recursive: true, force: true });
  }
}

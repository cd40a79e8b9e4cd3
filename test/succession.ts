// Two enclaves for the tests of handovers: simulated platforms with roots of their own and images of other names, an admin who lets the
// one succeed the other, and what a stranger says of the log that both have signed.
import { mkdirSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { Measurement } from '../actors/act.ts';
import { loadConfig } from '../config/load.ts';
import type { Settings } from '../config/schema.ts';
import { createServer, type Server } from '../daemon/api/server.ts';
import { measurementOf as measured } from '../daemon/demo/enclaves.ts';
import { createSequencer, type Sequencer } from '../daemon/sequencer.ts';
import { openSimulator } from '../daemon/tee/simulator.ts';
import { makeAdmin } from './admin.ts';
import { quiet } from './house.ts';

export const admin = makeAdmin(1);

export interface Enclave extends AsyncDisposable {
  readonly sequencer: Sequencer;
  readonly server: Server;
  readonly url: string;
  close(): Promise<void>;
}

const fatal = (error: unknown) => {
  throw error;
};

/** Folders for two platforms; each knows the root of the other. */
export class Platforms {
  readonly folder = mkdtempSync(join(tmpdir(), 'aegis-handover-'));
  readonly roots: Readonly<Record<string, string>>;
  readonly #open: Enclave[] = [];

  constructor(names: readonly string[] = ['old', 'new']) {
    this.roots = Object.fromEntries(
      names.map((name) => {
        const state = join(this.folder, name);
        mkdirSync(state);
        return [name, openSimulator(join(state, 'simulator', 'pki'), Date.now).root.toBase64()];
      }),
    );
  }

  settings(name: string, more: Settings = {}): Settings {
    return {
      ...more,
      daemon: { state_dir: join(this.folder, name), stop_timeout_s: 5, ...more.daemon },
      api: { listen: '127.0.0.1:0', rate_limit_per_s: 0, ...more.api },
      admin: { keys: [admin.public_key], ...more.admin },
      sequencer: { batch_interval_ms: 60_000, batch_size: 50, ...more.sequencer },
      seal: { interval_ms: 0, ...more.seal },
      workers: { task_timeout_ms: 120_000, ...more.workers },
      attestation: {
        simulator_image: name,
        policy: { roots: Object.values(this.roots) },
        ...more.attestation,
      },
      handover: { delay_ms: 0, ...more.handover },
    };
  }

  /** @param of  the URL of its predecessor */
  async start(
    name: string,
    { of, more, signal }: { of?: string; more?: Settings; signal?: AbortSignal } = {},
  ): Promise<Enclave> {
    const { config } = loadConfig({ settings: this.settings(name, more), environment: {} });
    const sequencer = await createSequencer({
      ...{ config, log: quiet, fatal },
      ...(of !== undefined && { successor_of: of }),
      ...(signal !== undefined && { signal }),
    });
    const server = await createServer({ sequencer, log: quiet, version: '0.0.0-test' });
    const { url } = await server.listen();
    let closing: Promise<void> | undefined;
    const close = () => {
      closing ??= server.close().then(() => sequencer.close(0));
      return closing;
    };
    const enclave = { sequencer, server, url, close, [Symbol.asyncDispose]: close };
    this.#open.push(enclave);
    return enclave;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    for (const enclave of this.#open.reverse()) await enclave.close();
    rmSync(this.folder, { recursive: true, force: true });
  }
}

/** What the simulator of this image measures. */
export function measurementOf(platforms: Platforms, image: string): Promise<Measurement> {
  const folder = join(platforms.folder, image, 'simulator', 'pki');
  return measured(openSimulator(folder, Date.now, image));
}

/** Lets an enclave succeed from now on. */
export async function allow(
  { sequencer }: Pick<Enclave, 'sequencer'>,
  measurement: Measurement,
  in_ms = 0,
): Promise<void> {
  const { log_id } = sequencer.epoch.log;
  const act = { type: 'allow_measurement', measurement, in_force_after_ms: Date.now() + in_ms } as const;
  const outcome = await sequencer.orders.execute(admin.order(log_id, act));
  if (!outcome.ok) throw new Error(`${outcome.code} ${'detail' in outcome ? outcome.detail : ''}`);
}

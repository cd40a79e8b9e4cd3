// Plays a simulated threat into the room, a round at a time, and takes all of it away at its end or when it is stopped. Only where
// `risk.simulation` allows it, which production never does: what the score does about it is real.
import { SIMULATION_ROUNDS, simulate } from '../../actors/simulation.ts';
import { Fault } from '../fault.ts';
import type { Runtime } from '../runtime.ts';
import type { RiskOptions, RiskRoom } from './room.ts';

interface Modules {
  readonly room: RiskRoom;
  readonly runtime: Runtime;
  readonly options: () => RiskOptions;
  readonly now: () => number;
  readonly onFault: (error: Fault) => void;
  readonly fatal: (error: unknown) => void;
}

export type Simulated =
  | { readonly ok: true; readonly seed: number; readonly rounds: number }
  | { readonly ok: false; readonly code: 'simulation_not_allowed' | 'simulation_running' | 'simulation_not_running' };

export class ThreatSimulator {
  readonly #modules: Modules;
  #running: { readonly seed: number; round: number; timer?: NodeJS.Timeout } | undefined;

  constructor(modules: Modules) {
    this.#modules = modules;
  }

  /** Takes away what an earlier process left. */
  async clear(): Promise<void> {
    const { room } = this.#modules;
    if (room.threats.some(({ origin }) => origin === 'simulation')) await room.replace('simulation', []);
  }

  /** @param interval_ms  between two rounds. @throws {Fault} of the store */
  async start(seed: number, interval_ms: number): Promise<Simulated> {
    if (!this.#modules.options().simulation) return { ok: false, code: 'simulation_not_allowed' };
    if (this.#running !== undefined) return { ok: false, code: 'simulation_running' };
    this.#running = { seed, round: 0 };
    try {
      await this.#tell('simulation_started', { seed, rounds: SIMULATION_ROUNDS, interval_ms });
    } catch (error) {
      this.#running = undefined;
      throw error;
    }
    this.#next(interval_ms);
    return { ok: true, seed, rounds: SIMULATION_ROUNDS };
  }

  /** @throws {Fault} of the store */
  async stop(reason: 'stopped' | 'finished' = 'stopped'): Promise<Simulated> {
    const running = this.#running;
    if (running === undefined) return { ok: false, code: 'simulation_not_running' };
    const { seed, round } = running;
    clearTimeout(running.timer);
    this.#running = undefined;
    await this.#modules.room.replace('simulation', []);
    await this.#tell('simulation_stopped', { seed, round, reason });
    return { ok: true, seed, rounds: round };
  }

  /** Without a word: the daemon ends, and the next start takes away what is left. */
  close(): void {
    clearTimeout(this.#running?.timer);
    this.#running = undefined;
  }

  #next(interval_ms: number): void {
    const running = this.#running;
    if (running === undefined) return;
    running.timer = setTimeout(() => {
      this.#play(interval_ms).catch((error: unknown) => {
        const { onFault, fatal } = this.#modules;
        if (!(error instanceof Fault)) return fatal(error);
        onFault(error);
        this.#next(interval_ms);
      });
    }, interval_ms).unref();
  }

  async #play(interval_ms: number): Promise<void> {
    const { room, now } = this.#modules;
    const running = this.#running;
    if (running === undefined) return;
    if (running.round >= SIMULATION_ROUNDS) {
      await this.stop('finished');
      return;
    }
    const threats = simulate(running.seed, running.round, now());
    await room.replace('simulation', threats);
    // Stopped meanwhile: what was put in after that goes again.
    if (this.#running !== running) return room.replace('simulation', []);
    running.round += 1;
    this.#next(interval_ms);
  }

  #tell(type: 'simulation_started' | 'simulation_stopped', data: object): Promise<number> {
    const { runtime, now } = this.#modules;
    return runtime.commit((step) => step.journal(type, data, now()));
  }
}

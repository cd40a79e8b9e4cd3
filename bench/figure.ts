// What a benchmark gives: a value beside what the bare work costs in the same run, because machines differ and are noisy.

export interface Figure {
  readonly name: string;
  readonly value: number;
  readonly unit: string;
  /** What the bare work took in the same run. */
  readonly floor?: number;
  /** Value over floor. */
  readonly ratio?: number;
  /** What DESIGN §13 or an issue asks for, and whether this run met it. */
  readonly reach?: string;
  readonly met?: boolean;
}

export function median(values: readonly number[]): number {
  return percentile(values, 50);
}

/** Nearest rank. */
export function percentile(values: readonly number[], p: number): number {
  const sorted = [...values].sort((a, b) => a - b);
  return sorted[Math.max(0, Math.ceil((sorted.length * p) / 100) - 1)] ?? Number.NaN;
}

/** ms of wall time. */
export function time(act: () => void): number {
  const start = performance.now();
  act();
  return performance.now() - start;
}

// What the process takes of its machine, under the names that Prometheus' own clients use, so that dashboards and alerts know
// them. Read when it is scraped (metrics.ts). What /proc does not say here is left out.
import { readdirSync, readFileSync } from 'node:fs';
import { Counter, Gauge, type Registry } from 'prom-client';

export function processMetrics(registers: Registry[]): void {
  new Counter({
    name: 'process_cpu_seconds_total',
    help: 'Processor time that the process has taken, threads included, in seconds.',
    registers,
    collect() {
      const { user, system } = process.cpuUsage();
      this.reset();
      this.inc((user + system) / 1e6);
    },
  });
  new Gauge({
    name: 'process_resident_memory_bytes',
    help: 'Memory of the process that is in RAM, pages of the store included.',
    registers,
    collect() {
      this.set(process.memoryUsage.rss());
    },
  });
  const optional = (name: string, help: string, read: () => number | undefined) =>
    new Gauge({
      name,
      help,
      registers,
      collect() {
        const value = read();
        if (value === undefined) this.remove();
        else this.set(value);
      },
    });
  optional('process_open_fds', 'File descriptors that are open; connections are most of them.', openDescriptors);
  // Node raises the soft limit to the hard one before the first statement, so it stays what it is.
  const limit = descriptorLimit();
  optional('process_max_fds', 'How many file descriptors the process may open.', () => limit);
}

function openDescriptors(): number | undefined {
  try {
    // Without the one that reads the folder.
    return readdirSync('/proc/self/fd').length - 1;
  } catch {
    return undefined;
  }
}

function descriptorLimit(): number | undefined {
  try {
    const soft = /^Max open files +(\d+)/m.exec(readFileSync('/proc/self/limits', 'utf8'))?.[1];
    return soft === undefined ? undefined : Number(soft);
  } catch {
    return undefined;
  }
}

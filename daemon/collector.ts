// How V8 collects in a process that lives for months beside threads that sign. V8's own choices suit a page: it collects
// with four helper threads at once, and while little is allocated it lets the heap grow by a few megabytes before it marks
// all of it again. On two cores, of which a seal takes one, every such round cost some batch 30 to 60 ms. Set by those who
// own their process, the daemon and the bench; a program that embeds the sequencer keeps its own.
import { setFlagsFromString } from 'node:v8';

/** V8 reads all three whenever it collects, so they hold from now on, for the threads as well. */
const FLAGS = [
  // Young objects: what a pause of a millisecond does alone is not worth waking four threads for.
  '--no-parallel-scavenge',
  // Old ones are marked beside the program, by one thread.
  '--concurrent-marking-max-worker-num=1',
  // The heap may grow to 2.5 times of what the last round left: 100 MB in a daemon without assets, a round a minute.
  '--heap-growing-percent=150',
];

export function steadyCollector(): void {
  for (const flag of FLAGS) setFlagsFromString(flag);
}

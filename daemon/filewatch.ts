// Watches one file for whoever edits it in whatever way: in place, by a rename over it, by a backup and a new one, or by swapping a
// symbolic link somewhere on its path, as Kubernetes does. So not the file is watched, which may go away, but every folder in which
// an entry decides what the path means. It tells that the file has come to rest at something new
// that is not empty; what that is, the reader sees.
import { type FSWatcher, lstatSync, readlinkSync, statSync, watch } from 'node:fs';
import { dirname, isAbsolute, join, parse, resolve, sep } from 'node:path';

/** Writing takes several calls; two looks this far apart must find the same. */
const SETTLE_MS = 25;
/** inotify(7) does not see what other machines do to a network file system. */
const POLL_MS = 2_000;
/** Somebody is about to write it: to take it at its word would be every default for a moment. */
const EMPTY = 'empty';
/** path_resolution(7): as many as the kernel follows. */
const LINKS_MAX = 40;

export class FileWatch implements Disposable {
  readonly #path: string;
  readonly #onChange: () => void;
  readonly #watchers = new Map<string, FSWatcher>();
  readonly #poll: NodeJS.Timeout;
  #settling: NodeJS.Timeout | undefined;
  #told: string;
  #seen: string;

  /** @param onChange  called from a timer, once for each state that the file comes to rest at */
  constructor(path: string, onChange: () => void) {
    this.#path = resolve(path);
    this.#onChange = onChange;
    this.#arm();
    this.#told = signature(this.#path);
    this.#seen = this.#told;
    this.#poll = setInterval(() => {
      if (signature(this.#path) !== this.#told) this.#touched();
    }, POLL_MS);
    this.#poll.unref();
  }

  /** The folders that are watched. */
  get folders(): readonly string[] {
    return [...this.#watchers.keys()];
  }

  [Symbol.dispose](): void {
    clearInterval(this.#poll);
    clearTimeout(this.#settling);
    for (const watcher of this.#watchers.values()) watcher.close();
    this.#watchers.clear();
  }

  #arm(): void {
    const wanted = foldersOf(this.#path);
    for (const [folder, watcher] of this.#watchers) {
      if (wanted.has(folder)) continue;
      watcher.close();
      this.#watchers.delete(folder);
    }
    for (const folder of wanted) if (!this.#watchers.has(folder)) this.#watch(folder);
  }

  #watch(folder: string): void {
    try {
      const watcher = watch(folder, { persistent: false }, () => this.#touched());
      // What can't be watched (any longer) is polled.
      watcher.on('error', () => {
        watcher.close();
        this.#watchers.delete(folder);
      });
      this.#watchers.set(folder, watcher);
    } catch {
      this.#watchers.delete(folder);
    }
  }

  #touched(): void {
    if (this.#settling !== undefined) return;
    this.#seen = signature(this.#path);
    this.#settling = setTimeout(() => this.#look(), SETTLE_MS);
    this.#settling.unref();
  }

  #look(): void {
    this.#settling = undefined;
    const now = signature(this.#path);
    if (now !== this.#seen) {
      this.#touched();
      return;
    }
    if (now === this.#told || now === EMPTY) return;
    // An inode that was replaced by another folder of the same name is watched no more.
    for (const watcher of this.#watchers.values()) watcher.close();
    this.#watchers.clear();
    this.#arm();
    this.#told = now;
    this.#onChange();
    // What came between the last look and the new watchers.
    if (signature(this.#path) !== now) this.#touched();
  }
}

/** Of the file that the path leads to now; says nothing of what is in it. */
function signature(path: string): string {
  try {
    const { dev, ino, size, mtimeNs, ctimeNs } = statSync(path, { bigint: true });
    return size === 0n ? EMPTY : [dev, ino, size, mtimeNs, ctimeNs].join();
  } catch (error) {
    return (error as NodeJS.ErrnoException).code ?? 'unknown';
  }
}

/** The folder of the file and of every symbolic link on the way to it. */
function foldersOf(path: string): Set<string> {
  const folders = new Set<string>();
  let links = 0;
  let rest = path.slice(parse(path).root.length).split(sep);
  let at = parse(path).root;
  while (rest.length > 0) {
    const name = rest.shift()!;
    const next = join(at, name);
    const target = linkOf(next);
    if (target !== undefined || rest.length === 0) folders.add(at);
    if (target === undefined) {
      at = next;
      continue;
    }
    links += 1;
    if (links > LINKS_MAX) break;
    const whole = isAbsolute(target) ? target : join(dirname(next), target);
    at = parse(whole).root;
    rest = [...whole.slice(at.length).split(sep), ...rest].filter((part) => part !== '');
  }
  return folders;
}

function linkOf(path: string): string | undefined {
  try {
    return lstatSync(path).isSymbolicLink() ? readlinkSync(path) : undefined;
  } catch {
    return undefined;
  }
}

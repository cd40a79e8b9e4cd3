/** Every way in which editors, packages and orchestrators change a file is told, once it has come to rest. */
import {
  closeSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  openSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  symlinkSync,
  unlinkSync,
  writeFileSync,
  writeSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { FileWatch } from './filewatch.ts';

let folder: string;
let file: string;
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'aegis-watch-'));
  file = join(folder, 'sequencer.toml');
});
afterEach(() => rmSync(folder, { recursive: true, force: true }));

/** What a reader of the file has read, and a way to wait for it. */
class Reader implements Disposable {
  readonly read: string[] = [];
  readonly watch: FileWatch;
  #wake = () => {};

  constructor(path: string) {
    this.watch = new FileWatch(path, () => {
      try {
        this.read.push(readFileSync(path, 'utf8'));
      } catch {
        this.read.push('(gone)');
      }
      this.#wake();
    });
  }

  async until(text: string): Promise<void> {
    while (this.read.at(-1) !== text) {
      await new Promise<void>((resolve) => {
        this.#wake = resolve;
      });
    }
  }

  [Symbol.dispose](): void {
    this.watch[Symbol.dispose]();
  }
}

function swap(link: string, target: string): void {
  symlinkSync(target, `${link}.new`);
  renameSync(`${link}.new`, link);
}

describe('a change', () => {
  beforeEach(() => writeFileSync(file, 'first'));

  it('in place, by rename, and by backup and new file is told each time', async () => {
    using reader = new Reader(file);
    for (const round of [1, 2]) {
      writeFileSync(file, `in place ${round}`);
      await reader.until(`in place ${round}`);
      writeFileSync(`${file}.tmp`, `renamed ${round}`);
      renameSync(`${file}.tmp`, file);
      await reader.until(`renamed ${round}`);
      renameSync(file, `${file}~`);
      writeFileSync(file, `rewritten ${round}`);
      unlinkSync(`${file}~`);
      await reader.until(`rewritten ${round}`);
    }
  });

  it('of a link to a folder, as Kubernetes swaps them, and then inside that folder', async () => {
    for (const version of ['v1', 'v2']) {
      mkdirSync(join(folder, version));
      writeFileSync(join(folder, version, 'settings'), version);
    }
    symlinkSync('v1', join(folder, '..data'));
    const path = join(folder, 'settings');
    symlinkSync('..data/settings', path);
    using reader = new Reader(path);
    swap(join(folder, '..data'), 'v2');
    await reader.until('v2');
    writeFileSync(join(folder, 'v2', 'settings'), 'v2 changed');
    await reader.until('v2 changed');
  });

  it('of a link that leads elsewhere, absolutely', async () => {
    const link = join(folder, 'link');
    mkdirSync(join(folder, 'elsewhere'));
    const other = join(folder, 'elsewhere', 'other');
    writeFileSync(other, 'other');
    symlinkSync(file, link);
    using reader = new Reader(link);
    swap(link, other);
    await reader.until('other');
    writeFileSync(other, 'other changed');
    await reader.until('other changed');
    expect(new Set(reader.watch.folders)).toEqual(new Set([folder, join(folder, 'elsewhere')]));
  });

  it('to nothing is not told until something is written', async () => {
    using reader = new Reader(file);
    const descriptor = openSync(file, 'w');
    writeFileSync(join(folder, 'other'), 'x');
    // Longer than it takes to come to rest: a second watch tells what the first must not.
    using beside = new Reader(join(folder, 'other'));
    writeFileSync(join(folder, 'other'), 'later');
    await beside.until('later');
    writeSync(descriptor, 'written');
    closeSync(descriptor);
    await reader.until('written');
    expect(reader.read).not.toContain('');
  });

  it('that takes the file away, and that brings it back', async () => {
    using reader = new Reader(file);
    unlinkSync(file);
    await reader.until('(gone)');
    writeFileSync(file, 'back');
    await reader.until('back');
  });

  it('of other files in the folder is nobody’s business', async () => {
    using reader = new Reader(file);
    for (let n = 0; n < 20; n++) writeFileSync(join(folder, `other-${n}`), 'x');
    writeFileSync(file, 'last');
    await reader.until('last');
    expect(reader.read.filter((text) => text !== 'last')).toEqual([]);
  });
});

/** inotify(7): one line for each watch of each descriptor. */
function watches(): number {
  return readdirSync('/proc/self/fdinfo').reduce((count, fd) => {
    const text = existsSync(`/proc/self/fdinfo/${fd}`) ? readFileSync(`/proc/self/fdinfo/${fd}`, 'utf8') : '';
    return count + text.split('\n').filter((line) => line.startsWith('inotify ')).length;
  }, 0);
}

it.runIf(process.platform === 'linux')(
  'holds as many watches after many swaps as before, and none once closed',
  async () => {
    writeFileSync(file, 'first');
    const before = watches();
    {
      const link = join(folder, 'link');
      symlinkSync(file, link);
      using reader = new Reader(link);
      expect(watches()).toBe(before + 1);
      for (let n = 0; n < 20; n++) {
        mkdirSync(join(folder, `v${n}`));
        writeFileSync(join(folder, `v${n}`, 'file'), `v${n}`);
        swap(link, join(folder, `v${n}`, 'file'));
        await reader.until(`v${n}`);
        expect(reader.watch.folders).toHaveLength(2);
      }
      expect(watches()).toBe(before + 2);
    }
    expect(watches()).toBe(before);
  },
);

it('a path that goes in circles is watched as far as it goes', () => {
  symlinkSync('b', join(folder, 'a'));
  symlinkSync('a', join(folder, 'b'));
  using watch = new FileWatch(join(folder, 'a'), () => {});
  expect(watch.folders).toEqual([folder]);
});

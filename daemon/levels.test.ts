// Pages that are held, while others are read around them and ahead of them.
import { closeSync, mkdtempSync, openSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import fc from 'fast-check';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { Levels } from './levels.ts';

const PAGE_BYTES = 512;
const PAGES = 60;
let folder: string;
let file: number;

beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), 'levels-'));
  const path = join(folder, 'pages');
  // Of the last page only a part is there.
  const pages = Array.from({ length: PAGES + 1 }, (_, n) => Buffer.alloc(n === PAGES ? 100 : PAGE_BYTES, n));
  writeFileSync(path, Buffer.concat(pages));
  file = openSync(path, 'r');
});

afterAll(() => {
  closeSync(file);
  rmSync(folder, { recursive: true });
});

it('gives each page as it is on the disk, and keeps it until the next of its level', () => {
  // Runs of pages, now of one level and now of another: beyond the end as well.
  const run = fc.record({ level: fc.nat(3), first: fc.nat(PAGES + 2), length: fc.integer({ min: 1, max: 40 }) });
  fc.assert(
    fc.property(fc.array(run, { maxLength: 20 }), (runs) => {
      const levels = new Levels(file, PAGE_BYTES);
      const held = new Map<number, { page: number; bytes: Buffer | undefined }>();
      for (const { level, first, length } of runs) {
        for (let page = first; page < first + length; page++) {
          held.set(level, { page, bytes: levels.read(page, level) });
          for (const { page, bytes } of held.values()) {
            if (page >= PAGES) expect(bytes).toBeUndefined();
            else expect(bytes?.equals(Buffer.alloc(PAGE_BYTES, page)), `page ${page}`).toBe(true);
          }
        }
      }
    }),
    { numRuns: 50 },
  );
});

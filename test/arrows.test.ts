// The star (DESIGN §2): which folder may import what. Read from the sources, so that an arrow in the wrong direction fails
// here and not in a review. Tests may import across.
import { globSync, readFileSync } from 'node:fs';
import { dirname, join, relative } from 'node:path';
import { describe, expect, it } from 'vitest';

const root = join(import.meta.dirname, '..');

/** Folder → which folders of ours, and which packages and Node modules, it may import. */
const arrows: Record<string, { folders: readonly string[]; packages: RegExp }> = {
  // Pure: machines, schemas, hashes and pure cryptography. A `.node.ts` is the native twin of a pure function.
  actors: {
    folders: [],
    packages: /^(xstate|zod|#sha512|#p256|@noble\/(curves|hashes)\/.+|@phala\/dcap-qvl\/src\/.+)$/,
  },
  client: { folders: ['actors'], packages: /^(zod|eciesjs(\/config)?|@noble\/.+|@hpke\/.+)$/ },
  config: { folders: [], packages: /^(zod|smol-toml|toml-eslint-parser|node:(fs|module|path|url))$/ },
  workers: {
    folders: ['actors'],
    packages: /^(piscina|secp256k1|eciesjs|@noble\/.+|node:(assert|crypto|fs|os|v8|vm|worker_threads))$/,
  },
};

const impure = /\b(process|globalThis|Date\.now|new Date\(\)|Math\.random|performance|setTimeout|setInterval|fetch)\b/;

const sources = (folder: string) =>
  globSync(`${folder}/**/*.ts`, { cwd: root }).filter((file) => !file.endsWith('.test.ts') && !file.endsWith('.d.ts'));

function imports(file: string): string[] {
  const text = readFileSync(join(root, file), 'utf8');
  return [...text.matchAll(/\b(?:from|import)\s+'([^']+)'|\bimport\('([^']+)'\)/g)].map(
    ([, from, dynamic]) => from ?? dynamic!,
  );
}

describe.each(Object.entries(arrows))('%s/', (folder, { folders, packages }) => {
  it.each(sources(folder))('%s imports only what it may', (file) => {
    for (const name of imports(file)) {
      if (!name.startsWith('.')) {
        if (/^actors\/(sha512|p256)\.node\.ts$/.test(file) && name === 'node:crypto') continue;
        expect(name, `${file} imports ${name}`).toMatch(packages);
        continue;
      }
      const target = relative(root, join(root, dirname(file), name)).split('/')[0]!;
      expect([folder, ...folders], `${file} imports ${name}`).toContain(target);
    }
  });
});

it.each(sources('actors'))('%s knows no clock, chance or process', (file) => {
  const code = readFileSync(join(root, file), 'utf8').replace(
    /\/\*[\s\S]*?\*\/|\/\/.*|'(?:[^'\\\n]|\\.)*'|`[^`]*`/g,
    '',
  );
  expect(code).not.toMatch(impure);
});

it('only workers/pool.ts knows Piscina', () => {
  const files = [...sources('workers'), ...sources('daemon'), ...sources('client'), ...sources('config')];
  expect(files.filter((file) => imports(file).includes('piscina'))).toEqual(['workers/pool.ts']);
});

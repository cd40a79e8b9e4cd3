// Makes dist/, the program as JavaScript with every module under its own name: Node strips no types below node_modules, and what was
// stripped before starts in two thirds of the time. `npm pack` runs this (`prepack`), and systemd/install.sh and the image of `aegisd
// deploy` with --javascript, for which Node and the packages are enough. Nothing in the checkout uses dist/, and git ignores it.
import { execFileSync } from 'node:child_process';
import { copyFileSync, cpSync, globSync, mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { stripTypeScriptTypes } from 'node:module';
import { dirname, join, relative, resolve } from 'node:path';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import { ownSbom } from './sbom.ts';

const { values } = parseArgs({
  options: { javascript: { type: 'boolean', default: false }, out: { type: 'string' } },
});
const root = dirname(fileURLToPath(import.meta.url));
const out = values.out === undefined ? join(root, 'dist') : resolve(values.out);
// It is emptied first.
if (!relative(out, root).startsWith('..')) throw new Error(`--out ${out} holds the checkout`);
const MODULES = '{actors,client,config,daemon,workers}/**/*.ts';
/** What only documents and tests are made of, and types alone. */
const BESIDE = ['**/*.test.ts', '**/*.d.ts', 'daemon/api/guide.ts', 'daemon/cli/guide.ts'];

rmSync(out, { recursive: true, force: true });
for (const path of globSync(MODULES, { cwd: root, exclude: BESIDE })) {
  put(path.replace(/\.ts$/, '.js'), javascript(path));
}
const data = 'workers/answers.json';
put(data, readFileSync(join(root, data), 'utf8'));

// Modules below dist/ find here what those of a checkout find at its root.
const { name, version, imports } = JSON.parse(readFileSync(join(root, 'package.json'), 'utf8')) as {
  name: string;
  version: string;
  imports: object;
};
const inside = { name, version, private: true, type: 'module', sideEffects: false, imports: compiled(imports) };
put('package.json', `${JSON.stringify(inside, null, 2)}\n`);
copyFileSync(join(root, 'sequencer.toml'), join(out, 'sequencer.toml'));
// For `aegisd deploy`.
cpSync(join(root, 'systemd'), join(out, 'systemd'), { recursive: true });
put('sbom.cdx.json', ownSbom());
if (!values.javascript) declare();

/** Types are blanked out, so that lines and columns are those of the source. */
function javascript(path: string): string {
  const stripped = stripTypeScriptTypes(readFileSync(join(root, path), 'utf8'));
  const text = stripped.replaceAll(/(\b(?:from|import)\s*\(?\s*'\.{1,2}\/[^'\n]+)\.ts'/g, "$1.js'");
  const [left] = /\b(?:from|import)\b[^'"\n]{0,20}["'`]\.{1,2}\/[^"'`\n]+\.ts["'`]/.exec(text) ?? [];
  if (left !== undefined) throw new Error(`${path}: ${left} stays TypeScript`);
  return text;
}

/** `./actors/sha512.ts` → `./actors/sha512.js`, as deep as it lies. */
function compiled(targets: object): object {
  return JSON.parse(JSON.stringify(targets).replaceAll('.ts"', '.js"')) as object;
}

/** For those who import the package. To standard error: what `npm pack --json` prints is for programs. */
function declare(): void {
  const tsc = join(root, 'node_modules/typescript/bin/tsc');
  execFileSync(process.execPath, [tsc, '-p', join(root, 'tsconfig.build.json'), '--outDir', out], {
    stdio: ['ignore', 2, 2],
  });
}

function put(path: string, text: string): void {
  mkdirSync(dirname(join(out, path)), { recursive: true });
  writeFileSync(join(out, path), text);
}

// Makes dist/, the JavaScript that the package holds: Node strips no types below node_modules, so `npm pack` runs this
// (`prepack`). Nothing in the checkout uses dist/, and git ignores it.
import { execFileSync } from 'node:child_process';
import { copyFileSync, cpSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { ownSbom } from './sbom.ts';

const path = (name: string) => fileURLToPath(new URL(name, import.meta.url));

rmSync(path('dist'), { recursive: true, force: true });
// To standard error: what `npm pack --json` prints is for programs.
execFileSync(process.execPath, [path('node_modules/typescript/bin/tsc'), '-p', path('tsconfig.build.json')], {
  stdio: ['ignore', 2, 2],
});

// Modules below dist/ find here what those of a checkout find at its root.
const { name, version, imports } = JSON.parse(readFileSync(path('package.json'), 'utf8')) as {
  name: string;
  version: string;
  imports: object;
};
const inside = { name, version, private: true, type: 'module', sideEffects: false, imports: compiled(imports) };
writeFileSync(path('dist/package.json'), `${JSON.stringify(inside, null, 2)}\n`);
copyFileSync(path('sequencer.toml'), path('dist/sequencer.toml'));
// For `aegisd deploy`.
cpSync(path('systemd'), path('dist/systemd'), { recursive: true });
writeFileSync(path('dist/sbom.cdx.json'), ownSbom());

/** `./actors/sha512.ts` → `./actors/sha512.js`, as deep as it lies. */
function compiled(targets: object): object {
  return JSON.parse(JSON.stringify(targets).replaceAll('.ts"', '.js"')) as object;
}

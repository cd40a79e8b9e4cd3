// `npm run bench`: every figure beside its floor in the same run. `--json` prints one document, `--only NAME` one part, and
// `--compare FILE` sets each figure beside that of an earlier run's document.
import { readFileSync } from 'node:fs';
import type { Figure } from './figure.ts';

const PARTS = {
  ordering: () => import('./ordering.ts'),
  risk: () => import('./risk.ts'),
  open: () => import('./open.ts'),
  store: () => import('./store.ts'),
  assets: () => import('./assets.ts'),
  sweep: () => import('./sweep.ts'),
  names: () => import('./names.ts'),
  listening: () => import('./listening.ts'),
  start: () => import('./start.ts'),
  signing: () => import('./signing.ts'),
  pipeline: () => import('./pipeline.ts'),
  rotation: () => import('./rotation.ts'),
  migration: () => import('./migration.ts'),
  handover: () => import('./handover.ts'),
  feed: () => import('./feed.ts'),
  witness: () => import('./witness.ts'),
  reload: () => import('./reload.ts'),
} satisfies Record<string, () => Promise<{ run(): Promise<Figure[]> }>>;

const args = process.argv.slice(2);
const json = args.includes('--json');
const only = args.includes('--only') ? args[args.indexOf('--only') + 1] : undefined;
if (only !== undefined && !(only in PARTS)) {
  process.stderr.write(`--only takes one of ${Object.keys(PARTS).join(', ')}\n`);
  process.exit(2);
}

const before = new Map<string, number>();
if (args.includes('--compare')) {
  const file = args[args.indexOf('--compare') + 1];
  if (file === undefined) {
    process.stderr.write('--compare takes a file that --json wrote\n');
    process.exit(2);
  }
  const document = JSON.parse(readFileSync(file, 'utf8')) as { figures: Figure[] };
  for (const { name, value } of document.figures) before.set(name, value);
}

const figures: (Figure & { part: string })[] = [];
for (const [part, load] of Object.entries(PARTS)) {
  if (only !== undefined && only !== part) continue;
  for (const figure of await (await load()).run()) {
    figures.push({ part, ...figure });
    if (!json) process.stdout.write(`${line(figure)}\n`);
  }
}
if (json) process.stdout.write(`${JSON.stringify({ figures }, null, 2)}\n`);

function line({ name, value, unit, floor, ratio, reach, met }: Figure): string {
  const beside =
    floor === undefined ? '' : `floor ${round(floor)} ${unit}${ratio === undefined ? '' : `, × ${round(ratio)}`}`;
  const verdict = reach === undefined ? '' : `reach ${reach}${met === undefined ? '' : met ? ' ✓' : ' ✗'}`;
  const earlier = before.get(name);
  const then = earlier === undefined ? '' : ` was ${round(earlier)} (× ${round(value / earlier)})`;
  return `${name.padEnd(46)} ${`${round(value)} ${unit}`.padStart(14)}   ${beside.padEnd(28)} ${verdict}${then}`;
}

function round(value: number): string {
  return value >= 100 ? value.toFixed(0) : value >= 1 ? value.toFixed(2) : value.toFixed(4);
}

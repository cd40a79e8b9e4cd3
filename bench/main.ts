// `npm run bench`: every figure beside its floor in the same run. `--json` prints one document, `--only NAME` one part.
import type { Figure } from './figure.ts';

const PARTS = {
  ordering: () => import('./ordering.ts'),
  open: () => import('./open.ts'),
  store: () => import('./store.ts'),
  signing: () => import('./signing.ts'),
  pipeline: () => import('./pipeline.ts'),
  feed: () => import('./feed.ts'),
} satisfies Record<string, () => Promise<{ run(): Promise<Figure[]> }>>;

const args = process.argv.slice(2);
const json = args.includes('--json');
const only = args.includes('--only') ? args[args.indexOf('--only') + 1] : undefined;
if (only !== undefined && !(only in PARTS)) {
  process.stderr.write(`--only takes one of ${Object.keys(PARTS).join(', ')}\n`);
  process.exit(2);
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
  return `${name.padEnd(46)} ${`${round(value)} ${unit}`.padStart(14)}   ${beside.padEnd(28)} ${verdict}`;
}

function round(value: number): string {
  return value >= 100 ? value.toFixed(0) : value >= 1 ? value.toFixed(2) : value.toFixed(4);
}

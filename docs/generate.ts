// Writes what in docs/ follows from the code: `npm run docs`. JSON Schemas from the zod schemas, the guides to the API and the
// command line, and the two parts of format.md that are tables of values. A test holds every file against what its part says now.
import { readFileSync, writeFileSync } from 'node:fs';
import { z } from 'zod';
import { BatchFile } from '../actors/batch.ts';
import { Envelope } from '../actors/envelope.ts';
import { SignedHead } from '../actors/head.ts';
import { Keyset } from '../actors/keyset.ts';
import { Order } from '../actors/order.ts';
import { Receipt } from '../actors/receipt.ts';
import { REFUSALS } from '../actors/refusal.ts';
import { Head } from '../actors/seal.ts';
import { guide } from '../daemon/api/guide.ts';
import { cliGuide } from '../daemon/cli/guide.ts';
import { alertsFile } from './alerts.ts';
import { dashboardFile } from './dashboard.ts';
import { errorsPage } from './errors.ts';
import { exampleSection } from './example/section.ts';
import { metricsPage } from './metrics.ts';
import { riskPage } from './riskpage.ts';
import { countPlot, decayPlot, noisePlot, simulationPlot } from './riskplots.ts';
import { verificationPage } from './verification.ts';

/** A generated file, by its path from the root of the repository. */
export interface Part {
  readonly file: string;
  readonly text: () => string;
}

export const PARTS: readonly Part[] = [
  schema('batch', BatchFile, 'The file of a batch: GET /batches/{height}.'),
  schema('receipt', Receipt, 'The promise that an admitted envelope is ordered.'),
  schema('seal', Head, 'A head of the log, as both signatures of a seal sign it.'),
  schema(
    'head',
    SignedHead,
    'A seal as it travels alone: `sealed` of GET /log/head, what `aegisd verify --since` takes.',
  ),
  schema('keyset', Keyset, 'The public keys of an epoch.'),
  schema('order', Order, 'An order of an admin: the body of POST /admin/orders.'),
  schema('envelope', Envelope, 'The body of POST /transactions, or one of an array.'),
  { file: 'docs/format.md', text: formatPage },
  { file: 'docs/api.md', text: guide },
  { file: 'docs/errors.md', text: errorsPage },
  { file: 'docs/cli.md', text: cliGuide },
  { file: 'docs/risk.md', text: riskPage },
  { file: 'docs/risk/count.svg', text: countPlot },
  { file: 'docs/risk/decay.svg', text: decayPlot },
  { file: 'docs/risk/noise.svg', text: noisePlot },
  { file: 'docs/risk/simulation.svg', text: simulationPlot },
  { file: 'docs/verification.md', text: verificationPage },
  { file: 'docs/metrics.md', text: metricsPage },
  { file: 'docs/observability/alerts.yml', text: alertsFile },
  { file: 'docs/observability/dashboard.json', text: dashboardFile },
];

export const pathOf = (file: string): URL => new URL(`../${file}`, import.meta.url);

/** 2020-12; what a schema can't say (bytes of a label, bits of a decimal string) docs/format.md does. */
function schema(name: string, of: z.ZodType, description: string): Part {
  const text = () => {
    const made = z.toJSONSchema(of, { io: 'input' });
    return `${JSON.stringify({ title: name, description, ...made }, null, 2)}\n`;
  };
  return { file: `docs/schema/${name}.json`, text };
}

function formatPage(): string {
  const rows = Object.entries(REFUSALS).map(([name, [code, sentence]]) => `| ${code} | \`${name}\` | ${sentence} |`);
  const refusals = ['| code | name | meaning |', '| --- | --- | --- |', ...rows].join('\n');
  const page = readFileSync(pathOf('docs/format.md'), 'utf8');
  return between(between(page, 'refusals', `${refusals}\n`), 'example', exampleSection());
}

/** Puts `text` in place of what stands between the marks of `name`. */
function between(page: string, name: string, text: string): string {
  const [open, close] = [`<!-- ${name}: npm run docs -->\n`, `<!-- /${name} -->`];
  const [before, rest] = page.split(open);
  const after = rest?.split(close)[1];
  if (after === undefined) throw new Error(`docs/format.md has lost the marks of ${name}`);
  return `${before}${open}\n${text}\n${close}${after}`;
}

if (import.meta.main) for (const { file, text } of PARTS) writeFileSync(pathOf(file), text());

// docs/errors.md: what went wrong and what to do, one page for everything that has a code. It is made from the tables that
// the code itself uses; generate.ts writes it. Faults are shown with the names of their particulars in capitals.

import { CLOSE_CODES } from '../actors/feed.ts';
import { REFUSALS } from '../actors/refusal.ts';
import { ALARMS } from '../client/auditor.ts';
import { EXCHANGE_CODES } from '../client/exchange.ts';
import { CONFLICTS, GROWTH_CODES } from '../client/history.ts';
import { CLOSES, table } from '../daemon/api/guide.ts';
import { PROBLEMS } from '../daemon/api/problem.ts';
import { REQUEST_ERRORS } from '../daemon/cli/connection.ts';
import { FAULTS } from '../daemon/fault.ts';
import { ADVICE, CLIENT_FAILURES, FAILURES } from './failures.ts';

type Cells = readonly (string | number)[];
const code = (name: string) => `\`${name}\``;
const sentence = (text: string) => `${text[0]!.toUpperCase()}${text.slice(1)}${text.endsWith('.') ? '' : '.'}`;
const byStatus = ([, [a]]: readonly [string, Cells], [, [b]]: readonly [string, Cells]) => Number(a) - Number(b);

/** A fault's sentence over a detail whose every value is its own name. */
const particulars = new Proxy({}, { get: (_, name) => String(name).toUpperCase() });

const advised = (failures: Readonly<Record<string, readonly [string, keyof typeof ADVICE]>>): Cells[] =>
  Object.entries(failures).map(([name, [meaning, advice]]) => [code(name), meaning, ADVICE[advice]]);
const explained = (codes: Readonly<Record<string, string>>): Cells[] =>
  Object.entries(codes).map(([name, text]) => [code(name), sentence(text)]);

/** The whole page. */
export function errorsPage(): string {
  return `<!-- Made by docs/errors.ts: npm run docs -->
# What went wrong, and what to do

Every error has a stable code in snake_case; texts may be reworded. Programs should act on codes they know and pass on the rest. Nothing here
ever holds a key, a token or what stands in a record.

| where | what it looks like | codes |
| --- | --- | --- |
| HTTP | a problem document with \`code\` and \`remedy\` | [Problems](#problems) |
| a transaction, later | \`"status": "refused"\` with \`code\` and \`reason\` | [Refusals](#refusals) |
| the feed | a close code and a reason | [The feed](#the-feed) |
| \`aegisd start\`, its log, \`aegisd status\` | one sentence, and what to do | [Faults](#faults), [Settings](#settings) |
| \`aegisd send\`, \`status\`, \`watch\` | one line on standard error | [Commands](#commands) |
| \`aegisd verify\`, \`audit\`, \`aegisd/client\` | \`ok: false\` with \`code\`, \`field\`, \`message\` | [Verification](#verification) |

Commands end with 0 when it is done, 1 when it was refused or failed, 2 when they were used wrongly; \`start\` ends with 130 at a second Ctrl-C.

## Problems

${table(
  ['status', 'code', 'meaning', 'what to do'],
  Object.entries(PROBLEMS)
    .sort(byStatus)
    .map(([name, [status, ...texts]]) => [status, code(name), ...texts]),
)}

A whole answer: \`{"type": "urn:aegis:problem:mempool_full", "title", "status": 503, "code": "mempool_full", "remedy", "retry_after_s": 1}\`.

## Refusals

For wallets: the envelope was ordered, but could not be executed. The batch lists it, signed, and it is not tried again.

${table(
  ['code', 'reason', 'meaning', 'what to do'],
  Object.entries(REFUSALS).map(([name, [number, ...texts]]) => [number, code(name), ...texts]),
)}

## The feed

${table(
  ['close code', 'reason', 'meaning', 'what to do'],
  Object.entries(CLOSES).map(([name, texts]) => [CLOSE_CODES[name as keyof typeof CLOSES], code(name), ...texts]),
)}

## Faults

For operators: the world failed. At a start, \`aegisd\` prints the sentence and ends with 1, having left everything as it was; later the daemon logs
it with the same words, tries again by itself, and shows what goes on failing in \`aegisd status\`.

${table(
  ['code', 'what it says', 'what to do'],
  Object.entries(FAULTS).map(([name, [says, remedy]]) => [code(name), says(particulars), remedy]),
)}

## Settings

A configuration that is wrong is named by file, line, column and key, with what is allowed, all mistakes at once; \`aegisd check-config\` says the
same without starting anything. Nothing runs on a setting that was guessed.

\`\`\`
sequencer.toml:14:8 ordering.mode = "riskaware": expected one of risk_aware, asset_protection, migration_aware, hybrid
\`\`\`

## Commands

A problem of the daemon's is printed with its code and its remedy. Besides:

${table(
  ['code', 'meaning', 'what to do'],
  Object.entries(REQUEST_ERRORS).map(([name, [meaning, remedy]]) => [code(name), meaning, sentence(remedy)]),
)}

## Verification

A verifier names the first check that fails, the field, and what would have been right. One file, or one head:

${table(['code', 'meaning', 'what to do'], advised(FAILURES))}

Several files of one log (\`aegisd verify\`). Each verifies alone, so the keys of the log signed both. ${ADVICE.KEEP}

${table(['code', 'meaning'], explained(CONFLICTS))}

A head against one that was kept (\`aegisd verify --since\`). ${ADVICE.KEEP}

${table(['code', 'meaning'], explained(GROWTH_CODES))}

An auditor's alarms (\`aegisd audit\`). ${ADVICE.KEEP}

${table(['code', 'meaning'], explained(ALARMS))}

Keysets, receipts and transactions (\`aegisd/client\`):

${table(['code', 'meaning', 'what to do'], advised(CLIENT_FAILURES))}

Questions that got no good answer (\`aegisd/client\`); asking again is safe, the same envelope gets the same receipt:

${table(['code', 'meaning'], explained(EXCHANGE_CODES))}
`;
}

// docs/risk.md: the risk score, for operators and for whoever wants to compute it again. Its numbers, tables and plots come from the
// code; generate.ts writes it and a test holds it up to date. test/risk.test.ts computes the worked example a second time, in
// floating point and from the formula as it stands on the page.
import { CATALOGUE } from '../actors/catalogue.ts';
import { CATEGORY_WEIGHTS, type Threat, threatOf } from '../actors/indicator.ts';
import { assess, type Circumstances, explain, reachOf } from '../actors/risk.ts';
import { FEED_CODES } from '../actors/riskfeed.ts';
import { CATEGORIES } from '../actors/words.ts';
import { table } from '../daemon/api/guide.ts';

const DAY_MS = 86_400_000;

/** What the example is computed at. */
export const EXAMPLE_AT: Circumstances = {
  now_ms: Date.parse('2026-06-30T00:00:00.000Z'),
  half_life_ms: 180 * DAY_MS,
  era: 'nisq',
};

const made = (id: string, said: Omit<Threat, 'id' | 'origin' | 'at_ms' | 'description' | 'references'>): Threat =>
  threatOf({ ...said, description: 'An example.', references: [] }, 'operator', id);

/** Two sources on one scheme, a repetition, an older one, and another category. */
export const EXAMPLE: readonly Threat[] = [
  made('a', {
    ...{ category: 'digital_signatures', sub_category: 'ecdsa', severity: 0.9, confidence: 0.9, source: 'laboratory' },
    ...{ timestamp: '2026-06-30T00:00:00.000Z', era_relevance: 'nisq' },
  }),
  made('b', {
    ...{ category: 'digital_signatures', sub_category: 'ecdsa', severity: 0.8, confidence: 0.5, source: 'journal' },
    ...{ timestamp: '2026-06-30T00:00:00.000Z', era_relevance: 'fault_tolerant' },
  }),
  made('c', {
    ...{ category: 'digital_signatures', sub_category: 'ecdsa', severity: 0.7, confidence: 0.9, source: 'laboratory' },
    ...{ timestamp: '2026-06-30T00:00:00.000Z', era_relevance: 'nisq' },
  }),
  made('d', {
    ...{ category: 'side_channel', sub_category: 'cache', severity: 0.6, confidence: 0.9, source: 'vendor' },
    ...{ timestamp: '2026-01-01T00:00:00.000Z', era_relevance: 'pre_quantum' },
  }),
];

const code = (text: string) => `\`${text}\``;

function exampleTables(): string {
  const assessed = assess(EXAMPLE, EXAMPLE_AT);
  const explained = new Map(explain(assessed, EXAMPLE_AT, EXAMPLE.length).map((each) => [each.id, each]));
  const rows = EXAMPLE.map(({ id, category, sub_category, source, severity, confidence, era_relevance, timestamp }) => {
    const { hazard, decay, duplicate_of, alone, marginal } = explained.get(id)!;
    return [
      ...[code(id.slice(-1)), code(category), code(sub_category), source, severity, confidence, code(era_relevance)],
      ...[
        timestamp.slice(0, 10),
        decay,
        hazard,
        duplicate_of === null ? '' : code(duplicate_of.slice(-1)),
        alone,
        marginal,
      ],
    ];
  });
  const dangers = assessed.categories.filter(({ score }) => score > 0);
  const head = ['', 'category', 'sub_category', 'source', 'severity', 'confidence', 'about', 'time'];
  return `${table([...head, 'decay', 'hazard', 'duplicate of', 'alone', 'marginal'], rows)}

${table(
  ['category', 'danger', 'weight', 'reach'],
  dangers.map(({ category, score }) => [code(category), score, CATEGORY_WEIGHTS[category] / 10_000, reachOf(category)]),
)}

**The score is ${assessed.score}.**`;
}

function catalogueTable(): string {
  const rows = [...CATALOGUE]
    .sort((a, b) => b.at_ms - a.at_ms)
    .map(({ timestamp, category, description, source, severity, confidence, references }) => [
      ...[timestamp.slice(0, 10), code(category), `${description} ${source}.`, severity, confidence],
      references.join('; '),
    ]);
  return table(['published', 'category', 'what', 'severity', 'confidence', 'reference'], rows);
}

/** The whole page. */
export function riskPage(): string {
  return `<!-- Made by docs/riskpage.ts: npm run docs -->
# The risk score

Aegis keeps a list of *indicators*, each one observed threat, and computes one number from them, 0 to 10,000. Every batch is ordered under the newest
durable score and carries it, signed, in its header. The score recommends, and two recommendations act:

| from | recommendation | what happens |
| --- | --- | --- |
| 0 | \`continue\` | nothing |
| 3,000 | \`monitor_closely\` | nothing; the feed, the metrics and \`aegisd qrm status\` say so |
| 6,000 | \`schedule_rotation\` | a new epoch of keys is announced and begins \`rotation.delay_blocks\` heights later |
| 9,000 | \`emergency_rotation\` | a new epoch begins at the next height; ECDSA is dropped, envelopes under \`ecies\` are refused with \`scheme_not_accepted\`, seals follow each other without a pause, and a batch is cut only when the one before is sealed |

Registered assets turn protected by their own \`risk_threshold\` at the same moment.

Nothing that a client can cause scores: envelopes that don't open, false claims, floods. Indicators come from administrators (\`POST /qrm/indicators\`,
\`aegisd qrm inject\`, \`updateThreat\` of the library), from signed feeds, from the daemon's own eyes (its platform's TCB status is not up to date, its
attestation is not renewed), and from a small catalogue that the program ships with.

## The formula

All of it in whole numbers, rounded down at each step, so that every machine gets the same. Let *now*, the half-life H (\`risk.half_life_d\`) and the
era E (\`risk.era\`) be given.

1. **Hazard** of an indicator, how likely it is that it hits: h = 0.85 · severity · confidence · e · 2^(−age / H). No report is believed
   beyond 0.85. e is 0.8, 0.9 or 1 for \`pre_quantum\`, \`nisq\`, \`fault_tolerant\`, by the later of E and the indicator's \`era_relevance\`: what better machines
   break, they break everywhere at once. What is not yet old counts in full.
2. **Duplicates** don't count: of all that one source says in one \`category\` and \`sub_category\`, only the heaviest does. A feed is one source whatever names it uses.
3. **Danger** of a category, that at least one of them hits: D = 1 − Π (1 − h). A category without indicators has none, and takes nothing from the others.
4. **Score**: let M be the greatest D · reach over all categories, and W the sum of D · weight. The score is 10,000 · (M + (1 − M) · W). The worst category leads; the
   others take up what it leaves free.

${table(
  ['category', 'weight', 'reach'],
  CATEGORIES.map((category) => [code(category), CATEGORY_WEIGHTS[category] / 10_000, reachOf(category)]),
)}

*Reach* is how high a category alone can lift the score: new keys help against broken signatures, but not against a broken hash or a leaking machine, so those alone
schedule a rotation at most.

So: no indicator ever lowers the score; later eras only raise it; three confirmed severe threats to signatures are an emergency whatever else is calm; it halves with time; and a
thousand rumours of one source weigh as much as one. These are tests (\`actors/risk.test.ts\`), not intentions.

![Score by the number of severe threats](risk/count.svg)

![Score and recommendation as three threats decay](risk/decay.svg)

## A worked example

On 2026-06-30, with a half-life of 180 days, in the era \`nisq\`. Shares are in ten-thousandths, \`alone\` is the score with that indicator and no other, and \`marginal\`
what the score would lose without it. \`GET /qrm/risk?explain=1\` says the same of a running daemon.

${exampleTables()}

\`a\`: 0.85 · 0.9 · 0.9 · 0.9 = 0.6196. \`b\` is about fault-tolerant machines: 0.85 · 0.8 · 0.5 · 1 = 0.34. \`c\` is said by the source of \`a\` about the same scheme. \`d\` is one half-life
old. The danger to signatures is 1 − (1 − 0.6196) · (1 − 0.34) = 0.7489, and leads.

## From score to recommendation

A threshold turns on once the score has stayed at it or above for \`risk.rise_s\`, and off once it has stayed more than \`risk.hysteresis\` points below for
\`risk.fall_s\`. Only a rise to \`schedule_rotation\` or \`emergency_rotation\` does something, once; the decision and what is owed for it are one commit, so that
a crash in between ends in exactly one rotation.

![Noise around a threshold](risk/noise.svg)

With \`risk.dry_run\` all of it is computed, recommended and written down, and nothing is done.

**Down again.** When the score falls, the pace returns to normal by itself. What an emergency took away doesn't: ECDSA and \`ecies\` come back only by an order that an
admin has signed (\`downgrade\`), and only such an order can put another score in the place of the computed one for a time (\`risk_override\`; [api.md](api.md#orders)).

## Reporting threats

\`\`\`sh
aegisd qrm inject --category side_channel --sub-category cache --severity 0.4 --confidence 0.8 \\
  --source "vendor advisory" --description "Lines leak across domains." --reference CVE-2026-0001 --id cve-2026-0001
aegisd qrm status --explain
aegisd qrm withdraw cve-2026-0001
\`\`\`

\`severity\` is how bad it is for this sequencer, \`confidence\` how sure the source is, \`timestamp\` when it was observed. Reported again under the same \`id\`, an indicator
replaces what it said before; what still holds after a half-life is reported anew. At most \`risk.indicators_max\` are kept: when there are more, the one that weighs
least goes.

## Feeds

\`risk.feeds\` lists signed feeds, each in one text: \`"name https://… ed25519:KEY"\` or \`"name https://… ml-dsa-87:KEY"\`, the raw public key in base64. They are polled by
\`risk.feed_schedule\`. A feed answers with \`{"payload", "signature"}\`, both base64. The payload is UTF-8 JSON:

\`\`\`json
{
  "version": 1, "sequence": 12, "issued_ms": 1782777600000, "not_after_ms": 1783382400000,
  "indicators": [{
    "id": "cve-2026-0001", "category": "side_channel", "sub_category": "cache", "severity": 0.4, "confidence": 0.8, "source": "vendor",
    "timestamp": "2026-06-30T00:00:00Z", "description": "Lines leak across domains.", "era_relevance": "pre_quantum", "references": ["CVE-2026-0001"]
  }]
}
\`\`\`

ML-DSA-87 signs the payload's bytes with the context \`aegis/feed/v1\`; Ed25519 signs that text, a zero byte and the payload. The list is a snapshot: what a later one no
longer has is withdrawn. Whoever stands in between can't show an older one (\`sequence\`), and can't keep a new one back unnoticed (\`not_after_ms\`). \`ETag\` and
\`304\` are understood; redirects are not followed.

A feed that fails is quarantined: what it said last goes on counting, \`aegisd qrm indicators\` and the metric \`aegis_risk_feeds_quarantined\` say so, and it is asked ever more rarely
until it is good again.

${table(
  ['why', 'meaning'],
  Object.entries(FEED_CODES).map(([name, meaning]) => [code(name), meaning]),
)}

## The catalogue

With \`risk.catalogue\` these count like any other indicator, from the day of their publication. Severity is what each means for a sequencer that signs with ML-DSA and SLH-DSA inside
a TEE, not for the scheme that it broke; confidence is what became of it since. Together they have never reached a threshold that acts.

${catalogueTable()}

## Trying it out

\`aegisd qrm simulate --seed 1\` plays a threat from calm to emergency and back, where \`risk.simulation\` allows it (production refuses that). What the score does
about it is real, unless \`risk.dry_run\` is set.

![Three simulated threats](risk/simulation.svg)
`;
}

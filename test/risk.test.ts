// The worked example of docs/risk.md, computed a second time: in floating point, from the formula as it stands on the page, without
// any of the code that made it.
import { readFileSync } from 'node:fs';
import { expect, it } from 'vitest';
import { CATALOGUE } from '../actors/catalogue.ts';

const page = readFileSync(new URL('../docs/risk.md', import.meta.url), 'utf8');

/** Rows of the table whose head has these names, by name. */
function rowsOf(...names: readonly string[]): Record<string, string>[] {
  const lines = page.split('\n');
  const cells = (line: string) =>
    line
      .slice(1, -1)
      .split('|')
      .map((cell) => cell.trim().replaceAll('`', ''));
  const start = lines.findIndex((line) => line.startsWith('|') && names.every((name) => cells(line).includes(name)));
  const head = cells(lines[start]!);
  const rows = lines.slice(start + 2);
  return rows
    .slice(
      0,
      rows.findIndex((line) => !line.startsWith('|')),
    )
    .map((line) => Object.fromEntries(cells(line).map((cell, i) => [head[i]!, cell])));
}

const ERA: Readonly<Record<string, number>> = { pre_quantum: 0.8, nisq: 0.9, fault_tolerant: 1 };

it('the worked example follows from the formula', () => {
  const now_ms = Date.parse('2026-06-30');
  const weights = new Map(rowsOf('category', 'weight', 'reach').map((row) => [row.category!, row]));
  expect(weights.size).toBe(12);
  const said = rowsOf('sub_category', 'hazard', 'marginal').map((row) => {
    const age_days = (now_ms - Date.parse(row.time!)) / 86_400_000;
    const decay = 2 ** (-age_days / 180);
    const hazard = 0.85 * Number(row.severity) * Number(row.confidence) * Math.max(ERA.nisq!, ERA[row.about!]!) * decay;
    expect(Math.abs(Number(row.decay) - 10_000 * decay)).toBeLessThan(2);
    expect(Math.abs(Number(row.hazard) - 10_000 * hazard)).toBeLessThan(2);
    return { row, hazard };
  });
  expect(said).toHaveLength(4);

  const scoreOf = (those: typeof said): number => {
    const heaviest = new Map<string, (typeof said)[number]>();
    for (const each of those) {
      const key = `${each.row.category}/${each.row.sub_category}/${each.row.source}`;
      if (each.hazard > (heaviest.get(key)?.hazard ?? 0)) heaviest.set(key, each);
    }
    const dangers = [...weights].map(([category, { weight, reach }]) => {
      const own = [...heaviest.values()].filter(({ row }) => row.category === category);
      const danger = 1 - own.reduce((spared, { hazard }) => spared * (1 - hazard), 1);
      return { danger, weight: Number(weight), reach: Number(reach) / 10_000 };
    });
    const worst = Math.max(...dangers.map(({ danger, reach }) => danger * reach));
    const sum = dangers.reduce((total, { danger, weight }) => total + danger * weight, 0);
    return 10_000 * (worst + (1 - worst) * sum);
  };
  const score = Number(/The score is (\d+)\./.exec(page)![1]);
  expect(Math.abs(score - scoreOf(said))).toBeLessThan(2);
  for (const { row } of said) {
    const without = said.filter((each) => each.row !== row);
    expect(Math.abs(Number(row.alone) - scoreOf(said.filter((each) => each.row === row)))).toBeLessThan(2);
    expect(Math.abs(Number(row.marginal) - (scoreOf(said) - scoreOf(without)))).toBeLessThan(3);
  }
});

it('the page cites every entry of the catalogue', () => {
  for (const { references } of CATALOGUE) for (const reference of references) expect(page).toContain(reference);
});

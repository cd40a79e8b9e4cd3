/**
 * The key that was probably meant. The loader adds it to the message about an unknown key.
 */

/** Optimal string alignment: insertions, deletions, replacements and swaps of neighbours cost 1 each. */
function distance(a: string, b: string): number {
  const rows: number[][] = [Array.from({ length: b.length + 1 }, (_, j) => j)];
  for (let i = 1; i <= a.length; i++) {
    const row = [i];
    for (let j = 1; j <= b.length; j++) {
      const replaced = rows[i - 1]![j - 1]! + (a[i - 1] === b[j - 1] ? 0 : 1);
      const swapped = i > 1 && j > 1 && a[i - 1] === b[j - 2] && a[i - 2] === b[j - 1];
      row[j] = Math.min(rows[i - 1]![j]! + 1, row[j - 1]! + 1, replaced, swapped ? rows[i - 2]![j - 2]! + 1 : replaced);
    }
    rows.push(row);
  }
  return rows[a.length]![b.length]!;
}

/**
 * @param word      what was written; of any length, since candidates of a very different length are skipped
 * @param allowed   what could have been meant
 * @returns         the nearest one, if it is at most a third of its letters away
 */
export function nearest<T extends string>(word: string, allowed: readonly T[]): T | undefined {
  const plain = (text: string) => text.toLowerCase().replaceAll('-', '_');
  let best: { candidate: T; cost: number } | undefined;
  for (const candidate of allowed) {
    const limit = Math.max(1, Math.floor(candidate.length / 3));
    if (Math.abs(candidate.length - word.length) > limit) continue;
    const cost = distance(plain(word), plain(candidate));
    if (cost <= limit && (best === undefined || cost < best.cost)) best = { candidate, cost };
  }
  return best?.candidate;
}

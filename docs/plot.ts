// Line charts as SVG, from points alone: no library, no clock, no randomness, so that the same code writes the same bytes and a
// test can hold a plot up to date. Colours are told apart by those who can't tell red from green (Okabe and Ito).

export interface Series {
  readonly name: string;
  readonly points: readonly (readonly [x: number, y: number])[];
  /** Holds each value until the next, instead of a line between them. */
  readonly stepped?: boolean;
}

export interface Chart {
  readonly title: string;
  readonly x: { readonly label: string; readonly max: number; readonly ticks: readonly (readonly [number, string])[] };
  readonly y: { readonly label: string; readonly max: number; readonly ticks: readonly number[] };
  /** Dashed lines across. */
  readonly levels?: readonly (readonly [y: number, name: string])[];
  readonly series: readonly Series[];
}

const COLOURS = ['#0072b2', '#d55e00', '#009e73', '#cc79a7', '#e69f00'];
const [WIDTH, HEIGHT] = [760, 380];
const EDGE = { left: 64, right: 150, top: 40, bottom: 52 };

export function plot({ title, x, y, levels = [], series }: Chart): string {
  const [inner, tall] = [WIDTH - EDGE.left - EDGE.right, HEIGHT - EDGE.top - EDGE.bottom];
  const at = (px: number) => Math.round(px * 10) / 10;
  const left = (value: number) => at(EDGE.left + (value / x.max) * inner);
  const top = (value: number) => at(EDGE.top + tall - (value / y.max) * tall);
  const line = (from: readonly [number, number], to: readonly [number, number], style: string) =>
    `<line x1="${from[0]}" y1="${from[1]}" x2="${to[0]}" y2="${to[1]}" ${style}/>`;
  const text = (where: readonly [number, number], anchor: string, words: string, more = '') =>
    `<text x="${where[0]}" y="${where[1]}" text-anchor="${anchor}"${more}>${escaped(words)}</text>`;
  const right = EDGE.left + inner;
  const bottom = EDGE.top + tall;
  const parts = [
    text([EDGE.left, 22], 'start', title, ' font-size="15" font-weight="bold"'),
    ...y.ticks.flatMap((tick) => [
      line([EDGE.left, top(tick)], [right, top(tick)], 'stroke="#e4e4e4"'),
      text([EDGE.left - 8, top(tick) + 4], 'end', String(tick)),
    ]),
    ...x.ticks.map(([tick, words]) => text([left(tick), bottom + 18], 'middle', words)),
    line([EDGE.left, bottom], [right, bottom], 'stroke="#444"'),
    line([EDGE.left, EDGE.top], [EDGE.left, bottom], 'stroke="#444"'),
    text([EDGE.left + inner / 2, HEIGHT - 12], 'middle', x.label),
    text([16, EDGE.top + tall / 2], 'middle', y.label, ` transform="rotate(-90 16 ${EDGE.top + tall / 2})"`),
    ...levels.flatMap(([level, name]) => [
      line([EDGE.left, top(level)], [right, top(level)], 'stroke="#888" stroke-dasharray="5 4"'),
      text([right + 8, top(level) + 4], 'start', name, ' fill="#555"'),
    ]),
    ...series.flatMap(({ name, points, stepped = false }, i) => {
      const colour = COLOURS[i % COLOURS.length]!;
      const path = points.map(([px, py], n) => {
        if (n === 0) return `M${left(px)} ${top(py)}`;
        return stepped ? `H${left(px)}V${top(py)}` : `L${left(px)} ${top(py)}`;
      });
      const legend = bottom - 4 - (series.length - 1 - i) * 18;
      return [
        `<path d="${path.join('')}" fill="none" stroke="${colour}" stroke-width="2"/>`,
        line([right + 8, legend - 4], [right + 26, legend - 4], `stroke="${colour}" stroke-width="3"`),
        text([right + 32, legend], 'start', name),
      ];
    }),
  ];
  const open = `<svg xmlns="http://www.w3.org/2000/svg" width="${WIDTH}" height="${HEIGHT}" viewBox="0 0 ${WIDTH} ${HEIGHT}"`;
  const style = 'font-family="system-ui, sans-serif" font-size="12" fill="#222"';
  return [
    `${open} ${style}>`,
    `<title>${escaped(title)}</title>`,
    '<rect width="100%" height="100%" fill="#fff"/>',
    ...parts,
    '</svg>',
    '',
  ].join('\n');
}

const escaped = (words: string): string =>
  words.replaceAll('&', '&amp;').replaceAll('<', '&lt;').replaceAll('>', '&gt;');

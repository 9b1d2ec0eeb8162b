import type { Point } from './stats.ts';

export interface Curve {
  readonly name: string;
  /** Number of its colour, the same in every chart; peers are dashed. */
  readonly colour: number;
  readonly isPeer: boolean;
  readonly points: readonly Point[];
}

export interface Chart {
  /** Of the file, without `.svg`. */
  readonly name: string;
  readonly title: string;
  readonly xLabel: string;
  readonly yLabel: string;
  readonly formatX: (value: number) => string;
  readonly formatY: (value: number) => string;
  readonly curves: readonly Curve[];
}

const WIDTH = 830;
const HEIGHT = 460;
const PLOT = { left: 92, right: 590, top: 56, bottom: 396 };
/** Told apart by people who do not see all colours, on white and on black. */
const COLOURS = ['#0072b2', '#d55e00', '#009e73', '#cc79a7', '#8c8c8c', '#e0a000'];
const STYLE = `
  svg { font: 13px system-ui, sans-serif; --ink: #1f2328; --faint: #d8dee4; --paper: #ffffff }
  @media (prefers-color-scheme: dark) { svg { --ink: #e6edf3; --faint: #30363d; --paper: #0d1117 } }
  text { fill: var(--ink) } .title { font-size: 16px; font-weight: 600 }
  .paper { fill: var(--paper) } .grid { stroke: var(--faint) } .axis { stroke: var(--ink) }
  .curve { fill: none; stroke-width: 2 } .peer { stroke-dasharray: 6 4 }`;

/** Of a label below the plot; where the next one is nearer, it stands alone. */
const LABEL_WIDTH = 48;

/** Both axes logarithmic, so that what grows in proportion is a straight line of slope 1. */
export function draw(chart: Chart): string {
  const points = chart.curves.flatMap((curve) => curve.points);
  const toX = axis(
    points.map(({ x }) => x),
    PLOT.left,
    PLOT.right,
  );
  const toY = axis(
    points.map(({ y }) => y),
    PLOT.bottom,
    PLOT.top,
  );
  const xs = [...new Set(points.map(({ x }) => x))].sort((a, b) => a - b);
  const vertical = xs.map((value, index) => {
    const x = toX.at(value);
    const line = `<line class="grid" x1="${x}" x2="${x}" y1="${PLOT.top}" y2="${PLOT.bottom}"/>`;
    const next = xs[index + 1];
    if (next !== undefined && toX.at(next) - x < LABEL_WIDTH) return line;
    return `${line}
    <text x="${x}" y="${PLOT.bottom + 20}" text-anchor="middle">${escaped(chart.formatX(value))}</text>`;
  });
  const horizontal = ticks(toY.low, toY.high).map((value) => {
    const y = toY.at(value);
    return `<line class="grid" x1="${PLOT.left}" x2="${PLOT.right}" y1="${y}" y2="${y}"/>
    <text x="${PLOT.left - 8}" y="${y + 4}" text-anchor="end">${escaped(chart.formatY(value))}</text>`;
  });
  const middle = (PLOT.left + PLOT.right) / 2;
  const centre = (PLOT.top + PLOT.bottom) / 2;
  return `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 ${WIDTH} ${HEIGHT}" width="${WIDTH}" height="${HEIGHT}" role="img" aria-label="${escaped(chart.title)}">
  <style>${STYLE}</style>
  <rect class="paper" width="${WIDTH}" height="${HEIGHT}" rx="6"/>
  <text class="title" x="${PLOT.left}" y="32">${escaped(chart.title)}</text>
  ${[...vertical, ...horizontal].join('\n  ')}
  <path class="axis" fill="none" d="M${PLOT.left} ${PLOT.top}V${PLOT.bottom}H${PLOT.right}"/>
  <text x="${middle}" y="${HEIGHT - 18}" text-anchor="middle">${escaped(chart.xLabel)}</text>
  <text transform="translate(20 ${centre}) rotate(-90)" text-anchor="middle">${escaped(chart.yLabel)}</text>
  ${chart.curves.map((curve, index) => drawCurve(curve, index, toX.at, toY.at)).join('\n  ')}
</svg>
`;
}

function drawCurve(curve: Curve, index: number, toX: Scale, toY: Scale): string {
  const { name, points, isPeer } = curve;
  const colour = COLOURS[curve.colour % COLOURS.length]!;
  const style = isPeer ? 'curve peer' : 'curve';
  const places = [...points].sort((a, b) => a.x - b.x).map(({ x, y }) => `${toX(x)},${toY(y)}`);
  const dots = places.map((place) => {
    const [x, y] = place.split(',');
    return `<circle cx="${x}" cy="${y}" r="4" fill="${colour}"/>`;
  });
  const y = PLOT.top + 12 + index * 24;
  return `<polyline class="${style}" stroke="${colour}" points="${places.join(' ')}"/>${dots.join('')}
  <path class="${style}" stroke="${colour}" d="M${PLOT.right + 20} ${y}h26"/>
  <text x="${PLOT.right + 54}" y="${y + 4}">${escaped(name)}</text>`;
}

type Scale = (value: number) => number;

/** A twentieth of the length stays free at both ends. */
function axis(values: readonly number[], from: number, to: number): { at: Scale; low: number; high: number } {
  const low = Math.min(...values);
  const high = Math.max(...values);
  const span = Math.log(high / low) || 1;
  const at = (value: number) =>
    Math.round((from + (to - from) * (0.05 + (0.9 * Math.log(value / low)) / span)) * 10) / 10;
  return { at, low, high };
}

/** 1, 2, 5, 10, 20, … as far as they lie in the range; only the powers of ten where that would be many. */
function ticks(low: number, high: number): number[] {
  const steps = high / low > 1e3 ? [1] : [1, 2, 5];
  const decades = Array.from({ length: 30 }, (_, index) => 10 ** (index - 9));
  return decades
    .flatMap((decade) => steps.map((step) => step * decade))
    .filter((value) => value >= low && value <= high);
}

const escaped = (text: string): string =>
  text.replaceAll('&', '&amp;').replaceAll('<', '&lt;').replaceAll('"', '&quot;');

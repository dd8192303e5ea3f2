/**
 * The chart itself: uPlot set up for our series, bands, shaded spans and colours. It is given
 * everything and asks for nothing; what to load and when is decided elsewhere.
 */

import uPlot from 'uplot';
import 'uplot/dist/uPlot.min.css';
import { number } from '../format';
import type { Language } from '../dictionary';
import { decimalsOf, isolated, valueRange, type Column, type Columns } from './data';
import { attach, type Gestures } from './gestures';
import type { Span } from './spans';
import { timeTicks } from './ticks';
import type { View } from './view';

export interface PlotSeries {
  unit: string;
  /** Number of its colour in the style sheet, from 1. */
  colour: number;
}

export interface PlotOptions {
  series: readonly PlotSeries[];
  width: number;
  height: number;
  language: Language;
  view: View;
  gestures: Gestures;
  onSelect: (from: number, to: number) => void;
  /** The moment under the pointer, or `null` when it has left. */
  onCursor: (timeMs: number | null) => void;
}

interface Colours {
  ink: string;
  grid: string;
  series: string[];
  bands: string[];
  spans: Record<Span['kind'], { fill: string; edge: string }>;
}

/** A selection narrower than this, in CSS pixels, was a click. */
const SELECT_PX_MIN = 8;
/** Height of the solid edge that marks a span, in CSS pixels. */
const EDGE_PX = 6;
/** A span narrower than this, in CSS pixels, is only its edge: many thin stripes would hide the lines. */
const FILL_PX_MIN = 1.5;
/** Size of the dot at the pointer, in CSS pixels. */
const POINT_PX = 11;
const FONT = '12px system-ui, -apple-system, "Segoe UI", Roboto, "Noto Sans", sans-serif';
const COLUMNS_PER_SERIES = 3;

export class Plot {
  readonly #plot: uPlot;
  readonly #detach: () => void;
  #view: View;
  #spans: readonly Span[] = [];

  constructor(parent: HTMLElement, options: PlotOptions) {
    this.#view = options.view;
    const colours = readColours(parent, options.series);
    this.#plot = new uPlot(this.#configure(options, colours), emptyData(options.series.length), parent);
    this.#detach = attach(this.#plot.over, options.gestures);
  }

  /** New points, spans and view, in one redraw. */
  update(columns: Columns, spans: readonly Span[], view: View): void {
    this.#spans = spans;
    this.#view = view;
    this.#plot.batch(() => {
      this.#plot.setData(toPlotData(columns), false);
      this.#plot.setScale('x', { min: view.from, max: view.to });
    });
  }

  resize(width: number, height: number): void {
    if (this.#plot.width !== width || this.#plot.height !== height) this.#plot.setSize({ width, height });
  }

  /** Puts the pointer at a share of the width, as a tap does. */
  point(share: number): void {
    this.#plot.setCursor({ left: share * this.#plot.over.clientWidth, top: 0 });
  }

  destroy(): void {
    this.#detach();
    this.#plot.destroy();
  }

  #configure(options: PlotOptions, colours: Colours): uPlot.Options {
    const units = [...new Set(options.series.map((s) => s.unit))];
    const scales: uPlot.Scales = { x: { time: true, auto: false, range: () => [this.#view.from, this.#view.to] } };
    for (const unit of units) {
      scales[scaleOf(unit)] = { range: (_u, low, high) => valueRange(low, high, unit) };
    }
    return {
      width: options.width,
      height: options.height,
      ms: 1,
      padding: [10, units.length > 1 ? 0 : 12, 0, 0],
      tzDate: (ms) => uPlot.tzDate(new Date(ms), 'Asia/Ho_Chi_Minh'),
      legend: { show: false },
      cursor: {
        drag: { x: true, y: false, setScale: false, dist: SELECT_PX_MIN },
        points: { size: POINT_PX, show: (_u, at) => pointerDot(at, colours) },
        y: false,
      },
      scales,
      axes: [timeAxis(colours), ...units.map((unit, i) => valueAxis(unit, i, options, colours))],
      series: [{}, ...options.series.flatMap((s, i) => seriesColumns(s, i, colours))],
      bands: options.series.map((_s, i) => ({
        series: [1 + i * COLUMNS_PER_SERIES + 2, 1 + i * COLUMNS_PER_SERIES + 1] as [number, number],
        fill: colours.bands[i] ?? colours.grid,
      })),
      hooks: {
        drawClear: [(u) => drawSpans(u, this.#spans, colours)],
        setCursor: [(u) => options.onCursor(cursorTime(u))],
        setSelect: [
          (u) => {
            if (u.select.width < SELECT_PX_MIN) return;
            const from = u.posToVal(u.select.left, 'x');
            const to = u.posToVal(u.select.left + u.select.width, 'x');
            u.setSelect({ left: 0, top: 0, width: 0, height: 0 }, false);
            options.onSelect(from, to);
          },
        ],
      },
    };
  }
}

const scaleOf = (unit: string): string => `y ${unit}`;

function timeAxis(colours: Colours): uPlot.Axis {
  return {
    stroke: colours.ink,
    font: FONT,
    space: 64,
    size: 42,
    grid: { stroke: colours.grid, width: 1 },
    ticks: { stroke: colours.grid, size: 5 },
    values: (_u, splits, _axis, _space, step) => timeTicks(splits, step),
  };
}

function valueAxis(unit: string, index: number, options: PlotOptions, colours: Colours): uPlot.Axis {
  return {
    scale: scaleOf(unit),
    side: index === 0 ? 3 : 1,
    stroke: colours.ink,
    font: FONT,
    gap: 4,
    space: 36,
    size: (u, values) => (values ? Math.ceil(Math.max(0, ...values.map((v) => textWidth(u, v)))) + 12 : 40),
    grid: { show: index === 0, stroke: colours.grid, width: 1 },
    ticks: { show: false },
    values: (_u, splits, _axis, _space, step) => {
      const needed = decimalsOf(step);
      return splits.map((value) => number(value, needed, options.language));
    },
  };
}

function textWidth(u: uPlot, text: string): number {
  u.ctx.save();
  u.ctx.font = FONT;
  const { width } = u.ctx.measureText(text);
  u.ctx.restore();
  return width;
}

/** Mean as a line; lowest and highest without one, to fill the band between them. */
function seriesColumns(series: PlotSeries, index: number, colours: Colours): uPlot.Series[] {
  const stroke = colours.series[index] ?? colours.ink;
  const hidden: uPlot.Series = { scale: scaleOf(series.unit), width: 0, points: { show: false } };
  const mean: uPlot.Series = {
    scale: scaleOf(series.unit),
    stroke,
    width: 2,
    points: {
      show: () => false,
      size: 6,
      fill: stroke,
      filter: (u, at) => {
        const alone = isolated(u.data[at] as Column);
        return alone.length > 0 ? alone : null;
      },
    },
  };
  return [mean, { ...hidden }, { ...hidden }];
}

/** The dot at the pointer, on the mean only. */
function pointerDot(at: number, colours: Colours): HTMLElement {
  const dot = document.createElement('div');
  dot.className = 'dot';
  if ((at - 1) % COLUMNS_PER_SERIES !== 0) dot.hidden = true;
  dot.style.width = dot.style.height = `${POINT_PX}px`;
  dot.style.margin = `${-POINT_PX / 2}px 0 0 ${-POINT_PX / 2}px`;
  dot.style.background = colours.series[Math.floor((at - 1) / COLUMNS_PER_SERIES)] ?? colours.ink;
  return dot;
}

function cursorTime(u: uPlot): number | null {
  const left = u.cursor.left ?? -1;
  return left < 0 ? null : u.posToVal(left, 'x');
}

function drawSpans(u: uPlot, spans: readonly Span[], colours: Colours): void {
  const { ctx, bbox } = u;
  const ratio = devicePixelRatio || 1;
  ctx.save();
  ctx.beginPath();
  ctx.rect(bbox.left, bbox.top, bbox.width, bbox.height);
  ctx.clip();
  for (const span of spans) {
    const from = u.valToPos(span.from, 'x', true);
    const to = u.valToPos(span.to, 'x', true);
    if (to < bbox.left || from > bbox.left + bbox.width) continue;
    const width = Math.max(2 * ratio, to - from);
    const { fill, edge } = colours.spans[span.kind];
    if (to - from >= FILL_PX_MIN * ratio) {
      ctx.fillStyle = fill;
      ctx.fillRect(from, bbox.top, width, bbox.height);
    }
    ctx.fillStyle = edge;
    const top = span.kind === 'watering' ? bbox.top + bbox.height - EDGE_PX * ratio : bbox.top;
    ctx.fillRect(from, top, width, EDGE_PX * ratio);
  }
  ctx.restore();
}

function readColours(element: HTMLElement, series: readonly PlotSeries[]): Colours {
  const style = getComputedStyle(element);
  const colour = (name: string): string => style.getPropertyValue(name).trim();
  const span = (name: string): { fill: string; edge: string } => ({ fill: colour(`--span-${name}`), edge: colour(`--span-${name}-edge`) });
  return {
    ink: colour('--ink-2'),
    grid: colour('--grid'),
    series: series.map((s) => colour(`--series-${s.colour}`)),
    bands: series.map((s) => colour(`--band-${s.colour}`)),
    spans: { watering: span('watering'), pending: span('pending'), warning: span('warning'), critical: span('critical') },
  };
}

function toPlotData({ times, series }: Columns): uPlot.AlignedData {
  return [times, ...series.flatMap(({ mean, low, high }) => [mean, low, high])];
}

function emptyData(series: number): uPlot.AlignedData {
  return [[], ...Array.from({ length: series * COLUMNS_PER_SERIES }, () => [])];
}

/**
 * Shapes series into the columns of the chart. Pure.
 *
 * Gaps stay gaps: two points further apart than three steps are never joined. Series have their
 * own times; where one has no point at another's time the column holds `undefined`, which the
 * chart skips, while `null` breaks the line.
 */

import type { Point } from '../types';

/** Points further apart than this many steps are not joined. */
const GAP_STEPS = 3;
/** A reading further from the last one than this many intervals is not the next: some lie between. */
const NEXT_STEPS = 1.5;

export interface SeriesData {
  /** 0: every point is one reading. */
  bucketMs: number;
  /** How often the channel is read. */
  intervalMs: number;
  points: Point[];
}

export type Column = (number | null | undefined)[];

export interface Columns {
  /** Unix milliseconds, increasing. */
  times: number[];
  /** Per series: mean, lowest, highest. */
  series: { mean: Column; low: Column; high: Column }[];
}

/** The longest distance between two points that are joined. */
export function joinWithinMs(of: { bucketMs: number; intervalMs: number }): number {
  return GAP_STEPS * Math.max(of.bucketMs, of.intervalMs, 1);
}

/**
 * A series as it is drawn: in order, one point a time, with a break in every gap. A reading
 * without a value is no point; whether it leaves a gap is a matter of distance like for any other.
 */
export function withBreaks(data: SeriesData): Point[] {
  const limit = joinWithinMs(data);
  const drawn: Point[] = [];
  let previous: Point | undefined;
  for (const point of data.points) {
    if (point[2] === null || (previous && point[0] <= previous[0])) continue;
    if (previous && point[0] - previous[0] > limit) {
      drawn.push([previous[0] + (point[0] - previous[0]) / 2, null, null, null, 0]);
    }
    drawn.push(point);
    previous = point;
  }
  return drawn;
}

/** Lines several series up on one time axis. */
export function align(all: readonly SeriesData[]): Columns {
  const broken = all.map(withBreaks);
  const times = [...new Set(broken.flatMap((points) => points.map((p) => p[0])))].sort((a, b) => a - b);
  const series = broken.map((points) => {
    const mean: Column = new Array<undefined>(times.length).fill(undefined);
    const low: Column = mean.slice();
    const high: Column = mean.slice();
    let at = 0;
    for (const point of points) {
      while (at < times.length && (times[at] ?? Infinity) < point[0]) at += 1;
      [, low[at], mean[at], high[at]] = point;
    }
    return { mean, low, high };
  });
  return { times, series };
}

/** Points with a break, or nothing, on both sides: no line reaches them, so they need a dot. */
export function isolated(column: Column): number[] {
  const found: number[] = [];
  let candidate: number | null = null;
  let afterBreak = true;
  column.forEach((value, index) => {
    if (value === undefined) return;
    if (value === null) {
      if (candidate !== null) found.push(candidate);
      candidate = null;
      afterBreak = true;
      return;
    }
    candidate = afterBreak ? index : null;
    afterBreak = false;
  });
  if (candidate !== null) found.push(candidate);
  return found;
}

/**
 * Adds one live reading at the end. Within the last bucket it is merged, beyond it a new bucket
 * begins. One that is older than the end, or so far beyond it that others must lie between, is
 * left to the next fetch (`null`): the live stream brings only the newest of each group.
 */
export function appendReading(data: SeriesData, timeMs: number, value: number): SeriesData | null {
  const last = data.points[data.points.length - 1];
  if (last && timeMs - last[0] > (data.bucketMs === 0 ? data.intervalMs * NEXT_STEPS : joinWithinMs(data))) return null;
  if (data.bucketMs === 0 || !last) {
    if (last && timeMs <= last[0]) return null;
    const start = data.bucketMs === 0 ? timeMs : Math.floor(timeMs / data.bucketMs) * data.bucketMs;
    return { ...data, points: [...data.points, [start, value, value, value, 1]] };
  }
  if (timeMs < last[0]) return null;
  const steps = Math.floor((timeMs - last[0]) / data.bucketMs);
  if (steps > 0) {
    return { ...data, points: [...data.points, [last[0] + steps * data.bucketMs, value, value, value, 1]] };
  }
  const [start, low, mean, high, count] = last;
  const merged: Point =
    low === null || mean === null || high === null
      ? [start, value, value, value, 1]
      : [start, Math.min(low, value), (mean * count + value) / (count + 1), Math.max(high, value), count + 1];
  return { ...data, points: [...data.points.slice(0, -1), merged] };
}

/** The drawn point nearest to a time, if one is within the distance that a line would bridge. */
export function nearest(data: SeriesData, timeMs: number): Point | null {
  const { points } = data;
  let low = 0;
  let high = points.length;
  while (low < high) {
    const middle = (low + high) >> 1;
    if ((points[middle]?.[0] ?? Infinity) < timeMs) low = middle + 1;
    else high = middle;
  }
  let best: Point | null = null;
  for (const candidate of [points[low - 1], points[low]]) {
    if (!candidate || candidate[2] === null) continue;
    if (!best || Math.abs(candidate[0] - timeMs) < Math.abs(best[0] - timeMs)) best = candidate;
  }
  return best && Math.abs(best[0] - timeMs) <= joinWithinMs(data) ? best : null;
}

/** Lowest and highest value of a stretch; `null` if it has none. */
export function extent(data: SeriesData, from: number, to: number): { low: number; high: number } | null {
  let found: { low: number; high: number } | null = null;
  for (const [time, low, , high] of data.points) {
    if (time < from || time > to || low === null || high === null) continue;
    found = found ? { low: Math.min(found.low, low), high: Math.max(found.high, high) } : { low, high };
  }
  return found;
}

/** A value axis is never stretched further than this, so that noise does not look like weather. */
const SPAN_MIN: Readonly<Record<string, number>> = {
  Cel: 2,
  '%RH': 5,
  '%': 5,
  '[ppm]': 50,
  'W/m2': 50,
  m: 0.2,
  kPa: 0.2,
  hPa: 2,
  lx: 1000,
  '[pH]': 0.2,
  'dS/m': 0.2,
  K: 1,
  V: 0.5,
  mm: 1,
  L: 1,
  'L/min': 1,
};

/** The range of a value axis: some air above and below, and no negative part for what has none. */
export function valueRange(low: number | null, high: number | null, unit: string): [number, number] {
  if (low === null || high === null) return [0, SPAN_MIN[unit] ?? 1];
  const span = Math.max(high - low, SPAN_MIN[unit] ?? 0, 1e-6);
  const middle = (low + high) / 2;
  const from = Math.min(low, middle - span / 2) - span * 0.08;
  const to = Math.max(high, middle + span / 2) + span * 0.08;
  return low >= 0 && from < 0 ? [0, to] : [from, to];
}

/** Decimals that the labels of an axis with this step need: 2.5 needs one, 5 none. */
export function decimalsOf(step: number): number {
  for (let decimals = 0; decimals < DECIMALS_MAX; decimals += 1) {
    const scaled = step * 10 ** decimals;
    if (Math.abs(scaled - Math.round(scaled)) < 1e-6 * Math.max(1, scaled)) return decimals;
  }
  return DECIMALS_MAX;
}

const DECIMALS_MAX = 4;

/** At most this many series, in at most two units, one for each side of the chart. */
export const SERIES_MAX = 4;
export const UNITS_MAX = 2;

/**
 * Puts a series in or takes it out. What came first goes when there would be too many, and so
 * does everything in the first unit when there would be three.
 */
export function toggle(selected: readonly string[], key: string, unitOf: (key: string) => string): string[] {
  if (selected.includes(key)) return selected.filter((k) => k !== key);
  let kept = [...selected];
  const units = [...new Set(kept.map(unitOf))];
  if (!units.includes(unitOf(key)) && units.length >= UNITS_MAX) {
    kept = kept.filter((k) => unitOf(k) !== units[0]);
  }
  if (kept.length >= SERIES_MAX) kept = kept.slice(kept.length - SERIES_MAX + 1);
  return [...kept, key];
}

/** Gives each chosen series a colour number from 1; one that had a colour keeps it. */
export function keepColours(held: ReadonlyMap<string, number>, selected: readonly string[]): Map<string, number> {
  const next = new Map<string, number>();
  for (const key of selected) {
    const colour = held.get(key);
    if (colour !== undefined) next.set(key, colour);
  }
  const taken = new Set(next.values());
  for (const key of selected) {
    if (next.has(key)) continue;
    let free = 1;
    while (taken.has(free)) free += 1;
    taken.add(free);
    next.set(key, free);
  }
  return next;
}

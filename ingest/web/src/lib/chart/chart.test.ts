import { describe, expect, test } from 'vitest';
import type { Alert, FarmEvent, Point } from '../types';
import { align, appendReading, decimalsOf, extent, isolated, joinWithinMs, keepColours, nearest, toggle, valueRange, withBreaks, type SeriesData } from './data';
import { alertSpans, wateringNow, wateringSpans } from './spans';
import { timeTicks } from './ticks';
import { advance, clampView, fetchRange, panView, pointsFor, presetView, SPAN_MS_MAX, SPAN_MS_MIN, zoomView } from './view';

const HOUR = 3_600_000;
const at = (t: number, value = t): Point => [t, value - 1, value, value + 1, 6];
const raw = (...times: number[]): SeriesData => ({ bucketMs: 0, intervalMs: 10, points: times.map((t) => at(t)) });
const bucketed = (...times: number[]): SeriesData => ({ bucketMs: 60, intervalMs: 10, points: times.map((t) => at(t)) });

describe('gaps', () => {
  test('points are joined over at most three steps, of the bucket or of the interval', () => {
    expect([joinWithinMs(raw()), joinWithinMs(bucketed()), joinWithinMs({ bucketMs: 60, intervalMs: 600 })]).toEqual([30, 180, 1800]);
    expect(withBreaks(raw(0, 30)).map((p) => p[2])).toEqual([0, 30]);
    expect(withBreaks(raw(0, 31)).map((p) => [p[0], p[2]])).toEqual([
      [0, 0],
      [15.5, null],
      [31, 31],
    ]);
    expect(withBreaks(bucketed(0, 180, 361)).map((p) => p[2])).toEqual([0, 180, null, 361]);
  });

  test('a single failed reading does not break the line, several in a row do', () => {
    const failed = (...times: number[]): Point[] => times.map((t) => [t, null, null, null, 0]);
    const of = (points: Point[]): (number | null)[] => withBreaks({ bucketMs: 0, intervalMs: 10, points }).map((p) => p[2]);
    expect(of([at(0), ...failed(10), at(20)])).toEqual([0, 20]);
    expect(of([at(0), ...failed(10, 20, 30), at(40)])).toEqual([0, null, 40]);
  });

  test('points that are out of order or twice are drawn once', () => {
    expect(withBreaks(raw(0, 10, 10, 5, 20)).map((p) => p[0])).toEqual([0, 10, 20]);
  });

  test('a point alone between gaps gets a dot', () => {
    expect(isolated([1, null, 2, undefined, null, 3, undefined, 4, null, undefined, 5])).toEqual([0, 2, 10]);
    expect(isolated([1, 2, undefined, 3])).toEqual([]);
    expect(isolated([])).toEqual([]);
  });
});

test('series of different times share one axis without breaking each other', () => {
  expect(align([raw(0, 10, 60), { bucketMs: 0, intervalMs: 30, points: [at(10, 5), at(40, 6)] }])).toEqual({
    times: [0, 10, 35, 40, 60],
    series: [
      { mean: [0, 10, null, undefined, 60], low: [-1, 9, null, undefined, 59], high: [1, 11, null, undefined, 61] },
      { mean: [undefined, 5, undefined, 6, undefined], low: [undefined, 4, undefined, 5, undefined], high: [undefined, 6, undefined, 7, undefined] },
    ],
  });
  expect(align([])).toEqual({ times: [], series: [] });
});

describe('a live reading', () => {
  test('is the next point of single readings', () => {
    expect(appendReading(raw(0), 10, 7)?.points).toEqual([at(0), [10, 7, 7, 7, 1]]);
    expect(appendReading(raw(), 10, 7)?.points).toEqual([[10, 7, 7, 7, 1]]);
  });

  test('is merged into the last bucket, or begins the next', () => {
    expect(appendReading(bucketed(0), 59, 14)?.points).toEqual([[0, -1, 2, 14, 7]]);
    expect(appendReading(bucketed(0), 60, 14)?.points).toEqual([at(0), [60, 14, 14, 14, 1]]);
    expect(appendReading(bucketed(), 125, 14)?.points).toEqual([[120, 14, 14, 14, 1]]);
  });

  test('is left to the next fetch when others must lie between, or when it is late', () => {
    expect(appendReading(raw(0), 15, 7)).not.toBeNull();
    expect(appendReading(raw(0), 16, 7)).toBeNull();
    expect(appendReading(bucketed(0), 181, 7)).toBeNull();
    expect(appendReading(raw(20), 20, 7)).toBeNull();
    expect(appendReading(bucketed(60), 59, 7)).toBeNull();
  });

  test('leaves what is drawn untouched', () => {
    const before = bucketed(0);
    appendReading(before, 10, 50);
    expect(before).toEqual(bucketed(0));
  });
});

test('the pointer finds the nearest point, but none across a gap', () => {
  const data = raw(0, 10, 100);
  expect([4, 6, 40, 41, 100, 131].map((t) => nearest(data, t)?.[0] ?? null)).toEqual([0, 10, 10, null, 100, null]);
  expect(nearest(raw(), 5)).toBeNull();
});

test('lowest and highest are those of the stretch, not of what lies outside', () => {
  const data: SeriesData = { ...raw(0, 10, 20, 90), points: [...raw(0, 10, 20, 90).points, [30, null, null, null, 0]] };
  expect(extent(data, 5, 50)).toEqual({ low: 9, high: 21 });
  expect(extent(data, 40, 50)).toBeNull();
});

test.each([
  [null, null, 'Cel', [0, 2]],
  [20, 30, 'Cel', [19.2, 30.8]],
  [25, 25, 'Cel', [23.84, 26.16]],
  [0, 900, 'W/m2', [0, 972]],
  [-3, 1, 'Cel', [-3.32, 1.32]],
])('value axis of %s to %s %s', (low, high, unit, expected) => {
  const range = valueRange(low, high, unit);
  expect(range[0]).toBeCloseTo(expected[0] ?? NaN);
  expect(range[1]).toBeCloseTo(expected[1] ?? NaN);
});

test.each([
  [100, 0],
  [5, 0],
  [2.5, 1],
  [0.1, 1],
  [0.25, 2],
  [0.00001, 4],
])('labels in steps of %d have %d decimals', (step, decimals) => {
  expect(decimalsOf(step)).toBe(decimals);
});

describe('choosing series', () => {
  const unit = (key: string): string => key.charAt(0);

  test.each([
    [['a1'], 'a1', []],
    [['a1'], 'b1', ['a1', 'b1']],
    [['a1', 'b1'], 'c1', ['b1', 'c1']],
    [['a1', 'b1', 'a2'], 'c1', ['b1', 'c1']],
    [['a1', 'a2', 'b1', 'b2'], 'a3', ['a2', 'b1', 'b2', 'a3']],
  ])('%j and %s', (selected, key, expected) => {
    expect(toggle(selected, key, unit)).toEqual(expected);
  });

  test('a series keeps its colour while it is shown', () => {
    const first = keepColours(new Map(), ['x', 'y', 'z']);
    expect([...first]).toEqual([['x', 1], ['y', 2], ['z', 3]]);
    expect([...keepColours(first, ['y', 'z', 'w'])]).toEqual([['y', 2], ['z', 3], ['w', 1]]);
  });
});

describe('the view', () => {
  const now = 1_000 * HOUR;
  const view = presetView('6h', now);

  test('zooms around the moment under the finger', () => {
    const zoomed = zoomView({ from: now - 100 * HOUR, to: now - 90 * HOUR, following: false }, 0.5, now - 97 * HOUR, now);
    expect(zoomed).toEqual({ from: now - 98.5 * HOUR, to: now - 93.5 * HOUR, following: false });
  });

  test('stays within its limits', () => {
    expect(zoomView(view, 1e-9, now, now)).toEqual({ from: now - SPAN_MS_MIN, to: now, following: true });
    expect(zoomView(view, 1e9, now, now)).toEqual({ from: now - SPAN_MS_MAX, to: now, following: true });
    expect(clampView(now - HOUR, now + HOUR, now)).toEqual({ from: now - 2 * HOUR, to: now, following: true });
  });

  test('leaves the present and comes back to it', () => {
    const back = panView(view, -3 * HOUR, now);
    expect(back).toEqual({ from: now - 9 * HOUR, to: now - 3 * HOUR, following: false });
    expect(panView(back, 5 * HOUR, now)).toEqual({ from: now - 6 * HOUR, to: now, following: true });
    expect(advance(back, now + HOUR)).toBe(back);
    expect(advance(view, now + HOUR)).toEqual({ from: now - 5 * HOUR, to: now + HOUR, following: true });
  });

  test('asks for more than is visible, but not for the future', () => {
    expect(fetchRange(view, now)).toEqual({ from: now - 7.5 * HOUR, to: now + 60_000 });
    expect([pointsFor(10), pointsFor(412.4), pointsFor(1e6)]).toEqual([200, 412, 2000]);
  });
});

describe('spans', () => {
  const event = (kind: FarmEvent['kind'], time: number, run: number | null, change: Partial<FarmEvent> = {}): FarmEvent => ({
    ...{ time_ms: time * HOUR, kind, zone: run === null ? null : 'z', device: null, run, cause: null, open_ms: null, litres: null, reason: null, text: null },
    ...change,
  });
  const span = (from: number, to: number): object => ({ from: from * HOUR, to: to * HOUR, kind: 'watering' });

  test.each<[string, FarmEvent[], object[]]>([
    ['start and end, in any order', [event('run_ended', 2, 1), event('run_started', 1, 1)], [span(1, 2)]],
    ['an end alone', [event('run_ended', 2, 1, { open_ms: HOUR / 2 })], [span(1.5, 2)]],
    ['a run that still lasts', [event('run_started', 9.5, 1)], [span(9.5, 10)]],
    ['a run whose end never came', [event('run_started', 1, 1)], [span(1, 3)]],
    ['a run cut by a restart', [event('run_started', 1, 1), event('gateway_started', 1.5, null)], [span(1, 1.5)]],
    ['the same run number in two zones', [event('run_started', 1, 1), event('run_started', 1, 1, { zone: 'y' }), event('run_ended', 2, 1), event('run_ended', 3, 1, { zone: 'y' })], [span(1, 2), span(1, 3)]],
    ['other events', [event('device_fault', 1, null), event('lockout', 2, null)], []],
  ])('%s', (_name, events, expected) => {
    expect(wateringSpans(events, 10 * HOUR)).toEqual(expected);
  });

  test.each<[FarmEvent[], string[]]>([
    [[event('run_started', 9.5, 1)], ['z']],
    [[event('run_started', 9.5, 1), event('run_ended', 9.8, 1)], []],
    [[event('run_started', 9.5, 1), event('gateway_started', 9.8, null)], []],
    [[event('run_started', 2, 1)], []],
  ])('watering now %#', (events, zones) => {
    expect(wateringNow(events, 10 * HOUR)).toEqual(zones);
  });

  test('alerts of shown channels, and of the whole greenhouse', () => {
    const alert = (id: string, change: Partial<Alert>): Alert => ({ id, rule: 'r', severity: 'warning', device: 'd', channel: 'c', state: 'firing', started_ms: 1, ended_ms: null, value: null, limit: null, ...change });
    const alerts = [
      alert('shown', {}),
      alert('hidden', { channel: 'x' }),
      alert('any device', { device: null, severity: 'critical', ended_ms: 5, state: 'resolved' }),
      alert('house', { device: null, channel: null, state: 'pending' }),
    ];
    expect(alertSpans(alerts, new Set(['d/c']), 9)).toEqual([
      { from: 1, to: 9, kind: 'warning' },
      { from: 1, to: 5, kind: 'critical' },
      { from: 1, to: 9, kind: 'pending' },
    ]);
  });
});

test('time labels name the day where it begins, in greenhouse time', () => {
  const evening = Date.UTC(2025, 10, 21, 15);
  expect(timeTicks([evening, evening + HOUR, evening + 2 * HOUR, evening + 3 * HOUR], HOUR)).toEqual(['22:00\n21/11', '23:00', '00:00\n22/11', '01:00']);
  expect(timeTicks([evening - 22 * HOUR, evening + 2 * HOUR], 24 * HOUR)).toEqual(['21/11', '22/11']);
});

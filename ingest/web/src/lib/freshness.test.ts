import { describe, expect, test } from 'vitest';
import { afterReading, parseReadings, show, silentAfterMs, type ShowContext, type Shown } from './freshness';
import type { Latest, LiveReading } from './types';

const T = 1_700_000_000_000;
const base: Latest = {
  device: 'sht-inside',
  channel: 'air_temperature',
  unit: 'Cel',
  decimals: 2,
  channel_name: '',
  interval_ms: 10_000,
  time_ms: T,
  value: 31.2,
  quality: 'good',
  last_good: { time_ms: T, value: 31.2 },
};
const earlier = { time_ms: T - 60_000, value: 30.9 };

function check(change: Partial<Latest>, ageMs: number, expected: Omit<Shown, 'ageMs'>, context: Partial<ShowContext> = {}): void {
  const shown = show({ ...base, ...change }, T + ageMs, { online: true, deliveryMs: 0, ...context });
  expect(shown).toEqual({ ...expected, ageMs: Math.max(0, ageMs) });
}

describe('a reading is shown', () => {
  test('as a value while it is good and fresh', () => {
    check({}, 30_000, { state: 'good', value: 31.2 } as Shown);
    check({}, -2_000, { state: 'good', value: 31.2 } as Shown);
  });

  test('as silent after three intervals, but never before 30 s', () => {
    const none = { state: 'none', reason: 'silent', lastGood: base.last_good } as Shown;
    check({}, 30_001, none);
    check({ interval_ms: 1_000 }, 30_000, { state: 'good', value: 31.2 } as Shown);
    check({ interval_ms: 1_000 }, 30_001, none);
    check({ interval_ms: 60_000 }, 180_000, { state: 'good', value: 31.2 } as Shown);
    check({ interval_ms: 60_000 }, 180_001, none);
  });

  test('as silent with the last good value even if that is only known from the reading itself', () => {
    check({ last_good: null }, 60_000, { state: 'none', reason: 'silent', lastGood: { time_ms: T, value: 31.2 } } as Shown);
  });

  test('as cut off when the gateway is offline', () => {
    check({}, 60_000, { state: 'none', reason: 'offline', lastGood: base.last_good } as Shown, { online: false });
    check({}, 20_000, { state: 'good', value: 31.2 } as Shown, { online: false });
  });

  test('as a value for one and a half spacings of a gateway that sends rarely', () => {
    check({}, 100_000, { state: 'good', value: 31.2 } as Shown, { deliveryMs: 60_000 });
    check({}, 100_001, { state: 'none', reason: 'silent', lastGood: base.last_good } as Shown, { deliveryMs: 60_000 });
  });

  test('never as a number when it failed or went stale', () => {
    for (const quality of ['failed', 'stale'] as const) {
      check({ quality, value: null, last_good: earlier }, 5_000, { state: 'none', reason: quality, lastGood: earlier } as Shown);
      // Not even if a number came with it.
      check({ quality, value: 31.2, last_good: earlier }, 5_000, { state: 'none', reason: quality, lastGood: earlier } as Shown);
    }
    check({ value: null, last_good: null }, 5_000, { state: 'none', reason: 'failed', lastGood: null } as Shown);
  });

  test('as one to distrust when the gateway does', () => {
    for (const quality of ['out_of_range', 'stuck', 'spike', 'suspect'] as const) {
      check({ quality, last_good: earlier }, 5_000, { state: 'distrusted', value: 31.2, reason: quality, lastGood: earlier } as Shown);
    }
  });
});

test.each([
  [10_000, true, 1_000, 30_000],
  [10_000, true, 10_000, 30_000],
  [10_000, true, 60_000, 100_000],
  [10_000, false, 60_000, 30_000],
  [60_000, true, 60_000, 180_000],
])('silent after: interval %d, online %s, delivery %d', (interval, online, deliveryMs, expected) => {
  expect(silentAfterMs(interval, { online, deliveryMs })).toBe(expected);
});

describe('after a live reading', () => {
  const live = (change: Partial<LiveReading>): LiveReading => ({
    greenhouse: 'g',
    device: base.device,
    channel: base.channel,
    time_ms: T + 10_000,
    value: 31.4,
    quality: 'good',
    ...change,
  });

  test('a good one becomes the value and the last good one', () => {
    expect(afterReading(base, live({}))).toEqual({ ...base, time_ms: T + 10_000, value: 31.4, last_good: { time_ms: T + 10_000, value: 31.4 } });
  });

  test('a failed one keeps the last good one with its own time', () => {
    const failed = afterReading(base, live({ value: null, quality: 'failed' }));
    expect(failed).toEqual({ ...base, time_ms: T + 10_000, value: null, quality: 'failed', last_good: { time_ms: T, value: 31.2 } });
  });

  test('one from a backlog changes nothing', () => {
    expect(afterReading(base, live({ time_ms: T - 3_600_000 }))).toBe(base);
  });

  test('a good one from a backlog may be the newest good one', () => {
    const failing: Latest = { ...base, value: null, quality: 'failed', last_good: earlier };
    expect(afterReading(failing, live({ time_ms: T - 30_000, value: 31 }))).toEqual({ ...failing, last_good: { time_ms: T - 30_000, value: 31 } });
  });
});

describe('messages of live readings', () => {
  const one = { greenhouse: 'g', device: 'd', channel: 'c', time_ms: T, value: 1.5, quality: 'good' };
  const { greenhouse: _, ...inner } = one;

  test.each([
    ['one', one],
    ['a list', [one]],
    ['a group', { greenhouse: 'g', readings: [inner] }],
  ])('%s', (_name, message) => {
    expect(parseReadings(JSON.stringify(message))).toEqual({ readings: [one], malformed: 0 });
  });

  test.each([
    ['not JSON', 'nonsense', 1],
    ['null', 'null', 1],
    ['no greenhouse', JSON.stringify(inner), 1],
    ['a value that is a text', JSON.stringify({ ...one, value: '1.5' }), 1],
    ['an unknown quality', JSON.stringify([{ ...one, quality: 'fine' }]), 1],
    ['an empty list', '[]', 0],
  ])('%s is no reading', (_name, data, malformed) => {
    expect(parseReadings(data)).toEqual({ readings: [], malformed });
  });

  test('a failed reading has no value', () => {
    const { value: _value, ...failed } = { ...one, quality: 'failed' };
    expect(parseReadings(JSON.stringify(failed)).readings).toEqual([{ ...failed, value: null }]);
  });
});

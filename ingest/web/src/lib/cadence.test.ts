import { expect, test } from 'vitest';
import { arrived, NO_CADENCE, recalled, usualMs } from './cadence';

const after = (...times: number[]): number => usualMs(times.reduce(arrived, NO_CADENCE));

test.each([
  ['nothing', [], 60_000],
  ['one delivery', [0], 60_000],
  ['two', [0, 60_000], 60_000],
  ['one delivery in several pieces', [0, 200, 400, 60_000, 60_300], 60_000],
  ['an outage among regular ones', [0, 10_000, 20_000, 3_000_000, 3_010_000, 3_020_000], 10_000],
  ['urgent readings between regular ones', [0, 30_000, 35_000, 60_000, 90_000, 92_000, 97_000], 30_000],
  ['two spacings', [0, 20_000, 30_000], 20_000],
  ['a gateway that was set to send less often', [0, 10_000, 20_000, 80_000, 140_000, 200_000, 260_000], 60_000],
  ['a spacing that no gateway is meant to have', [0, 3_600_000], 600_000],
  ['a clock that was set back', [100_000, 50_000, 60_000], 10_000],
])('%s', (_name, times, expected) => {
  expect(after(...times)).toBe(expected);
});

test('what was kept is recalled, what was not is left out', () => {
  expect(recalled('{"a":[60000,61000],"b":"x","c":[-5],"d":["y"]}')).toEqual(new Map([['a', { lastAt: null, spacings: [60_000, 61_000] }]]));
  expect(recalled('null')).toEqual(new Map());
});

import { describe, expect, test } from 'vitest';
import { dictionaries } from './dictionary';
import * as f from './format';

const { vi, en } = dictionaries;
/** 22/11/2025 14:03:27 in Ho Chi Minh City. */
const NOON = Date.UTC(2025, 10, 22, 7, 3, 27);
const plain = (text: string): string => text.replaceAll('\u00a0', ' ');

test.each([
  [31.25, 'Cel', 2, '31,3 °C', '31.3 °C'],
  [-0.04, 'Cel', 2, '0,0 °C', '0.0 °C'],
  [-3, 'Cel', 2, '-3,0 °C', '-3.0 °C'],
  [78.9, '%RH', 2, '78,9 %', '78.9 %'],
  [1234.4, '[ppm]', 0, '1.234 ppm', '1,234 ppm'],
  [812.6, 'W/m2', 2, '813 W/m²', '813 W/m²'],
  [1.234, 'm', 3, '1,23 m', '1.23 m'],
  [7, '[pH]', 2, '7,00', '7.00'],
  [1.266, 'kPa', 3, '1,27 kPa', '1.27 kPa'],
  [17.28, 'mol/m2', 2, '17,3 mol/m²', '17.3 mol/m²'],
  [7, '[foo]', 2, '7,00 [foo]', '7.00 [foo]'],
  [3, '1', 0, '3', '3'],
])('quantity %s %s', (value, unit, decimals, vietnamese, english) => {
  expect(plain(f.quantity(value, unit, decimals, 'vi'))).toBe(vietnamese);
  expect(plain(f.quantity(value, unit, decimals, 'en'))).toBe(english);
});

test('a unit named like an object method is no unit of ours', () => {
  expect(f.unitText('constructor')).toBe('constructor');
});

test.each([
  [-5_000, 'vừa xong', 'just now'],
  [0, 'vừa xong', 'just now'],
  [1_999, 'vừa xong', 'just now'],
  [12_400, '12 giây trước', '12 s ago'],
  [89_999, '89 giây trước', '89 s ago'],
  [90_000, '1 phút trước', '1 min ago'],
  [89 * f.MINUTE_MS, '89 phút trước', '89 min ago'],
  [90 * f.MINUTE_MS, '1 giờ trước', '1 h ago'],
  [47 * f.HOUR_MS, '47 giờ trước', '47 h ago'],
  [48 * f.HOUR_MS, '2 ngày trước', '2 days ago'],
  [2_000 * f.DAY_MS, '2.000 ngày trước', '2,000 days ago'],
])('age of %d ms', (ms, vietnamese, english) => {
  expect(plain(f.age(ms, vi, 'vi'))).toBe(vietnamese);
  expect(plain(f.age(ms, en, 'en'))).toBe(english);
});

test.each([
  [NOON - 60_000, '14:02'],
  [NOON - 15 * f.HOUR_MS, '23:03 21/11'],
  [NOON - 365 * f.DAY_MS, '14:03 22/11/2024'],
  // 23:30 UTC is already the next day there.
  [Date.UTC(2025, 10, 21, 23, 30), '06:30'],
])('moment %d', (ms, text) => {
  expect(f.moment(ms, NOON)).toBe(text);
});

describe('clock and day', () => {
  test('are those of the greenhouse, with midnight as 00', () => {
    const midnight = Date.UTC(2025, 5, 4, 17);
    expect([f.clock(midnight), f.clockSeconds(NOON), f.day(midnight)]).toEqual(['00:00', '14:03:27', '05/06']);
  });

  test.each([
    [NOON, vi.events.today],
    [NOON - 15 * f.HOUR_MS, vi.events.yesterday],
    [NOON - 3 * f.DAY_MS, '19/11'],
    [NOON - 365 * f.DAY_MS, '22/11/2024'],
  ])('day title of %d', (ms, title) => {
    expect(f.dayTitle(ms, NOON, vi)).toBe(title);
  });
});

test.each([
  [42_000, '42 giây'],
  [10 * f.MINUTE_MS, '10 phút'],
  [3.5 * f.MINUTE_MS, '3,5 phút'],
  [3 * f.MINUTE_MS + 800, '3 phút'],
  [12.4 * f.MINUTE_MS, '12 phút'],
])('minutes %d', (ms, text) => {
  expect(plain(f.minutes(ms, vi, 'vi'))).toBe(text);
});

test.each([
  [41.25, '41,3 L'],
  [118, '118 L'],
  [2_418.6, '2.419 L'],
])('litres %d', (value, text) => {
  expect(plain(f.litres(value, 'vi'))).toBe(text);
});

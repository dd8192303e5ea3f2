import { readFileSync } from 'node:fs';
import { describe, expect, test } from 'vitest';
import { byUrgency } from './alerts';
import { dictionaries, known } from './dictionary';
import { inOrder } from './order';
import { eachLimited } from './pool';
import { offsetMs } from './server-clock';
import { alertDetail, alertTitle, channelName, deviceName, eventText, openZones } from './text';
import type { Alert, Channel, FarmEvent } from './types';

const words = { text: dictionaries.vi, language: 'vi' } as const;
const zones = [
  { id: 'zone-1', name: 'Luống 1' },
  { id: 'zone-2', name: '' },
];
const plain = (text: string): string => text.replaceAll('\u00a0', ' ');

describe('the dictionary', () => {
  const keys = (of: object, path = ''): string[] =>
    Object.entries(of).flatMap(([key, value]) => (typeof value === 'object' ? keys(value as object, `${path}${key}.`) : [`${path}${key}`]));

  test('has no key in English that Vietnamese lacks', () => {
    expect(keys(dictionaries.en)).toEqual(keys(dictionaries.vi));
  });

  test('falls back to the id, also for ids like object methods', () => {
    expect([known(dictionaries.vi.channel, 'co2'), known(dictionaries.vi.channel, 'leaf_wetness'), known(dictionaries.vi.channel, 'constructor')]).toEqual([
      'CO₂',
      'leaf_wetness',
      'constructor',
    ]);
  });

  test('every channel of the shipped soil probes has a name', () => {
    const files = ['../../gateway/profiles/sen0604.toml', '../../gateway/profiles/s-soil.toml', '../../deploy/probe-npk.toml'];
    const channels = files.flatMap((file) => [...readFileSync(file, 'utf8').matchAll(/^channel = "(.+)"$/gm)].map((match) => match[1] ?? ''));
    expect(channels.length).toBeGreaterThan(10);
    expect(channels.filter((channel) => known(dictionaries.vi.channel, channel) === channel)).toEqual([]);
  });

  test('a name given on the gateway comes before a known one', () => {
    expect([channelName('air_temperature', 'Giữa luống', words), channelName('air_temperature', '', words), channelName('x9', '', words)]).toEqual(['Giữa luống', 'Nhiệt độ không khí', 'x9']);
    expect([deviceName('sht-inside', 'Giữa nhà', words), deviceName('sht-inside', 'sht-inside', words), deviceName('x9', '', words)]).toEqual([
      'Giữa nhà',
      'Trong nhà lưới',
      'x9',
    ]);
  });
});

test.each([
  [0, 'Đóng hết'],
  [1, 'Luống 1'],
  [2, 'Van 2'],
  [5, 'Luống 1, Van 3'],
])('open valves %d', (mask, text) => {
  expect(openZones(mask, zones, words)).toBe(text);
});

describe('alerts', () => {
  const channel: Channel = { device: 'd', device_name: '', channel: 'air_temperature', channel_name: '', unit: 'Cel', decimals: 2, interval_ms: 1 };
  const alert: Alert = { id: 'a', rule: 'heat', severity: 'warning', device: 'd', channel: 'air_temperature', state: 'firing', started_ms: 0, ended_ms: null, value: 36.24, limit: 35 };

  test.each<[Partial<Alert>, string, string]>([
    [{}, 'Quá nóng: nhiệt độ không khí', '36,2 °C · ngưỡng 35,0 °C'],
    [{ rule: 'r7', channel: 'co2', value: null, limit: null }, 'CO₂', 'Không có số đo'],
    [{ rule: 'heat', channel: 'co2', limit: null }, 'Quá nóng: CO₂', '36,2 °C'],
    [{ rule: 'gateway-offline', device: null, channel: null, value: null, limit: null }, 'Trạm mất kết nối', ''],
  ])('%o', (change, title, detail) => {
    expect(alertTitle({ ...alert, ...change }, words)).toBe(title);
    expect(plain(alertDetail({ ...alert, ...change }, channel, words))).toBe(detail);
  });

  test('are ordered by what needs attention', () => {
    const of = (id: string, change: Partial<Alert>): Alert => ({ ...alert, id, ...change });
    const sorted = [
      of('resolved-critical', { state: 'resolved', severity: 'critical', started_ms: 5 }),
      of('pending', { state: 'pending', started_ms: 9 }),
      of('firing-old', { started_ms: 1 }),
      of('firing-new', { started_ms: 2 }),
      of('resolved-new', { state: 'resolved', started_ms: 8 }),
      of('critical', { severity: 'critical' }),
    ].sort(byUrgency);
    expect(sorted.map((a) => a.id)).toEqual(['critical', 'firing-new', 'firing-old', 'pending', 'resolved-new', 'resolved-critical']);
  });
});

describe('events', () => {
  const base: FarmEvent = { time_ms: 0, kind: 'run_ended', zone: 'zone-1', device: null, run: 1, cause: 'schedule', open_ms: 600_000, litres: 118, reason: 'completed', text: null };

  test.each<[Partial<FarmEvent>, string, string]>([
    [{}, 'Tưới xong · Luống 1', '118 L · van mở 10 phút · theo lịch'],
    [{ reason: 'fault', litres: 3.21, cause: 'manual' }, 'Dừng tưới · Luống 1', '3,2 L · van mở 10 phút · bằng tay · dừng vì lỗi'],
    [{ litres: null, open_ms: null, cause: null, zone: 'zone-9' }, 'Tưới xong · zone-9', ''],
    [{ kind: 'run_started' }, 'Bắt đầu tưới · Luống 1', 'theo lịch'],
    [{ kind: 'device_fault', zone: null, device: 'co2', reason: null, text: 'no acknowledge' }, 'Thiết bị hỏng · Cảm biến CO₂', 'no acknowledge'],
    [{ kind: 'gateway_started', zone: null, reason: 'unclean', text: '0.1.0' }, 'Trạm khởi động lại', 'tắt đột ngột · phiên bản 0.1.0'],
    [{ kind: 'new_kind' as FarmEvent['kind'], zone: null, reason: 'x' }, 'new_kind', 'x'],
  ])('%o', (change, title, detail) => {
    const text = eventText({ ...base, ...change }, zones, words);
    expect({ title: text.title, detail: plain(text.detail) }).toEqual({ title, detail });
  });
});

test('quantities stand in the order in which they matter; second devices and outside come last', () => {
  const of = (key: string): { device: string; channel: string } => ({ device: key.split('/')[0] ?? '', channel: key.split('/')[1] ?? '' });
  const given = ['sht-outside/air_temperature', 'b/leaf_wetness', 'a-scd/air_temperature', 'a-scd/co2', 'sht-inside/air_temperature', 'a/leaf_wetness', 'sht-outside/dew'];
  expect(inOrder(given.map(of)).map((s) => `${s.device}/${s.channel}`)).toEqual([
    'sht-inside/air_temperature',
    'a-scd/co2',
    'a/leaf_wetness',
    'a-scd/air_temperature',
    'b/leaf_wetness',
    'sht-outside/air_temperature',
    'sht-outside/dew',
  ]);
});

test.each([
  ['no header', null, 0, 100, null],
  ['no date', 'yesterday', 0, 100, null],
  ['the same time', 'Sat, 22 Nov 2025 07:00:00 GMT', Date.UTC(2025, 10, 22, 7, 0, 0, 900), Date.UTC(2025, 10, 22, 7, 0, 1), 0],
  ['ten minutes slow', 'Sat, 22 Nov 2025 07:10:00 GMT', Date.UTC(2025, 10, 22, 7), Date.UTC(2025, 10, 22, 7) + 100, 600_450],
  ['a very slow answer', 'Sat, 22 Nov 2025 07:00:09 GMT', Date.UTC(2025, 10, 22, 7), Date.UTC(2025, 10, 22, 7, 0, 10), 0],
])('clock offset: %s', (_name, header, sent, received, expected) => {
  expect(offsetMs(header, sent, received)).toBe(expected);
});

test('work runs at most so many at once, and all of it', async () => {
  let running = 0;
  let most = 0;
  const done: number[] = [];
  await eachLimited([1, 2, 3, 4, 5], 2, async (n) => {
    running += 1;
    most = Math.max(most, running);
    await Promise.resolve();
    running -= 1;
    done.push(n);
  });
  expect([most, done]).toEqual([2, [1, 2, 3, 4, 5]]);
});

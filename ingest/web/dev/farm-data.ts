/**
 * A made-up cooperative for trying the page: a month of plausible values as pure functions of
 * time, with the failures that the page must show. Nothing here is measured.
 */

import type { Alert, Channel, FarmEvent, Gap, Latest, Point, Quality, Series } from '../src/lib/types';

const MINUTE = 60_000;
const HOUR = 60 * MINUTE;
const DAY = 24 * HOUR;
const ZONE = 7 * HOUR;
const STEP = 10_000;

export interface House {
  id: string;
  name: string;
  /** The gateway lost its connection this long ago. */
  offlineForMs: number | null;
  warmer: number;
  zones: { id: string; name: string }[];
}

export const COOPERATIVES = [{ id: 'hoa-binh', name: 'HTX Hòa Bình' }];

export const HOUSES: House[] = [
  {
    id: 'nha-luoi-1',
    name: 'Nhà lưới 1 – Dưa lưới',
    offlineForMs: null,
    warmer: 0,
    zones: [
      { id: 'zone-1', name: 'Luống 1' },
      { id: 'zone-2', name: 'Luống 2' },
    ],
  },
  { id: 'nha-luoi-2', name: 'Nhà lưới 2 – Cà chua bi', offlineForMs: 2 * HOUR + 11 * MINUTE, warmer: -1, zones: [{ id: 'zone-1', name: 'Luống 1' }] },
  { id: 'nha-mang-3', name: 'Nhà màng 3 – Rau ăn lá, vườn ươm', offlineForMs: null, warmer: 6, zones: [{ id: 'zone-1', name: 'Khay ươm' }] },
];

const channel = (device: string, device_name: string, name: string, unit: string, decimals: number, interval_ms = STEP): Channel => ({
  device,
  device_name,
  channel: name,
  channel_name: '',
  unit,
  decimals,
  interval_ms,
});

export const CHANNELS: Channel[] = [
  channel('sht-inside', 'sht-inside', 'air_temperature', 'Cel', 2),
  channel('sht-inside', 'sht-inside', 'relative_humidity', '%RH', 2),
  channel('sht-outside', 'sht-outside', 'air_temperature', 'Cel', 2),
  channel('sht-outside', 'sht-outside', 'relative_humidity', '%RH', 2),
  channel('co2', 'co2', 'co2', '[ppm]', 0, 30_000),
  channel('analog', 'analog', 'global_radiation', 'W/m2', 2),
  channel('analog', 'analog', 'soil_moisture_index', '%', 1),
  channel('analog', 'analog', 'tank_level', 'm', 3),
  channel('flow', 'flow', 'water_flow', 'L/min', 2),
  channel('flow', 'flow', 'water_volume', 'L', 2),
  channel('drip', 'drip', 'zones_open', '1', 0),
];

/** Repeatable noise in [-1, 1). */
function noise(t: number, salt: number): number {
  let x = (Math.floor(t / STEP) * 374761393 + salt * 668265263) | 0;
  x = Math.imul(x ^ (x >>> 13), 1274126177);
  return ((x ^ (x >>> 16)) >>> 0) / 2147483648 - 1;
}

/** Noise that changes slowly, over about `period`. */
function drift(t: number, period: number, salt: number): number {
  const at = t / period;
  const [i, f] = [Math.floor(at), at - Math.floor(at)];
  const smooth = f * f * (3 - 2 * f);
  return noise(i * STEP, salt) * (1 - smooth) + noise((i + 1) * STEP, salt) * smooth;
}

const hourOfDay = (t: number): number => ((t + ZONE) % DAY) / HOUR;
const sun = (t: number): number => Math.max(0, Math.sin(((hourOfDay(t) - 5.7) / 12.4) * Math.PI));
const clouds = (t: number): number => 0.75 + 0.25 * drift(t, 25 * MINUTE, 5) - 0.15 * Math.abs(drift(t, 4 * MINUTE, 6));

/** Watering at 06:00 for 10 and at 15:00 for 8 minutes, zone by zone. */
const RUNS = [
  { hour: 6, minutes: 10 },
  { hour: 15, minutes: 8 },
];

export interface Run {
  from: number;
  to: number;
  zone: number;
  number: number;
}

export function runs(house: House, from: number, to: number): Run[] {
  const found: Run[] = [];
  for (let start = Math.floor((from + ZONE) / DAY) * DAY - ZONE; start <= to; start += DAY) {
    RUNS.forEach((run, r) => {
      house.zones.forEach((_zone, zone) => {
        const begin = start + run.hour * HOUR + zone * (run.minutes + 1) * MINUTE;
        const end = begin + run.minutes * MINUTE;
        const number = Math.floor(begin / DAY) * 10 + r * 4 + zone;
        if (end >= from && begin <= to && !lost(house, begin)) found.push({ from: begin, to: end, zone, number });
      });
    });
  }
  return found;
}

/** Nothing arrived: an outage two days ago, and everything since a gateway went away. */
function lost(house: House, t: number, now = Date.now()): boolean {
  if (house.offlineForMs !== null && t > now - house.offlineForMs) return true;
  const noon = Math.floor((now + ZONE) / DAY) * DAY - ZONE + 12 * HOUR;
  return t > noon - 2 * DAY + 1.2 * HOUR && t < noon - 2 * DAY + 4.1 * HOUR;
}

/** The value that a perfect sensor would give. */
function truth(house: House, of: Channel, t: number): number {
  const outside = 25.5 + 7.5 * sun(t - 1.4 * HOUR) + 1.5 * drift(t, 9 * HOUR, 1);
  const inside = outside + 4.5 * sun(t - 0.6 * HOUR) * clouds(t) + house.warmer * sun(t) + 0.12 * noise(t, 2);
  switch (`${of.device}/${of.channel}`) {
    case 'sht-inside/air_temperature':
      return inside;
    case 'sht-outside/air_temperature':
      return outside + 0.1 * noise(t, 3);
    case 'sht-inside/relative_humidity':
      return Math.min(99, 93 - 2.7 * (inside - 25) + 3 * drift(t, HOUR, 7) + 0.4 * noise(t, 8));
    case 'sht-outside/relative_humidity':
      return Math.min(99, 88 - 3 * (outside - 25) + 4 * drift(t, 3 * HOUR, 9));
    case 'co2/co2':
      return 470 - 130 * sun(t) * clouds(t) + 25 * drift(t, 40 * MINUTE, 10) + 4 * noise(t, 11);
    case 'analog/global_radiation':
      return 930 * sun(t) ** 1.2 * clouds(t);
    case 'analog/soil_moisture_index': {
      const last = runs(house, t - DAY, t).filter((r) => r.zone === 0).pop();
      const since = last ? (t - last.from) / HOUR : 14;
      return last && t < last.to ? 48 + 24 * ((t - last.from) / (last.to - last.from)) : 72 - 1.8 * since + 0.3 * noise(t, 12);
    }
    case 'analog/tank_level':
      return 1.9 - 0.06 * (hourOfDay(t) - 6) * (hourOfDay(t) > 6 ? 1 : 0) + 0.004 * noise(t, 13);
    case 'flow/water_flow':
      return running(house, t) === 0 ? 0 : 11.8 + 0.3 * noise(t, 14);
    case 'flow/water_volume':
      return runs(house, Math.floor((t + ZONE) / DAY) * DAY - ZONE, t).reduce((sum, r) => sum + (11.8 * (Math.min(t, r.to) - r.from)) / MINUTE, 0);
    case 'drip/zones_open':
      return running(house, t);
    default:
      return 0;
  }
}

const running = (house: House, t: number): number => runs(house, t, t).reduce((mask, r) => mask | (1 << r.zone), 0);

export interface Reading {
  time_ms: number;
  value: number | null;
  quality: Quality;
}

/** What was recorded at a time; `null` if nothing was. */
export function reading(house: House, of: Channel, t: number, now: number): Reading | null {
  if (lost(house, t, now)) return null;
  const value = Number(truth(house, of, t).toFixed(of.decimals));
  if (of.device === 'co2' && house.id === 'nha-luoi-1' && t > now - 40 * MINUTE) return { time_ms: t, value: null, quality: 'failed' };
  if (of.channel === 'tank_level' && house.id === 'nha-luoi-1' && t > now - 26 * MINUTE) return null; // silent
  if (of.channel === 'soil_moisture_index' && house.id === 'nha-luoi-1' && t > now - 3 * HOUR) return { time_ms: t, value: 51.2, quality: 'stuck' };
  if (of.device === 'sht-outside' && house.id === 'nha-mang-3') return null;
  return { time_ms: t, value, quality: 'good' };
}

const grid = (t: number, step: number): number => Math.floor(t / step) * step;

export function latest(house: House, now: number): Latest[] {
  const found: Latest[] = [];
  for (const of of CHANNELS) {
    let last: Reading | null = null;
    let good: Reading | null = null;
    for (let t = grid(now, of.interval_ms), n = 0; n < 2000 && good === null; t -= of.interval_ms, n += 1) {
      const at = reading(house, of, t, now);
      last ??= at;
      if (at?.quality === 'good') good = at;
    }
    if (last === null) continue;
    const { device, channel, channel_name, unit, decimals, interval_ms } = of;
    found.push({
      ...{ device, channel, channel_name, unit, decimals, interval_ms },
      ...last,
      last_good: good && good.value !== null ? { time_ms: good.time_ms, value: good.value } : null,
    });
  }
  return found;
}

export function series(house: House, of: Channel, from: number, to: number, points: number, now: number): Series {
  const steps = [60_000, 300_000, 900_000, 1_800_000, 3_600_000, 10_800_000];
  const raw = (to - from) / of.interval_ms <= points * 3;
  const bucket = raw ? 0 : (steps.find((s) => (to - from) / s <= points) ?? 21_600_000);
  const found: Point[] = [];
  // Long stretches are sampled: nobody sees which 40 of a bucket's readings made it.
  const stride = bucket === 0 ? of.interval_ms : Math.max(of.interval_ms, grid(bucket / 40, of.interval_ms));
  for (let t = grid(Math.max(from, now - 30 * DAY), bucket || stride); t <= Math.min(to, now); t += bucket || stride) {
    let [low, sum, high, count] = [Infinity, 0, -Infinity, 0];
    for (let at = t; at < t + (bucket || stride) && at <= now; at += stride) {
      const one = reading(house, of, at, now);
      if (one?.quality !== 'good' || one.value === null) continue;
      [low, high] = [Math.min(low, one.value), Math.max(high, one.value)];
      [sum, count] = [sum + one.value, count + 1];
    }
    if (count > 0) found.push([t, low, sum / count, high, count]);
  }
  return { unit: of.unit, decimals: of.decimals, from_ms: from, to_ms: to, bucket_ms: bucket, points: found };
}

export function events(house: House, from: number, to: number, now: number): FarmEvent[] {
  const none = { zone: null, device: null, run: null, cause: null, open_ms: null, litres: null, reason: null, text: null };
  const found: FarmEvent[] = [];
  for (const run of runs(house, from, Math.min(to, now))) {
    const zone = house.zones[run.zone]?.id ?? null;
    const of = { ...none, zone, run: run.number, cause: 'schedule' };
    if (run.from <= now) found.push({ ...of, time_ms: run.from, kind: 'run_started' });
    if (run.to <= now) found.push({ ...of, time_ms: run.to, kind: 'run_ended', open_ms: run.to - run.from, litres: (11.8 * (run.to - run.from)) / MINUTE, reason: 'completed' });
  }
  if (house.id === 'nha-luoi-1') {
    found.push({ ...none, time_ms: now - 40 * MINUTE, kind: 'device_fault', device: 'co2', text: 'no acknowledge' });
    found.push({ ...none, time_ms: now - 27 * HOUR, kind: 'gateway_started', reason: 'unclean', text: '0.1.0' });
    found.push({ ...none, time_ms: now - 4 * HOUR, kind: 'run_ended', zone: 'zone-2', run: 7, cause: 'manual', open_ms: 3.5 * MINUTE, litres: 41.2, reason: 'stopped' });
  }
  return found.filter((e) => e.time_ms >= from && e.time_ms <= to).sort((a, b) => b.time_ms - a.time_ms);
}

export function alerts(house: House, now: number): Alert[] {
  const of = (id: string, rule: string, severity: string, device: string | null, name: string | null): Omit<Alert, 'state' | 'started_ms' | 'ended_ms' | 'value' | 'limit'> => ({ id, rule, severity, device, channel: name });
  if (house.id === 'nha-mang-3') {
    return [
      { ...of('a1', 'heat', 'critical', 'sht-inside', 'air_temperature'), state: 'firing', started_ms: now - 34 * MINUTE, ended_ms: null, value: 38.6, limit: 35 },
      { ...of('a2', 'tank-low', 'warning', 'analog', 'tank_level'), state: 'pending', started_ms: now - 3 * MINUTE, ended_ms: null, value: 0.48, limit: 0.5 },
    ];
  }
  if (house.id === 'nha-luoi-2') {
    return [{ ...of('a3', 'gateway-offline', 'warning', null, null), state: 'firing', started_ms: now - 2 * HOUR, ended_ms: null, value: null, limit: null }];
  }
  return [
    { ...of('a4', 'heat', 'warning', 'sht-inside', 'air_temperature'), state: 'resolved', started_ms: now - 29 * HOUR, ended_ms: now - 26.5 * HOUR, value: 36.1, limit: 35 },
    { ...of('a5', 'co2-absent', 'warning', 'co2', 'co2'), state: 'firing', started_ms: now - 25 * MINUTE, ended_ms: null, value: null, limit: null },
  ];
}

export function gaps(house: House, now: number): Gap[] {
  if (house.id === 'nha-luoi-1') return [{ gateway: 'gw-01', stream: '9b17c2d0aa54f013', from_seq: 812, to_seq: 1159, readings: 5_220, since_ms: now - 2 * DAY, reason: 'cap_reached' }];
  if (house.id === 'nha-luoi-2') return [{ gateway: 'gw-02', stream: '51aa03de7c09b6f2', from_seq: 40, to_seq: 51, readings: null, since_ms: now - DAY, reason: 'missing' }];
  return [];
}

/** Readings of one instant, as the live stream sends them. */
export function liveReadings(house: House, t: number): (Reading & { greenhouse: string; device: string; channel: string })[] {
  return CHANNELS.filter((c) => t % c.interval_ms === 0).flatMap((c) => {
    const at = reading(house, c, t, t);
    return at ? [{ greenhouse: house.id, device: c.device, channel: c.channel, ...at }] : [];
  });
}

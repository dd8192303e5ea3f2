/**
 * Numbers, units, times and ages as people read them: Vietnamese separators, greenhouse time
 * (Asia/Ho_Chi_Minh), day before month. Pure: `now` is always an argument.
 */

import type { Dictionary, Language } from './dictionary';

const TIME_ZONE = 'Asia/Ho_Chi_Minh';
const LOCALE: Readonly<Record<Language, string>> = { vi: 'vi-VN', en: 'en-GB' };

export const SECOND_MS = 1_000;
export const MINUTE_MS = 60 * SECOND_MS;
export const HOUR_MS = 60 * MINUTE_MS;
export const DAY_MS = 24 * HOUR_MS;

/** Written between number and unit, so that they never part at a line end. */
const NBSP = '\u00a0';

const UNITS: Readonly<Record<string, string>> = {
  Cel: '°C',
  '%RH': '%',
  '%': '%',
  '[ppm]': 'ppm',
  'W/m2': 'W/m²',
  L: 'L',
  l: 'L',
  'L/min': 'L/min',
  'l/min': 'L/min',
  m: 'm',
  'm3/m3': 'm³/m³',
  kPa: 'kPa',
  'kPa/K': 'kPa/K',
  'dS/m': 'dS/m',
  '[pH]': '',
  hPa: 'hPa',
  lx: 'lx',
  'umol/m2/s': 'µmol/m²/s',
  'mol/m2': 'mol/m²',
  'MJ/m2': 'MJ/m²',
  'g/m3': 'g/m³',
  K: 'K',
  V: 'V',
  A: 'A',
  W: 'W',
  mm: 'mm',
  'mm/h': 'mm/h',
  '1': '',
};

/** More decimals than this say nothing to a person standing in the greenhouse. */
const SHOWN_DECIMALS: Readonly<Record<string, number>> = {
  Cel: 1,
  '%RH': 1,
  '%': 1,
  '[ppm]': 0,
  'W/m2': 0,
  L: 1,
  'L/min': 1,
  m: 2,
  hPa: 1,
  lx: 0,
  'umol/m2/s': 0,
  'mol/m2': 1,
  'g/m3': 1,
  K: 1,
  'kPa/K': 3,
  W: 1,
  mm: 1,
  'mm/h': 1,
  '1': 0,
};

const formatters = new Map<string, Intl.NumberFormat>();

/** The unit as people write it; an unknown code is shown as it is. */
export function unitText(unit: string): string {
  return Object.prototype.hasOwnProperty.call(UNITS, unit) ? (UNITS[unit] ?? unit) : unit;
}

/** Decimals to show: what the sensor resolves, but not more than is useful for the unit. */
export function shownDecimals(unit: string, decimals: number): number {
  const useful = SHOWN_DECIMALS[unit] ?? 2;
  return Math.min(Math.max(0, Math.min(decimals, 6)), useful);
}

export function number(value: number, decimals: number, language: Language): string {
  const key = `${language}:${decimals}`;
  let formatter = formatters.get(key);
  if (!formatter) {
    formatter = new Intl.NumberFormat(LOCALE[language], {
      minimumFractionDigits: decimals,
      maximumFractionDigits: decimals,
    });
    formatters.set(key, formatter);
  }
  const text = formatter.format(value);
  // A value that rounds to zero has no sign.
  return /^-0([.,]0+)?$/.test(text) ? text.slice(1) : text;
}

/** Number and unit, "31,2 °C". */
export function quantity(value: number, unit: string, decimals: number, language: Language): string {
  const shown = number(value, shownDecimals(unit, decimals), language);
  const suffix = unitText(unit);
  return suffix === '' ? shown : `${shown}${NBSP}${suffix}`;
}

export interface LocalTime {
  year: string;
  month: string;
  day: string;
  hour: string;
  minute: string;
  second: string;
}

const parts = new Intl.DateTimeFormat('en-GB', {
  timeZone: TIME_ZONE,
  hourCycle: 'h23',
  year: 'numeric',
  month: '2-digit',
  day: '2-digit',
  hour: '2-digit',
  minute: '2-digit',
  second: '2-digit',
});

/** The parts of a moment in greenhouse time, two digits each. */
export function localTime(ms: number): LocalTime {
  const found: LocalTime = { year: '', month: '', day: '', hour: '', minute: '', second: '' };
  for (const { type, value } of parts.formatToParts(ms)) {
    if (type in found) found[type as keyof LocalTime] = value;
  }
  return found;
}

/** "14:03" */
export function clock(ms: number): string {
  const t = localTime(ms);
  return `${t.hour}:${t.minute}`;
}

/** "14:03:27" */
export function clockSeconds(ms: number): string {
  const t = localTime(ms);
  return `${t.hour}:${t.minute}:${t.second}`;
}

/** "05/06" */
export function day(ms: number): string {
  const t = localTime(ms);
  return `${t.day}/${t.month}`;
}

/** "14:03" on the same day, "14:03 05/06" in the same year, "14:03 05/06/2024" otherwise. */
export function moment(ms: number, now: number): string {
  const t = localTime(ms);
  const today = localTime(now);
  const hours = `${t.hour}:${t.minute}`;
  if (t.year !== today.year) return `${hours} ${t.day}/${t.month}/${t.year}`;
  if (t.month !== today.month || t.day !== today.day) return `${hours} ${t.day}/${t.month}`;
  return hours;
}

interface Scaled {
  count: number;
  unit: 'seconds' | 'minutes' | 'hours' | 'days';
}

/** Seconds to 90 s, minutes to 90 min, hours to 48 h, then days: coarse enough to read at a glance. */
function scaled(ms: number): Scaled {
  const seconds = Math.floor(ms / SECOND_MS);
  if (seconds < 90) return { count: seconds, unit: 'seconds' };
  const minutes = Math.floor(ms / MINUTE_MS);
  if (minutes < 90) return { count: minutes, unit: 'minutes' };
  const hours = Math.floor(ms / HOUR_MS);
  if (hours < 48) return { count: hours, unit: 'hours' };
  return { count: Math.floor(ms / DAY_MS), unit: 'days' };
}

/** "12 giây trước"; a time ahead of `now` (a clock that is a little off) counts as now. */
export function age(ms: number, text: Dictionary, language: Language): string {
  const { count, unit } = scaled(Math.max(0, ms));
  if (unit === 'seconds' && count < 2) return text.age.now;
  return text.age[unit](number(count, 0, language));
}

/** "12 giây": how long something took or has lasted. */
export function length(ms: number, text: Dictionary, language: Language): string {
  const { count, unit } = scaled(Math.max(0, ms));
  return text.length[unit](number(count, 0, language));
}

/** How long a valve was open: whole minutes with one decimal below ten, seconds below one minute. */
export function minutes(ms: number, text: Dictionary, language: Language): string {
  if (ms < MINUTE_MS) return text.length.seconds(number(Math.round(ms / SECOND_MS), 0, language));
  const value = ms / MINUTE_MS;
  const whole = value >= 10 || Math.abs(value - Math.round(value)) < 0.05;
  return text.length.minutes(number(value, whole ? 0 : 1, language));
}

/** Litres: decimals only where they are few. */
export function litres(value: number, language: Language): string {
  return `${number(value, value < 100 ? 1 : 0, language)}${NBSP}L`;
}

/** Names the day a moment belongs to: today, yesterday, or dd/mm. */
export function dayTitle(ms: number, now: number, text: Dictionary): string {
  const of = day(ms);
  if (of === day(now) && Math.abs(now - ms) < 2 * DAY_MS) return text.events.today;
  if (of === day(now - DAY_MS) && Math.abs(now - ms) < 3 * DAY_MS) return text.events.yesterday;
  const t = localTime(ms);
  return t.year === localTime(now).year ? of : `${of}/${t.year}`;
}

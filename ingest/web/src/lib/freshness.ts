/**
 * Decides how a reading may be shown: as a current value, as one to distrust, or not as a value
 * at all. The rule of the page: a number that failed or grew old is never shown as if it were new.
 */

import { SECOND_MS } from './format';
import type { LastGood, Latest, LiveReading, Quality } from './types';
import { QUALITIES } from './types';

/** A reading may miss this many of its intervals before it counts as silent. */
const MISSED_INTERVALS = 3;
/** Fast channels get at least this long, since readings arrive in groups. */
const SILENT_MS_MIN = 30 * SECOND_MS;
/** A delivery may be late by half of the usual spacing. */
const DELIVERIES_MISSED = 1.5;

type BadQuality = Exclude<Quality, 'good'>;

export type Shown =
  /** A fresh, good value. */
  | { state: 'good'; value: number; ageMs: number }
  /** A fresh value that the gateway does not trust. */
  | { state: 'distrusted'; value: number; reason: BadQuality; ageMs: number; lastGood: LastGood | null }
  /** No current value. `silent`, `offline`: nothing arrived in time, whatever the last quality was. */
  | { state: 'none'; reason: BadQuality | 'silent' | 'offline'; ageMs: number; lastGood: LastGood | null };

/** What must be known beside the reading itself. */
export interface ShowContext {
  /** Whether the gateway is connected. */
  online: boolean;
  /** How often readings of this greenhouse arrive, in milliseconds. */
  deliveryMs: number;
}

/**
 * Age above which a reading no longer counts as current, in milliseconds: three intervals, at
 * least 30 s. A gateway that sends less often than that, to save mobile data, gets one and a half
 * of its usual spacings while it is online, or every value would turn stale before the next could
 * arrive.
 */
export function silentAfterMs(intervalMs: number, { online, deliveryMs }: ShowContext): number {
  const delivery = deliveryMs * DELIVERIES_MISSED + intervalMs;
  return Math.max(SILENT_MS_MIN, MISSED_INTERVALS * intervalMs, online ? delivery : 0);
}

export function show(latest: Latest, now: number, context: ShowContext): Shown {
  const ageMs = Math.max(0, now - latest.time_ms);
  const good = latest.quality === 'good' && latest.value !== null;
  const lastGood = good && latest.value !== null ? { time_ms: latest.time_ms, value: latest.value } : latest.last_good;
  if (ageMs > silentAfterMs(latest.interval_ms, context)) {
    return { state: 'none', reason: context.online ? 'silent' : 'offline', ageMs, lastGood };
  }
  if (latest.value === null) {
    const reason = latest.quality === 'good' ? 'failed' : latest.quality;
    return { state: 'none', reason, ageMs, lastGood };
  }
  switch (latest.quality) {
    case 'good':
      return { state: 'good', value: latest.value, ageMs };
    case 'failed':
    case 'stale':
      return { state: 'none', reason: latest.quality, ageMs, lastGood };
    case 'out_of_range':
    case 'stuck':
    case 'spike':
    case 'suspect':
      return { state: 'distrusted', value: latest.value, reason: latest.quality, ageMs, lastGood };
  }
}

/**
 * The latest state after one live reading. A reading older than the one at hand comes from a
 * backlog and changes nothing but, if it is good and newer, the last good value.
 */
export function afterReading(latest: Latest, reading: LiveReading): Latest {
  const good = reading.quality === 'good' && reading.value !== null;
  const newerGood = good && reading.value !== null && (latest.last_good === null || reading.time_ms >= latest.last_good.time_ms);
  const last_good = newerGood && reading.value !== null ? { time_ms: reading.time_ms, value: reading.value } : latest.last_good;
  if (reading.time_ms < latest.time_ms) {
    return last_good === latest.last_good ? latest : { ...latest, last_good };
  }
  return { ...latest, time_ms: reading.time_ms, value: reading.value, quality: reading.quality, last_good };
}

/**
 * Reads a message of live readings: one reading, a list of them, or `{greenhouse, readings}`.
 * What is not a reading is left out and counted.
 */
export function parseReadings(data: string): { readings: LiveReading[]; malformed: number } {
  let found: unknown;
  try {
    found = JSON.parse(data);
  } catch {
    return { readings: [], malformed: 1 };
  }
  const { items, greenhouse } = unwrap(found);
  const readings = items.flatMap((item) => parseReading(item, greenhouse) ?? []);
  return { readings, malformed: items.length - readings.length };
}

function unwrap(found: unknown): { items: unknown[]; greenhouse: unknown } {
  if (Array.isArray(found)) return { items: found, greenhouse: undefined };
  if (typeof found === 'object' && found !== null && 'readings' in found && Array.isArray(found.readings)) {
    return { items: found.readings, greenhouse: 'greenhouse' in found ? found.greenhouse : undefined };
  }
  return { items: [found], greenhouse: undefined };
}

function parseReading(found: unknown, house: unknown): LiveReading | null {
  if (typeof found !== 'object' || found === null) return null;
  const { greenhouse = house, device, channel, time_ms, value = null, quality } = found as Record<string, unknown>;
  if (typeof greenhouse !== 'string' || typeof device !== 'string' || typeof channel !== 'string') return null;
  if (typeof time_ms !== 'number' || !Number.isFinite(time_ms)) return null;
  if (value !== null && (typeof value !== 'number' || !Number.isFinite(value))) return null;
  const known = QUALITIES.find((q) => q === quality);
  return known ? { greenhouse, device, channel, time_ms, value, quality: known } : null;
}

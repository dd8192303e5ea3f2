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

export type Shown =
  /** A fresh, good value. */
  | { state: 'good'; value: number; ageMs: number }
  /** A fresh value that the gateway does not trust. */
  | { state: 'distrusted'; value: number; reason: Quality; ageMs: number; lastGood: LastGood | null }
  /** No current value. `silent`: nothing arrived in time, whatever the last quality was. */
  | { state: 'none'; reason: Quality | 'silent'; ageMs: number; lastGood: LastGood | null };

/** Age above which a reading no longer counts as current, in milliseconds. */
export function silentAfterMs(intervalMs: number): number {
  return Math.max(SILENT_MS_MIN, MISSED_INTERVALS * intervalMs);
}

export function show(latest: Latest, now: number): Shown {
  const ageMs = Math.max(0, now - latest.time_ms);
  const good = latest.quality === 'good' && latest.value !== null;
  const lastGood = good && latest.value !== null ? { time_ms: latest.time_ms, value: latest.value } : latest.last_good;
  if (ageMs > silentAfterMs(latest.interval_ms)) {
    return { state: 'none', reason: 'silent', ageMs, lastGood };
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

/** Reads one live reading; `null` if it is not one. */
export function parseReading(data: string): LiveReading | null {
  let found: unknown;
  try {
    found = JSON.parse(data);
  } catch {
    return null;
  }
  if (typeof found !== 'object' || found === null) return null;
  const { greenhouse, device, channel, time_ms, value, quality } = found as Record<string, unknown>;
  if (typeof greenhouse !== 'string' || typeof device !== 'string' || typeof channel !== 'string') return null;
  if (typeof time_ms !== 'number' || !Number.isFinite(time_ms)) return null;
  if (value !== null && (typeof value !== 'number' || !Number.isFinite(value))) return null;
  const known = QUALITIES.find((q) => q === quality);
  return known ? { greenhouse, device, channel, time_ms, value, quality: known } : null;
}

/**
 * Learns how often readings of a greenhouse arrive. A gateway sends in groups, every few seconds
 * or every few minutes, and the API does not say which. Pure.
 */

import { MINUTE_MS, SECOND_MS } from './format';

/**
 * Spacings remembered. The longest but one counts: urgent readings come between the regular ones
 * and must not make those look late, and a single outage must not make the page patient.
 */
const REMEMBERED = 6;
/** With fewer than this an outage can't be told from the usual. */
const ENOUGH = 3;
/** Readings closer together than this belong to one delivery. */
const GROUP_MS = SECOND_MS;
/** `send_interval` of the shipped gateway configuration. */
const SHIPPED_MS = MINUTE_MS;
/** No gateway is meant to be slower than this; above it, readings are late. */
const SPACING_MS_MAX = 10 * MINUTE_MS;

export interface Cadence {
  readonly lastAt: number | null;
  readonly spacings: readonly number[];
}

export const NO_CADENCE: Cadence = { lastAt: null, spacings: [] };

/** The cadence after readings arrived at `now`. */
export function arrived(cadence: Cadence, now: number): Cadence {
  if (cadence.lastAt === null || now < cadence.lastAt) return { ...cadence, lastAt: now };
  const spacing = now - cadence.lastAt;
  if (spacing < GROUP_MS) return cadence;
  return { lastAt: now, spacings: [...cadence.spacings, Math.min(spacing, SPACING_MS_MAX)].slice(-REMEMBERED) };
}

/** The usual spacing in milliseconds; until it is known, that of a gateway as it is shipped. */
export function usualMs({ spacings }: Cadence): number {
  const longest = [...spacings].sort((a, b) => b - a);
  return longest[longest.length < ENOUGH ? 0 : 1] ?? SHIPPED_MS;
}

/** Cadences as they were kept: `{"greenhouse": [spacing, …]}`. What is not that is left out. */
export function recalled(kept: string): Map<string, Cadence> {
  const found: unknown = JSON.parse(kept);
  if (typeof found !== 'object' || found === null) return new Map();
  const plausible = (ms: unknown): ms is number => typeof ms === 'number' && ms >= GROUP_MS && ms <= SPACING_MS_MAX;
  return new Map(
    Object.entries(found).flatMap(([id, spacings]): [string, Cadence][] =>
      Array.isArray(spacings) && spacings.every(plausible) ? [[id, { lastAt: null, spacings: spacings.slice(-REMEMBERED) }]] : [],
    ),
  );
}

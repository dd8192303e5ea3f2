/** The visible stretch of time: zooming, panning, and following the present. Pure. */

import { DAY_MS, HOUR_MS, MINUTE_MS } from '../format';

export interface View {
  from: number;
  to: number;
  /** The right edge is the present and moves with it. */
  following: boolean;
}

export const RANGES = { '6h': 6 * HOUR_MS, '24h': 24 * HOUR_MS, '7d': 7 * DAY_MS, '30d': 30 * DAY_MS } as const;
export type RangeName = keyof typeof RANGES;
export const RANGE_NAMES = Object.keys(RANGES) as RangeName[];

export const SPAN_MS_MIN = 2 * MINUTE_MS;
export const SPAN_MS_MAX = 400 * DAY_MS;
/** A right edge this close to the present, as a share of the span, sticks to it. */
const STICKY = 0.01;

export function presetView(range: RangeName, now: number): View {
  return { from: now - RANGES[range], to: now, following: true };
}

/** Brings a stretch within the limits: not too short, not too long, not beyond the present. */
export function clampView(from: number, to: number, now: number): View {
  const span = Math.min(SPAN_MS_MAX, Math.max(SPAN_MS_MIN, to - from));
  const middle = (from + to) / 2;
  let right = middle + span / 2;
  const following = right >= now - span * STICKY;
  if (following) right = now;
  return { from: right - span, to: right, following };
}

/** Zooms by `factor` (below 1: closer) keeping the moment `at` under the finger. */
export function zoomView(view: View, factor: number, at: number, now: number): View {
  const span = view.to - view.from;
  const wanted = Math.min(SPAN_MS_MAX, Math.max(SPAN_MS_MIN, span * factor));
  const share = (at - view.from) / span;
  const from = at - wanted * share;
  return clampView(from, from + wanted, now);
}

export function panView(view: View, byMs: number, now: number): View {
  return clampView(view.from + byMs, view.to + byMs, now);
}

/** Moves a following view to the present; any other stays where it is. */
export function advance(view: View, now: number): View {
  return view.following ? { from: view.from + (now - view.to), to: now, following: true } : view;
}

/** How many points to ask for: about one per pixel, within what the server likes to answer. */
export function pointsFor(widthPx: number): number {
  return Math.min(2000, Math.max(200, Math.round(widthPx)));
}

/** The stretch to ask for: somewhat more than is visible, so that a small swipe shows data at once. */
export function fetchRange(view: View, now: number): { from: number; to: number } {
  const margin = (view.to - view.from) * 0.25;
  return { from: Math.floor(view.from - margin), to: Math.ceil(Math.min(now + MINUTE_MS, view.to + margin)) };
}

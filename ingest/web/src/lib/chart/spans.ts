/** Stretches of time that the chart shades: watering runs and alerts. Pure. */

import { HOUR_MS } from '../format';
import { seriesKey, type Alert, type FarmEvent } from '../types';

export interface Span {
  from: number;
  to: number;
  kind: 'watering' | 'pending' | 'warning' | 'critical';
}

/** A run whose end never arrived is taken to last no longer than this. */
const RUN_MS_MAX = 2 * HOUR_MS;

/**
 * Watering runs. A start and an end belong together by zone and run number; an end alone tells
 * its start by how long the valve was open. A start without an end is a run that still lasts,
 * unless the gateway restarted after it.
 */
export function wateringSpans(events: readonly FarmEvent[], now: number): Span[] {
  const spans: Span[] = [];
  const open = new Map<string, number>();
  const close = (started: number, to: number): void => {
    spans.push({ from: started, to: Math.max(started, to), kind: 'watering' });
  };
  for (const event of [...events].sort((a, b) => a.time_ms - b.time_ms)) {
    const key = `${event.zone ?? ''}/${event.run ?? ''}`;
    switch (event.kind) {
      case 'run_started':
        open.set(key, event.time_ms);
        break;
      case 'run_ended': {
        const started = open.get(key) ?? event.time_ms - (event.open_ms ?? 0);
        open.delete(key);
        close(started, event.time_ms);
        break;
      }
      case 'gateway_started':
        for (const started of open.values()) close(started, Math.min(event.time_ms, started + RUN_MS_MAX));
        open.clear();
        break;
      case 'device_fault':
      case 'device_recovered':
      case 'lockout':
        break;
    }
  }
  for (const started of open.values()) close(started, Math.min(now, started + RUN_MS_MAX));
  return spans.sort((a, b) => a.from - b.from);
}

/** Zones that are being watered now: a start without an end, not older than a run can be. */
export function wateringNow(events: readonly FarmEvent[], now: number): string[] {
  const last = new Map<string, FarmEvent>();
  for (const event of [...events].sort((a, b) => a.time_ms - b.time_ms)) {
    if (event.kind === 'gateway_started') last.clear();
    if ((event.kind === 'run_started' || event.kind === 'run_ended') && event.zone !== null) last.set(event.zone, event);
  }
  return [...last]
    .filter(([, event]) => event.kind === 'run_started' && now - event.time_ms < RUN_MS_MAX)
    .map(([zone]) => zone);
}

/** Alerts of the given channels, and those that concern no channel. */
export function alertSpans(alerts: readonly Alert[], shown: ReadonlySet<string>, now: number): Span[] {
  const channels = new Set([...shown].map((key) => key.slice(key.indexOf('/') + 1)));
  return alerts
    .filter((a) => a.channel === null || (a.device === null ? channels.has(a.channel) : shown.has(seriesKey({ device: a.device, channel: a.channel }))))
    .map((a) => ({ from: a.started_ms, to: Math.max(a.started_ms, a.ended_ms ?? now), kind: spanKind(a) }));
}

function spanKind(alert: Alert): Span['kind'] {
  if (alert.state === 'pending') return 'pending';
  return alert.severity === 'critical' ? 'critical' : 'warning';
}

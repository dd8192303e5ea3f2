/** What the HTTP API answers. Times are Unix milliseconds; units are UCUM/SenML codes. */

export interface Cooperative {
  id: string;
  name: string;
}

export interface Gateway {
  id: string;
  online: boolean;
  last_seen_ms: number | null;
  waiting_readings: number | null;
  lost_readings: number | null;
}

export interface Zone {
  id: string;
  name: string;
}

export interface Greenhouse {
  id: string;
  name: string;
  gateway: Gateway | null;
  zones: Zone[];
}

export interface Channel {
  device: string;
  device_name: string;
  channel: string;
  /** Given on the gateway; empty where none is. */
  channel_name: string;
  unit: string;
  decimals: number;
  interval_ms: number;
}

export const QUALITIES = ['good', 'failed', 'stale', 'out_of_range', 'stuck', 'spike', 'suspect'] as const;
export type Quality = (typeof QUALITIES)[number];

export interface LastGood {
  time_ms: number;
  value: number;
}

export interface Latest {
  device: string;
  channel: string;
  /** Given on the gateway; empty where none is. */
  channel_name: string;
  unit: string;
  decimals: number;
  interval_ms: number;
  time_ms: number;
  value: number | null;
  quality: Quality;
  last_good: LastGood | null;
}

/** `[time, lowest, mean, highest, number of readings]` of one bucket, or of one reading. */
export type Point = [number, number | null, number | null, number | null, number];

export interface Series {
  unit: string;
  decimals: number;
  from_ms: number;
  to_ms: number;
  /** 0: every point is one reading. */
  bucket_ms: number;
  points: Point[];
}

export type EventKindName =
  | 'run_started'
  | 'run_ended'
  | 'gateway_started'
  | 'device_fault'
  | 'device_recovered'
  | 'lockout'
  | 'calibrated'
  | 'decision'
  | 'alarm'
  | 'flow_learnt'
  | 'held'
  | 'reset'
  | 'ordered'
  | 'alarm_raised'
  | 'alarm_silenced'
  | 'alarm_resolved';

export interface FarmEvent {
  time_ms: number;
  kind: EventKindName;
  zone: string | null;
  device: string | null;
  run: number | null;
  cause: string | null;
  open_ms: number | null;
  litres: number | null;
  reason: string | null;
  text: string | null;
}

export interface Gap {
  gateway: string;
  stream: string;
  from_seq: number;
  to_seq: number;
  /** Null where nobody counted: the gateway did not tell of a loss. */
  readings: number | null;
  since_ms: number;
  /** `waiting`: the gateway still holds them; anything else: they are gone. */
  reason: string;
}

export type AlertState = 'pending' | 'firing' | 'resolved';

export interface Alert {
  id: string;
  rule: string;
  severity: string;
  device: string | null;
  channel: string | null;
  state: AlertState;
  started_ms: number;
  ended_ms: number | null;
  value: number | null;
  limit: number | null;
}

/** One reading of the live stream. */
export interface LiveReading {
  greenhouse: string;
  device: string;
  channel: string;
  time_ms: number;
  value: number | null;
  quality: Quality;
}

/** A series within one greenhouse, as a key for maps and lists. */
export const seriesKey = (of: { device: string; channel: string }): string => `${of.device}/${of.channel}`;

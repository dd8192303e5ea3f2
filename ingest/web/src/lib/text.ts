/** Sentences made of several facts: one reading, one alert, one event. Pure. */

import { known, type Dictionary, type Language } from './dictionary';
import { clock, litres, minutes, quantity } from './format';
import type { Alert, Channel, FarmEvent, Zone } from './types';

/** What is needed to write a sentence. */
export interface Words {
  text: Dictionary;
  language: Language;
}

/** The name given on the gateway if there is one, else that of the quantity, else the id. */
export const channelName = (channel: string, given: string, { text }: Words): string => given || known(text.channel, channel);

/** The name given on the gateway if there is one, else a known one, else the id. */
export function deviceName(device: string, given: string | undefined, { text }: Words): string {
  return given && given !== device ? given : known(text.device, device);
}

export function zoneName(id: string | null, zones: readonly Zone[]): string {
  if (id === null) return '';
  return zones.find((z) => z.id === id)?.name || id;
}

/** The valves of a bit mask by name: bit 0 is the first zone. */
export function openZones(mask: number, zones: readonly Zone[], { text }: Words): string {
  const names: string[] = [];
  const bits = Math.max(0, Math.floor(mask));
  for (let bit = 0; bit < 31; bit += 1) {
    if ((bits >> bit) & 1) names.push(zones[bit]?.name || text.values.zoneNumber(String(bit + 1)));
  }
  return names.length === 0 ? text.values.zonesClosed : names.join(', ');
}

/** What an alert is about: its known rule, or the quantity it watches. */
export function alertTitle(alert: Alert, words: Words): string {
  const rule = known(words.text.alerts.rule, alert.rule);
  if (alert.channel === null) return rule;
  const channel = channelName(alert.channel, '', words);
  return rule === alert.rule ? channel : `${rule}: ${lowerFirst(channel)}`;
}

/** "Nhiệt độ" → "nhiệt độ" within a sentence; "CO₂" stays. */
function lowerFirst(name: string): string {
  const rest = name.slice(1);
  return rest === rest.toUpperCase() ? name : name.charAt(0).toLocaleLowerCase() + rest;
}

/** Value and limit, "36,2 °C · ngưỡng 35,0 °C", as far as they are known. */
export function alertDetail(alert: Alert, channel: Channel | undefined, words: Words): string {
  const of = (value: number): string => quantity(value, channel?.unit ?? '1', channel?.decimals ?? 1, words.language);
  const value = alert.value !== null ? of(alert.value) : alert.channel !== null ? words.text.alerts.absent : '';
  const limit = alert.limit !== null ? words.text.alerts.limit(of(alert.limit)) : '';
  return [value, limit].filter((part) => part !== '').join(' · ');
}

export interface EventText {
  title: string;
  detail: string;
}

export function eventText(event: FarmEvent, zones: readonly Zone[], words: Words): EventText {
  const { text, language } = words;
  const zone = zoneName(event.zone, zones);
  const cause = event.cause === null ? '' : known(text.events.cause, event.cause);
  const note = event.text ?? '';
  const device = event.device === null ? '' : deviceName(event.device, undefined, words);
  const reason = event.reason === null ? '' : known(text.events.reason, event.reason);
  const title = (name: string): string => [name, device, zone].filter((part) => part !== '').join(' · ');
  const detail = (...found: string[]): string => found.filter((part) => part !== '').join(' · ');
  switch (event.kind) {
    case 'run_started':
      return { title: title(text.events.kind.run_started), detail: detail(cause, note) };
    case 'run_ended': {
      const whole = event.reason === null || event.reason === 'completed';
      const water = event.litres === null ? '' : litres(event.litres, language);
      const open = event.open_ms === null ? '' : text.events.openFor(minutes(event.open_ms, text, language));
      return {
        title: title(whole ? text.events.kind.run_ended : text.events.wateredStopped),
        detail: detail(water, open, cause, whole ? '' : reason, note),
      };
    }
    case 'gateway_started':
      return { title: text.events.kind.gateway_started, detail: detail(reason, note === '' ? '' : text.events.version(note)) };
    case 'device_fault':
    case 'device_recovered':
    case 'lockout':
    case 'calibrated':
    case 'alarm':
      return { title: title(text.events.kind[event.kind]), detail: detail(note, reason) };
    case 'decision':
    case 'held':
    case 'reset':
    case 'ordered':
      return { title: title(text.events.kind[event.kind]), detail: detail(cause, reason, note) };
    case 'alarm_raised':
      return { title: title(text.events.kind.alarm_raised), detail: detail(note, reason) };
    case 'alarm_silenced':
    case 'alarm_resolved': {
      const length = event.open_ms === null ? '' : minutes(event.open_ms, text, language);
      return { title: title(text.events.kind[event.kind]), detail: detail(event.cause ?? '', length, reason) };
    }
    case 'flow_learnt':
      return { title: title(text.events.kind.flow_learnt), detail: event.litres === null ? '' : `${litres(event.litres, language)}/h` };
    default:
      // A newer server may know kinds that this page does not.
      return { title: title(event.kind), detail: detail(note, reason) };
  }
}

/** "14:03" for lists under a day's title. */
export const eventTime = (event: FarmEvent): string => clock(event.time_ms);

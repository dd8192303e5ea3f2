/**
 * Answers the HTTP API with made-up data, so that the page can be tried without ingest.
 *
 * The token is "demo". `POST /api/mock {"live":false}` cuts the live stream and refuses new ones,
 * `{"readings":false}` stops readings but keeps the stream, `{"broken":true}` answers 503.
 */

import type { IncomingMessage, ServerResponse } from 'node:http';
import * as farm from './farm-data.ts';

type Handler = (request: IncomingMessage, response: ServerResponse, next: () => void) => void;

const TOKEN = 'demo';
const LIVE_EVERY_MS = 10_000;
const KEEP_ALIVE_MS = 15_000;
const BODY_CHARS_MAX = 10_000;

interface Switches {
  live: boolean;
  readings: boolean;
  broken: boolean;
}

export function createMock(): Handler {
  const switches: Switches = { live: true, readings: true, broken: false };
  const clients = new Set<ServerResponse>();
  setInterval(() => sendLive(clients, switches), LIVE_EVERY_MS).unref();
  setInterval(() => clients.forEach((c) => c.write(': keep-alive\n\n')), KEEP_ALIVE_MS).unref();

  return (request, response, next) => {
    const url = new URL(request.url ?? '/', 'http://localhost');
    if (!url.pathname.startsWith('/api/')) return next();
    void answer(request, response, url, switches, clients);
  };
}

async function answer(request: IncomingMessage, response: ServerResponse, url: URL, switches: Switches, clients: Set<ServerResponse>): Promise<void> {
  const path = url.pathname.replace(/^\/api\/(v1\/)?/, '').split('/').map(decodeURIComponent);
  if (path[0] === 'mock') {
    Object.assign(switches, await body(request));
    if (!switches.live) clients.forEach((c) => c.end());
    return json(response, 200, switches);
  }
  if (switches.broken) return json(response, 503, { error: 'the archive is not ready' });
  if (path[0] === 'login') return login(request, response);
  if (path[0] === 'logout') {
    response.setHeader('Set-Cookie', 'furrow_token=; Path=/; Max-Age=0');
    return json(response, 200, {});
  }
  if (!request.headers.cookie?.includes(`furrow_token=${TOKEN}`)) return json(response, 401, { error: 'no token' });
  const [, cooperative, what, greenhouse, ...rest] = path;
  if (cooperative === undefined) return json(response, 200, farm.COOPERATIVES);
  if (!farm.COOPERATIVES.some((c) => c.id === cooperative)) return json(response, 404, { error: 'no such cooperative' });
  if (what === 'live') return switches.live ? live(response, clients) : json(response, 503, { error: 'switched off' });
  if (what === 'gateways') return command(request, response, rest);
  if (what !== 'greenhouses') return json(response, 404, { error: 'no such resource' });
  if (greenhouse === undefined) return json(response, 200, farm.HOUSES.map(listed));
  const house = farm.HOUSES.find((h) => h.id === greenhouse);
  if (!house) return json(response, 404, { error: 'no such greenhouse' });
  return ofHouse(response, house, rest, url.searchParams);
}

/** Everything is accepted, except that a zone is stopped. */
async function command(request: IncomingMessage, response: ServerResponse, [what]: string[]): Promise<void> {
  if (what !== 'commands' || request.method !== 'POST') return json(response, 404, { error: 'no such resource' });
  const wish = (await body(request)) as { kind?: string };
  if (wish.kind === 'open_zone') return json(response, 200, { id: '0'.repeat(32), outcome: 'accepted', run: 1 });
  return json(response, 409, { error: 'no run of this zone', id: '0'.repeat(32), outcome: 'refused' });
}

function ofHouse(response: ServerResponse, house: farm.House, [what, device, channel]: string[], query: URLSearchParams): void {
  const now = Date.now();
  const [from, to] = [Number(query.get('from') ?? 0), Number(query.get('to') ?? now)];
  switch (what) {
    case 'channels':
      return json(response, 200, farm.CHANNELS);
    case 'latest':
      return json(response, 200, farm.latest(house, now));
    case 'events':
      return json(response, 200, farm.events(house, from, to, now));
    case 'alerts':
      return json(response, 200, farm.alerts(house, now));
    case 'gaps':
      return json(response, 200, farm.gaps(house, now));
    case 'series': {
      const found = farm.CHANNELS.find((c) => c.device === device && c.channel === channel);
      if (!found) return json(response, 404, { error: 'no such channel' });
      return json(response, 200, farm.series(house, found, from, to, Number(query.get('points') ?? 500), now));
    }
    default:
      return json(response, 404, { error: 'no such resource' });
  }
}

function listed(house: farm.House, index: number): object {
  const offline = house.offlineForMs !== null;
  return {
    id: house.id,
    name: house.name,
    zones: house.zones,
    gateway: {
      id: `gw-0${index + 1}`,
      online: !offline,
      last_seen_ms: Date.now() - (house.offlineForMs ?? 4_000),
      waiting_readings: offline ? 12_804 : 0,
      lost_readings: index === 0 ? 5_220 : 0,
    },
  };
}

async function login(request: IncomingMessage, response: ServerResponse): Promise<void> {
  const { token } = (await body(request)) as { token?: string };
  if (token !== TOKEN) return json(response, 401, { error: 'unknown token' });
  response.setHeader('Set-Cookie', `furrow_token=${TOKEN}; Path=/; HttpOnly; SameSite=Strict`);
  return json(response, 200, { cooperatives: farm.COOPERATIVES });
}

function live(response: ServerResponse, clients: Set<ServerResponse>): void {
  response.writeHead(200, { 'Content-Type': 'text/event-stream', 'Cache-Control': 'no-store' });
  response.write(': hello\n\n');
  clients.add(response);
  response.on('close', () => clients.delete(response));
}

function sendLive(clients: Set<ServerResponse>, switches: Switches): void {
  if (!switches.readings || clients.size === 0) return;
  const now = Math.floor(Date.now() / LIVE_EVERY_MS) * LIVE_EVERY_MS;
  const text = farm.HOUSES.flatMap((house) => farm.liveReadings(house, now))
    .map((reading) => `event: reading\ndata: ${JSON.stringify(reading)}\n\n`)
    .join('');
  clients.forEach((c) => c.write(text));
}

function json(response: ServerResponse, status: number, value: unknown): void {
  response.writeHead(status, { 'Content-Type': 'application/json', 'Cache-Control': 'no-store' });
  response.end(JSON.stringify(value));
}

async function body(request: IncomingMessage): Promise<unknown> {
  let text = '';
  for await (const chunk of request) {
    text += String(chunk);
    if (text.length > BODY_CHARS_MAX) throw new Error('body too long');
  }
  return text === '' ? {} : (JSON.parse(text) as unknown);
}

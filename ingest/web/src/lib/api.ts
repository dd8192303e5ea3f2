/** Requests to the HTTP API. Every failure is an `ApiError` that says which kind it is. */

import type { Wish } from './command';
import { offsetMs } from './server-clock';
import type { Alert, Channel, Cooperative, FarmEvent, Gap, Greenhouse, Latest, Series } from './types';

export type Failure = 'network' | 'timeout' | 'unauthorised' | 'not_found' | 'server' | 'data';

export class ApiError extends Error {
  constructor(
    readonly failure: Failure,
    readonly status: number,
    message: string,
  ) {
    super(message);
  }
}

/** A phone at the edge of the network gets this long before the page offers to try again. */
const TIMEOUT_MS = 20_000;
/** A command is waited for longer than the server waits, twice, for the gateway's answer. */
const COMMAND_TIMEOUT_MS = 40_000;

/** Told of each answer how far this device's clock is from the server's, in milliseconds. */
let onOffset: (ms: number) => void = () => undefined;
/** Told when the server no longer accepts the token. */
let onUnauthorised: () => void = () => undefined;

export function listen(handlers: { offset: (ms: number) => void; unauthorised: () => void }): void {
  onOffset = handlers.offset;
  onUnauthorised = handlers.unauthorised;
}

interface Ask {
  method?: 'GET' | 'POST';
  body?: unknown;
  signal?: AbortSignal | undefined;
  timeoutMs?: number;
}

/** Sends a request; a request that its caller aborted rejects with the `AbortError` of `fetch`. */
async function ask<T>(path: string, { method = 'GET', body, signal, timeoutMs = TIMEOUT_MS }: Ask = {}): Promise<T> {
  const abort = new AbortController();
  let timedOut = false;
  const timer = setTimeout(() => {
    timedOut = true;
    abort.abort();
  }, timeoutMs);
  const forward = (): void => abort.abort();
  signal?.addEventListener('abort', forward);
  if (signal?.aborted) abort.abort();
  const sentAt = Date.now();
  try {
    const response = await fetch(`/api/v1/${path}`, {
      method,
      signal: abort.signal,
      credentials: 'same-origin',
      cache: 'no-store',
      headers: body === undefined ? { Accept: 'application/json' } : { Accept: 'application/json', 'Content-Type': 'application/json' },
      ...(body === undefined ? {} : { body: JSON.stringify(body) }),
    });
    const offset = offsetMs(response.headers.get('Date'), sentAt, Date.now());
    if (offset !== null) onOffset(offset);
    if (!response.ok) throw await failed(response);
    const text = await response.text();
    return (text === '' ? null : JSON.parse(text)) as T;
  } catch (error) {
    if (error instanceof ApiError || signal?.aborted) throw error;
    if (timedOut) throw new ApiError('timeout', 0, 'no answer in time');
    if (error instanceof SyntaxError) throw new ApiError('data', 200, error.message);
    throw new ApiError('network', 0, String(error));
  } finally {
    clearTimeout(timer);
    signal?.removeEventListener('abort', forward);
  }
}

async function failed(response: Response): Promise<ApiError> {
  const message = await response.text().catch(() => '');
  if (response.status === 401) return new ApiError('unauthorised', 401, message);
  if (response.status === 404) return new ApiError('not_found', 404, message);
  return new ApiError('server', response.status, message);
}

/** Like `ask`, for everything behind the login. */
async function get<T>(path: string, signal?: AbortSignal): Promise<T> {
  return behindLogin<T>(path, { signal });
}

async function behindLogin<T>(path: string, how: Ask): Promise<T> {
  try {
    return await ask<T>(path, how);
  } catch (error) {
    if (error instanceof ApiError && error.failure === 'unauthorised') onUnauthorised();
    throw error;
  }
}

const e = encodeURIComponent;
const house = (c: string, g: string): string => `cooperatives/${e(c)}/greenhouses/${e(g)}`;
const span = (from: number, to: number): string => `from=${Math.floor(from)}&to=${Math.ceil(to)}`;

export const login = (token: string): Promise<{ cooperatives: Cooperative[] }> =>
  ask('login', { method: 'POST', body: { token } });
export const logout = (): Promise<null> => ask('logout', { method: 'POST' });
/** Whether there is a session; the only request whose 401 is an answer and not a surprise. */
export const session = (): Promise<Cooperative[]> => ask('cooperatives');

export const greenhouses = (c: string, signal?: AbortSignal): Promise<Greenhouse[]> =>
  get(`cooperatives/${e(c)}/greenhouses`, signal);
export const channels = (c: string, g: string, signal?: AbortSignal): Promise<Channel[]> =>
  get(`${house(c, g)}/channels`, signal);
export const latest = (c: string, g: string, signal?: AbortSignal): Promise<Latest[]> => get(`${house(c, g)}/latest`, signal);
export const gaps = (c: string, g: string, signal?: AbortSignal): Promise<Gap[]> => get(`${house(c, g)}/gaps`, signal);
export const events = (c: string, g: string, from: number, to: number, signal?: AbortSignal): Promise<FarmEvent[]> =>
  get(`${house(c, g)}/events?${span(from, to)}`, signal);
export const alerts = (c: string, g: string, from: number, to: number, signal?: AbortSignal): Promise<Alert[]> =>
  get<Alert[]>(`${house(c, g)}/alerts?${span(from, to)}`, signal).then((alerts) =>
    // An alert about the gateway itself has neither; an empty name means the same.
    alerts.map((alert) => ({ ...alert, device: alert.device || null, channel: alert.channel || null })),
  );
export const series = (
  c: string,
  g: string,
  of: { device: string; channel: string },
  ask: { from: number; to: number; points: number },
  signal?: AbortSignal,
): Promise<Series> =>
  get(`${house(c, g)}/series/${e(of.device)}/${e(of.channel)}?${span(ask.from, ask.to)}&points=${ask.points}`, signal);

/** Has a gateway do something; resolves when it has accepted. */
export const command = (c: string, gateway: string, wish: Wish): Promise<{ id: string }> =>
  behindLogin(`cooperatives/${e(c)}/gateways/${e(gateway)}/commands`, { method: 'POST', body: wish, timeoutMs: COMMAND_TIMEOUT_MS });

export const liveUrl = (c: string): string => `/api/v1/cooperatives/${e(c)}/live`;

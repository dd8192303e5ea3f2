/** What may be asked of a zone from the page, and what became of it in words. */

import { ApiError } from './api';
import type { Dictionary } from './dictionary';
import { failureText } from './failure';

/** How long a zone may be watered from the page, in minutes; the gateway's own limits hold as well. */
export const WATER_MINUTES = [5, 10, 20, 30] as const;

export type Wish = { kind: 'open_zone'; zone: string; seconds: number } | { kind: 'stop_zone'; zone: string };

/** Says that the gateway does it. */
export function asksDone(wish: Wish, text: Dictionary): string {
  return wish.kind === 'open_zone' ? text.water.accepted(String(wish.seconds / 60)) : text.water.stopped;
}

/** Says why not. The reason of a refusal is the gateway's own, in its words. */
export function commandText(error: unknown, text: Dictionary): string {
  if (!(error instanceof ApiError) || error.failure === 'unauthorised' || error.failure === 'not_found') return failureText(error, text);
  switch (error.status) {
    case 409:
      return reasonOf(error.message).outcome === 'stale' ? text.water.stale : text.water.refused(reasonOf(error.message).error);
    case 429:
      return text.water.tooMany;
    case 503:
      return text.water.notSent;
    default:
      // Without an answer nobody knows: also when the network or the server gave none.
      return text.water.unknown;
  }
}

function reasonOf(body: string): { error: string; outcome: string } {
  try {
    const { error, outcome } = JSON.parse(body) as { error?: unknown; outcome?: unknown };
    return { error: typeof error === 'string' ? error : '', outcome: typeof outcome === 'string' ? outcome : '' };
  } catch {
    return { error: '', outcome: '' };
  }
}

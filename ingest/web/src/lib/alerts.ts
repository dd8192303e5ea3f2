/** What is known of alerts without showing them: order, and which still concern somebody. Pure. */

import type { Alert } from './types';

const STATE_ORDER = { firing: 0, pending: 1, resolved: 2 } as const;
const SEVERITY_ORDER: Readonly<Record<string, number>> = { critical: 0, warning: 1, info: 2 };

export const isActive = (alert: Alert): boolean => alert.state !== 'resolved';

/** Firing before pending before resolved, then the graver, then the newer. */
export function byUrgency(a: Alert, b: Alert): number {
  return (
    STATE_ORDER[a.state] - STATE_ORDER[b.state] ||
    (isActive(a) ? (SEVERITY_ORDER[a.severity] ?? 1) - (SEVERITY_ORDER[b.severity] ?? 1) : 0) ||
    b.started_ms - a.started_ms
  );
}

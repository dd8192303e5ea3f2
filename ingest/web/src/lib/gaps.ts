/** Tells readings that are gone for good from those that may still arrive. Pure. */

import type { Dictionary } from './dictionary';

export type LossReason = keyof Dictionary['gaps']['reason'];

const LOSS_REASONS: Readonly<Record<LossReason, true>> = { cap_reached: true, damaged: true, disk_full: true };

export const isLoss = (reason: string): reason is LossReason => Object.prototype.hasOwnProperty.call(LOSS_REASONS, reason);

/** Who is looking: nobody yet, nobody, or somebody with cooperatives. */

import * as api from './api';
import type { Cooperative } from './types';

export type SessionState =
  | { kind: 'checking' }
  | { kind: 'failed'; error: unknown }
  | { kind: 'anonymous'; expired: boolean }
  | { kind: 'open'; cooperatives: Cooperative[] };

class Session {
  state = $state.raw<SessionState>({ kind: 'checking' });

  async check(): Promise<void> {
    this.state = { kind: 'checking' };
    try {
      this.state = { kind: 'open', cooperatives: await api.session() };
    } catch (error) {
      const none = error instanceof api.ApiError && error.failure === 'unauthorised';
      this.state = none ? { kind: 'anonymous', expired: false } : { kind: 'failed', error };
    }
  }

  /** Rejects with the `ApiError` that the form shows. */
  async login(token: string): Promise<void> {
    const { cooperatives } = await api.login(token);
    this.state = { kind: 'open', cooperatives };
  }

  async logout(): Promise<void> {
    // Without network the cookie stays, but nothing is shown any more; it is tried, not awaited for ever.
    await api.logout().catch(() => undefined);
    this.state = { kind: 'anonymous', expired: false };
  }

  expire(): void {
    if (this.state.kind === 'open') this.state = { kind: 'anonymous', expired: true };
  }
}

export const session = new Session();

/** Turns a failed request into words. */

import { ApiError } from './api';
import type { Dictionary } from './dictionary';

export function failureText(error: unknown, text: Dictionary): string {
  if (!(error instanceof ApiError)) return text.error.data;
  switch (error.failure) {
    case 'network':
      return text.error.network;
    case 'timeout':
      return text.error.timeout;
    case 'not_found':
      return text.error.notFound;
    case 'unauthorised':
      return text.login.expired;
    case 'server':
      return text.error.server(String(error.status));
    case 'data':
      return text.error.data;
  }
}

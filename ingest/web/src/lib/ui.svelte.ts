/** What every view shares: language, the server's time as it ticks, and the address. */

import { dictionaries, type Dictionary, type Language } from './dictionary';
import { SECOND_MS } from './format';
import type { Words } from './text';

const LANGUAGE_KEY = 'furrow.language';

class Ui {
  language = $state<Language>(storedLanguage());
  readonly text: Dictionary = $derived(dictionaries[this.language]);
  readonly words: Words = $derived({ text: this.text, language: this.language });

  setLanguage(language: Language): void {
    this.language = language;
    document.documentElement.lang = language;
    try {
      localStorage.setItem(LANGUAGE_KEY, language);
    } catch {
      // A browser that stores nothing still switches for this visit.
    }
  }
}

function storedLanguage(): Language {
  try {
    return localStorage.getItem(LANGUAGE_KEY) === 'en' ? 'en' : 'vi';
  } catch {
    return 'vi';
  }
}

/** The server's time, once a second. */
class ServerTime {
  #offset = 0;
  now = $state(Date.now());

  /** The server's time at this moment, for requests and comparisons that can't wait a second. */
  exact(): number {
    return Date.now() + this.#offset;
  }

  setOffset(ms: number): void {
    this.#offset = ms;
    this.now = this.exact();
  }

  start(): () => void {
    const tick = (): void => {
      this.now = this.exact();
    };
    const timer = setInterval(tick, SECOND_MS);
    document.addEventListener('visibilitychange', tick);
    return () => {
      clearInterval(timer);
      document.removeEventListener('visibilitychange', tick);
    };
  }
}

export interface Route {
  cooperative: string | null;
  greenhouse: string | null;
}

/** `#/hoa-binh/nha-luoi-1`: in the fragment, so that any server can serve the page. */
export function parseRoute(hash: string): Route {
  const parts = hash.replace(/^#\/?/, '').split('/').filter((part) => part !== '');
  const decode = (part: string | undefined): string | null => {
    if (part === undefined) return null;
    try {
      return decodeURIComponent(part);
    } catch {
      return part;
    }
  };
  return { cooperative: decode(parts[0]), greenhouse: decode(parts[1]) };
}

export const routeTo = (cooperative: string, greenhouse?: string): string =>
  `#/${encodeURIComponent(cooperative)}${greenhouse === undefined ? '' : `/${encodeURIComponent(greenhouse)}`}`;

class Address {
  route = $state<Route>(parseRoute(location.hash));

  start(): () => void {
    const changed = (): void => {
      this.route = parseRoute(location.hash);
    };
    window.addEventListener('hashchange', changed);
    return () => window.removeEventListener('hashchange', changed);
  }
}

export const ui = new Ui();
export const serverTime = new ServerTime();
export const address = new Address();

import { svelte } from '@sveltejs/vite-plugin-svelte';
import type { Plugin } from 'vite';
import { defineConfig } from 'vitest/config';
import { createMock } from './dev/mock-server.ts';

// `FURROW_API=http://127.0.0.1:8080 npm run dev` shows a running ingest;
// without it the page is served with the made-up greenhouses of dev/mock-server.ts.
const api = process.env['FURROW_API'];
const proxy = api ? { '/api': { target: api, changeOrigin: true } } : {};

function mockApi(): Plugin {
  return {
    name: 'furrow-mock-api',
    configureServer(server) {
      if (!api) server.middlewares.use(createMock());
    },
    configurePreviewServer(server) {
      if (!api) server.middlewares.use(createMock());
    },
  };
}

export default defineConfig({
  plugins: [svelte(), mockApi()],
  server: { proxy },
  // The built page needs nothing that a strict policy forbids; the browser test would see it.
  preview: { proxy, headers: { 'Content-Security-Policy': "default-src 'self'" } },
  build: {
    target: ['chrome96', 'safari15.4', 'firefox100'],
    // Nothing becomes a data: address, so the page works under a policy of `default-src 'self'`.
    assetsInlineLimit: 0,
    modulePreload: { polyfill: false },
  },
  test: { include: ['src/**/*.test.ts', 'dev/**/*.test.ts'], environment: 'node' },
});

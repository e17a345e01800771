/**
 * Builds the window into out/renderer: hashed assets, relative addresses (the same files are served over http and
 * over the shell's own scheme), no inline script or style, so the strict content security policy holds.
 * `--mode harness` builds the same window over an in-memory client instead, for looking at it without a server.
 */
import { resolve } from 'node:path'
import react from '@vitejs/plugin-react'
import { defineConfig } from 'vite'

const repo = resolve(import.meta.dirname, '..')

// whatever the caller has set (a test runner sets `test`): the window never carries React's development version
process.env.NODE_ENV = 'production'

export default defineConfig(({ mode }) => {
  const harness = mode === 'harness'
  return {
    root: harness ? resolve(repo, 'test/renderer/harness') : resolve(repo, 'renderer'),
    base: './',
    plugins: [react()],
    server: { port: 5199, strictPort: true, fs: { allow: [repo] } },
    build: {
      outDir: resolve(repo, harness ? 'out/harness' : 'out/renderer'),
      emptyOutDir: true,
      target: 'chrome130',
      assetsInlineLimit: 0, // data: addresses would need a wider policy
      modulePreload: { polyfill: false }, // the polyfill is an inline script
      sourcemap: false,
      chunkSizeWarningLimit: 1600,
    },
  }
})

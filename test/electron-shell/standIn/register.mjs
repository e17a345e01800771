/** Preloaded with --import: the built main process finds the stand-in where it asks for Electron. */
import { registerHooks } from 'node:module'

registerHooks({
  resolve: (specifier, context, next) =>
    specifier === 'electron'
      ? { url: new URL('./electron.mjs', import.meta.url).href, shortCircuit: true }
      : next(specifier, context),
})

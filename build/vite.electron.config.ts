/**
 * Builds what runs in Electron's own processes into out/electron: the main process, the engine process and its
 * threads as ES modules, the preload as the one plain script that a sandboxed page's process can load. Native packages stay outside.
 */
import { isBuiltin } from 'node:module'
import { join } from 'node:path'
import { defineConfig, type EnvironmentOptions } from 'vite'

const root = join(import.meta.dirname, '..')
/** Packages with a binary, and Electron itself: found in node_modules at run time. Everything else is bundled. */
const external = /^(electron|better-sqlite3|onnxruntime-node|onnxruntime-common|sharp)(\/|$)/

/** One bundle of one file: paths that are made from `import.meta` must not depend on how the code was cut. */
function bundle(entry: string, file: string, format: 'es' | 'cjs'): EnvironmentOptions {
  return {
    consumer: 'server',
    resolve: { noExternal: true, conditions: ['node', 'import', 'module', 'default'], mainFields: ['module', 'main'] },
    build: {
      outDir: process.env.GROMATIC_OUT_DIR ?? join(root, 'out/electron'),
      emptyOutDir: false,
      copyPublicDir: false,
      target: 'node24',
      minify: false,
      sourcemap: false,
      ssr: true,
      rolldownOptions: {
        input: join(root, entry),
        external: (id) => isBuiltin(id) || external.test(id),
        output: { format, entryFileNames: file, codeSplitting: false, exports: 'auto' },
      },
    },
  }
}

export default defineConfig({
  root,
  publicDir: false,
  logLevel: 'warn',
  environments: {
    main: bundle('electron/main.ts', 'main.js', 'es'),
    engine: bundle('electron/engine/engineProcess.ts', 'engineProcess.js', 'es'),
    conversion: bundle('native-models/builders/conversionThread.ts', 'conversionThread.mjs', 'es'),
    preload: bundle('electron/preload.ts', 'preload.cjs', 'cjs'),
  },
  builder: {
    async buildApp(builder) {
      for (const name of ['main', 'engine', 'conversion', 'preload']) await builder.build(builder.environments[name]!)
    },
  },
})

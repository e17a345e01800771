/** The house as drawn in README.md, asserted: who may import whom, and who alone may touch a native package. */
import { readdirSync, readFileSync } from 'node:fs'
import { dirname, join, posix, relative, sep } from 'node:path'
import { describe, expect, it } from 'vitest'

const root = join(import.meta.dirname, '..')
const rooms = ['native-models', 'db', 'electron', 'renderer']

/** A file belongs to the first rule whose folder or file it lies in; `may` lists prefixes it may import from besides its own. */
const rules: { place: string; may: string[] }[] = [
  { place: 'native-models/geometry', may: [] },
  { place: 'native-models/groma', may: ['native-models/geometry', 'native-models/errors.ts'] },
  { place: 'native-models/metrics', may: ['native-models/geometry'] },
  { place: 'native-models', may: ['native-models'] },
  { place: 'db/records', may: [] },
  { place: 'db', may: ['db', 'native-models/geometry'] },
  { place: 'electron/contract', may: ['db/records', 'native-models/geometry'] },
  { place: 'electron/transport', may: ['electron/contract'] },
  {
    place: 'electron/services',
    may: [
      'electron/contract',
      'electron/engine/engineHost.ts',
      'db',
      'native-models/geometry',
      'native-models/groma',
      'native-models/metrics',
      'native-models/checkpoint/manifest.ts',
    ],
  },
  { place: 'electron/engine/engineProcess.ts', may: ['electron/engine', 'electron/contract', 'native-models'] },
  { place: 'electron/engine/engineMachine.ts', may: ['electron/contract', 'native-models'] },
  { place: 'electron/engine', may: ['electron/contract'] },
  { place: 'electron/shell', may: ['electron/contract'] },
  { place: 'electron', may: ['electron', 'native-models/geometry', 'native-models/inference/cores.ts'] },
  {
    place: 'renderer',
    may: ['electron/contract', 'electron/transport', 'db/records', 'native-models/geometry', 'native-models/groma'],
  },
]

/** Packages with one importer each: changing a runtime is then a change of one file. */
const soleImporters: Record<string, RegExp> = {
  'onnxruntime-node': /^native-models\/inference\/session\.ts$/,
  'better-sqlite3': /^db\//,
  sharp: /^(native-models\/preprocess\/image|electron\/services\/pixels)\.ts$/,
  electron: /^electron\/(main|preload|ipcConnection|engine\/utilityProcessStarter)\.ts$/,
  fabric: /^renderer\/canvas\//,
  protobufjs: /^native-models\/(onnx|preprocess)\//,
}

function* sources(folder: string): Generator<string> {
  for (const entry of readdirSync(join(root, folder), { withFileTypes: true })) {
    const path = `${folder}/${entry.name}`
    if (entry.isDirectory()) {
      if (entry.name !== 'training' && entry.name !== 'demo') yield* sources(path)
    } else if (/\.tsx?$/.test(entry.name)) yield path
  }
}

/** Module specifiers of a file; type-only imports count too, except that they may look at `onnxruntime-node` and the like. */
function importsOf(file: string): { specifier: string; typeOnly: boolean }[] {
  const text = readFileSync(join(root, file), 'utf8')
  return [
    ...text.matchAll(
      /^\s*(?:import|export)\s+(type\s+)?(?:[^'"`;]*?\sfrom\s+)?['"]([^'"]+)['"]|import\(['"]([^'"]+)['"]\)/gm,
    ),
  ].map((found) => ({
    specifier: (found[2] ?? found[3])!,
    typeOnly: Boolean(found[1]),
  }))
}

const within = (path: string, place: string) => path === place || path.startsWith(`${place}/`)
const files = rooms.flatMap((room) => [...sources(room)])

describe('architecture', () => {
  it('finds the house', () => expect(files.length).toBeGreaterThan(50))

  it('imports only upstream', () => {
    const broken: string[] = []
    for (const file of files) {
      const rule = rules.find(({ place }) => within(file, place))
      if (!rule) continue
      for (const { specifier } of importsOf(file)) {
        if (!specifier.startsWith('.')) continue
        const target = relative(root, join(root, dirname(file), specifier))
          .split(sep)
          .join(posix.sep)
          .replace(/\?.*$/, '')
        if (within(target, rule.place) || rule.may.some((place) => within(target, place))) continue
        broken.push(`${file} -> ${target}`)
      }
    }
    expect(broken).toEqual([])
  })

  it('keeps one importer for each native package', () => {
    const broken: string[] = []
    for (const file of files)
      for (const { specifier, typeOnly } of importsOf(file)) {
        const name = Object.keys(soleImporters).find((key) => specifier === key || specifier.startsWith(`${key}/`))
        if (name && !typeOnly && !soleImporters[name]!.test(file)) broken.push(`${file} -> ${specifier}`)
      }
    expect(broken).toEqual([])
  })

  it('has no circle', () => {
    const edges = new Map(
      files.map((file) => [
        file,
        importsOf(file)
          .filter(({ specifier, typeOnly }) => specifier.startsWith('.') && !typeOnly)
          .map(({ specifier }) =>
            relative(root, join(root, dirname(file), specifier))
              .split(sep)
              .join(posix.sep),
          ),
      ]),
    )
    const state = new Map<string, 'open' | 'done'>()
    const circles: string[] = []
    const visit = (file: string, path: string[]) => {
      if (state.get(file) === 'done') return
      if (state.get(file) === 'open') return void circles.push([...path.slice(path.indexOf(file)), file].join(' -> '))
      state.set(file, 'open')
      for (const next of edges.get(file) ?? []) visit(next, [...path, file])
      state.set(file, 'done')
    }
    for (const file of files) visit(file, [])
    expect(circles).toEqual([])
  })
})

/** Files of every format, damaged at random: what is wrong is said, the project stays as it was, nothing falls over. */
import { existsSync, readdirSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import fc from 'fast-check'
import { expect, test } from 'vitest'
import { readPickle } from '../../db/formats/pickleData.ts'
import { formats, sniff } from '../../db/formats/registry.ts'
import { listFilesBelow } from '../../db/formats/textFile.ts'
import { DEFAULT_CHOICES } from '../../db/imports/plan.ts'
import type { ProjectStore } from '../../db/project.ts'
import { FORMAT_NAMES, type FormatName } from '../../db/records/formatNames.ts'
import { boxesOf, exportAs, importFrom, newProject, planFrom } from '../support/formats.ts'
import { times } from '../support/stress.ts'
import { sampleContents } from './formatsSample.ts'
import { tempFolder } from './support.ts'

/** Words that hurt where a number, a name or a bracket is expected. */
const WORDS = [
  ...['-1', '0', '1.5', '1e308', '1e999', '-0', 'NaN', 'Infinity', '9007199254740993', '99999999999999999999'],
  ...[
    'null',
    'true',
    '""',
    '[]',
    '{}',
    '[[',
    '}}',
    '"',
    "'",
    ',',
    ';',
    '\n',
    '\r\n',
    '\t',
    '\u0000',
    '\ufeff',
    '\ud800',
  ],
  ...['../../x', '/etc/passwd', 'C:\\x', '__proto__', '&amp;', '<', '</', '<!DOCTYPE a>', '*a', '!!js/x', ' '],
]

type Damage =
  | { kind: 'flip'; at: number; byte: number }
  | { kind: 'insert'; at: number; word: string }
  | { kind: 'cut'; at: number; bytes: number }
  | { kind: 'double'; at: number; bytes: number }
  | { kind: 'end'; at: number }
  | { kind: 'replace'; bytes: Uint8Array }

const at = fc.nat(1_000_000)
const damage: fc.Arbitrary<Damage> = fc.oneof(
  fc.record({ kind: fc.constant('flip' as const), at, byte: fc.nat(255) }),
  { weight: 3, arbitrary: fc.record({ kind: fc.constant('insert' as const), at, word: fc.constantFrom(...WORDS) }) },
  fc.record({ kind: fc.constant('cut' as const), at, bytes: fc.integer({ min: 1, max: 60 }) }),
  fc.record({ kind: fc.constant('double' as const), at, bytes: fc.integer({ min: 1, max: 200 }) }),
  fc.record({ kind: fc.constant('end' as const), at }),
  fc.record({ kind: fc.constant('replace' as const), bytes: fc.uint8Array({ maxLength: 300 }) }),
)

function damaged(bytes: Buffer, harm: Damage): Buffer {
  if (harm.kind === 'replace') return Buffer.from(harm.bytes)
  const place = bytes.length === 0 ? 0 : harm.at % bytes.length
  const [before, after] = [bytes.subarray(0, place), bytes.subarray(place)]
  switch (harm.kind) {
    case 'flip':
      return Buffer.concat([before, Buffer.from([harm.byte]), after.subarray(1)])
    case 'insert':
      return Buffer.concat([before, Buffer.from(harm.word), after])
    case 'cut':
      return Buffer.concat([before, after.subarray(harm.bytes)])
    case 'double':
      return Buffer.concat([before, after.subarray(0, harm.bytes), after])
    case 'end':
      return before
  }
}

interface Seed {
  path: string
  files: { path: string; bytes: Buffer }[]
}

/** The sample project in every format. */
async function seeds(folder: string): Promise<Record<FormatName, Seed>> {
  const store = newProject(folder, 'sample', sampleContents())
  const made: Partial<Record<FormatName, Seed>> = {}
  for (const format of FORMAT_NAMES) {
    const { shape, extension } = formats[format]
    const path = join(folder, `${format}${extension}`)
    await exportAs(store, format, path)
    const names = shape === 'folder' ? listFilesBelow(path).map((name) => join(path, name)) : [path]
    made[format] = { path, files: names.map((name) => ({ path: name, bytes: readFileSync(name) })) }
  }
  store.close()
  return made as Record<FormatName, Seed>
}

/** Every box lies on its picture; before and after an import nothing else may be. */
function expectSound(store: ProjectStore): void {
  const sizes = new Map(store.images.list().items.map(({ fileName, width, height }) => [fileName, { width, height }]))
  for (const { image, row } of boxesOf(store)) {
    const [x, y, w, h] = row.bboxXywh
    const { width = 0, height = 0 } = sizes.get(image) ?? {}
    expect(row.bboxXywh.every(Number.isFinite)).toBe(true)
    if (row.provenance !== 'import') continue // our own record of boxes is taken as it is
    expect(x >= 0 && y >= 0 && w > 0 && h > 0 && x + w <= width + 1e-6 && y + h <= height + 1e-6).toBe(true)
  }
}

/** Files that this process has open, where the system says so: every reading must close its own. */
const OPEN_FILES = '/proc/self/fd'
const CODES = ['INVALID_INPUT', 'NOT_FOUND']

test(`${times(400, 20_000)} damaged files of all formats: planned, imported or refused, and taken back`, {
  timeout: 3_600_000,
}, async () => {
  const folder = tempFolder(true)
  const sources = await seeds(folder)
  const { images, categories } = sampleContents()
  const store = newProject(folder, 'p', { images, categories })
  const taken = { imported: 0, refused: 0 }
  const state = () => [boxesOf(store), store.categories.list(), store.images.list().items.map(({ id }) => id)]
  const before = state()
  const openBefore = existsSync(OPEN_FILES) ? readdirSync(OPEN_FILES).length : 0
  await fc.assert(
    fc.asyncProperty(
      fc.constantFrom(...FORMAT_NAMES),
      fc.nat(1000),
      fc.array(damage, { minLength: 1, maxLength: 4 }),
      fc.boolean(),
      async (format, which, damages, adding) => {
        const { path, files } = sources[format]
        const file = files[which % files.length] as Seed['files'][number]
        writeFileSync(file.path, damages.reduce(damaged, file.bytes))
        const choices = {
          ...DEFAULT_CHOICES,
          skipBad: true,
          missingImages: adding ? ('add' as const) : ('skip' as const),
        }
        try {
          sniff(path)
          const plan = await planFrom(store, format, path, choices)
          const { revision } = await importFrom(store, format, path, choices)
          taken.imported++
          expect(plan.refusal).toBeNull()
          expectSound(store)
          if (revision !== null) store.undo()
        } catch (error) {
          const { name, code, message } = error as { name: string; code: string; message: string }
          expect([name, CODES.includes(code), message.includes('\n')], `${format}: ${message}`).toEqual([
            'DbError',
            true,
            false,
          ])
          taken.refused++
        } finally {
          writeFileSync(file.path, file.bytes)
        }
        expect(state()).toEqual(before)
      },
    ),
    { numRuns: times(400, 20_000) },
  )
  if (existsSync(OPEN_FILES)) expect(readdirSync(OPEN_FILES).length).toBeLessThan(openBefore + 10)
  expect(taken.imported).toBeGreaterThan(taken.refused / 10) // both ways were gone
  expect(taken.refused).toBeGreaterThan(0)
  store.close()
})

test(`${times(2000, 50_000)} pickles of any bytes`, { timeout: 600_000 }, () => {
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: 200 }), (bytes) => {
      try {
        readPickle(bytes, 'x')
      } catch (error) {
        expect((error as { code: string }).code).toBe('INVALID_INPUT')
      }
    }),
    { numRuns: times(2000, 50_000) },
  )
})

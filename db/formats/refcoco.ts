/** RefCOCO, RefCOCO+, RefCOCOg: a COCO `instances.json` and, beside it, which sentences mean which box. */
import { existsSync, readFileSync, statSync } from 'node:fs'
import { basename, dirname, join } from 'node:path'
import { DbError, throwIfAborted } from '../errors.ts'
import type { ExportSource } from '../exportSource.ts'
import { exportCoco } from './coco.ts'
import { type CocoFileOptions, readCocoFile } from './cocoReader.ts'
import type { CocoDialect } from './cocoWriter.ts'
import { expressionsOf, oneLine, withExpressions } from './expressions.ts'
import type { ExportOptions, ExportReport, Format } from './format.ts'
import { type ImportItem, isRow, problem, type Row, textOf } from './items.ts'
import { readJson } from './jsonStream.ts'
import { exportFolder, objectNumber } from './output.ts'
import { type PickleValue, readPickle, writePickle } from './pickleData.ts'
import { type ImportInput, listFilesBelow, readBytes } from './textFile.ts'

const REFS = /^refs.*\.(p|pkl|pickle|json)$/i
const MAX_PICKLE = 512 * 1024 * 1024

/** Pickled dictionaries as plain rows. */
function rowOf(value: PickleValue | undefined): Row | null {
  if (!(value instanceof Map)) return null
  return Object.fromEntries(
    [...value].filter(([key]) => typeof key === 'string' && key !== '__proto__') as [string, unknown][],
  )
}

function* readRefs(path: string): Generator<unknown> {
  if (path.toLowerCase().endsWith('.json')) {
    for (const { list, index, value } of readJson(readBytes(path), basename(path)))
      if (list === '' && index !== null) yield value
    return
  }
  if (statSync(path).size > MAX_PICKLE) throw new DbError('INVALID_INPUT', `${path} has more than 512 MB.`)
  const refs = readPickle(readFileSync(path), basename(path))
  if (!Array.isArray(refs)) throw new DbError('INVALID_INPUT', `${basename(path)} holds no list of references.`)
  for (const ref of refs) {
    const row = rowOf(ref)
    const sentences = row?.sentences
    if (row !== null && Array.isArray(sentences))
      row.sentences = sentences.map((sentence) => rowOf(sentence as PickleValue) ?? sentence)
    yield row
  }
}

interface Told {
  sentences: string[]
  split: string | null
}

function find(input: ImportInput): { refs: string[]; instances: string } {
  const name = basename(input.path)
  if (!input.isFolder && !REFS.test(name) && !/instances.*\.json$/.test(name))
    throw new DbError(
      'INVALID_INPUT',
      `${name} is no file of references: name the folder of refs(...).p and instances.json.`,
    )
  const folder = input.isFolder ? input.path : dirname(input.path)
  const names = listFilesBelow(folder, 10_000)
  const instances =
    names.find((name) => basename(name) === 'instances.json') ?? names.find((name) => /instances.*\.json$/.test(name))
  if (instances === undefined)
    throw new DbError('NOT_FOUND', `There is no instances.json beside the references in ${folder}.`)
  const given = !input.isFolder && REFS.test(basename(input.path))
  const refs = given ? [basename(input.path)] : names.filter((name) => REFS.test(basename(name)))
  // the pickle and the JSON of one set say the same
  const distinct = refs.filter(
    (name) => !name.endsWith('.json') || !existsSync(join(folder, name.replace(/\.json$/, '.p'))),
  )
  return { refs: distinct.map((name) => join(folder, name)), instances: join(folder, instances) }
}

function* read(input: ImportInput): Generator<ImportItem> {
  const { refs, instances } = find(input)
  const told = new Map<number, Told>()
  for (const path of refs) {
    let index = 0
    for (const ref of readRefs(path)) {
      const where = `${basename(path)}[${index++}]`
      if (!isRow(ref) || !Number.isSafeInteger(ref.ann_id) || !Array.isArray(ref.sentences)) {
        yield problem(where, 'the reference lacks its ann_id or its sentences')
        continue
      }
      const known = told.get(ref.ann_id as number) ?? { sentences: [], split: textOf(ref.split) }
      for (const sentence of ref.sentences) {
        const text = isRow(sentence) ? (textOf(sentence.sent) ?? textOf(sentence.raw)) : textOf(sentence)
        if (text !== null && !known.sentences.includes(text)) known.sentences.push(text)
      }
      told.set(ref.ann_id as number, known)
    }
  }
  const options: CocoFileOptions = {
    path: instances,
    onBytes: input.onBytes,
    refine(annotation, row) {
      const ref = told.get(row.id as number)
      if (ref === undefined) return annotation
      told.delete(row.id as number)
      const refined = withExpressions(
        { ...annotation, caption: annotation.caption ?? ref.sentences[0] ?? null },
        ref.sentences,
      )
      if (ref.split === null) return refined
      return {
        ...refined,
        extras: { ...refined.extras, attributes: { ...refined.extras?.attributes, split: ref.split } },
      }
    },
  }
  yield* readCocoFile(options)
  for (const id of told.keys()) yield problem(`ann_id ${id}`, 'the box that a reference means is not in instances.json')
}

const tokensOf = (text: string): string[] => text.toLowerCase().match(/[\p{L}\p{N}']+/gu) ?? []

/** What the references say is not said again; pictures have the names of their copies, where there are any. */
const instancesWith = (fileNames: ReadonlyMap<number, string>): CocoDialect => ({
  alone: true,
  image(row) {
    const fileName = fileNames.get(row.id as number) ?? row.file_name
    return fileName === row.file_name
      ? row
      : { ...row, file_name: fileName, attributes: { source_file_name: row.file_name } }
  },
  annotation(row) {
    const { expressions: _expressions, split: _split, ...attributes } = row.attributes
    return { ...row, attributes }
  },
})

async function write(source: ExportSource, options: ExportOptions): Promise<ExportReport> {
  const refs: Row[] = []
  let sentenceId = 0
  const fileNames = new Map<number, string>()
  const result = await exportFolder(source, options, refcoco, {
    imagesFolder: () => 'images',
    async image({ item, fileName, boxes }) {
      fileNames.set(item.image.id, fileName)
      for (const { row, classNumber } of boxes) {
        const expressions = expressionsOf(row.extras)
        const said = expressions.length > 0 ? expressions : row.caption === null ? [] : [oneLine(row.caption)]
        if (said.length === 0) continue
        const sentences = said.map((text) => ({ tokens: tokensOf(text), raw: text, sent_id: sentenceId++, sent: text }))
        refs.push({
          sent_ids: sentences.map(({ sent_id }) => sent_id),
          file_name: fileName,
          ann_id: row.id,
          ref_id: refs.length + 1,
          image_id: item.image.id,
          split: item.subset ?? textOf(row.extras?.attributes?.split) ?? 'train',
          sentences,
          category_id: classNumber ?? objectNumber(source),
        })
      }
    },
    async finish(write, folder) {
      throwIfAborted(options.signal, 'The export')
      await exportCoco(
        source,
        { ...options, copyImages: false, overwrite: true, path: join(folder, 'instances.json') },
        instancesWith(fileNames),
      )
      await write('refs(gromatic).p', writePickle(refs))
      await write('refs(gromatic).json', `[${refs.map((ref) => `\n${JSON.stringify(ref)}`).join(',')}\n]\n`)
    },
  })
  return {
    ...result,
    notes: [
      ...result.notes,
      ...(refs.length === 0 ? ['No box has a caption or an expression: there are no references.'] : []),
    ],
  }
}

export const refcoco: Format = {
  name: 'RefCOCO, RefCOCO+, RefCOCOg',
  shape: 'folder',
  extension: '',
  keeps: 'Boxes, classes, polygons, referring expressions (else captions), splits and ids.',
  loses: 'The talk, colours of classes, who made a box. Boxes without a class become "object".',
  reader: {
    folders: true,
    sniff(probe) {
      const beside = probe.isFolder || REFS.test(probe.names[0] ?? '')
      return beside && probe.names.some((name) => REFS.test(basename(name)))
        ? probe.isFolder && !probe.names.some((name) => /instances.*\.json$/.test(name))
          ? 0.3
          : 0.97
        : 0
    },
    read,
  },
  export: write,
}

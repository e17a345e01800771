/**
 * Imports: two readings of the same file. The first makes the plan (counts, problems, conflicts) and touches nothing; the
 * second writes, in one transaction that either is there whole or not at all.
 */
import { statSync } from 'node:fs'
import { basename, join } from 'node:path'
import { DbError, throwIfAborted } from '../errors.ts'
import { type ImportAnnotation, type ImportItem, type ImportMessage, note } from '../formats/items.ts'
import { formats, type ImportSource, locate, readSource } from '../formats/registry.ts'
import type { ProjectStore } from '../project.ts'
import { type Change, diffOf, sameValue } from '../records/diff.ts'
import type { FormatName } from '../records/formatNames.ts'
import type { Annotation, Category, ImageRecord, Message, Revision } from '../records/records.ts'
import { CategoryMapper } from './categoryMapper.ts'
import { Counter } from './counter.ts'
import { IdSet } from './ids.ts'
import { Judge } from './judge.ts'

import { Examples, type ImportPlan, type ImportRequest, TOLD } from './plan.ts'
import { findResultNumbers } from './resultNumbers.ts'
import { ImageTable, type PlannedImage } from './tables.ts'

export interface ImportRun {
  signal?: AbortSignal | undefined
  onProgress?: ((progress: { done: number; total: number | null; note: string }) => void) | undefined
  /** The colour of the n-th class of the project. */
  palette?: (index: number) => string
  /** Pictures that will be copied into the project first, by the names of {@link missingImages}: their upright sides. For a plan alone. */
  pictures?: ReadonlyMap<string, { width: number; height: number }>
}

export interface ImportResult {
  plan: ImportPlan
  /** Null when there was nothing to add. */
  revision: Revision | null
}

const SLICE_MS = 20
const NOT_UTF8 = 'Some letters cannot be read: the file is not in UTF-8. Save it as UTF-8 and import it again.'
/** Formats whose ids a model's results may have. */
const NUMBERED: ReadonlySet<FormatName> = new Set<FormatName>(['coco', 'lvis', 'synthetic'])
/** Few enough that a piece is garbage before V8 takes it for lasting: 2,000 at once took longer and more memory. */
const PIECE_ROWS = 500
const GREY = (): string => '#7d7468'
const plural = (count: number, one: string, many: string): string => `${count} ${count === 1 ? one : many}`

/** Where an import stands after its first reading. */
interface Looked {
  /** Its path is of the very file, where a folder holds a single one. */
  request: ImportRequest
  source: ImportSource
  plan: ImportPlan
  judge: Judge
  counter: Counter
  images: ImageTable
  categories: CategoryMapper
  states: { image: PlannedImage; done: boolean; proposedAt: number | null }[]
  footing: unknown
}

/** What of a project a plan stands on: its classes, and which images there are. */
const footingOf = (store: ProjectStore): unknown => [store.categories.list(), store.lastId('images')]

/** Reads the file once, in slices that leave room for everything else. */
async function read(
  source: ImportSource,
  { format, choices }: ImportRequest,
  run: ImportRun,
  stage: string,
  take: (item: ImportItem) => void,
): Promise<void> {
  const stats = statSync(source.path)
  const total = stats.isDirectory() ? null : stats.size
  let bytes = 0
  let isText = true
  const onBytes = (count: number, good: boolean): void => {
    bytes += count
    isText &&= good
  }
  const input = { isFolder: stats.isDirectory(), onBytes, instances: choices.instances }
  let since = performance.now()
  let rows = 0
  throwIfAborted(run.signal, 'The import')
  for (const item of readSource(source, format, input)) {
    take(item)
    if ((++rows & 63) !== 0 || performance.now() - since < SLICE_MS) continue
    run.onProgress?.({ done: bytes, total, note: `${stage} (${rows} rows)` })
    await new Promise((resume) => setImmediate(resume))
    throwIfAborted(run.signal, 'The import')
    since = performance.now()
  }
  if (!isText) take(note(NOT_UTF8))
}

const firstFile = ({ path, files }: ImportSource): string => (files?.[0] === undefined ? path : join(path, files[0]))

const numbersNote = (instances = 'project'): string =>
  `Images and classes are numbered as in ${instances === 'project' ? 'this project’s own COCO export' : basename(instances)}.`

async function look(store: ProjectStore, given: ImportRequest, run: ImportRun): Promise<Looked> {
  const source = locate(given.path, given.format)
  const choices =
    given.format === 'coco-results' && given.choices.instances === undefined
      ? { ...given.choices, instances: findResultNumbers(store, firstFile(source)) }
      : given.choices
  const request = { ...given, choices, path: source.path }
  const footing = footingOf(store)
  const images = new ImageTable(store, request.choices, run.pictures)
  const categories = new CategoryMapper(store.categories.list(), request.choices.categories, run.palette ?? GREY)
  const judge = new Judge(store, request, images, categories)
  const problems = new Examples<{ where: string; reason: string }>(TOLD)
  const notes = new Set<string>(request.format === 'coco-results' ? [numbersNote(choices.instances)] : [])
  const states: Looked['states'] = []
  const tell = (where: string, reason: string | null): void => {
    if (reason !== null) problems.add({ where, reason })
  }
  let counter: Counter | null = new Counter(judge)
  const count = (into: Counter, item: ImportAnnotation | ImportMessage): boolean => {
    if (item.kind === 'annotation') return into.box(item)
    into.message(item)
    return true
  }
  await read(source, request, run, 'Reading', (item) => {
    switch (item.kind) {
      case 'image': {
        tell(item.where, images.add(item))
        const image = images.get(item.key)
        if (item.state !== undefined && image !== undefined) {
          if (image.added === null) states.push({ image, ...item.state })
          else Object.assign(image.added, item.state)
        }
        break
      }
      case 'category':
        tell(item.where, categories.add(item))
        break
      case 'problem':
        tell(item.where, item.reason)
        break
      case 'note':
        notes.add(item.text)
        break
      default: {
        // boxes that come before what they are about are counted in a reading of their own
        if (counter !== null && (images.get(item.imageKey) === undefined || !count(counter, item))) counter = null
      }
    }
  })
  judge.readAll = true
  if (counter === null) {
    const again = new Counter(judge)
    await read(source, request, run, 'Checking', (item) => {
      if (item.kind === 'annotation' || item.kind === 'message') count(again, item)
    })
    counter = again
  }
  counter.finish(categories)
  const looked = { request, source, judge, counter, images, categories, states, footing }
  const told = {
    count: problems.count + counter.problems.count,
    first: [...problems.first, ...counter.problems.first].slice(0, TOLD),
  }
  return { ...looked, plan: makePlan(store, request, looked, told, notes) }
}

function makePlan(
  store: ProjectStore,
  request: ImportRequest,
  { counter, images, categories }: Omit<Looked, 'plan' | 'request' | 'source'>,
  problems: ImportPlan['problems'],
  notes: Set<string>,
): ImportPlan {
  if (counter.cut > 0) notes.add(`${plural(counter.cut, 'box is', 'boxes are')} cut at the edge of the image.`)
  const conflicts = [...counter.conflicts]
  const replacing = request.choices.conflicts === 'replace'
  const plan: ImportPlan = {
    format: request.format,
    images: {
      inFile: images.inFile,
      matched: images.matched,
      coming: images.coming,
      missing: images.missing.length,
      added: images.added.length,
      missingExamples: images.missing.slice(0, 20),
    },
    categories: categories.planned(),
    annotations: { ...counter.annotations, toReplace: replacing ? replaceable(store, counter).length : 0 },
    messages: counter.messages,
    conflicts: {
      images: conflicts.length,
      annotations: conflicts.reduce((total, [, { annotations }]) => total + annotations, 0),
      humanAnnotations: conflicts.reduce((total, [id]) => total + store.annotations.countTouched(id), 0),
      examples: conflicts.slice(0, 20).map(([, { fileName }]) => fileName),
    },
    problems,
    notes: [...notes],
    refusal: null,
  }
  return { ...plan, refusal: refusalOf(plan, request) }
}

/** Boxes of earlier imports on the images that get new ones: nobody touched them, and the file does not have them. */
function replaceable(store: ProjectStore, counter: Counter): Annotation[] {
  return [...counter.conflicts.keys()].flatMap((imageId) =>
    store.annotations
      .list(imageId)
      .filter(
        ({ id, provenance, status, decidedAt }) =>
          provenance === 'import' &&
          decidedAt === null &&
          (status === 'accepted' || status === 'proposed') &&
          !counter.confirmed.has(id),
      ),
  )
}

/** What people call the import's source. */
const nameOf = ({ path, name }: ImportRequest): string => name ?? basename(path)

function refusalOf(
  { images, annotations, messages, categories, problems, conflicts }: ImportPlan,
  request: ImportRequest,
): string | null {
  const { choices } = request
  const file = nameOf(request)
  if (images.inFile + annotations.inFile + messages.inFile + categories.length + problems.count === 0)
    return `${file} holds nothing in the format ${formats[request.format].name}`
  const [first] = problems.first
  if (problems.count > 0 && !choices.skipBad && first !== undefined) {
    return `${plural(problems.count, 'row', 'rows')} of ${file} cannot be taken, e.g. ${first.where}: ${first.reason.replace(/\.$/, '')}`
  }
  if (images.missing > 0 && choices.missingImages === 'refuse' && !choices.skipBad) {
    const some = images.missingExamples.slice(0, 3).join(', ')
    return `${plural(images.missing, 'image', 'images')} of ${file} ${images.missing === 1 ? 'is' : 'are'} not in the project (${some}${images.missing > 3 ? ', …' : ''})`
  }
  if (conflicts.images > 0 && choices.conflicts === 'ask') {
    return `${plural(conflicts.images, 'image has', 'images have')} boxes already (${conflicts.examples.slice(0, 3).join(', ')}${conflicts.images > 3 ? ', …' : ''}): choose whether to add, skip or replace`
  }
  return null
}

/** What an import would do, without doing it. @throws INVALID_INPUT, NOT_FOUND, CANCELLED, IO_FAILED */
export async function planImport(
  store: ProjectStore,
  request: ImportRequest,
  run: ImportRun = {},
): Promise<ImportPlan> {
  return (await look(store, request, run)).plan
}

/** File names of the images that a file is about and the project lacks. @throws as {@link planImport} */
export async function missingImages(
  store: ProjectStore,
  request: ImportRequest,
  run: ImportRun = {},
): Promise<string[]> {
  const choices = { ...request.choices, missingImages: 'skip' as const }
  return (await look(store, { ...request, choices }, run)).images.missing
}

/** A look whose plan may be carried out. @throws INVALID_INPUT with the plan's refusal, and as {@link planImport} */
async function lookToImport(store: ProjectStore, request: ImportRequest, run: ImportRun): Promise<Looked> {
  const looked = await look(store, request, run)
  const { refusal } = looked.plan
  if (refusal !== null) throw new DbError('INVALID_INPUT', `${refusal}. Nothing was imported.`)
  return looked
}

/**
 * Imports a file or folder: everything that the plan says, as one revision of the actor `import`, or nothing at all.
 * @throws INVALID_INPUT with the plan's refusal; STALE when the file changed meanwhile; NOT_FOUND, CANCELLED, READ_ONLY,
 *   DISK_FULL, IO_FAILED
 */
export async function runImport(
  store: ProjectStore,
  request: ImportRequest,
  run: ImportRun = {},
): Promise<ImportResult> {
  let looked = await lookToImport(store, request, run)
  const { annotations, messages, images, categories } = looked.plan
  const creates = categories.some(({ action }) => action === 'create')
  const nothing = annotations.toAdd + messages.toAdd + images.added === 0 && !creates
  if (nothing && changedStates(store, looked.states).length === 0) return { plan: looked.plan, revision: null }
  const label = `Import ${nameOf(request)}`
  const revision = await store.commitBulk({ actor: 'import', label }, async (add) => {
    // classes and images that came or went while the file was read; from here on nobody else writes
    if (!sameValue(footingOf(store), looked.footing)) looked = await lookToImport(store, request, run)
    await write(store, run, looked, add)
  })
  if (NUMBERED.has(request.format) && request.name === undefined) store.noteImportedFile(looked.source.path)
  return { plan: looked.plan, revision }
}

const created = <R>(rows: R[]): Change<R>[] => rows.map((after) => ({ before: null, after }))

/** Ids in the file's order: its own where all of them are free, else new ones as they are needed. */
function idGiver(store: ProjectStore, table: 'annotations' | 'messages', ids: Counter['annotationIds'], rows: number) {
  const last = store.lastId(table)
  if (ids.keepable(last)) return (own: number | undefined): number => own as number
  let [next = 0] = store.allocateIds(table, Math.max(1, rows))
  return (): number => next++
}

async function write(
  store: ProjectStore,
  run: ImportRun,
  { request, source, plan, judge, counter, images, categories, states }: Looked,
  add: (diff: ReturnType<typeof diffOf>) => void,
): Promise<void> {
  const made = categories.made(store.lastId('categories'), (count) => store.allocateIds('categories', count))
  const categoryIds = new Map([...store.categories.list(), ...made].map(({ name, id }) => [name, id]))
  add(
    diffOf({
      categories: created<Category>(made),
      images: [...addedImages(store, images), ...changedStates(store, states)],
    }),
  )

  const annotationId = idGiver(store, 'annotations', counter.annotationIds, plan.annotations.toAdd)
  const messageId = idGiver(store, 'messages', counter.messageIds, plan.messages.toAdd)
  let annotations: Annotation[] = []
  let messages: Message[] = []
  const written = { annotations: 0, messages: 0 }
  const flush = (): void => {
    written.annotations += annotations.length
    written.messages += messages.length
    const diff = diffOf({ annotations: created(annotations), messages: created(messages) })
    annotations = []
    messages = []
    add(diff)
  }
  const [seenBoxes, seenMessages] = [new IdSet(), new IdSet()]
  // only a file with problems can have two rows of one id
  const isSecond = (seen: IdSet, id: number | undefined): boolean =>
    plan.problems.count > 0 && id !== undefined && !seen.add(id)
  await read(source, request, run, 'Writing', (item) => {
    if (item.kind === 'message') {
      const image = judge.message(item)
      if (image === null || 'reason' in image || isSecond(seenMessages, item.id)) return
      messages.push({ id: messageId(item.id), imageId: image.imageId as number, ...item.message })
    } else if (item.kind === 'annotation') {
      const outcome = judge.box(item)
      if (outcome.kind === 'bad' || isSecond(seenBoxes, item.id) || outcome.kind !== 'row') return
      const name = item.categoryKey === null ? null : categories.nameFor(item.categoryKey)
      if (name === undefined) return
      const categoryId = name === null ? null : (categoryIds.get(name) ?? null)
      annotations.push({
        id: annotationId(item.id),
        imageId: outcome.image.imageId as number,
        categoryId,
        ...outcome.row,
      })
    }
    if (annotations.length + messages.length >= PIECE_ROWS) flush()
  })
  flush()
  if (written.annotations !== plan.annotations.toAdd || written.messages !== plan.messages.toAdd) {
    throw new DbError('STALE', `${nameOf(request)} changed while it was read. Nothing was imported.`)
  }
  if (request.choices.conflicts === 'replace') {
    const annotations = replaceable(store, counter).map((before) => ({ before, after: null }))
    for (let at = 0; at < annotations.length; at += PIECE_ROWS)
      add(diffOf({ annotations: annotations.slice(at, at + PIECE_ROWS) }))
  }
}

/** Images that come in as missing files, with the file's own ids where they are free. */
function addedImages(store: ProjectStore, images: ImageTable): Change<ImageRecord>[] {
  const wanted = images.added.map(({ wantedId }) => wantedId ?? 0)
  const last = store.lastId('images')
  const free = wanted.every((id) => id > last && id < 2 ** 40) && new Set(wanted).size === wanted.length
  const ids = free || wanted.length === 0 ? wanted : store.allocateIds('images', wanted.length)
  return created(
    images.added.map(({ image, record }, index) => {
      image.imageId = ids[index] as number
      return { ...record, id: image.imageId }
    }),
  )
}

/** What a file says about the work on an image is taken where nobody has worked on it yet. */
function changedStates(store: ProjectStore, states: Looked['states']): Change<ImageRecord>[] {
  return states.flatMap(({ image, done, proposedAt }) => {
    if (image.imageId === null || image.added !== null) return []
    const { counts: _counts, ...before } = store.images.get(image.imageId)
    if (before.done || before.proposedAt !== null || (!done && proposedAt === null)) return []
    return [{ before, after: { ...before, done, proposedAt } }]
  })
}

/** A project with everything in it, and the ways of it through any format. */
import { mkdirSync } from 'node:fs'
import { join } from 'node:path'
import { type ExportRequest, exportProject } from '../../db/exports/exportProject.ts'
import { type ImportRun, planImport, runImport } from '../../db/imports/importer.ts'
import { DEFAULT_CHOICES, type ImportChoices } from '../../db/imports/plan.ts'
import { createProject, type ProjectStore } from '../../db/project.ts'
import { diffOf } from '../../db/records/diff.ts'
import type { FormatName } from '../../db/records/formatNames.ts'
import type { Annotation, Category, ImageRecord, Message } from '../../db/records/records.ts'

const after = <R>(rows: R[]) => rows.map((row) => ({ before: null, after: row }))

export interface Contents {
  images: ImageRecord[]
  categories: Category[]
  annotations: Annotation[]
  messages?: Message[]
}

/** A project file `<folder>/<name>.gromatic` over an empty folder. Close it. */
export function newProject(folder: string, name: string, contents?: Partial<Contents>): ProjectStore {
  const images = join(folder, `${name}-images`)
  mkdirSync(images, { recursive: true })
  const store = createProject(join(folder, `${name}.gromatic`), images)
  const { categories = [], images: rows = [], annotations = [], messages = [] } = contents ?? {}
  const diff = diffOf({
    categories: after(categories),
    images: after(rows),
    annotations: after(annotations),
    messages: after(messages),
  })
  store.commit({ actor: 'human', label: 'Fill', diff })
  return store
}

export async function exportAs(
  store: ProjectStore,
  format: FormatName,
  path: string,
  options: Partial<ExportRequest> = {},
) {
  const source = store.exportSource()
  try {
    return await exportProject(source, {
      format,
      path,
      status: 'accepted',
      copyImages: false,
      overwrite: false,
      ...options,
    })
  } finally {
    source.close()
  }
}

export const importFrom = (
  store: ProjectStore,
  format: FormatName,
  path: string,
  choices: Partial<ImportChoices> = {},
  run: ImportRun = {},
) => runImport(store, { path, format, choices: { ...DEFAULT_CHOICES, ...choices } }, run)

export const planFrom = (store: ProjectStore, format: FormatName, path: string, choices: Partial<ImportChoices> = {}) =>
  planImport(store, { path, format, choices: { ...DEFAULT_CHOICES, ...choices } })

/** Every box of a project, by image name. */
export function boxesOf(store: ProjectStore): { image: string; row: Annotation; className: string | null }[] {
  const names = new Map(store.categories.list().map(({ id, name }) => [id, name]))
  return store.images.list({ limit: 5000 }).items.flatMap((image) =>
    store.annotations.list(image.id).map((row) => ({
      image: image.fileName,
      row,
      className: row.categoryId === null ? null : (names.get(row.categoryId) ?? null),
    })),
  )
}

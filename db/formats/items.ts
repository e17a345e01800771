/**
 * What a reader of any format hands on, one by one: images, classes, boxes and talk in neutral form, and what is wrong
 * with the rest. Nothing here knows the project; keys are the file's own. PURE.
 */
import type { AnnotationExtras, AnnotationStatus, BboxXywh, Message, Provenance } from '../records/records.ts'

/** The file's own name for a row: an id, a file name, a class name. */
export type Key = string | number

export interface ImportImage {
  kind: 'image'
  key: Key
  /** As the file has it; matched with the project by name, or by what else is known. */
  fileName: string
  /** What its copy beside the file is called, where a project may be over the copies. */
  copyName?: string
  /** Other names that it may have, asked in turn where the project has none of the first. */
  otherNames?: string[]
  /** Of a set of several files: one of the same name that another file had already is this very image. */
  shared?: boolean
  /** Pixels, upright; null when the file does not say. */
  width: number | null
  height: number | null
  id?: number
  contentSha256?: string
  /** How far the work on it was, in files that say so. */
  state?: { done: boolean; proposedAt: number | null }
  /** LVIS: classes of which nothing is in it, and classes of which not every box is labelled. For evaluation. */
  absent?: Key[]
  notExhaustive?: Key[]
  where: string
}

export interface ImportCategory {
  kind: 'category'
  key: Key
  name: string
  color?: string
  id?: number
  where: string
}

export interface ImportAnnotation {
  kind: 'annotation'
  imageKey: Key
  /** Null: a box without a class. */
  categoryKey: Key | null
  /** `[x, y, width, height]`; pixels, or parts of the image's sides where `relative`. May be anything: it is checked later. */
  bboxXywh: BboxXywh
  relative?: boolean
  /** The mask's area in square pixels, as the file says: it decides the size class of an evaluation. */
  area?: number
  /** Taken as it is, not cut to the picture: our own record of it. */
  exact?: boolean
  id?: number
  caption?: string | null
  /** Given by a model: 0 to 1. */
  score?: number | null
  /** Without one: accepted, or proposed where there is a score and `scored` files hold results. */
  status?: AnnotationStatus
  provenance?: Provenance
  extras?: AnnotationExtras
  model?: { bboxXywh: BboxXywh | null; caption: string | null; score: number | null; hash: string | null }
  decided?: { at: number | null; ms: number | null }
  where: string
}

/** A sentence about the whole image, or a turn of a talk. */
export interface ImportMessage {
  kind: 'message'
  imageKey: Key
  message: Omit<Message, 'id' | 'imageId'>
  id?: number
  where: string
}

/** A row that cannot be taken: refused, or left out where bad rows may be. */
export interface ImportProblem {
  kind: 'problem'
  /** Line or path inside the file: `annotations[7]`, `a.xml: object 2`, `labels.csv line 9`. */
  where: string
  reason: string
}

/** Something to know that costs nothing: what was made of an oddity. Said once for each `text`. */
export interface ImportNote {
  kind: 'note'
  text: string
}

export type ImportItem = ImportImage | ImportCategory | ImportAnnotation | ImportMessage | ImportProblem | ImportNote

export const problem = (where: string, reason: string): ImportProblem => ({ kind: 'problem', where, reason })
export const note = (text: string): ImportNote => ({ kind: 'note', text })

/** A plain object, as JSON has it. */
export type Row = Record<string, unknown>
export const isRow = (value: unknown): value is Row =>
  typeof value === 'object' && value !== null && !Array.isArray(value)

/** A key of a row: text or a whole number that JavaScript holds exactly; null otherwise. */
export function keyOf(value: unknown): Key | null {
  if (typeof value === 'string') return value === '' ? null : value
  return Number.isSafeInteger(value) ? (value as number) : null
}

/** A finite number, or null: text that looks like one is none. */
export const numberOf = (value: unknown): number | null =>
  typeof value === 'number' && Number.isFinite(value) ? value : null

/** Text that says something, or null. */
export const textOf = (value: unknown): string | null =>
  typeof value === 'string' && value.trim() !== '' ? value : null

/** A side of an image: a whole number of pixels from 1; null when there is none to be had. */
export function sideOf(value: unknown): number | null {
  return Number.isSafeInteger(value) && (value as number) > 0 ? (value as number) : null
}

/** A number in text, as XML, CSV and YOLO have it; NaN when it is none. */
export function parseNumber(text: string | undefined): number {
  const trimmed = (text ?? '').trim()
  return /^[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?$/.test(trimmed) ? Number(trimmed) : Number.NaN
}

/** `[x, y, w, h]` of four numbers in an array; null with anything else in it. */
export function bboxOf(value: unknown): BboxXywh | null {
  if (!Array.isArray(value) || value.length !== 4) return null
  return value.every((side) => typeof side === 'number') ? (value as BboxXywh) : null
}

/** Extras that are flat and small enough to keep: text, numbers, truth values. */
export function attributesFrom(
  value: unknown,
  except: ReadonlySet<string> = new Set(),
): Record<string, string | number | boolean> | null {
  if (!isRow(value)) return null
  const kept = Object.entries(value).filter(
    (entry): entry is [string, string | number | boolean] =>
      !except.has(entry[0]) &&
      entry[0] !== '__proto__' &&
      (typeof entry[1] === 'string' || typeof entry[1] === 'boolean' || numberOf(entry[1]) !== null),
  )
  return kept.length === 0 ? null : Object.fromEntries(kept.slice(0, 100))
}

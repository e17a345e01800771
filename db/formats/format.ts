/** What every format answers to. The table of those there are is `registry.ts`. */
import type { ExportSource } from '../exportSource.ts'
import type { ImportItem } from './items.ts'
import type { Probe } from './probe.ts'
import type { ImportInput } from './textFile.ts'

export interface ExportOptions {
  /** Absolute path of the main file, or of the folder for formats that are one; made when it is not there. */
  path: string
  /** accepted = what people said yes to (accepted and edited); all adds what nobody decided yet. Never the rejected. */
  status: 'accepted' | 'all'
  /** Also lay the pictures out beside the file, with names that are unique. */
  copyImages: boolean
  /** Copied pictures keep their folders and names instead of getting flat unique ones. */
  keepNames?: boolean | undefined
  overwrite: boolean
  /** Boxes without a polygon are written as one of four corners, where the format has polygons. */
  polygons?: boolean | undefined
  signal?: AbortSignal | undefined
  onProgress?: ((progress: { done: number; total: number | null; note: string }) => void) | undefined
  /** Copies one picture (absolute paths); give one that turns EXIF-rotated pixels upright. Default: a plain copy. */
  copyImage?: ((from: string, to: string) => Promise<void>) | undefined
}

/** The contract's ExportReport. */
export interface ExportReport {
  path: string
  images: number
  annotations: number
  categories: number
  rejectedPath: string | null
  captionsPath: string | null
  notes: string[]
}

export interface Reader {
  /** How surely this is it, 0 (it is not) to 1. */
  sniff(probe: Probe): number
  /** Reads in one pass; rows that cannot be taken are handed on as problems. @throws INVALID_INPUT for a file that is not of this format, NOT_FOUND, IO_FAILED */
  read(input: ImportInput): Generator<ImportItem>
  /** Reads whole folders; of other formats a folder may hold one file only. */
  folders?: boolean
  /** Boxes with a score are a model's results: they come in as proposals. */
  results?: boolean
}

export interface Format {
  /** For people: "COCO instances". */
  name: string
  /** What an export of it is. Imports take either, and zip files of it. */
  shape: 'file' | 'folder'
  /** Of the main file, with the dot; '' for folders. */
  extension: string
  /** What survives a way out and back, and what does not: a sentence each. */
  keeps: string
  loses: string
  reader: Reader
  /** @throws ALREADY_EXISTS, NOT_FOUND, READ_ONLY, DISK_FULL, CANCELLED, IO_FAILED; the old file stays whole whatever happens */
  export(source: ExportSource, options: ExportOptions): Promise<ExportReport>
}

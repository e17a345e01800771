/** What every export format answers to, and the table of those there are. */
import type { ExportSource } from '../exportSource.ts'
import { exportCoco } from './coco.ts'

export interface ExportOptions {
  /** Absolute path of the main file; its folder is made when it is not there. */
  path: string
  /** accepted = what people said yes to (accepted and edited); all adds what nobody decided yet. Never the rejected. */
  status: 'accepted' | 'all'
  /** Also lay the pictures out beside the file, with names that are unique. */
  copyImages: boolean
  overwrite: boolean
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

export interface Exporter {
  /** For people: "COCO". */
  name: string
  /** With the dot. */
  extension: string
  /** @throws ALREADY_EXISTS, NOT_FOUND, READ_ONLY, DISK_FULL, CANCELLED, IO_FAILED; the old file stays whole whatever happens */
  export(source: ExportSource, options: ExportOptions): Promise<ExportReport>
}

export const exporters = {
  coco: { name: 'COCO', extension: '.json', export: exportCoco },
} as const satisfies Record<string, Exporter>

export type FormatName = keyof typeof exporters

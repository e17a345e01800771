import { closeSync, openSync, readSync } from 'node:fs'
import { GromaError } from '../errors.ts'

/** Rows of the input embedding, read from their file when asked for: the system's page cache keeps what is used. */
export class EmbeddingTable {
  readonly #path: string
  readonly #file: number
  readonly #rows: number
  readonly width: number

  constructor(path: string, rows: number, width: number) {
    this.#path = path
    this.#rows = rows
    this.width = width
    this.#file = openSync(path, 'r')
  }

  /**
   * Copies the embeddings of ids, one after another, into `target` from row `at` on.
   * @throws GromaError INPUT_INVALID for an id outside the vocabulary, MODEL_INVALID when the file is short
   */
  copyInto(target: Float32Array, at: number, ids: readonly number[]): void {
    for (const [index, id] of ids.entries()) {
      if (!(id >= 0 && id < this.#rows)) throw new GromaError('INPUT_INVALID', `token ${id} is outside the vocabulary`)
      const row = target.subarray((at + index) * this.width, (at + index + 1) * this.width)
      const bytes = new Uint8Array(row.buffer, row.byteOffset, row.byteLength)
      const read = readSync(this.#file, bytes, 0, bytes.length, id * bytes.length)
      if (read !== bytes.length) throw new GromaError('MODEL_INVALID', `${this.#path}: ends before token ${id}`)
    }
  }

  close(): void {
    closeSync(this.#file)
  }
}

import { closeSync, openSync, readSync } from 'node:fs'
import { GromaError } from '../errors.ts'

/**
 * Rows of the input embedding, float32 or (a path that ends in `.f16`) float16, read from their file when asked for: the
 * system's page cache keeps what is used.
 */
export class EmbeddingTable {
  readonly #path: string
  readonly #file: number
  readonly #rows: number
  readonly #row: Float32Array | Float16Array
  readonly width: number

  constructor(path: string, rows: number, width: number) {
    this.#path = path
    this.#rows = rows
    this.width = width
    this.#row = path.endsWith('.f16') ? new Float16Array(width) : new Float32Array(width)
    this.#file = openSync(path, 'r')
  }

  /**
   * Copies the embeddings of ids, one after another, into `target` from row `at` on.
   * @throws GromaError INPUT_INVALID for an id outside the vocabulary, MODEL_INVALID when the file is short
   */
  copyInto(target: Float32Array, at: number, ids: readonly number[]): void {
    for (const [index, id] of ids.entries()) {
      if (!(id >= 0 && id < this.#rows)) throw new GromaError('INPUT_INVALID', `token ${id} is outside the vocabulary`)
      const row = new Uint8Array(this.#row.buffer)
      const read = readSync(this.#file, row, 0, row.length, id * row.length)
      if (read !== row.length) throw new GromaError('MODEL_INVALID', `${this.#path}: ends before token ${id}`)
      target.set(this.#row, (at + index) * this.width)
    }
  }

  close(): void {
    closeSync(this.#file)
  }
}

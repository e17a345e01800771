import { createHash } from 'node:crypto'
import { type FileHandle, open } from 'node:fs/promises'

const BUFFER_BYTES = 8 << 20
/** Large tensors start on a page so that a runtime can map them; small ones on a cache line. */
const PAGE = 4096
const CACHE_LINE = 64
const PAGE_ALIGNED_FROM = 1 << 16

/** Numbers that are read when their turn comes, in consecutive parts of any length. */
export interface FloatSource {
  shape: readonly number[]
  parts: () => Iterable<Float32Array> | AsyncIterable<Float32Array>
}

/** Appends tensors to one file, each aligned, holding at most a few megabytes in memory; hashes on the way. */
export class ExternalDataWriter {
  /** The file's name as the model files beside it will give it. */
  readonly location: string
  readonly #file: FileHandle
  readonly #onBytes: (bytes: number) => void
  readonly #hash = createHash('sha256')
  #written = 0
  /** what goes to the disk while the next tensors are made */
  #writing: Promise<void> = Promise.resolve()
  #pending: Uint8Array[] = []
  #pendingBytes = 0

  private constructor(file: FileHandle, location: string, onBytes: (bytes: number) => void) {
    this.#file = file
    this.location = location
    this.#onBytes = onBytes
  }

  /**
   * Creates the file; it must not exist yet.
   * @param onBytes told of every stretch of tensor data taken; what it throws ends the writing
   */
  static async create(
    path: string,
    location: string,
    onBytes: (bytes: number) => void = () => {},
  ): Promise<ExternalDataWriter> {
    return new ExternalDataWriter(await open(path, 'wx'), location, onBytes)
  }

  /** Writes one float tensor and tells where it lies. */
  appendFloats({ shape, parts }: FloatSource): Promise<{ offset: number; length: number }> {
    const byteLength = shape.reduce((product, length) => product * length, Float32Array.BYTES_PER_ELEMENT)
    return this.append(byteLength, byteParts(parts()))
  }

  /** The same, rounded to half floats. @throws RangeError when a number is too large for one */
  appendHalves({ shape, parts }: FloatSource): Promise<{ offset: number; length: number }> {
    const byteLength = shape.reduce((product, length) => product * length, Float16Array.BYTES_PER_ELEMENT)
    return this.append(byteLength, byteParts(halves(parts())))
  }

  /** Writes one tensor, given as its consecutive parts, and tells where it lies. */
  async append(
    byteLength: number,
    parts: Iterable<Uint8Array> | AsyncIterable<Uint8Array>,
  ): Promise<{ offset: number; length: number }> {
    const alignment = byteLength >= PAGE_ALIGNED_FROM ? PAGE : CACHE_LINE
    const end = this.#written + this.#pendingBytes
    const offset = Math.ceil(end / alignment) * alignment
    if (offset > end) await this.#push(new Uint8Array(offset - end))
    let length = 0
    for await (const part of parts) {
      await this.#push(part)
      length += part.byteLength
      this.#onBytes(part.byteLength)
    }
    if (length !== byteLength) throw new RangeError(`tensor of ${length} bytes where ${byteLength} were announced`)
    return { offset, length }
  }

  /**
   * Writes what is still in memory and closes; making it safe on the disk is the caller's.
   * @returns length and SHA-256 of the file
   */
  async close(): Promise<{ bytes: number; sha256: string }> {
    try {
      await this.#flush()
      await this.#writing
      return { bytes: this.#written, sha256: this.#hash.digest('hex') }
    } finally {
      await this.#writing.catch(() => {}) // told above
      await this.#file.close()
    }
  }

  async #push(bytes: Uint8Array): Promise<void> {
    this.#pending.push(bytes)
    this.#pendingBytes += bytes.byteLength
    if (this.#pendingBytes >= BUFFER_BYTES) await this.#flush()
  }

  async #flush(): Promise<void> {
    await this.#writing
    if (this.#pendingBytes === 0) return
    const bytes = this.#pending.length === 1 ? this.#pending[0]! : Buffer.concat(this.#pending)
    this.#pending = []
    this.#pendingBytes = 0
    this.#writing = this.#write(bytes, this.#written)
    this.#writing.catch(() => {}) // the next flush or `close` tells
    this.#written += bytes.byteLength
    this.#hash.update(bytes)
  }

  async #write(bytes: Uint8Array, position: number): Promise<void> {
    for (let done = 0; done < bytes.byteLength; ) {
      const { bytesWritten } = await this.#file.write(bytes, done, bytes.byteLength - done, position + done)
      done += bytesWritten
    }
  }
}

type Parts<T> = Iterable<T> | AsyncIterable<T>

async function* byteParts(parts: Parts<Float32Array | Float16Array>): AsyncGenerator<Uint8Array> {
  for await (const { buffer, byteOffset, byteLength } of parts) yield new Uint8Array(buffer, byteOffset, byteLength)
}

async function* halves(parts: Parts<Float32Array>): AsyncGenerator<Float16Array> {
  for await (const part of parts) {
    const rounded = Float16Array.from(part)
    if (!rounded.every(Number.isFinite)) throw new RangeError('a weight is too large for a half float')
    yield rounded
  }
}

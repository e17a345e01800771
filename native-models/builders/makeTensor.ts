import { closeSync, openSync, readSync } from 'node:fs'
import { join } from 'node:path'
import { asGromaError, GromaError } from '../errors.ts'
import { allFinite } from '../finite.ts'
import { type FloatSource, type Form, type Place, placesOf, type StoredRows } from '../onnx/externalData.ts'
import { WeightKernel } from '../onnx/weightKernel.ts'
import { BlockRounder, Int8Rounder, type Matrix, type RowRounder } from './roundRows.ts'
import { holds, outputTo, type TensorOutput, type Written } from './tensorOutput.ts'
import { NOT_FINITE } from './weights.ts'

/** What is made of one weight while it is at hand. One that lies in a file needs no parts. */
export interface TensorWork {
  source: Omit<FloatSource, 'parts'> & Partial<Pick<FloatSource, 'parts'>>
  products: readonly Product[]
}

/** A form of a weight, or of some of the tensors that are stacked in it: of so many rows from one on. */
export interface Product {
  form: Form
  from: number
  rows: number
}

export const placesOfWork = ({ products }: TensorWork): Place[] => products.flatMap(({ form }) => placesOf(form))

/** Values that are worked on at a time: stored, as floats and as codes they fit in a processor's own cache. */
const BATCH_VALUES = 1 << 16
const FLOAT_BYTES = Float32Array.BYTES_PER_ELEMENT
const STORED_BYTES = { F32: 4, F16: 2, BF16: 2 } as const
/** What the kernel takes at once. */
const ROW_UNIT = 16

/**
 * Makes tensors of weights and puts them in their places in a folder's data files, which must exist. Reading and writing
 * block: to be used in a thread of its own, or for little.
 */
export class TensorMaker {
  readonly #folder: string
  readonly #onBytes: (bytes: number) => void
  readonly #kernel = new WeightKernel()
  readonly #files = new Map<string, number>()
  /** the stored tensor in work */
  #reading: StoredRows | null = null

  /** @param onBytes told of every stretch written; what it throws ends the making */
  constructor(folder: string, onBytes: (bytes: number) => void) {
    this.#folder = folder
    this.#onBytes = onBytes
  }

  /**
   * @returns what was written to each place, in the order of the products
   * @throws GromaError CHECKPOINT_INVALID for a weight that is not finite or too large for what is made of it,
   * CHECKPOINT_TRUNCATED, DISK_FULL, IO_FAILED
   */
  async make(work: TensorWork): Promise<Written[]> {
    this.#reading = null
    try {
      return await this.#make(work)
    } catch (error) {
      if (error instanceof RangeError && this.#reading) {
        const { path, name } = this.#reading
        throw new GromaError('CHECKPOINT_INVALID', `${path}: ${name} ${error.message}`, { cause: error })
      }
      throw error instanceof RangeError ? error : asGromaError(error, 'IO_FAILED', this.#folder)
    }
  }

  async #make(work: TensorWork): Promise<Written[]> {
    const { source, products } = work
    this.#kernel.clear()
    const outputs = new Map<Place, TensorOutput>()
    for (const place of placesOfWork(work)) outputs.set(place, outputTo(place, this.#dataFile, this.#onBytes))
    const size = sizeOf(work)
    const rounders: Rounding[] = []
    for (const { form, from, rows } of products) {
      if (form.kind === 'bytes') outputs.get(form.to)!.write(form.bytes)
      else if (form.kind === 'floats' || form.kind === 'halves') {
        const { stored, parts, shape } = source
        const copies = stored
          ? this.#storedCopies(rowsOf(stored, from, rows), widthOf(shape), form.kind)
          : copiesOf(parts!(), form.kind)
        for await (const bytes of copies) outputs.get(form.to)!.write(bytes)
      } else {
        const matrix = { ...size, rows }
        const to = { codes: outputs.get(form.codes)!, scales: outputs.get(form.scales)! }
        const rounder =
          form.kind === 'blocks'
            ? new BlockRounder(this.#kernel, matrix, form.format, to)
            : new Int8Rounder(this.#kernel, matrix, form.layout, to)
        rounders.push({ rounder, from, rows })
      }
    }
    if (rounders.length > 0) await this.#round(source, size, rounders)
    return [...outputs.values()].map((output) => output.end())
  }

  /** Whether the places hold what was written to them earlier. */
  holds(work: TensorWork, written: readonly Written[]): boolean {
    return placesOfWork(work).every((place, i) => holds(place, written[i], this.#dataFile))
  }

  close(): void {
    for (const fd of this.#files.values()) closeSync(fd)
    this.#files.clear()
  }

  /** Passes all rows to the rounders that want them, some at a time. */
  async #round(source: TensorWork['source'], { width, stride }: RowSize, rounders: readonly Rounding[]): Promise<void> {
    const batch = Math.max(1, Math.floor(BATCH_VALUES / stride))
    const values = this.#kernel.take(batch * stride * FLOAT_BYTES)
    let done = 0
    const take = (count: number) => {
      for (const { rounder, from, rows } of rounders)
        if (done >= from && done < from + rows) rounder.take(values, count)
      done += count
    }
    if (source.stored) {
      const input = this.#kernel.take(batch * width * FLOAT_BYTES)
      for (const stored of source.stored) {
        for (let row = 0; row < stored.rows; row += batch) {
          const count = Math.min(batch, stored.rows - row)
          this.#read(stored, row * width, count * width, input)
          if (stride === width) this.#expand(stored.dtype, input, values, count * width)
          else {
            const rowBytes = width * STORED_BYTES[stored.dtype]
            for (let i = 0; i < count; i++) {
              const to = values + i * stride * FLOAT_BYTES
              this.#expand(stored.dtype, input + i * rowBytes, to, width)
              this.#kernel.floats(to, stride).fill(0, width)
            }
          }
          take(count)
        }
      }
    } else {
      for await (const part of source.parts!()) {
        for (let start = 0; start < part.length; start += batch * width) {
          const count = Math.min(batch, (part.length - start) / width)
          const rows = this.#kernel.floats(values, count * stride)
          for (let i = 0; i < count; i++) {
            rows.set(part.subarray(start + i * width, start + (i + 1) * width), i * stride)
            rows.fill(0, i * stride + width, (i + 1) * stride)
          }
          take(count)
        }
      }
    }
    for (const { rounder } of rounders) rounder.end()
  }

  /** All stored values as bytes of floats or half floats, in the kernels' memory. */
  *#storedCopies(stored: readonly StoredRows[], width: number, kind: 'floats' | 'halves'): Generator<Uint8Array> {
    const input = this.#kernel.take(BATCH_VALUES * FLOAT_BYTES)
    const values = this.#kernel.take(BATCH_VALUES * FLOAT_BYTES)
    for (const rows of stored) {
      for (let done = 0; done < rows.rows * width; done += BATCH_VALUES) {
        const count = Math.min(BATCH_VALUES, rows.rows * width - done)
        this.#read(rows, done, count, input)
        if (kind === 'halves' && rows.dtype === 'F16') {
          const bytes = this.#kernel.bytes(input, count * STORED_BYTES.F16)
          if (!allFiniteHalves(new Uint16Array(bytes.buffer, bytes.byteOffset, count))) throw new RangeError(NOT_FINITE)
          yield bytes
        } else {
          this.#expand(rows.dtype, input, values, count)
          const floats = this.#kernel.floats(values, count)
          if (!allFinite(floats)) throw new RangeError(NOT_FINITE)
          yield kind === 'floats' ? bytesOf(floats) : halvesOf(floats)
        }
      }
    }
  }

  /** Reads values of a stored tensor, from its `start`-th on, to an address of the kernels' memory. */
  #read(stored: StoredRows, start: number, count: number, to: number): void {
    const { path, byteOffset, dtype } = stored
    this.#reading = stored
    const width = STORED_BYTES[dtype]
    const target = this.#kernel.bytes(to, count * width)
    const fd = this.#open(path, 'r')
    for (let done = 0; done < target.length; ) {
      const bytes = readSync(fd, target, done, target.length - done, byteOffset + start * width + done)
      if (bytes === 0) throw new GromaError('CHECKPOINT_TRUNCATED', `${path}: ends inside a tensor`)
      done += bytes
    }
  }

  /** Stored values as floats; up to three more than asked for are written. */
  #expand(dtype: StoredRows['dtype'], from: number, to: number, count: number): void {
    if (dtype === 'F32') this.#kernel.bytes(to, count * FLOAT_BYTES).set(this.#kernel.bytes(from, count * FLOAT_BYTES))
    else if (dtype === 'F16') this.#kernel.run.halves(from, to, count)
    else this.#kernel.run.bfloats(from, to, count)
  }

  readonly #dataFile = (file: string): number => this.#open(join(this.#folder, file), 'r+')

  #open(path: string, flags: 'r' | 'r+'): number {
    const fd = this.#files.get(path) ?? openSync(path, flags)
    this.#files.set(path, fd)
    return fd
  }
}

const widthOf = (shape: readonly number[]) => shape.slice(1).reduce((product, extent) => product * extent, 1)

type RowSize = Omit<Matrix, 'rows'>

/** A rounder of some rows, which are whole tensors. */
interface Rounding extends Omit<Product, 'form'> {
  rounder: RowRounder
}

/** Whole tensors of a stack: those of so many rows from one on. */
function rowsOf(stored: readonly StoredRows[], from: number, rows: number): StoredRows[] {
  let row = 0
  return stored.filter((tensor) => {
    const start = row
    row += tensor.rows
    return start >= from && start < from + rows
  })
}

function sizeOf({ source, products }: TensorWork): RowSize {
  const width = widthOf(source.shape)
  const unit = Math.max(ROW_UNIT, ...products.map(({ form }) => (form.kind === 'blocks' ? form.format.blockSize : 0)))
  return { width, stride: Math.ceil(width / unit) * unit }
}

async function* copiesOf(parts: ReturnType<FloatSource['parts']>, kind: 'floats' | 'halves') {
  for await (const part of parts) yield kind === 'floats' ? bytesOf(part) : halvesOf(part)
}

const bytesOf = ({ buffer, byteOffset, byteLength }: Float32Array | Float16Array) =>
  new Uint8Array(buffer, byteOffset, byteLength)

function halvesOf(values: Float32Array): Uint8Array {
  const rounded = Float16Array.from(values)
  if (!rounded.every(Number.isFinite)) throw new RangeError('holds a weight that is too large for a half float')
  return bytesOf(rounded)
}

/** All set in infinity and NaN. */
const HALF_EXPONENT = 0x7c00

function allFiniteHalves(bits: Uint16Array): boolean {
  for (let i = 0; i < bits.length; i++) if ((bits[i]! & HALF_EXPONENT) === HALF_EXPONENT) return false
  return true
}

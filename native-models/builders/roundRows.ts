import type { Form } from '../onnx/externalData.ts'
import { type BlockFormat, blocksPerRow, bytesPerRow, quantizeBlocks } from '../onnx/quantize.ts'
import type { WeightKernel } from '../onnx/weightKernel.ts'
import type { TensorOutput } from './tensorOutput.ts'

/** A weight as a matrix [rows, width], in the kernels' memory each row filled up with zeros to a stride. */
export interface Matrix {
  rows: number
  width: number
  /** values; a multiple of 16 and of every block's size */
  stride: number
}

/** Makes one form of a weight out of its rows, which come a few at a time. */
export interface RowRounder {
  /**
   * @param at address of the first of `count` rows of floats
   * @throws RangeError when a value is not finite
   */
  take(at: number, count: number): void
  end(): void
}

interface Outputs {
  codes: TensorOutput
  scales: TensorOutput
}

const FLOAT_BYTES = Float32Array.BYTES_PER_ELEMENT
/** Codes are collected up to so many before they are written. */
const BUFFER_BYTES = 1 << 20

/** Rounds rows to blocks (see quantize.ts). */
export class BlockRounder implements RowRounder {
  readonly #kernel: WeightKernel
  readonly #matrix: Matrix
  readonly #format: BlockFormat
  readonly #outputs: Outputs
  readonly #codes: number
  readonly #scales: number
  #filled = 0
  #row = 0

  constructor(kernel: WeightKernel, matrix: Matrix, format: BlockFormat, outputs: Outputs) {
    this.#kernel = kernel
    this.#matrix = matrix
    this.#format = format
    this.#outputs = outputs
    this.#codes = kernel.take(Math.max(BUFFER_BYTES, this.#rowBytes))
    this.#scales = kernel.take(matrix.rows * this.#blocks * FLOAT_BYTES)
  }

  take(at: number, count: number): void {
    const { blockSize } = this.#format
    const { stride } = this.#matrix
    if (this.#blocks * blockSize === stride && count * this.#rowBytes <= BUFFER_BYTES) this.#round(at, count)
    else for (let i = 0; i < count; i++) this.#round(at + i * stride * FLOAT_BYTES, 1)
  }

  end(): void {
    this.#flush()
    this.#outputs.scales.write(this.#kernel.bytes(this.#scales, this.#row * this.#blocks * FLOAT_BYTES))
  }

  get #blocks(): number {
    return blocksPerRow(this.#matrix.width, this.#format)
  }

  get #rowBytes(): number {
    return bytesPerRow(this.#matrix.width, this.#format)
  }

  #round(at: number, rows: number): void {
    if (this.#filled + rows * this.#rowBytes > BUFFER_BYTES) this.#flush()
    quantizeBlocks(this.#kernel, this.#format, {
      values: at,
      codes: this.#codes + this.#filled,
      scales: this.#scales + this.#row * this.#blocks * FLOAT_BYTES,
      blocks: rows * this.#blocks,
    })
    this.#filled += rows * this.#rowBytes
    this.#row += rows
  }

  #flush(): void {
    this.#outputs.codes.write(this.#kernel.bytes(this.#codes, this.#filled))
    this.#filled = 0
  }
}

/** What the kernel transposes at once. */
const SIDE = 16
/** Rows are transposed together up to so many, which then lie side by side, or to so many bytes. */
const TILE_ROWS = 256
const TILE_BYTES = 4 << 20

/** Rounds rows to int8 with a scale a row, and lays them down as they are or transposed. Holds all codes in memory. */
export class Int8Rounder implements RowRounder {
  readonly #kernel: WeightKernel
  readonly #matrix: Matrix
  readonly #outputs: Outputs
  readonly #transposed: boolean
  /** int32 [width]: where each column goes */
  readonly #places: number
  readonly #tile: number
  readonly #tileRows: number
  readonly #codes: number
  readonly #scales: number
  /** rows in the tile, and before it */
  #filled = 0
  #row = 0

  constructor(
    kernel: WeightKernel,
    matrix: Matrix,
    layout: Extract<Form, { kind: 'int8' }>['layout'],
    outputs: Outputs,
  ) {
    const { rows, width, stride } = matrix
    this.#kernel = kernel
    this.#matrix = matrix
    this.#outputs = outputs
    this.#transposed = layout !== 'rows'
    this.#places = kernel.take(width * Int32Array.BYTES_PER_ELEMENT)
    this.#tileRows = Math.min(TILE_ROWS, SIDE * Math.max(1, Math.floor(TILE_BYTES / stride / SIDE)))
    this.#tile = kernel.take(this.#tileRows * stride)
    this.#codes = kernel.take(rows * width)
    this.#scales = kernel.take(rows * FLOAT_BYTES)
    const order = (layout !== 'rows' && layout.order) || Int32Array.from({ length: width }, (_, column) => column)
    kernel.bytes(this.#places, order.byteLength).set(new Uint8Array(order.buffer, order.byteOffset, order.byteLength))
  }

  take(at: number, count: number): void {
    const { stride } = this.#matrix
    for (let done = 0; done < count; ) {
      const rows = Math.min(count - done, this.#tileRows - this.#filled)
      const bad = this.#kernel.run.roundRows(
        at + done * stride * FLOAT_BYTES,
        this.#tile + this.#filled * stride,
        this.#scales + (this.#row + this.#filled) * FLOAT_BYTES,
        rows,
        stride * FLOAT_BYTES,
      )
      if (bad) throw new RangeError('holds a weight that is not a finite number')
      done += rows
      this.#filled += rows
      if (this.#filled === this.#tileRows) this.#place()
    }
  }

  end(): void {
    this.#place()
    const { width } = this.#matrix
    this.#outputs.codes.write(this.#kernel.bytes(this.#codes, this.#row * width))
    this.#outputs.scales.write(this.#kernel.bytes(this.#scales, this.#row * FLOAT_BYTES))
  }

  /** Puts the tile's rows where they belong. */
  #place(): void {
    if (this.#transposed) this.#placeColumns()
    else this.#placeRows()
    this.#row += this.#filled
    this.#filled = 0
  }

  #placeRows(): void {
    const { width, stride, rows } = this.#matrix
    const codes = this.#kernel.bytes(this.#codes, rows * width)
    const tile = this.#kernel.bytes(this.#tile, this.#tileRows * stride)
    for (let i = 0; i < this.#filled; i++) {
      codes.set(tile.subarray(i * stride, i * stride + width), (this.#row + i) * width)
    }
  }

  /** Squares by the kernel, what is left over at the edges one by one. */
  #placeColumns(): void {
    const { width, stride, rows } = this.#matrix
    const wholeRows = this.#filled - (this.#filled % SIDE)
    const wholeColumns = width - (width % SIDE)
    if (wholeRows > 0 && wholeColumns > 0) {
      const to = this.#codes + this.#row
      this.#kernel.run.transpose(this.#tile, stride, wholeRows, wholeColumns, this.#places, to, rows)
    }
    const tile = this.#kernel.bytes(this.#tile, this.#tileRows * stride)
    const codes = this.#kernel.bytes(this.#codes, rows * width)
    const places = this.#kernel.words(this.#places, width)
    for (let i = 0; i < this.#filled; i++) {
      for (let k = i < wholeRows ? wholeColumns : 0; k < width; k++) {
        codes[places[k]! * rows + this.#row + i] = tile[i * stride + k]!
      }
    }
  }
}

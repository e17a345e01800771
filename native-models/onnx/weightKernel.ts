import { EXPAND } from './floatKernel.ts'
import { ROUND_ROWS, TRANSPOSE } from './int8Kernel.ts'
import { QUANTIZE } from './quantizeKernel.ts'
import { assemble } from './wat.ts'

/** What of it we use; the type libraries have it only together with the browser's. */
declare const WebAssembly: {
  Module: new (bytes: Uint8Array) => object
  Instance: new (module: object) => { exports: unknown }
}

/** The functions of floatKernel, quantizeKernel and int8Kernel; addresses and lengths are bytes of `memory`. */
interface Functions {
  memory: { buffer: ArrayBuffer; grow(pages: number): number }
  halves(from: number, to: number, count: number): void
  bfloats(from: number, to: number, count: number): void
  quantize(
    values: number,
    codes: number,
    scales: number,
    blocks: number,
    valueBytes: number,
    codeBytes: number,
    low: number,
    tryRanges: 0 | 1,
  ): number
  roundRows(values: number, codes: number, scales: number, rows: number, valueBytes: number): number
  transpose(
    from: number,
    stride: number,
    rows: number,
    columns: number,
    places: number,
    to: number,
    rowBytes: number,
  ): void
}

const PAGE = 1 << 16
const ALIGNMENT = 64

let module: object | undefined

/** The kernels, assembled when first asked for, over a memory of their own. */
export class WeightKernel {
  readonly run: Functions
  #end = 0

  constructor() {
    module ??= new WebAssembly.Module(assemble([EXPAND, QUANTIZE, ROUND_ROWS, TRANSPOSE].join('\n'), 1))
    this.run = new WebAssembly.Instance(module).exports as Functions
  }

  /** What stood in the memory is no longer anyone's. */
  clear(): void {
    this.#end = 0
  }

  /** Room for so many bytes: its address. Views made earlier are of no use any more. */
  take(bytes: number): number {
    const at = this.#end
    this.#end += Math.ceil(bytes / ALIGNMENT) * ALIGNMENT
    const missing = this.#end - this.run.memory.buffer.byteLength
    if (missing > 0) this.run.memory.grow(Math.ceil(missing / PAGE))
    return at
  }

  bytes(at: number, count: number): Uint8Array<ArrayBuffer> {
    return new Uint8Array(this.run.memory.buffer, at, count)
  }

  floats(at: number, count: number): Float32Array<ArrayBuffer> {
    return new Float32Array(this.run.memory.buffer, at, count)
  }

  words(at: number, count: number): Int32Array<ArrayBuffer> {
    return new Int32Array(this.run.memory.buffer, at, count)
  }
}

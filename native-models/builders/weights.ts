import type { Checkpoint, TensorInfo } from '../checkpoint/checkpoint.ts'
import { canonicalTensorName } from '../checkpoint/names.ts'
import { GromaError } from '../errors.ts'
import { allFinite } from '../finite.ts'
import type { StoredRows } from '../onnx/externalData.ts'
import type { WeightSource } from '../onnx/graphBuilder.ts'

/** Larger tensors are read in slices of rows, so that memory stays at this much however large the model is. */
const SLICE_BYTES = 16 << 20

/** What a tensor may not hold, whatever is made of it: such a model would answer nothing. */
export const NOT_FINITE = 'holds numbers that are not finite'

/** A checkpoint's tensors under one prefix, as sources that are read when a graph writes them down. */
export class Weights {
  readonly #checkpoint: Checkpoint
  readonly #prefix: string

  constructor(checkpoint: Checkpoint, prefix = '') {
    this.#checkpoint = checkpoint
    this.#prefix = prefix
  }

  /** The tensors whose names go on after `name` and a dot. */
  at(name: string | number): Weights {
    return new Weights(this.#checkpoint, `${this.#prefix}${name}.`)
  }

  has(name: string): boolean {
    return this.#checkpoint.has(this.#prefix + name)
  }

  /** @throws GromaError CHECKPOINT_INVALID where the checkpoint has no such tensor. */
  shape(name: string): readonly number[] {
    return this.#info(name).shape
  }

  /** The length of one axis. */
  dim(name: string, axis: number): number {
    const length = this.shape(name).at(axis)
    if (length !== undefined) return length
    throw this.#refuse(name, `has no axis ${axis}`)
  }

  /** All values at once, row-major float32. @throws GromaError CHECKPOINT_INVALID where one is not finite */
  async read(name: string): Promise<Float32Array> {
    return this.#finite(name, await this.#checkpoint.readFloat32(this.#prefix + name))
  }

  /** One tensor; `expected` states the shape that the configuration asks for, where the graph cannot adapt. */
  source(name: string, expected?: readonly number[]): WeightSource {
    const shape = this.shape(name)
    if (expected && expected.join() !== shape.join()) {
      const found = `[${shape.join(', ')}] where the configuration asks for [${expected.join(', ')}]`
      throw this.#refuse(name, `has shape ${found}`)
    }
    const where = this.#checkpoint.where(this.#prefix + name)
    const parts = () => this.#slices(name, shape)
    return where ? { shape, parts, stored: [{ ...where, rows: shape[0] ?? 1 }] } : { shape, parts }
  }

  /** `weight` and `bias` of a module. */
  affine(module: string, expected?: readonly number[]): { weight: WeightSource; bias: WeightSource } {
    const weight = this.source(`${module}.weight`, expected)
    return { weight, bias: this.source(`${module}.bias`, weight.shape.slice(0, 1)) }
  }

  /** `weight` of a module that has no bias. */
  matrix(module: string, expected?: readonly number[]): { weight: WeightSource } {
    return { weight: this.source(`${module}.weight`, expected) }
  }

  /** Tensors with rows of one length, stacked along their first axis. */
  stacked(...tensors: readonly { name: string; expected: readonly number[] }[]): WeightSource {
    const sources = tensors.map(({ name, expected }) => this.source(name, expected))
    const rows = sources.reduce((sum, { shape }) => sum + shape[0]!, 0)
    const stored: StoredRows[] = sources.flatMap((source) => source.stored ?? [])
    return {
      ...(stored.length === sources.length ? { stored } : {}),
      shape: [rows, ...sources[0]!.shape.slice(1)],
      async *parts() {
        for (const source of sources) yield* source.parts()
      },
    }
  }

  #info(name: string): TensorInfo {
    const info = this.#checkpoint.tensors.get(canonicalTensorName(this.#prefix + name))
    if (info) return info
    this.#checkpoint.where(this.#prefix + name) // says why it is not there
    throw new GromaError('CHECKPOINT_INVALID', `the checkpoint has no tensor ${this.#prefix}${name}`)
  }

  #refuse(name: string, reason: string): GromaError {
    return new GromaError('CHECKPOINT_INVALID', `${this.#info(name).file}: ${this.#prefix}${name} ${reason}`)
  }

  #finite(name: string, values: Float32Array): Float32Array {
    if (allFinite(values)) return values
    throw this.#refuse(name, NOT_FINITE)
  }

  async *#slices(name: string, shape: readonly number[]): AsyncGenerator<Float32Array> {
    const rows = shape[0] ?? 1
    const rowBytes = shape.slice(1).reduce((product, length) => product * length, 4)
    const rowsPerSlice = Math.max(1, Math.floor(SLICE_BYTES / rowBytes))
    if (shape.length === 0 || rowsPerSlice >= rows) {
      yield await this.read(name)
      return
    }
    const sliceAt = async (start: number) => {
      const count = Math.min(rowsPerSlice, rows - start)
      return this.#finite(name, await this.#checkpoint.readRows(this.#prefix + name, start, count))
    }
    let next = sliceAt(0)
    for (let start = rowsPerSlice; start < rows; start += rowsPerSlice) {
      const slice = await next
      next = sliceAt(start) // read while the one before is worked on
      next.catch(() => {}) // told when its turn comes
      yield slice
    }
    yield await next
  }
}

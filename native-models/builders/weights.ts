import type { Checkpoint } from '../checkpoint/checkpoint.ts'
import { canonicalTensorName } from '../checkpoint/names.ts'
import { GromaError } from '../errors.ts'
import type { WeightSource } from '../onnx/graphBuilder.ts'

/** Larger tensors are read in slices of rows, so that memory stays at this much however large the model is. */
const SLICE_BYTES = 64 << 20

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
    const info = this.#checkpoint.tensors.get(canonicalTensorName(this.#prefix + name))
    if (info) return info.shape
    throw new GromaError('CHECKPOINT_INVALID', `the checkpoint has no tensor ${this.#prefix}${name}`)
  }

  /** The length of one axis. */
  dim(name: string, axis: number): number {
    const length = this.shape(name).at(axis)
    if (length !== undefined) return length
    throw new GromaError('CHECKPOINT_INVALID', `tensor ${this.#prefix}${name} has no axis ${axis}`)
  }

  /** All values at once, row-major float32. */
  read(name: string): Promise<Float32Array> {
    return this.#checkpoint.readFloat32(this.#prefix + name)
  }

  /** One tensor; `expected` states the shape that the graph needs, where the graph cannot adapt. */
  source(name: string, expected?: readonly number[]): WeightSource {
    const shape = this.shape(name)
    if (expected && (expected.length !== shape.length || expected.some((length, axis) => length !== shape[axis]))) {
      const found = `[${shape.join(', ')}] where the configuration asks for [${expected.join(', ')}]`
      throw new GromaError('CHECKPOINT_INVALID', `tensor ${this.#prefix}${name} has shape ${found}`)
    }
    return { shape, parts: () => this.#slices(name, shape) }
  }

  /** Several tensors stacked along their first axis. */
  stacked(...names: string[]): WeightSource {
    const shapes = names.map((name) => this.shape(name))
    const rows = shapes.reduce((sum, shape) => sum + shape[0]!, 0)
    const rest = shapes[0]!.slice(1)
    if (shapes.some((shape) => shape.length !== rest.length + 1 || rest.some((n, axis) => n !== shape[axis + 1]))) {
      throw new GromaError('CHECKPOINT_INVALID', `tensors ${names.join(', ')} of ${this.#prefix} do not stack`)
    }
    const slices = this.#slices.bind(this)
    return {
      shape: [rows, ...rest],
      async *parts() {
        for (const [index, name] of names.entries()) yield* slices(name, shapes[index]!)
      },
    }
  }

  /** `weight` and, where there is one, `bias` of a module. */
  affine(module: string): { weight: WeightSource; bias?: WeightSource } {
    const weight = this.source(`${module}.weight`)
    const bias = `${module}.bias`
    return this.has(bias) ? { weight, bias: this.source(bias) } : { weight }
  }

  /** As `affine`, for modules that a graph runs as one: their outputs come side by side. */
  packed(...modules: string[]): { weight: WeightSource; bias?: WeightSource } {
    const weight = this.stacked(...modules.map((module) => `${module}.weight`))
    const biases = modules.map((module) => `${module}.bias`)
    return biases.every((bias) => this.has(bias)) ? { weight, bias: this.stacked(...biases) } : { weight }
  }

  async *#slices(name: string, shape: readonly number[]): AsyncGenerator<Float32Array> {
    const rows = shape[0] ?? 1
    const rowBytes = shape.slice(1).reduce((product, length) => product * length, 4)
    const rowsPerSlice = Math.max(1, Math.floor(SLICE_BYTES / rowBytes))
    if (shape.length === 0 || rowsPerSlice >= rows) {
      yield await this.read(name)
      return
    }
    for (let start = 0; start < rows; start += rowsPerSlice) {
      yield await this.#checkpoint.readRows(this.#prefix + name, start, Math.min(rowsPerSlice, rows - start))
    }
  }
}

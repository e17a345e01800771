import type { ExternalData, FloatSource, Form, Place } from './externalData.ts'
import {
  type Attribute,
  type Dimension,
  ELEMENT_BYTES,
  type ElementType,
  encodeModel,
  type NodeRecord,
  type TensorRecord,
  type ValueRecord,
} from './proto.ts'
import { type BlockFormat, blocksPerRow, bytesPerRow } from './quantize.ts'

/** The name of one tensor flowing through a graph. */
export type Value = string

/** GridSample's WebGPU kernel is that of opset 16 (20 runs on the CPU only); LayerNormalization needs 17. */
export const OPSET = 17
const CONTRIB_OPSET = 1
const INLINE_BYTES_MAX = 4096

export interface NodeOptions {
  domain?: string
  attributes?: Record<string, Attribute>
  outputCount?: number
}

export type WeightSource = FloatSource

/**
 * Collects one ONNX graph. Nodes are named as paths (`/llm/layers.0/attn/q_proj/Gemm`); weights get their place in the
 * external data file, and are read when that is written (writeTensors.ts).
 */
export class GraphBuilder {
  readonly #name: string
  readonly #data: ExternalData
  readonly #nodes: NodeRecord[] = []
  readonly #initializers: TensorRecord[] = []
  readonly #inputs: ValueRecord[] = []
  readonly #names = new Set<string>()

  constructor(name: string, data: ExternalData) {
    this.#name = name
    this.#data = data
  }

  /** Declares a tensor that every run is fed with. */
  input(name: string, type: ElementType, shape: readonly Dimension[]): Value {
    this.#claim(name)
    this.#inputs.push({ name, type, shape })
    return name
  }

  /** Adds a node at `path` + `/` + its type and returns its first output. */
  node(opType: string, path: string, inputs: readonly Value[], options: NodeOptions = {}): Value {
    return this.nodes(opType, path, inputs, options)[0]!
  }

  /** As `node`, for operators with several outputs. */
  nodes(opType: string, path: string, inputs: readonly Value[], options: NodeOptions = {}): Value[] {
    const name = this.#claim(`${path}/${opType}`)
    const outputs = Array.from({ length: options.outputCount ?? 1 }, (_, index) => `${name}/output_${index}`)
    const { domain = '', attributes = {} } = options
    this.#nodes.push({ name, opType, domain, inputs: [...inputs], outputs, attributes })
    return outputs
  }

  /** A float constant kept inside the model file, or beside it when large. */
  async floats(path: string, data: Float32Array, shape: readonly number[]): Promise<Value> {
    return this.weight(path, { shape, parts: () => [data] })
  }

  /** One float, kept inside the model file and shared by all who ask for it. */
  scalar(value: number): Value {
    const name = `/constants/float/${value}`
    if (this.#names.has(name)) return name
    return this.#inline(name, 'float32', bytesOf(Float32Array.of(value)), [])
  }

  /** A short list of whole numbers (shape, axes, indices), kept inside the model file and shared. */
  integers(...data: number[]): Value {
    const name = `/constants/int64/${data.join(',')}`
    if (this.#names.has(name)) return name
    return this.#inline(name, 'int64', bytesOf(BigInt64Array.from(data, BigInt)), [data.length])
  }

  /** One weight in the external file; under 4 KiB it stays inside the model file. */
  async weight(path: string, source: WeightSource): Promise<Value> {
    const { shape } = source
    const length = byteLength('float32', shape)
    if (length <= INLINE_BYTES_MAX) {
      const parts: Uint8Array[] = []
      for await (const part of source.parts()) parts.push(bytesOf(part))
      return this.#inline(path, 'float32', Buffer.concat(parts), shape)
    }
    return this.#outside(path, 'float32', shape, source, (to) => ({ kind: 'floats', to }))
  }

  /** One tensor of any type in the external file. */
  bytes(path: string, type: ElementType, shape: readonly number[], bytes: Uint8Array): Value {
    const source = { shape, parts: () => [] }
    return this.#outside(path, type, shape, source, (to) => ({ kind: 'bytes', bytes, to }))
  }

  /** One number of a small type (zero points), kept inside the model file and shared. */
  small(type: 'uint8' | 'int8' | 'int32', value: number): Value {
    const name = `/constants/${type}/${value}`
    if (this.#names.has(name)) return name
    const raw = type === 'int32' ? Int32Array.of(value) : type === 'int8' ? Int8Array.of(value) : Uint8Array.of(value)
    return this.#inline(name, type, new Uint8Array(raw.buffer), [])
  }

  /** One weight in the external file as half floats. */
  halves(path: string, source: WeightSource): Value {
    return this.#outside(path, 'float16', source.shape, source, (to) => ({ kind: 'halves', to }))
  }

  /** One matrix [N, K] in blocks (see quantize.ts): codes [N, blocks, bytes of a block] and scales [N * blocks]. */
  blocks(path: string, source: WeightSource, format: BlockFormat): { codes: Value; scales: Value } {
    const [rows, width] = source.shape as [number, number]
    const blocks = blocksPerRow(width, format)
    const codes = this.#reserve(`${path}/codes`, 'uint8', [rows, blocks, bytesPerRow(width, format) / blocks])
    const scales = this.#reserveScales(`${path}/scales`, rows * blocks)
    this.#data.add(source, { kind: 'blocks', format, codes: codes.place, scales: scales.place })
    return { codes: codes.name, scales: scales.name }
  }

  /**
   * One weight whose first axis is the output, rounded to int8 with a scale for each output.
   * @param shape of the stored codes
   */
  int8(
    path: string,
    source: WeightSource,
    shape: readonly number[],
    layout: Extract<Form, { kind: 'int8' }>['layout'],
  ): { codes: Value; scales: Value } {
    const codes = this.#reserve(`${path}/codes`, 'int8', shape)
    const scales = this.#reserveScales(`${path}/scales`, source.shape[0]!)
    this.#data.add(source, { kind: 'int8', layout, codes: codes.place, scales: scales.place })
    return { codes: codes.name, scales: scales.name }
  }

  /**
   * The model file whose outputs are these values under these names, once the external data is written; the builder may go
   * on to make another.
   */
  encode(outputs: Record<string, { value: Value; type?: ElementType; shape: readonly Dimension[] }>): Uint8Array {
    const ends = Object.entries(outputs)
    const renames = ends.map(([name, { value }]) => ({
      name: `/outputs/${name}/Identity`,
      opType: 'Identity',
      domain: '',
      inputs: [value],
      outputs: [name],
      attributes: {},
    }))
    const { nodes, initializers, inputs } = this.#reachable(ends.map(([, { value }]) => value))
    return encodeModel({
      graphName: this.#name,
      opset: OPSET,
      contribOpset: CONTRIB_OPSET,
      nodes: [...nodes, ...renames],
      initializers,
      inputs,
      outputs: ends.map(([name, { type = 'float32', shape }]) => ({ name, type, shape })),
    })
  }

  /** What the given values depend on, in the order it was added. Inputs stay, used or not. */
  #reachable(values: readonly Value[]) {
    const producers = new Map(this.#nodes.flatMap((node) => node.outputs.map((output) => [output, node] as const)))
    const needed = new Set<string>()
    const pending = [...values]
    for (let value = pending.pop(); value !== undefined; value = pending.pop()) {
      if (needed.has(value)) continue
      needed.add(value)
      pending.push(...(producers.get(value)?.inputs ?? []))
    }
    return {
      nodes: this.#nodes.filter((node) => node.outputs.some((output) => needed.has(output))),
      initializers: this.#initializers.filter((tensor) => needed.has(tensor.name)),
      inputs: this.#inputs,
    }
  }

  #inline(path: string, type: ElementType, raw: Uint8Array, shape: readonly number[]): Value {
    const name = this.#claim(path)
    this.#initializers.push({ name, type, shape, bytes: { at: 'inline', raw } })
    return name
  }

  #outside(
    path: string,
    type: ElementType,
    shape: readonly number[],
    source: WeightSource,
    form: (to: Place) => Form,
  ): Value {
    const { name, place } = this.#reserve(path, type, shape)
    this.#data.add(source, form(place))
    return name
  }

  #reserve(path: string, type: ElementType, shape: readonly number[]): { name: Value; place: Place } {
    const name = this.#claim(path)
    const place = this.#data.place(byteLength(type, shape))
    const { offset, length } = place
    this.#initializers.push({
      name,
      type,
      shape,
      bytes: { at: 'external', location: this.#data.location, offset, length },
    })
    return { name, place }
  }

  /** As `weight` has it: few stay in the model file, which must not be encoded before they are made. */
  #reserveScales(path: string, count: number): { name: Value; place: Place } {
    const length = byteLength('float32', [count])
    if (length > INLINE_BYTES_MAX) return this.#reserve(path, 'float32', [count])
    const inline = new Uint8Array(length)
    return { name: this.#inline(path, 'float32', inline, [count]), place: { inline } }
  }

  #claim(name: string): string {
    if (this.#names.has(name)) throw new Error(`graph ${this.#name} has two things called ${name}`)
    this.#names.add(name)
    return name
  }
}

const byteLength = (type: ElementType, shape: readonly number[]): number =>
  shape.reduce((product, extent) => product * extent, ELEMENT_BYTES[type])

function bytesOf(array: Float32Array | BigInt64Array): Uint8Array {
  return new Uint8Array(array.buffer, array.byteOffset, array.byteLength)
}

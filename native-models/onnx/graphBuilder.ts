import type { ExternalDataWriter, FloatSource } from './externalData.ts'
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
import { type BlockFormat, blocksPerRow, bytesPerRow, quantizeRows } from './quantize.ts'

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
 * Collects one ONNX graph. Nodes are named as paths (`/llm/layers.0/attn/q_proj/Gemm`); weights stream straight into
 * the external data file, so that building a graph never holds more than one of them.
 */
export class GraphBuilder {
  readonly #name: string
  readonly #data: ExternalDataWriter
  readonly #nodes: NodeRecord[] = []
  readonly #initializers: TensorRecord[] = []
  readonly #inputs: ValueRecord[] = []
  readonly #names = new Set<string>()

  constructor(name: string, data: ExternalDataWriter) {
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

  /** Streams one weight into the external file; under 4 KiB it stays inside the model file. */
  async weight(path: string, source: WeightSource): Promise<Value> {
    const { shape } = source
    const byteLength = shape.reduce((product, length) => product * length, ELEMENT_BYTES.float32)
    if (byteLength <= INLINE_BYTES_MAX) {
      const parts: Uint8Array[] = []
      for await (const part of source.parts()) parts.push(bytesOf(part))
      return this.#inline(path, 'float32', Buffer.concat(parts), shape)
    }
    const name = this.#claim(path)
    const place = await this.#data.appendFloats(source)
    this.#initializers.push({ name, type: 'float32', shape, bytes: this.#external(place) })
    return name
  }

  /** One tensor of any type into the external file, given as its consecutive bytes. */
  async bytes(path: string, type: ElementType, shape: readonly number[], parts: Iterable<Uint8Array>): Promise<Value> {
    const name = this.#claim(path)
    const length = shape.reduce((product, extent) => product * extent, ELEMENT_BYTES[type])
    const place = await this.#data.append(length, parts)
    this.#initializers.push({ name, type, shape, bytes: this.#external(place) })
    return name
  }

  /** One number of a small type (zero points), kept inside the model file and shared. */
  small(type: 'uint8' | 'int8' | 'int32', value: number): Value {
    const name = `/constants/${type}/${value}`
    if (this.#names.has(name)) return name
    const raw = type === 'int32' ? Int32Array.of(value) : type === 'int8' ? Int8Array.of(value) : Uint8Array.of(value)
    return this.#inline(name, type, new Uint8Array(raw.buffer), [])
  }

  /** Streams one weight into the external file as half floats. */
  async halves(path: string, source: WeightSource): Promise<Value> {
    const name = this.#claim(path)
    const place = await this.#data.appendHalves(source)
    this.#initializers.push({ name, type: 'float16', shape: source.shape, bytes: this.#external(place) })
    return name
  }

  /**
   * Streams one matrix [N, K], whose parts are whole rows, into the external file in blocks (see quantize.ts): codes
   * [N, blocks, bytes of a block] and scales [N * blocks].
   * @throws RangeError when a weight is not finite
   */
  async blocks(path: string, source: WeightSource, format: BlockFormat): Promise<{ codes: Value; scales: Value }> {
    const [rows, width] = source.shape as [number, number]
    const blocks = blocksPerRow(width, format)
    const scales: Float32Array[] = []
    const codes = this.#claim(`${path}/codes`)
    const parts = async function* () {
      for await (const part of source.parts()) {
        const quantized = quantizeRows(part, width, format)
        scales.push(quantized.scales)
        yield quantized.codes
      }
    }
    const place = await this.#data.append(rows * bytesPerRow(width, format), parts())
    const shape = [rows, blocks, bytesPerRow(width, format) / blocks]
    this.#initializers.push({ name: codes, type: 'uint8', shape, bytes: this.#external(place) })
    return { codes, scales: await this.weight(`${path}/scales`, { shape: [rows * blocks], parts: () => scales }) }
  }

  /** The model file whose outputs are these values under these names; the builder may go on to make another. */
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

  #external(place: { offset: number; length: number }) {
    return { at: 'external', location: this.#data.location, ...place } as const
  }

  #claim(name: string): string {
    if (this.#names.has(name)) throw new Error(`graph ${this.#name} has two things called ${name}`)
    this.#names.add(name)
    return name
  }
}

function bytesOf(array: Float32Array | BigInt64Array): Uint8Array {
  return new Uint8Array(array.buffer, array.byteOffset, array.byteLength)
}

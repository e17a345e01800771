import type { GraphName } from '../builders/modelFiles.ts'
import type { GromaConfig } from '../groma/config.ts'
import { int, ints } from '../onnx/attributes.ts'
import { decodeModel } from '../onnx/decode.ts'
import { ELEMENT_TYPE, encodeModel, type ModelRecord, type NodeRecord, type TensorRecord } from '../onnx/proto.ts'
import { longs, node } from '../onnx/records.ts'
import { withFusedMlp, withShortBlocks } from './deviceBlocks.ts'
import { withFloatPrompt } from './floatPrompt.ts'
import { type DecoderShape, withGroupedAttention } from './groupedDecoder.ts'

/** Graphs that lose nothing in float16: what selects and places boxes needs float32. */
export const RUNS_IN_HALF = { 'vision-encoder': true, 'image-tokens': true, 'region-maps': true } as const

/** Widths of the heads of the MultiHeadAttention nodes of a model's graphs. */
export function headSizesOf({
  vision,
  detector,
}: Pick<GromaConfig, 'vision' | 'detector'>): Partial<Record<GraphName, number>> {
  return {
    'vision-encoder': vision.hiddenSize / vision.headCount,
    'proposal-head': detector.hiddenSize / detector.decoderHeadCount,
  }
}

export interface DeviceGraphOptions {
  /** float16 arithmetic: weights are cast once, when the graph is loaded; what goes in and comes out stays float32 */
  half: boolean
  /** width of a head of the graph's MultiHeadAttention nodes; 0 where it has none */
  headSize: number
  /** leaves attention to one operator of the runtime's, which not every device gets right */
  fused?: boolean
  /** for the decoder */
  decoder?: DecoderShape | undefined
}

/**
 * The same graph in the words of a GPU, over the same weights.
 * - MultiHeadAttention becomes matrix products and a softmax: onnxruntime's WebGPU kernel for it (1.30, flash attention)
 *   is wrong by percents on devices with narrow subgroups, and every device has the plain operators.
 * - With `half`, everything between the inputs and the outputs is float16.
 * - With `fused`, one operator is attention: MultiHeadAttention as it is, or GroupQueryAttention in the decoder, which then
 *   has other inputs (groupedDecoder.ts).
 * - The decoder with grouped attention has gate, up and activation in one operator, and short blocks (deviceBlocks.ts).
 * - The plain decoder takes the prompt's keys and values in float32 (floatPrompt.ts).
 * - Products with weights in blocks take their inputs as floats, not rounded to 8 bits as on a CPU.
 * @throws Error when the bytes are not a graph of ours
 */
export function deviceGraph(bytes: Uint8Array, options: DeviceGraphOptions): Uint8Array {
  const { half, headSize, fused = false, decoder } = options
  const model = withExactBlocks(decodeModel(bytes))
  const attending = () => {
    if (decoder && fused) {
      return withShortBlocks(withFusedMlp(withGroupedAttention(model, decoder, half), decoder.layerCount))
    }
    if (decoder) return withFloatPrompt(model)
    return fused ? model : withPlainAttention(model, headSize)
  }
  return encodeModel(half ? withHalfFloats(attending()) : attending())
}

/** `accuracy_level` 0: float inputs. */
export function withExactBlocks(model: ModelRecord): ModelRecord {
  const nodes = model.nodes.map((one): NodeRecord => {
    if (one.opType !== 'MatMulNBits') return one
    return { ...one, attributes: { ...one.attributes, accuracy_level: int(0) } }
  })
  return { ...model, nodes }
}

/**
 * ```
 *  q [1, N, C] -> [1, N, h, d] -> [1, h, N, d] * 1/sqrt(d) --- MatMul - Softmax - MatMul [1, h, N, d] -> [1, N, C]
 *  k [1, M, C] ----------------> [1, h, d, M] ----------------'                   |
 *  v [1, M, C] ----------------> [1, h, M, d] ------------------------------------'
 * ```
 */
function withPlainAttention(model: ModelRecord, headSize: number): ModelRecord {
  if (!model.nodes.some(isAttention)) return model
  const constants: TensorRecord[] = [
    floatConstant('/device/attention/scale', 1 / Math.sqrt(headSize)),
    longs('/device/attention/heads', 0, 0, -1, headSize),
    longs('/device/attention/merged', 0, 0, -1),
  ]
  const [scale, perHead, merged] = constants.map(({ name }) => name) as [string, string, string]
  const nodes = model.nodes.flatMap((one) => {
    if (!isAttention(one)) return [one]
    const [query, key, value] = one.inputs as [string, string, string]
    const at = one.name
    const heads = (name: string, x: string, ...perm: number[]) => [
      node('Reshape', `${at}/${name}/rows`, [x, perHead]),
      node('Transpose', `${at}/${name}`, [`${at}/${name}/rows`], { perm: ints(...perm) }),
    ]
    return [
      ...heads('query', query, 0, 2, 1, 3),
      ...heads('key', key, 0, 2, 3, 1),
      ...heads('value', value, 0, 2, 1, 3),
      node('Mul', `${at}/scaled`, [`${at}/query`, scale]),
      node('MatMul', `${at}/scores`, [`${at}/scaled`, `${at}/key`]),
      node('Softmax', `${at}/shares`, [`${at}/scores`], { axis: int(-1) }),
      node('MatMul', `${at}/mixed`, [`${at}/shares`, `${at}/value`]),
      node('Transpose', `${at}/mixed_rows`, [`${at}/mixed`], { perm: ints(0, 2, 1, 3) }),
      node('Reshape', one.outputs[0]!, [`${at}/mixed_rows`, merged]),
    ]
  })
  return { ...model, nodes, initializers: [...model.initializers, ...constants] }
}

const isAttention = ({ opType, inputs, outputs }: NodeRecord): boolean =>
  opType === 'MultiHeadAttention' && inputs.length === 3 && outputs.length === 1

/** Casts behind every float32 input and weight, and back in front of every output. */
function withHalfFloats(model: ModelRecord): ModelRecord {
  const sources = [...model.inputs, ...model.initializers].filter(({ type }) => type === 'float32')
  const halved = new Map(sources.map(({ name }) => [name, `${name}/half`]))
  const casts = [...halved].map(([name, half]) => cast(name, half, 'float16'))
  const outputs = new Set(model.outputs.filter(({ type }) => type === 'float32').map(({ name }) => name))
  const nodes = model.nodes.map((one): NodeRecord => {
    const inputs = one.inputs.map((name) => halved.get(name) ?? name)
    const [output] = one.outputs
    if (outputs.has(output!)) return cast(inputs[0]!, output!, 'float32') // the Identity that names an output
    const toFloat = one.opType === 'Cast' && (one.attributes.to as { value: number }).value === ELEMENT_TYPE.float32
    const attributes = toFloat ? { to: int(ELEMENT_TYPE.float16) } : one.attributes
    return { ...one, inputs, attributes }
  })
  return { ...model, nodes: [...casts, ...nodes] }
}

function cast(from: string, to: string, type: 'float16' | 'float32'): NodeRecord {
  return node('Cast', to, [from], { to: int(ELEMENT_TYPE[type]) })
}

function floatConstant(name: string, value: number): TensorRecord {
  const raw = new Uint8Array(Float32Array.of(value).buffer)
  return { name, type: 'float32', shape: [], bytes: { at: 'inline', raw } }
}

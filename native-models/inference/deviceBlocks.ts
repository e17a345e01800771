import { int, text } from '../onnx/attributes.ts'
import type { Attribute, ModelRecord, NodeRecord, TensorRecord } from '../onnx/proto.ts'
import { longs, node } from '../onnx/records.ts'

/** The blocks that onnxruntime's WebGPU kernels are written for: others take slower ones. */
const SHORT = 32

/** At which inputs of an operator codes lie; their scales follow them. */
const WEIGHTS: Readonly<Record<string, readonly number[]>> = { MatMulNBits: [1], MatMulNBitsMlp: [3, 6] }

/**
 * The same weights in 4 bits as blocks of 32: a longer block is several short ones with the same scale. The codes lie in the same order,
 * the scales are repeated when the graph is loaded.
 */
export function withShortBlocks(model: ModelRecord): ModelRecord {
  const shapes = new Map<string, readonly number[]>()
  const added: NodeRecord[] = []
  const constants = new Map<string, TensorRecord>()
  const listed = (name: string, ...values: number[]): string => {
    constants.set(name, longs(name, ...values))
    return name
  }
  const nodes = model.nodes.map((one): NodeRecord => {
    const places = WEIGHTS[one.opType]
    if (!places) return one
    const [bits, blockSize, columns, rows] = ['bits', 'block_size', 'K', 'N'].map((name) => numberOf(one, name))
    const repeats = blockSize! / SHORT
    if (bits !== 4 || !Number.isInteger(repeats) || repeats === 1 || columns! % blockSize! !== 0) return one
    const inputs = [...one.inputs]
    for (const place of places) {
      shapes.set(inputs[place]!, [rows!, columns! / SHORT, SHORT / 2])
      const scales = inputs[place + 1]!
      const repeated = `${scales}/repeated`
      added.push(
        node('Reshape', `${repeated}/column`, [scales, listed('/short/column', -1, 1)]),
        node('Expand', `${repeated}/each`, [`${repeated}/column`, listed(`/short/${repeats}`, 1, repeats)]),
        node('Reshape', repeated, [`${repeated}/each`, listed('/short/flat', -1)]),
      )
      inputs[place + 1] = repeated
    }
    return { ...one, inputs, attributes: { ...one.attributes, block_size: int(SHORT) } }
  })
  const initializers = model.initializers.map(
    (one): TensorRecord => ({ ...one, shape: shapes.get(one.name) ?? one.shape }),
  )
  return { ...model, nodes: [...added, ...nodes], initializers: [...initializers, ...constants.values()] }
}

/**
 * Norm, gate, up and activation of each layer as the runtime's one operator for them, where they are in 4 bits: five launches a token
 * become one.
 * ```
 *  x, update -> MatMulNBitsMlp -> silu(norm(x + update) gate^T) * (norm(x + update) up^T), x + update
 * ```
 * @param model a decoder of `builders/decoder.ts`
 */
export function withFusedMlp(model: ModelRecord, layerCount: number): ModelRecord {
  const byName = new Map(model.nodes.map((one) => [one.name, one]))
  const weights = new Map(model.initializers.map((one) => [one.name, one]))
  const halved = new Map<string, [TensorRecord, TensorRecord]>()
  const replaced = new Map<NodeRecord, NodeRecord[]>()
  for (let layer = 0; layer < layerCount; layer++) {
    const at = `/llm/layers.${layer}/mlp`
    const product = byName.get(`${at}/gate_up_proj/MatMulNBits`)
    if (!product || numberOf(product, 'bits') !== 4) return model
    const parts = [
      `${at}/norm/SkipSimplifiedLayerNormalization`,
      ...['gate_up/Split', 'silu/Sigmoid', 'silu/Mul', 'gated/Mul'].map((name) => `${at}/${name}`),
    ].map((name) => {
      const found = byName.get(name)
      if (!found) throw new Error(`the decoder has no node ${name}`)
      return found
    })
    const [norm, split, sigmoid, silu, gated] = parts as [NodeRecord, NodeRecord, NodeRecord, NodeRecord, NodeRecord]
    const halves = product.inputs.slice(1).map((name) => {
      const weight = weights.get(name)
      if (!weight) throw new Error(`${name} is no weight`)
      const both = halvesOf(weight)
      halved.set(name, both)
      return both.map((half) => half.name)
    }) as [[string, string], [string, string]]
    const [codes, scales] = halves
    const { N, ...shared } = product.attributes
    replaced.set(norm, [])
    for (const one of [split, sigmoid, silu, gated]) replaced.set(one, [])
    replaced.set(product, [
      {
        name: `${at}/MatMulNBitsMlp`,
        opType: 'MatMulNBitsMlp',
        domain: 'com.microsoft',
        inputs: [...norm.inputs, codes[0], scales[0], '', codes[1], scales[1]],
        outputs: [gated.outputs[0]!, norm.outputs[3]!],
        attributes: {
          ...shared,
          N: int((N as Attribute & { kind: 'int' }).value / 2),
          activation: text('silu'),
          epsilon: norm.attributes.epsilon!,
        },
      },
    ])
  }
  return {
    ...model,
    nodes: model.nodes.flatMap((one) => replaced.get(one) ?? [one]),
    initializers: model.initializers.flatMap((one) => halved.get(one.name) ?? [one]),
  }
}

/** The first and the second half of a tensor's rows. */
function halvesOf({ name, type, shape, bytes }: TensorRecord): [TensorRecord, TensorRecord] {
  const half = (place: 0 | 1): TensorRecord => {
    const length = (bytes.at === 'inline' ? bytes.raw.length : bytes.length) / 2
    return {
      name: `${name}/${place === 0 ? 'gate' : 'up'}`,
      type,
      shape: [shape[0]! / 2, ...shape.slice(1)],
      bytes:
        bytes.at === 'inline'
          ? { at: 'inline', raw: bytes.raw.slice(place * length, (place + 1) * length) }
          : { ...bytes, offset: bytes.offset + place * length, length },
    }
  }
  return [half(0), half(1)]
}

const numberOf = (one: NodeRecord, name: string): number => (one.attributes[name] as { value: number }).value

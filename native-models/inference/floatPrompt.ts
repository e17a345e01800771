import { ints } from '../onnx/attributes.ts'
import type { ModelRecord, NodeRecord, ValueRecord } from '../onnx/proto.ts'
import { node } from '../onnx/records.ts'
import { reachable } from './reachable.ts'

/**
 * The decoder with its prompt's keys and values in float32, as `deviceKv.ts` feeds them, where the folder's wants them in
 * 8 bits: integer products are for the CPU.
 * ```
 *  asked [G, 1, R, d] x prefix_key^T -> scores.0        shares.0 x prefix_value -> mix.0
 * ```
 * @throws Error when the graph is not the decoder of `builders/decoder.ts`
 */
export function withFloatPrompt(model: ModelRecord): ModelRecord {
  const scaled = model.inputs.filter(({ name }) => SCALE.test(name))
  if (scaled.length === 0) return model
  const byName = new Map(model.nodes.map((node) => [node.name, node]))
  const nodeAt = (name: string): NodeRecord => {
    const node = byName.get(name)
    if (!node) throw new Error(`the decoder has no node ${name}`)
    return node
  }
  const replaced = new Map<string, NodeRecord[]>()
  for (let layer = 0; layer < scaled.length / 2; layer++) {
    const at = `/llm/layers.${layer}/attn`
    const [scores, mix] = [nodeAt(`${at}/scores.0/Reshape`), nodeAt(`${at}/mix.0/Reshape`)]
    const [asked, shares] = [nodeAt(`${at}/asked/Reshape`), nodeAt(`${at}/shares.0/Reshape`)]
    const [keys, products, mixed] = ['keys', 'products', 'mixed'].map((name) => `${at}/floats/${name}`) as [
      string,
      string,
      string,
    ]
    replaced.set(scores.name, [
      node('Transpose', keys, [`prefix_key.${layer}`], { perm: ints(0, 1, 3, 2) }),
      node('MatMul', products, [asked.outputs[0]!, keys]),
      { ...scores, inputs: [products, scores.inputs[1]!] },
    ])
    replaced.set(mix.name, [
      node('MatMul', mixed, [shares.outputs[0]!, `prefix_value.${layer}`]),
      { ...mix, inputs: [mixed, mix.inputs[1]!] },
    ])
  }
  const inputs = model.inputs
    .filter((input) => !scaled.includes(input))
    .map((input): ValueRecord => (PROMPT.test(input.name) ? { ...input, type: 'float32' } : input))
  return reachable({ ...model, nodes: model.nodes.flatMap((one) => replaced.get(one.name) ?? [one]), inputs })
}

const SCALE = /^prefix_(key|value)_scale\.\d+$/
const PROMPT = /^prefix_(key|value)\.\d+$/

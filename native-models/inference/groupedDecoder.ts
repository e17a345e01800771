import { int } from '../onnx/attributes.ts'
import type { ModelRecord, NodeRecord, TensorRecord, ValueRecord } from '../onnx/proto.ts'
import { longs, node } from '../onnx/records.ts'
import { reachable } from './reachable.ts'

/** Sizes of the decoder that its graph does not tell. */
export interface DecoderShape {
  layerCount: number
  headCount: number
  kvHeadCount: number
  headSize: number
}

/**
 * The decoder with one operator for the attention of a layer, which takes keys and values of all earlier tokens in one tensor
 * and puts out a longer one. For devices: an operator costs a launch, and up to 29 of a layer's 39 go.
 * ```
 *  qkv [B, T, (h + 2 G) d] -> GroupQueryAttention (rotary inside) -> [B, T, h d]
 *      past_key.i, past_value.i [B, G, C, d] --'   '--> present_key.i, present_value.i [B, G, max(C, E), d]
 * ```
 * Instead of positions, bias and prefix it asks for `last_places` [B], the place of each sequence's last new token, and
 * `total_length` [], tokens with the new ones (E). Places of the past behind the earlier tokens are not looked at.
 * @throws Error when the graph is not the decoder of `builders/decoder.ts`
 */
export function withGroupedAttention(model: ModelRecord, shape: DecoderShape, half: boolean): ModelRecord {
  const { layerCount, headCount, kvHeadCount, headSize } = shape
  const byName = new Map(model.nodes.map((node) => [node.name, node]))
  const nodeAt = (name: string): NodeRecord => {
    const node = byName.get(name)
    if (!node) throw new Error(`the decoder has no node ${name}`)
    return node
  }
  const constants: TensorRecord[] = [longs('/grouped/rows', -1, headCount * headSize), longs('/grouped/rest', -1)]
  const added: NodeRecord[] = [
    node('Shape', '/grouped/leading', ['inputs_embeds'], { start: int(0), end: int(2) }),
    node('Concat', '/grouped/packed', ['/grouped/leading', '/grouped/rest'], { axis: int(0) }),
  ]
  const replaced = new Map<string, NodeRecord[]>()
  // a Gemm takes rows [B T, ..]; other products take sequences as they are, which spares a layer two nodes
  const inRows = model.nodes.some(({ opType }) => opType === 'Gemm')
  for (let layer = 0; layer < layerCount; layer++) {
    const at = `/llm/layers.${layer}`
    const qkv = nodeAt(`${at}/attn/qkv/Split`).inputs[0]!
    const merged = nodeAt(`${at}/attn/merge/Reshape`)
    const [packed, mixed] = inRows ? [`${at}/grouped/packed`, `${at}/grouped/mixed`] : [qkv, merged.outputs[0]!]
    const attention: NodeRecord = {
      name: `${at}/grouped/GroupQueryAttention`,
      opType: 'GroupQueryAttention',
      domain: 'com.microsoft',
      inputs: [
        ...[packed, '', '', `past_key.${layer}`, `past_value.${layer}`],
        ...['last_places', 'total_length', '/llm/rotary/cos', '/llm/rotary/sin'],
      ],
      outputs: [mixed, `present_key.${layer}`, `present_value.${layer}`],
      attributes: { num_heads: int(headCount), kv_num_heads: int(kvHeadCount), do_rotary: int(1) },
    }
    const reshaped = [
      node('Reshape', packed, [qkv, '/grouped/packed']),
      attention,
      { ...node('Reshape', mixed, [mixed, '/grouped/rows']), outputs: [...merged.outputs] },
    ]
    replaced.set(merged.name, inRows ? reshaped : [attention])
  }
  const start = nodeAt('/llm/rows/Reshape')
  if (!inRows) {
    replaced.set(start.name, [{ ...start, opType: 'Identity', inputs: ['inputs_embeds'] }])
    for (const end of ['last_mixed', 'last']) {
      const gather = nodeAt(`/llm/${end}/Gather`)
      const [values, rows] = gather.inputs as [string, string]
      const flat = `${values}/rows`
      replaced.set(gather.name, [
        node('Flatten', flat, [values], { axis: int(2) }),
        { ...gather, inputs: [flat, rows] },
      ])
    }
  }
  const logits = model.outputs.find(({ name }) => name === 'logits')!
  const ends = new Set([logits.name])
  const nodes = model.nodes
    .filter(({ outputs }) => outputs.every((name) => ends.has(name) || !isPresent(name)))
    .flatMap((one) => replaced.get(one.name) ?? [one])
  const type = half ? 'float16' : 'float32'
  const cache = (place: string): ValueRecord[] =>
    ['key', 'value'].flatMap((kind) =>
      Array.from({ length: layerCount }, (_, layer): ValueRecord => {
        return { name: `${place}_${kind}.${layer}`, type, shape: ['B', kvHeadCount, `${place} places`, headSize] }
      }),
    )
  const kept = model.inputs.filter(({ name }) => name === 'inputs_embeds' || name === 'last_rows')
  return reachable({
    ...model,
    nodes: [...added, ...nodes],
    initializers: [...model.initializers, ...constants],
    inputs: [
      ...kept,
      { name: 'last_places', type: 'int32', shape: ['B'] },
      { name: 'total_length', type: 'int32', shape: [] },
      ...cache('past'),
    ],
    outputs: [logits, ...cache('present')],
  })
}

const isPresent = (name: string): boolean => /^present_(key|value)\.\d+$/.test(name)

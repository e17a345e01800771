import {
  type Attribute,
  type DecodedTensor,
  type DecodedValue,
  EXTERNAL,
  elementTypeOf,
  ModelProto,
  type ModelRecord,
  outlineOfTensor,
  outlineOfValue,
  type TensorRecord,
} from './proto.ts'

interface DecodedNode {
  name: string
  opType: string
  domain: string
  input: string[]
  output: string[]
  attribute: DecodedAttribute[]
}
interface DecodedAttribute {
  name: string
  type: number
  f: number
  i: number
  s: Uint8Array
  ints: number[]
}
interface DecodedModel {
  graph: {
    name: string
    node: DecodedNode[]
    initializer: (DecodedTensor & { rawData: Uint8Array })[]
    input: DecodedValue[]
    output: DecodedValue[]
  } | null
  opsetImport: { domain: string; version: number }[]
}

/**
 * Reads back a model file that our own encoder wrote, so that a graph can be written anew for another device.
 * @throws Error when the bytes are no such model
 */
export function decodeModel(bytes: Uint8Array): ModelRecord {
  const options = { defaults: true, arrays: true, objects: true, longs: Number }
  const { graph, opsetImport } = ModelProto.toObject(ModelProto.decode(bytes), options) as DecodedModel
  if (!graph) throw new Error('the file holds no graph')
  const opsetOf = (domain: string) => opsetImport.find((opset) => opset.domain === domain)?.version ?? 1
  return {
    graphName: graph.name,
    opset: opsetOf(''),
    contribOpset: opsetOf('com.microsoft'),
    nodes: graph.node.map(({ name, opType, domain, input, output, attribute }) => ({
      name,
      opType,
      domain,
      inputs: input,
      outputs: output,
      attributes: Object.fromEntries(attribute.map((one) => [one.name, attributeOf(one)])),
    })),
    initializers: graph.initializer.map(tensorOf),
    inputs: graph.input.map(outlineOfValue),
    outputs: graph.output.map(outlineOfValue),
  }
}

function attributeOf({ name, type, f, i, s, ints }: DecodedAttribute): Attribute {
  if (type === 1) return { kind: 'float', value: f }
  if (type === 2) return { kind: 'int', value: i }
  if (type === 3) return { kind: 'string', value: new TextDecoder().decode(s) }
  if (type === 7) return { kind: 'ints', value: ints }
  throw new Error(`attribute ${name} has type ${type}, which our graphs do not use`)
}

function tensorOf(tensor: DecodedTensor & { rawData: Uint8Array }): TensorRecord {
  if (tensor.dataLocation === EXTERNAL) {
    const { name, type, shape, location, offset, length } = outlineOfTensor(tensor)
    return { name, type, shape, bytes: { at: 'external', location, offset, length } }
  }
  const { name, dims, dataType, rawData } = tensor
  return { name, type: elementTypeOf(dataType), shape: dims.map(Number), bytes: { at: 'inline', raw: rawData } }
}

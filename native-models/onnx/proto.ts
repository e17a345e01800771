import protobuf from 'protobufjs/light.js'

/**
 * The part of onnx.proto3 that our graphs use, and its encoder.
 * Field numbers are those of onnx/onnx.proto (IR version 8).
 */

/** Element types of tensors, by their number in TensorProto.DataType. */
export const ELEMENT_TYPE = { float32: 1, uint8: 2, int8: 3, int32: 6, int64: 7, bool: 9, float16: 10 } as const
export type ElementType = keyof typeof ELEMENT_TYPE

/** Bytes that one element of a type takes. */
export const ELEMENT_BYTES: Record<ElementType, number> = {
  float32: 4,
  uint8: 1,
  int8: 1,
  int32: 4,
  int64: 8,
  bool: 1,
  float16: 2,
}

/** A fixed length, or the name of one that a run decides. */
export type Dimension = number | string

export type Attribute =
  | { kind: 'int'; value: number }
  | { kind: 'float'; value: number }
  | { kind: 'string'; value: string }
  | { kind: 'ints'; value: readonly number[] }

export interface NodeRecord {
  name: string
  opType: string
  domain: string
  inputs: string[]
  outputs: string[]
  attributes: Record<string, Attribute>
}

/** Where a tensor's bytes are: inside the model file, or in a file beside it. */
export type TensorBytes =
  | { at: 'inline'; raw: Uint8Array }
  | { at: 'external'; location: string; offset: number; length: number }

export interface TensorRecord {
  name: string
  type: ElementType
  shape: readonly number[]
  bytes: TensorBytes
}

export interface ValueRecord {
  name: string
  type: ElementType
  shape: readonly Dimension[]
}

export interface ModelRecord {
  graphName: string
  opset: number
  contribOpset: number
  nodes: NodeRecord[]
  initializers: TensorRecord[]
  inputs: ValueRecord[]
  outputs: ValueRecord[]
}

const IR_VERSION = 8
export const EXTERNAL = 1

const field = (type: string, id: number) => ({ type, id })
const list = (type: string, id: number) => ({ rule: 'repeated', type, id })

const root = protobuf.Root.fromJSON({
  nested: {
    onnx: {
      nested: {
        StringStringEntryProto: { fields: { key: field('string', 1), value: field('string', 2) } },
        OperatorSetIdProto: { fields: { domain: field('string', 1), version: field('int64', 2) } },
        TensorProto: {
          fields: {
            dims: list('int64', 1),
            dataType: field('int32', 2),
            name: field('string', 8),
            rawData: field('bytes', 9),
            externalData: list('StringStringEntryProto', 13),
            dataLocation: field('int32', 14),
          },
        },
        AttributeProto: {
          fields: {
            name: field('string', 1),
            f: field('float', 2),
            i: field('int64', 3),
            s: field('bytes', 4),
            ints: list('int64', 8),
            type: field('int32', 20),
          },
        },
        NodeProto: {
          fields: {
            input: list('string', 1),
            output: list('string', 2),
            name: field('string', 3),
            opType: field('string', 4),
            attribute: list('AttributeProto', 5),
            domain: field('string', 7),
          },
        },
        DimensionProto: { fields: { dimValue: field('int64', 1), dimParam: field('string', 2) } },
        TensorShapeProto: { fields: { dim: list('DimensionProto', 1) } },
        TensorTypeProto: { fields: { elemType: field('int32', 1), shape: field('TensorShapeProto', 2) } },
        TypeProto: { fields: { tensorType: field('TensorTypeProto', 1) } },
        ValueInfoProto: { fields: { name: field('string', 1), type: field('TypeProto', 2) } },
        GraphProto: {
          fields: {
            node: list('NodeProto', 1),
            name: field('string', 2),
            initializer: list('TensorProto', 5),
            input: list('ValueInfoProto', 11),
            output: list('ValueInfoProto', 12),
          },
        },
        ModelProto: {
          fields: {
            irVersion: field('int64', 1),
            producerName: field('string', 2),
            graph: field('GraphProto', 7),
            opsetImport: list('OperatorSetIdProto', 8),
          },
        },
      },
    },
  },
})
export const ModelProto = root.lookupType('onnx.ModelProto')

function encodeAttribute(name: string, attribute: Attribute) {
  switch (attribute.kind) {
    case 'float':
      return { name, type: 1, f: attribute.value }
    case 'int':
      return { name, type: 2, i: attribute.value }
    case 'string':
      return { name, type: 3, s: new TextEncoder().encode(attribute.value) }
    case 'ints':
      return { name, type: 7, ints: [...attribute.value] }
  }
}

function encodeTensor(tensor: TensorRecord) {
  const { name, type, shape, bytes } = tensor
  const common = { name, dataType: ELEMENT_TYPE[type], dims: [...shape] }
  if (bytes.at === 'inline') return { ...common, rawData: bytes.raw }
  return {
    ...common,
    dataLocation: EXTERNAL,
    externalData: [
      { key: 'location', value: bytes.location },
      { key: 'offset', value: String(bytes.offset) },
      { key: 'length', value: String(bytes.length) },
    ],
  }
}

function encodeValue({ name, type, shape }: ValueRecord) {
  const dim = shape.map((length) => (typeof length === 'number' ? { dimValue: length } : { dimParam: length }))
  return { name, type: { tensorType: { elemType: ELEMENT_TYPE[type], shape: { dim } } } }
}

/** The bytes of a model file. Tensors marked external are named only: their file has to lie beside it. */
export function encodeModel(model: ModelRecord): Uint8Array {
  const message = {
    irVersion: IR_VERSION,
    producerName: 'gromatic',
    opsetImport: [
      { domain: '', version: model.opset },
      { domain: 'com.microsoft', version: model.contribOpset },
    ],
    graph: {
      name: model.graphName,
      node: model.nodes.map(({ name, opType, domain, inputs, outputs, attributes }) => ({
        name,
        opType,
        domain,
        input: inputs,
        output: outputs,
        attribute: Object.entries(attributes).map(([key, value]) => encodeAttribute(key, value)),
      })),
      initializer: model.initializers.map(encodeTensor),
      input: model.inputs.map(encodeValue),
      output: model.outputs.map(encodeValue),
    },
  }
  return ModelProto.encode(message).finish()
}

/** What can be checked of a model file without running it. */
export interface ModelOutline {
  inputs: ValueRecord[]
  outputs: ValueRecord[]
  /** tensors whose bytes lie in another file */
  externalTensors: (Pick<TensorRecord, 'name' | 'shape' | 'type'> & {
    location: string
    offset: number
    length: number
  })[]
}

export interface DecodedValue {
  name: string
  type: { tensorType: { elemType: number; shape: { dim: { dimValue: unknown; dimParam: string }[] } } }
}
export interface DecodedTensor {
  name: string
  dims: unknown[]
  dataType: number
  dataLocation: number
  externalData: { key: string; value: string }[]
}

/**
 * Reads the outline of a model file.
 * @throws Error when the bytes are no model
 */
export function decodeOutline(bytes: Uint8Array): ModelOutline {
  const options = { defaults: true, arrays: true, objects: true, longs: Number }
  const { graph } = ModelProto.toObject(ModelProto.decode(bytes), options) as {
    graph: { input: DecodedValue[]; output: DecodedValue[]; initializer: DecodedTensor[] } | null
  }
  if (!graph) throw new Error('the file holds no graph')
  return {
    inputs: graph.input.map(outlineOfValue),
    outputs: graph.output.map(outlineOfValue),
    externalTensors: graph.initializer.filter(({ dataLocation }) => dataLocation === EXTERNAL).map(outlineOfTensor),
  }
}

export function outlineOfValue({ name, type }: DecodedValue): ValueRecord {
  const { elemType, shape } = type.tensorType
  const dimensions = shape.dim.map(({ dimValue, dimParam }) => (dimParam === '' ? Number(dimValue) : dimParam))
  return { name, type: elementTypeOf(elemType), shape: dimensions }
}

export function outlineOfTensor({ name, dims, dataType, externalData }: DecodedTensor) {
  const entry = (key: string) => externalData.find((pair) => pair.key === key)?.value
  return {
    name,
    shape: dims.map(Number),
    type: elementTypeOf(dataType),
    location: entry('location') ?? '',
    offset: Number(entry('offset') ?? 0),
    length: Number(entry('length') ?? Number.NaN),
  }
}

export function elementTypeOf(number: number): ElementType {
  const found = Object.entries(ELEMENT_TYPE).find(([, value]) => value === number)
  if (!found) throw new Error(`element type ${number} is not used by our graphs`)
  return found[0] as ElementType
}

import type { Attribute, NodeRecord, TensorRecord } from './proto.ts'

/** Makers of records for graphs that are written or changed without a builder. */

/** A node of ONNX's own operators with one output, which it is named after. */
export function node(
  opType: string,
  output: string,
  inputs: string[],
  attributes: Record<string, Attribute> = {},
): NodeRecord {
  return { name: `${output}/${opType}`, opType, domain: '', inputs, outputs: [output], attributes }
}

/** Whole numbers, int64 [n]. */
export function longs(name: string, ...values: number[]): TensorRecord {
  const raw = new Uint8Array(BigInt64Array.from(values, BigInt).buffer)
  return { name, type: 'int64', shape: [values.length], bytes: { at: 'inline', raw } }
}

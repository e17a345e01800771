import type { ModelRecord } from '../onnx/proto.ts'

/** A graph without what no output depends on; inputs stay. */
export function reachable(model: ModelRecord): ModelRecord {
  const producers = new Map(model.nodes.flatMap((one) => one.outputs.map((output) => [output, one] as const)))
  const needed = new Set<string>()
  const pending = model.outputs.map(({ name }) => name)
  for (let value = pending.pop(); value !== undefined; value = pending.pop()) {
    if (needed.has(value)) continue
    needed.add(value)
    pending.push(...(producers.get(value)?.inputs ?? []))
  }
  return {
    ...model,
    nodes: model.nodes.filter(({ outputs }) => outputs.some((output) => needed.has(output))),
    initializers: model.initializers.filter(({ name }) => needed.has(name)),
  }
}

/** A provider's trial, with the processor as if it were another provider: what needs no driver. */
import { join } from 'node:path'
import { afterAll, beforeAll, expect, it } from 'vitest'
import { convertCheckpoint } from '../../../native-models/builders/buildModel.ts'
import { GRAPHS } from '../../../native-models/builders/modelFiles.ts'
import { placementOf } from '../../../native-models/inference/placement.ts'
import { tryProvider } from '../../../native-models/inference/probe.ts'
import { makeTinyModel } from '../builders/tinyModel.ts'

let tiny: Awaited<ReturnType<typeof makeTinyModel>>
beforeAll(async () => {
  tiny = await makeTinyModel()
})
afterAll(() => tiny.remove())

it.each([
  { llm: 'fp32', right: GRAPHS },
  // its decoder reads a prompt in 8 bits, which the form for other providers does not: only keys and values on a device fit that
  { llm: 'int4', right: GRAPHS.filter((graph) => graph !== 'decoder') },
])('finds the graphs of a model in $llm right', async ({ llm, right }) => {
  const modelDir = join(tiny.root, llm)
  await convertCheckpoint(tiny.checkpoint, modelDir, { llm })
  const trial = await tryProvider({ provider: 'cpu', modelDir, threads: 1, all: true, onStep: () => {} })
  expect(trial.refusal).toBeNull()
  expect(new Set(trial.graphs.map(({ graph }) => graph))).toEqual(new Set(GRAPHS))
  expect(Object.keys(placementOf(trial, { always: true }))).toEqual([...right])
})

import { z } from 'zod'
import { GRAPHS, type GraphName } from '../builders/modelFiles.ts'
import { PROVIDERS, type ProviderName } from './session.ts'

/** Where a graph runs, and in which arithmetic. A graph without a place runs on the processor. */
export interface Place {
  provider: ProviderName
  half: boolean
  /** attention in one operator of the provider's */
  fused?: boolean
}
export type Placement = Partial<Record<GraphName, Place>>

/** One graph of the real model, tried on a provider. */
export const GraphTrial = z.object({
  graph: z.enum(GRAPHS),
  half: z.boolean(),
  /** attention in one operator of the provider's */
  fused: z.boolean(),
  /** of one run, after a first; null where it did not come to that */
  seconds: z.number().nullable(),
  /** of the same run on the processor */
  cpuSeconds: z.number(),
  /** why the graph cannot run there; null when it can */
  refusal: z.string().nullable(),
})
export type GraphTrial = z.infer<typeof GraphTrial>

/** What came of trying a provider on a machine with a model. */
export const ProviderTrial = z.object({
  provider: z.enum(PROVIDERS),
  /** why the provider cannot be used at all; null when it can */
  refusal: z.string().nullable(),
  graphs: z.array(GraphTrial),
})
export type ProviderTrial = z.infer<typeof ProviderTrial>

/** A provider must be so many times as fast as the processor: otherwise data's way there and back is not worth it. */
export const MARGIN = 1.25

/**
 * The places that a trial earns: each graph where it is fastest.
 * @param always takes the provider wherever it runs right, even where the processor is faster
 */
export function placementOf(trial: ProviderTrial, { always = false } = {}): Placement {
  const placement: Placement = {}
  if (trial.refusal !== null) return placement
  for (const graph of GRAPHS) {
    const best = trial.graphs
      .filter((one) => one.graph === graph && one.refusal === null && one.seconds !== null)
      .sort((a, b) => a.seconds! - b.seconds!)[0]
    if (best && (always || best.seconds! * MARGIN < best.cpuSeconds)) {
      placement[graph] = { provider: trial.provider, half: best.half, fused: best.fused }
    }
  }
  return placement
}

/** What a graph takes in its place: what providers are compared by. */
export function secondsOf(trial: ProviderTrial, graph: GraphName, { half, fused }: Place): number {
  const found = trial.graphs.find((one) => one.graph === graph && one.half === half && one.fused === fused)
  return found?.seconds ?? Number.POSITIVE_INFINITY
}

/** A trial in one sentence. */
export function verdictOf(trial: ProviderTrial): string {
  if (trial.refusal !== null) return inWords(trial.refusal)
  const refused = trial.graphs.filter(({ refusal }) => refusal !== null)
  const placed = Object.keys(placementOf(trial))
  const slower = trial.graphs.filter(({ graph, refusal }) => refusal === null && !placed.includes(graph))
  const parts = [
    ...(placed.length > 0 ? [`faster at ${placed.join(', ')}`] : []),
    ...slower.map(({ seconds, cpuSeconds, ...one }) => {
      const how = `${seconds!.toPrecision(2)} s against ${cpuSeconds.toPrecision(2)} s on the CPU`
      return `not fast enough at ${formOf(one)} (${how})`
    }),
    ...refused.map(({ refusal, ...one }) => `${formOf(one)}: ${inWords(refusal!)}`),
  ]
  return parts.join('; ')
}

/** What the runtime says where it finds nothing to run on, and what helps. */
const HELP: readonly [RegExp, string][] = [
  [
    /WebGPU adapter/,
    'no driver for WebGPU was found: install the one of the graphics card (on Linux `apt install libvulkan1 mesa-vulkan-drivers`, Mesa 25 or newer)',
  ],
  [/lib(cuda|cudart|cublas\w*|cufft|curand|cudnn)\S*: cannot open/, 'CUDA 12 and cuDNN 9 are to be installed'],
  [
    /CUDA driver version is insufficient|no CUDA-capable device/,
    "NVIDIA's driver is missing or too old: install its latest",
  ],
]

/** A reason without the places in the runtime's source that it names first. */
function inWords(refusal: string): string {
  const help = HELP.find(([pattern]) => pattern.test(refusal))
  return help?.[1] ?? refusal.replace(/^.*?(?: was false\. |\[ONNXRuntimeError\] : \d+ : \w+ : )/s, '')
}

/** What was tried, in words. */
export function formOf({ graph, half, fused }: Pick<GraphTrial, 'graph' | 'half' | 'fused'>): string {
  return `${graph}${half ? ' in float16' : ''}${fused ? ' with fused attention' : ''}`
}

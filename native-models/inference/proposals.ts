import { GromaError } from '../errors.ts'
import { type BoxCxcywh, boxCxcywh } from '../geometry/boxes.ts'
import type { SelectedRegions } from '../groma/regionSelection.ts'
import { floatsOf, type GraphSession, type Tensor } from './session.ts'

/** All boxes that the proposer puts out, in its own order: position i had the i-th best anchor. */
export interface Proposals {
  /** [Q, 4], fractions 0..1 */
  boxesCxcywh: Float32Array
  /** [Q] objectness */
  scores: Float32Array
}

/** One box that the language model can point at: its place in the list is K of its `<rK>`. */
export interface SelectedRegion {
  boxCxcywh: BoxCxcywh
  /** objectness; 1 for a box of the user's */
  score: number
  /** index among the proposals; Q + i for the i-th box of the user's */
  sourceIndex: number
}

/** How much each of the two objectness heads weighs. */
const COCO_POWER = 0.4
const SA1B_POWER = 0.6

/**
 * Runs the proposer.
 * @param states the last four hidden states
 * @throws GromaError NUMERIC_FAULT when a box or score is no number
 */
export async function runProposalHead(session: GraphSession, states: readonly Tensor[]): Promise<Proposals> {
  const feeds = Object.fromEntries(states.map((state, index) => [`hidden_state.${index}`, state]))
  const outputs = await session.run(feeds)
  const boxesCxcywh = floatsOf(outputs, 'boxes_cxcywh')
  const sa1b = floatsOf(outputs, 'logit_sa1b')
  const scores = floatsOf(outputs, 'logit_coco').map((logit, i) => fusedScore(logit, sa1b[i]!))
  if (!boxesCxcywh.every(Number.isFinite) || !scores.every(Number.isFinite)) {
    throw new GromaError('NUMERIC_FAULT', 'the proposer put out numbers that are not finite')
  }
  return { boxesCxcywh, scores }
}

/** sigmoid(coco)^0.4 * sigmoid(sa1b)^0.6, rounded to float32 at each step as the authors' tensors are. */
function fusedScore(logitCoco: number, logitSa1b: number): number {
  const f = Math.fround
  return f(f(f(sigmoid(logitCoco)) ** COCO_POWER) * f(f(sigmoid(logitSa1b)) ** SA1B_POWER))
}

function sigmoid(x: number): number {
  return 1 / (1 + Math.exp(-x))
}

/** The selection as a list. */
export function regionList({ boxesCxcywh, scores, sourceIndex }: SelectedRegions): SelectedRegion[] {
  return sourceIndex.map((source, region) => ({
    boxCxcywh: boxAt(boxesCxcywh, region),
    score: scores[region]!,
    sourceIndex: source,
  }))
}

/** The i-th of boxes [n, 4]. */
export function boxAt(boxesCxcywh: Float32Array, index: number): BoxCxcywh {
  const [cx, cy, width, height] = boxesCxcywh.subarray(index * 4, index * 4 + 4)
  return boxCxcywh(cx!, cy!, width!, height!)
}

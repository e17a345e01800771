import type { BoxCxcywh } from '../../native-models/geometry/boxes.ts'
import { boxXywhPixels, xywhPixelsToCxcywh } from '../../native-models/geometry/boxes.ts'
import type { GroundedAnswer } from '../../native-models/inference/answers.ts'
import type { GromaEngine } from '../../native-models/inference/engine.ts'
import { decodeImage } from '../../native-models/preprocess/image.ts'
import { drawScene, referringExpression } from '../support/syntheticScenes.ts'
import { Share } from './share.ts'

/** How often two engines say the same. */
export interface AnswerAgreement {
  scenes: number
  captions: Share
  /** grounded answers: one object, all of a shape, a description of the scene; equal: the same words and the same boxes */
  answers: Share
  /** `what was asked: one answer / the other` */
  differences: string[]
}

/** Asks two engines the same things about scenes `firstSeed`, `firstSeed + 1`, ...; yields after each the sum of all so far. */
export async function* answerAgreement(
  reference: GromaEngine,
  other: GromaEngine,
  { scenes, firstSeed }: { scenes: number; firstSeed: number },
): AsyncGenerator<AnswerAgreement> {
  const agreement: AnswerAgreement = { scenes: 0, captions: new Share(), answers: new Share(), differences: [] }
  const compare = (kind: 'captions' | 'answers', asked: string, one: string, two: string) => {
    agreement[kind].add(Number(one === two), 1)
    if (one !== two) agreement.differences.push(`${asked}: ${one} / ${two}`)
  }
  for (let seed = firstSeed; seed < firstSeed + scenes; seed++) {
    const scene = await drawScene(seed)
    const image = await decodeImage(scene.bytes)
    const [perceptions, boxes] = [[], []] as [Awaited<ReturnType<GromaEngine['perceive']>>[], BoxCxcywh[]]
    for (const engine of [reference, other]) perceptions.push(await engine.perceive(image, { key: `scene ${seed}` }))
    const both = async <T>(ask: (engine: GromaEngine, place: 0 | 1) => Promise<T>) =>
      [await ask(reference, 0), await ask(other, 1)] as const

    boxes.push(...reference.propose(perceptions[0]!).map(({ boxCxcywh }) => boxCxcywh))
    for (const { bboxXywh } of scene.objects) {
      boxes.push(xywhPixelsToCxcywh(boxXywhPixels(...bboxXywh), scene.width, scene.height))
    }
    const [said, repeated] = await both((engine, i) => engine.caption(perceptions[i]!, boxes, { detail: 'brief' }))
    for (const [i, { text }] of said.entries()) compare('captions', `${seed} box ${i}`, text, repeated[i]!.text)

    const phrases = scene.objects.map((object) => referringExpression(scene, object))
    const questions = [
      ...phrases.filter((phrase) => phrase !== null).map((phrase) => ({ phrase, all: false })),
      ...[...new Set(scene.objects.map(({ shape }) => shape))].map((phrase) => ({ phrase, all: true })),
    ]
    for (const question of questions) {
      const [one, two] = await both((engine, i) => engine.locate(perceptions[i]!, question))
      compare('answers', `${seed} ${question.all ? 'all ' : ''}${question.phrase}`, written(one), written(two))
    }
    const description = { question: 'Give me a concise description of the image.', grounded: true }
    const [one, two] = await both((engine, i) => engine.ask(perceptions[i]!, description))
    compare('answers', `${seed} description`, written(one), written(two))
    agreement.scenes++
    yield agreement
  }
}

/** Everything of an answer that a person sees: its words, and the boxes at each place. */
function written({ text, spans }: GroundedAnswer): string {
  const boxes = ({ boxCxcywh }: GroundedAnswer['regions'][number]) =>
    boxCxcywh.map((value) => value.toFixed(4)).join(',')
  return `${text} ${spans.map((span) => `${span.start}-${span.end}[${span.regions.map((r) => boxes(r as never)).join(' ')}]`).join(' ')}`
}
